"""Messages in memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from zaqar_conformance.reference.state import Item, State, milliseconds
from zaqar_core.contract import (
    EncodedMessage,
    MessageController,
    QueueKey,
    Refusal,
    StoredMessage,
    StoredPage,
    new_id,
)
from zaqar_core.errors import InvalidMarker
from zaqar_core.limits import DEDUP_WINDOW
from zaqar_core.models import MessageRef, QueueStats

_MARKER = re.compile(r"(\d{1,18})-(\d{1,18})\Z")


class ReferenceMessages(MessageController):
    """Each method holds the one lock from its first look to its answer."""

    def __init__(self, state: State) -> None:
        self._state = state

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            ids = []
            items: dict[str, Item] = {}
            dedup: dict[str, tuple[str, int]] = {}
            for message in messages:
                known = held.dedup.get(message.dedup_id or "") or dedup.get(message.dedup_id or "")
                if known:
                    ids.append(known[0])
                    continue
                item = Item(
                    id=new_id(),
                    body=message.body,
                    client_id=client_id,
                    headers=dict(message.headers),
                    posted=now,
                    available=now + milliseconds(message.delay) if message.delay else 0,
                    place=self._state.place(now) + milliseconds(message.delay),
                    expires=now + milliseconds(message.ttl),
                    order=self._state.next(),
                )
                items[item.id] = item
                if message.dedup_id is not None:
                    dedup[message.dedup_id] = (item.id, now + milliseconds(DEDUP_WINDOW))
                ids.append(item.id)
            self._state.put(queue, replace(held, items=held.items | items, dedup=held.dedup | dedup))
            return ids

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        with self._state.lock:
            now = self._state.now()
            items = self._state.queue(queue, now).items
            return [items[message_id].stored(now) for message_id in dict.fromkeys(message_ids) if message_id in items]

    def list(
        self,
        queue: QueueKey,
        *,
        marker: str | None,
        limit: int,
        exclude_client: str | None,
        include_claimed: bool,
        include_delayed: bool,
    ) -> StoredPage:
        after = _position(marker)
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now, claimed=include_claimed, delayed=include_delayed)
            found = [item for item in found if item.position > after and item.client_id != exclude_client]
            last = found[:limit][-1].position if found else after
            return StoredPage([item.stored(now) for item in found[:limit]], _marker(last), len(found) > limit)

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now, claimed=True)
            return found[-1 if newest else 0].stored(now) if found else None

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            refused = {}
            for message_id in message_ids:
                item = held.items.get(message_id)
                if item is None:
                    continue
                if claim_ids is None:
                    reason = Refusal.MESSAGE_IS_CLAIMED if item.claim_id is not None else None
                elif not any(claim_id in held.leases for claim_id in claim_ids):
                    reason = Refusal.CLAIM_DOES_NOT_EXIST
                else:
                    reason = None if item.claim_id in claim_ids else Refusal.CLAIM_DOES_NOT_MATCH
                if reason is None:
                    del held.items[message_id]
                else:
                    refused[message_id] = reason
            return refused

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            taken = {item.id: item.stored(now) for item in held.by_position(now)[:limit]}
            left = {message_id: item for message_id, item in held.items.items() if message_id not in taken}
            self._state.put(queue, replace(held, items=left))
            return list(taken.values())

    def stats(self, queue: QueueKey) -> QueueStats:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            free = len(held.by_position(now))
            shown = held.by_position(now, claimed=True)
            claimed = sum(item.claim_id is not None for item in held.items.values())
            total = len(held.items)
            ends = [MessageRef(item.id, item.age(now)) for item in (*shown[:1], *shown[-1:])]
            return QueueStats(free, claimed, total - free - claimed, total, *ends)

    def purge(self, queue: QueueKey) -> None:
        with self._state.lock:
            self._state.purge(queue)


def _marker(position: tuple[int, int]) -> str:
    return f"{position[0]}-{position[1]}"


def _position(marker: str | None) -> tuple[int, int]:
    if not marker:
        return 0, 0
    match = _MARKER.match(marker)
    if match is None:
        raise InvalidMarker(f"marker {marker[:80]!r} is none that a page gave; pass back a page's marker, or None")
    return int(match[1]), int(match[2])
