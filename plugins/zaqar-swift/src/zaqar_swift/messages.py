"""Messages of the data plane."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final

from zaqar_core.contract import (
    EncodedMessage,
    MessageController,
    QueueKey,
    Refusal,
    StoredMessage,
    StoredPage,
)
from zaqar_core.errors import InvalidMarker, StorageUnavailable
from zaqar_core.models import MessageRef, QueueStats
from zaqar_swift.choosing import BUSY, Choice, buried, pauses
from zaqar_swift.errors import begun
from zaqar_swift.names import (
    CLAIMS,
    MESSAGES,
    MessageName,
    client_digest,
    is_claim_id,
    message_id,
    message_name,
    new_claim_id,
    to_us,
)
from zaqar_swift.operations import changing, reading
from zaqar_swift.packing import Sent, pack_message
from zaqar_swift.queues import START, Item, Place, Position, Queues, Scan, View, head_of, kept_until
from zaqar_swift.store import LONGEST_PAGE

_MARKER: Final = re.compile(r"([0-9a-f]{14})-([A-Za-z0-9_-]{32})?")
_LOOKED_BACK: Final = 64
_SETTLES_WITHIN: Final = 10_000_000
"""Microseconds in which a listing shows what was posted, clients' clocks differing a little."""


class SwiftMessages(MessageController):
    """Messages are objects, written once: their names say where they stand, their content types what they are."""

    def __init__(self, queues: Queues, choice: Choice) -> None:
        self._queues = queues
        self._store = queues.store
        self._choice = choice

    @changing
    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        if not messages:
            return []
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        (now, position), digest = self._queues.clock.tick(), client_digest(client_id)
        ids = []
        calls = []
        for number, message in enumerate(messages):
            expires, delay = now + to_us(message.ttl), to_us(message.delay)
            some_id = message_id(MessageName(position + delay, number, delay > 0, expires))
            available = now + delay if delay and position != now else None
            ids.append(some_id)
            calls.append(
                partial(
                    self._store.put,
                    place.container,
                    place.prefix + MESSAGES + some_id,
                    pack_message(
                        Sent(now, client_id, message.headers, message.body, available),
                        digest,
                        self._queues.inline_bytes,
                    ),
                    deadline,
                    delete_at=kept_until(expires),
                    once=True,
                )
            )
        self._store.all_done(calls, deadline)
        return ids

    @reading
    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        ids = [some_id for some_id in dict.fromkeys(message_ids) if message_name(some_id) is not None]
        if not ids:
            return []
        view = self._queues.view(place, deadline)
        found = self._queues.find(place, view, ids, deadline)
        return self._queues.messages(place, view, [found[some_id] for some_id in ids if some_id in found], deadline)

    @reading
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
        after = _read_marker(marker)
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        view, scan = self._from(place, after, limit, deadline)
        own = None if exclude_client is None else client_digest(exclude_client)
        halfway = (time.monotonic() + deadline) / 2
        shown: list[Item] = []
        passed = after
        more = False
        for item in scan:
            if own is not None and head_of(item).client == own:
                if item.position.at > view.now - _SETTLES_WITHIN:
                    continue  # posts of others may yet be listed before it
            elif (view.delayed(item) and not include_delayed) or (view.holder(item.id) and not include_claimed):
                continue
            elif len(shown) == limit:
                more = True
                break
            else:
                shown.append(item)
            passed = item.position
            scan.stop_at = halfway  # rather than lose the place at the deadline
        messages = self._queues.messages(place, view, shown, deadline)
        return StoredPage(messages, _marker(passed), more or not scan.whole)

    @reading
    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        view, scan = self._queues.view_and_scan(place, deadline, expected=1)
        available: Iterator[Item]
        if newest:
            last = self._last(place, view, deadline)
            available = iter([last] if last else [])
        else:
            available = (item for item in scan if not view.delayed(item))
        for item in available:
            found = self._queues.messages(place, view, [item], deadline)
            if found:
                return found[0]
        return None

    @changing
    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        ids = [some_id for some_id in dict.fromkeys(message_ids) if message_name(some_id) is not None]
        if not ids:
            return {}
        view = self._queues.view(place, deadline, claim_ids=claim_ids or ())
        token = new_claim_id(view.now)
        for _ in pauses(deadline):
            self._choice.look(place, view, ids, deadline)
            reasons = {some_id: _refusal(view, some_id, claim_ids) for some_id in ids}
            allowed = [some_id for some_id, reason in reasons.items() if reason is None]
            refused = {some_id: reason for some_id, reason in reasons.items() if reason is not None}
            # All is read before the first change: a read that fails afterwards would say that nothing happened.
            there = self._queues.find(place, view, refused, deadline) if refused else {}
            if Refusal.CLAIM_DOES_NOT_MATCH in refused.values() and not self._any_left(
                place, view, claim_ids, deadline
            ):
                refused = dict.fromkeys(refused, Refusal.CLAIM_DOES_NOT_EXIST)
            gone = {some_id: buried(view, some_id, token) for some_id in allowed if not view.gone(some_id)}
            if self._choice.settle(place, view, gone, deadline):
                break
        else:
            raise StorageUnavailable(BUSY)
        self._choice.delete(place, allowed, deadline)
        self._choice.forget(place, view, allowed, deadline)
        return {some_id: reason for some_id, reason in refused.items() if some_id in there}

    @changing
    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        deadline = self._store.deadline()
        return self._choice.pop(self._queues.place(queue), limit=limit, deadline=deadline)

    @reading
    def stats(self, queue: QueueKey) -> QueueStats:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        view, scan = self._queues.view_and_scan(place, deadline, expected=LONGEST_PAGE)
        free = claimed = delayed = 0
        oldest: Item | None = None
        newest: Item | None = None
        for item in scan:
            if view.delayed(item):
                delayed += 1
                continue
            if view.holder(item.id):
                claimed += 1
            else:
                free += 1
            oldest = oldest or item
            newest = item
        self._queues.sweep(place, scan.expired, deadline)
        return QueueStats(free, claimed, delayed, free + claimed + delayed, _ref(view, oldest), _ref(view, newest))

    @changing
    def purge(self, queue: QueueKey) -> None:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        # What is claimed meanwhile keeps its claim. Claims go last: without them, what they hold would be active.
        claims = [name for page in self._pages(place, CLAIMS, deadline) for name in page]
        pages = self._pages(place, MESSAGES, deadline)
        first = next(pages)
        with begun("not all was purged; purge again"):
            for page in chain([first], pages):
                self._choice.bury(place, [name.removeprefix(place.prefix + MESSAGES) for name in page], deadline)
                self._delete(place, page, deadline)
            self._delete(place, claims, deadline)

    def _any_left(self, place: Place, view: View, claim_ids: Sequence[str] | None, deadline: float) -> bool:
        """Whether one of these claims holds a message that is still there."""
        held = [entry.id for claim_id in claim_ids or () for entry in view.held(claim_id)]
        return bool(self._queues.find(place, view, held, deadline))

    def _pages(self, place: Place, prefix: str, deadline: float) -> Iterator[Sequence[str]]:
        """The names of the queue's objects of a kind, page by page, one at least."""
        marker = ""
        while True:
            page = self._store.page(place.container, place.prefix + prefix, deadline, marker=marker)
            yield [row.name for row in page]
            if len(page) < LONGEST_PAGE:
                return
            marker = page[-1].name

    def _delete(self, place: Place, names: Sequence[str], deadline: float) -> None:
        self._store.all_done([partial(self._store.delete, place.container, name, deadline) for name in names], deadline)

    def _from(self, place: Place, after: Position, limit: int, deadline: float) -> tuple[View, Scan]:
        page = 2 * limit + _LOOKED_BACK
        if after == START:
            return self._queues.view_and_scan(place, deadline, expected=limit, page=page)
        view = self._queues.view(place, deadline)
        return view, Scan(self._queues, place, view, deadline, after=after, page=page)

    def _last(self, place: Place, view: View, deadline: float) -> Item | None:
        """The last by position that is available."""
        moved = [some_id for some_id, (_, entry) in view.latest.items() if entry.moved_at]
        best = (
            max(
                (item for item in self._queues.find(place, view, moved, deadline).values() if not view.delayed(item)),
                key=lambda item: item.position,
                default=None,
            )
            if moved
            else None
        )
        prefix, marker = place.prefix + MESSAGES, ""
        limit = _LOOKED_BACK
        while True:
            page = self._store.page(place.container, prefix, deadline, marker=marker, limit=limit, reverse=True)
            for row in page:
                some_id = row.name.removeprefix(prefix)
                name = message_name(some_id)
                if name is None or view.lives_until(some_id, name) <= view.now:
                    continue
                item = Item(view.position(some_id, name), some_id, name, row)
                if item.position.at == name.position and not view.delayed(item):
                    return item if best is None or best.position < item.position else best
            if len(page) < limit:
                return best
            marker, limit = page[-1].name, LONGEST_PAGE


def _refusal(view: View, some_id: str, claim_ids: Sequence[str] | None) -> Refusal | None:
    holder = view.holder(some_id)
    if claim_ids is None:
        return Refusal.MESSAGE_IS_CLAIMED if holder else None
    if holder in claim_ids or view.gone(some_id):
        return None
    live = any(is_claim_id(claim_id) and view.held(claim_id) for claim_id in claim_ids)
    return Refusal.CLAIM_DOES_NOT_MATCH if live else Refusal.CLAIM_DOES_NOT_EXIST


def _ref(view: View, item: Item | None) -> MessageRef | None:
    return None if item is None else MessageRef(item.id, max(0, view.now - head_of(item).posted) / 1_000_000)


def _marker(position: Position) -> str:
    return f"{position.at:014x}-{position.id}"


def _read_marker(marker: str | None) -> Position:
    if marker is None:
        return START
    match = _MARKER.fullmatch(marker)
    if not match:
        raise InvalidMarker(f"marker {marker!r} is not one that a page returned; pass back a page's marker, or None")
    return Position(int(match[1], 16), match[2] or "")
