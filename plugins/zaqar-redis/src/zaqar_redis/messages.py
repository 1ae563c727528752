"""Messages of the data plane."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from typing import Any, Final

from zaqar_core.contract import (
    MAX_SETTLED_PER_CALL,
    EncodedMessage,
    MessageController,
    QueueKey,
    Refusal,
    StoredMessage,
    StoredPage,
)
from zaqar_core.errors import InvalidMarker, StorageError
from zaqar_core.models import MessageRef, QueueStats
from zaqar_redis import scripts
from zaqar_redis.packing import age_of, holder_of, message_of, messages_of, packed_client, packed_rest
from zaqar_redis.queues import Queues
from zaqar_redis.units import is_id, new_ids, to_us

_START: Final = "0-"
_MARKER: Final = re.compile(r"0-|([1-9][0-9]{0,15})-([A-Za-z0-9_-]{12})")
_REASONS: Final = {
    1: Refusal.CLAIM_DOES_NOT_EXIST,
    2: Refusal.CLAIM_DOES_NOT_MATCH,
    3: Refusal.MESSAGE_IS_CLAIMED,
}
_UNKNOWN: Final = 2
"""A listing gave up looking for messages of others."""


class RedisMessages(MessageController):
    """Each method is one script, which the server runs atomically."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        if not messages:
            return []
        ids = new_ids(len(messages))
        client = packed_client(client_id)
        arguments: list[Any] = []
        for message_id, message in zip(ids, messages, strict=True):
            ttl = to_us(message.ttl)
            packed = client + packed_rest(ttl, message.headers, message.body)
            arguments += (message_id, ttl, to_us(message.delay), message.dedup_id or "", packed)
        deadline = self._queues.deadline()
        settled, known = self._queues.run(scripts.POST, queue, *arguments, deadline=deadline)
        for index, message_id in zip(known[::2], known[1::2], strict=True):
            ids[index] = message_id.decode()
        if not settled:
            self._settle(queue, len(messages) // MAX_SETTLED_PER_CALL, deadline)
        return ids

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        ids = [message_id for message_id in dict.fromkeys(message_ids) if is_id(message_id)]
        if not ids:
            return []
        found: list[StoredMessage] = []
        deadline = self._queues.deadline()
        while ids:  # again where all would make one reply too large
            now, holders, claims, bodies = self._queues.run(scripts.GET, queue, *ids, deadline=deadline)
            claims = claims or [None] * len(ids)
            found += (
                message_of(now, message_id, holder_of(holder, claim), body)
                for message_id, holder, claim, body in zip(ids, holders, claims, bodies, strict=False)
                if body is not None
            )
            ids = ids[len(bodies) :]
        return found

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
        marker = marker or _START
        place: Sequence[Any] = _read_marker(marker)
        hidden = b"" if exclude_client is None else packed_client(exclude_client)
        shown = (int(include_claimed), int(include_delayed), hidden)
        if exclude_client is None:
            now, more, _, _, *reached, ids, holders, claims, bodies, _ = self._queues.run(
                scripts.LIST, queue, limit, *place, *shown
            )
            return StoredPage(messages_of(now, ids, holders, claims, bodies), _marker(*reached) or marker, bool(more))
        # One more than asked for, to know whether something follows that is not hidden.
        items: list[StoredMessage] = []
        positions: list[bytes] = []
        deadline, state, start = self._queues.deadline(), _UNKNOWN, marker
        stop = _halfway(deadline)
        while state == _UNKNOWN and len(items) <= limit and (marker == start or time.monotonic() < stop):
            wanted = limit + 1 - len(items)
            now, state, position, last_id, *reached, ids, holders, claims, bodies, found = self._queues.run(
                scripts.LIST, queue, wanted, *place, *shown, deadline=deadline
            )
            place, marker = [position, last_id], _marker(*reached) or marker
            items += messages_of(now, ids, holders, claims, bodies)
            positions += found
        if len(items) <= limit:
            return StoredPage(items, marker, more=state == _UNKNOWN)
        return StoredPage(items[:limit], _marker(positions[limit - 1], items[limit - 1].id.encode()), more=True)

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        now, *row = self._queues.run(scripts.FIRST, queue, int(newest))
        return messages_of(now, *([value] for value in row))[0] if row else None

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        ids = [message_id for message_id in dict.fromkeys(message_ids) if is_id(message_id)]
        if not ids:
            return {}
        claims: Sequence[str] = [] if claim_ids is None else [claim for claim in claim_ids if is_id(claim)]
        named = -1 if claim_ids is None else len(claims)
        refused = self._queues.run(scripts.DELETE, queue, named, *claims, *ids)
        return {ids[index]: _REASONS[reason] for index, reason in zip(refused[::2], refused[1::2], strict=True)}

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        now, ids, holders, bodies = self._queues.run(scripts.POP, queue, limit)
        return messages_of(now, ids, holders, [], bodies)

    def stats(self, queue: QueueKey) -> QueueStats:
        now, free, claimed, delayed, *ends = self._queues.run(scripts.STATS, queue)
        refs = [
            MessageRef(message_id.decode(), age_of(now, posted))
            for message_id, posted in zip(ends[::2], ends[1::2], strict=True)
        ]
        return QueueStats(free, claimed, delayed, free + claimed + delayed, *refs)

    def purge(self, queue: QueueKey) -> None:
        self._queues.run(scripts.PURGE, queue)

    def _settle(self, queue: QueueKey, steps: int, deadline: float) -> None:
        """Remove as many expired messages as were posted, so that a queue without readers does not keep growing."""
        with contextlib.suppress(StorageError):
            for _ in range(steps):
                settled, _ = self._queues.run(scripts.SETTLE, queue, deadline=deadline)
                if settled or time.monotonic() >= deadline:
                    return


def _halfway(deadline: float) -> float:
    """When to stop what can be continued by another call, so that this one ends in time."""
    now = time.monotonic()
    return now + (deadline - now) / 2


def _read_marker(marker: str) -> list[str]:
    match = _MARKER.fullmatch(marker)
    if match is None:
        raise InvalidMarker(
            f"expected a marker of this listing, got {marker[:64]!r}; pass a page's marker, or None to start"
        )
    return [match[1], match[2]] if match[1] else ["-inf", ""]


def _marker(position: bytes, message_id: bytes) -> str:
    return f"{position.decode()}-{message_id.decode()}" if message_id else ""
