"""How one of several claimers comes to hold a message, where nothing is atomic but the writing of one object.

This is without a coordinator: see ``authority.py`` for what there is with one.

1. Write a claim that says: I am choosing.
2. List the queue. If another claimer with a lower claim id is choosing too, take the claim back, and start again when
   no claimer is choosing. If all others have higher ids, list again until they have taken their claims back or chosen.
3. Choose among what no claim holds, and write the claim again, with what it takes.

Of two concurrent claimers, the one that wrote last sees the other in its listing. If it has the higher id, it takes its
claim back. If it has the lower id, the other cannot have seen it, and it waits to see what the other chooses. Two get
the same message only if a listing lacks an earlier write, as in an unhealthy cluster, or if a claimer is suspended
between looking and writing. The claims then tell every client which of the two holds it: see ``View``.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from zaqar_core import kit
from zaqar_core.contract import StoredMessage
from zaqar_core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from zaqar_swift.errors import begun
from zaqar_swift.names import message_name, new_claim_id, to_us
from zaqar_swift.packing import ClaimObject, Entry, Sent, State
from zaqar_swift.queues import Item, Place, Queues, Scan, View, kept_until, last_words, stored
from zaqar_swift.turns import TURNS

T = TypeVar("T")

MaxClaimCount = int | None
"""How many times a message may be claimed, or None for a claim that ignores counts."""

CHOOSES_FOR: Final = 3.0
"""Seconds after which a claimer that is still choosing has to start again."""
DEAD_AFTER: Final = 6.0
"""Seconds for which others wait for a claimer that is choosing."""

BUSY: Final = "other clients were claiming from this queue until the timeout; try again"
_POP_LEASE: Final = 5.0
"""Seconds after which what a pop took is free again, should its client have died before it was deleted."""
_SPENT_FOR: Final = 60_000_000
_SPENT_DROPPED: Final = 4
_REMEMBERED: Final = 4_096
_SHORTEST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.3


class Taken(NamedTuple):
    """What a claim took. ``before``: what the queue's claims said until then; ``items`` without those that are gone."""

    claim_id: str
    claim: ClaimObject
    before: View
    scan: Scan
    items: Sequence[Item]
    contents: dict[str, Sent]


class Choice:
    """Takes messages for claims and pops, and says what a change of them needs."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._store = queues.store
        self._full: OrderedDict[str, bool] = OrderedDict()
        self._choosing: OrderedDict[str, float] = OrderedDict()
        self._deleted: OrderedDict[str, set[str]] = OrderedDict()

    def take(
        self, place: Place, *, ttl: int, grace: int, limit: int, deadline: float, max_claim_count: MaxClaimCount = None
    ) -> Taken | None:
        """The first active messages, held for ``ttl`` microseconds; None if there was nothing to take.

        At most ``limit``, and of those on their last try one alone, see ``taken_together``.
        """
        turn = TURNS.of((self._store.where, place)).take(deadline)
        try:
            taken, view, scan = self._take(place, ttl, grace, limit, max_claim_count, deadline)
        finally:
            turn.give_back()
        self.clean(place, view, scan, deadline)
        return taken

    def pop(self, place: Place, *, limit: int, deadline: float) -> list[StoredMessage]:
        """Remove and return up to ``limit`` active messages."""
        taken = self.take(place, ttl=to_us(_POP_LEASE), grace=0, limit=limit, deadline=deadline)
        if taken is None:
            return []
        # Delete nothing after the lease has ended: another client may hold it by then.
        ends = time.monotonic() + (taken.claim.ends - self._queues.clock.now()) / 1_000_000
        try:
            deleted = set(self.delete(place, [item.id for item in taken.items], min(deadline, ends)))
        except OutcomeUnknown:
            raise
        except StorageError as error:
            self._take_back(place, taken.claim_id, error, deadline)
            raise
        self._queues.drop_claim(place, taken.claim_id, deadline)
        # A listing that is late shows what is gone.
        return [stored(taken.before, item, taken.contents[item.id]) for item in taken.items if item.id in deleted]

    def look(self, place: Place, view: View, message_ids: Iterable[str], deadline: float) -> None:
        """Read into the view what decides about these messages. No-op: without a coordinator, the view itself does."""

    def settle(self, place: Place, view: View, states: Mapping[str, State], deadline: float) -> bool:
        """Set the states of messages looked at before, unless they changed since; whether it did.

        No-op: without a coordinator, nothing can tell.
        """
        return True

    def bury(self, place: Place, message_ids: Sequence[str], deadline: float) -> None:
        """Make sure that no client takes these any more.

        No-op: without a coordinator, a client with a stale listing cannot be stopped.
        """

    def write(self, place: Place, claim_id: str, claim: ClaimObject, deadline: float) -> None:
        """Store a claim whose messages are settled."""
        self._queues.write_claim(place, claim_id, claim, deadline)

    def delete(self, place: Place, message_ids: Sequence[str], deadline: float) -> list[str]:
        """Delete messages that are settled as deleted; returns those that were there."""
        return self._queues.delete_messages(place, message_ids, deadline)

    def forget(self, place: Place, view: View, message_ids: Sequence[str], deadline: float) -> None:
        """These were deleted: drop the claims that hold nothing more, as far as this driver knows."""
        empty = []
        for some_id in message_ids:
            claim_id = view.holder(some_id)
            if claim_id is None or claim_id not in view.claims:
                continue
            gone = self._deleted.setdefault(claim_id, set())
            gone.add(some_id)
            if gone.issuperset(entry.id for entry in view.claims[claim_id].entries):
                empty.append(claim_id)
                self._deleted.pop(claim_id, None)
        _shorten(self._deleted)
        if empty:
            self._store.at_once([partial(self._queues.drop_claim, place, each, deadline) for each in empty], deadline)

    def _take_back(self, place: Place, claim_id: str, error: StorageError, deadline: float) -> None:
        """Drop a claim that deleted nothing. Raises ``OutcomeUnknown`` if it may still hold its messages."""
        with begun(f"{error}; its messages are active again in {_POP_LEASE:.0f} s at the latest"):
            self._queues.delete_claim(place, claim_id, deadline)

    def _take(
        self, place: Place, ttl: int, grace: int, limit: int, max_claim_count: MaxClaimCount, deadline: float
    ) -> tuple[Taken | None, View, Scan]:
        while True:
            # Where a claim was filled last time, there is more: no look beforehand.
            if not self._full.get(place.prefix):
                view, scan = self._queues.view_and_scan(place, deadline, expected=limit)
                if not _active(view, scan, 1):
                    return None, view, scan
            taken = self._choose(place, ttl, grace, limit, max_claim_count, deadline)
            if taken is not None:
                return taken, taken.before, taken.scan

    def _choose(
        self, place: Place, ttl: int, grace: int, limit: int, max_claim_count: MaxClaimCount, deadline: float
    ) -> Taken | None:
        """None: it has to be tried again."""
        began = time.monotonic()
        now = self._queues.clock.now()
        claim_id = new_claim_id(now)
        taken = None
        try:
            self._queues.write_claim(place, claim_id, ClaimObject(now, ttl, 0, True, ()), deadline)
            seen = self._look(place, claim_id, limit, began, deadline)
            if seen is not None:
                view, scan = seen
                active = _active(view, scan, limit)
                items = taken_together(view, active, max_claim_count)
                self._remember(self._full, place.prefix, len(active) == limit or len(items) < len(active))
                contents = self._queues.contents(place, items, deadline)
                items = [item for item in items if item.id in contents]
                if items and time.monotonic() - began < CHOOSES_FOR:
                    # A later write would take what others took meanwhile.
                    taken = self._write(
                        place, claim_id, seen, items, contents, ttl, grace, min(deadline, began + DEAD_AFTER)
                    )
        finally:
            if taken is None:
                self._withdraw(place, claim_id, deadline)
        if taken is None:
            self._wait_for_others(place, deadline)
        return taken if taken is None or taken.items else None

    def _withdraw(self, place: Place, claim_id: str, deadline: float) -> None:
        """Delete a claim that took nothing, in the background once time is up: other claimers wait for it."""
        try:
            self._queues.delete_claim(place, claim_id, deadline)
        except StorageError:
            until = time.monotonic() + self._store.timeout
            self._store.start(partial(self._queues.drop_claim, place, claim_id, until))

    def _look(self, place: Place, claim_id: str, limit: int, began: float, deadline: float) -> tuple[View, Scan] | None:
        """The queue, once no other claimer is choosing; None if this claimer has to take its claim back."""
        for _ in pauses(min(deadline, began + CHOOSES_FOR)):
            view, scan = self._queues.view_and_scan(place, deadline, expected=limit)
            if claim_id not in view.claims:
                continue  # an old listing
            others = self._others(place, view, claim_id, deadline)
            if not others:
                return view, scan
            if min(others) < claim_id:
                return None
        return None

    def _wait_for_others(self, place: Place, deadline: float) -> None:
        for _ in pauses(deadline):
            if not self._others(place, self._queues.view(place, deadline), "", deadline):
                return
        raise StorageUnavailable(BUSY)

    def _others(self, place: Place, view: View, claim_id: str, deadline: float) -> list[str]:
        """The other claims that are still choosing. Those that have been for too long are dropped."""
        others = []
        now = time.monotonic()
        for other in view.choosing():
            if other == claim_id:
                continue
            since = self._choosing.get(other, now)
            self._remember(self._choosing, other, since)
            if now - since > DEAD_AFTER:
                self._queues.drop_claim(place, other, deadline)
            else:
                others.append(other)
        return others

    def _write(
        self,
        place: Place,
        claim_id: str,
        seen: tuple[View, Scan],
        items: Sequence[Item],
        contents: dict[str, Sent],
        ttl: int,
        grace: int,
        deadline: float,
    ) -> Taken:
        view, scan = seen
        now = self._queues.clock.now()
        wanted = [taken_by(view, item.id, ends=now + ttl, grace=grace) for item in items]
        entries = self._queues.keep_longer(place, wanted, deadline)
        claim = ClaimObject(now, ttl, now + ttl, False, tuple(entries))
        self._queues.write_claim(place, claim_id, claim, deadline)
        there = {entry.id for entry in entries}
        return Taken(claim_id, claim, view, scan, [item for item in items if item.id in there], contents)

    def clean(self, place: Place, view: View, scan: Scan, deadline: float) -> None:
        """Remove some of what has expired, and some claims that are not needed any more."""
        self._store.at_once(
            [
                partial(self._queues.drop_claim, place, each, deadline)
                for each in self._spent(place, view, scan, deadline)
            ],
            deadline,
        )
        self._queues.sweep(place, scan.expired, deadline)

    def _spent(self, place: Place, view: View, scan: Scan, deadline: float) -> list[str]:
        """Some claims that are not needed any more. For at most one, Swift is asked whether its messages are gone."""
        spent: list[str] = []
        asked = False
        for claim_id, claim in view.claims.items():
            words = last_words(view, claim_id)
            if words:
                long_ago = max(claim.began, claim.ends) + _SPENT_FOR < view.now
                if asked or not long_ago or any(scan.seen_to < some_id or some_id in scan.seen for some_id in words):
                    continue
                asked = True
                # A listing may lack what is there, so each is asked for; a claim of which that fails stays.
                with suppress(StorageError):
                    words = list(self._queues.find(place, view, words, deadline))
            if words == []:
                spent.append(claim_id)
            if len(spent) == _SPENT_DROPPED:
                break
        return spent

    def _remember(self, memory: OrderedDict[str, T], key: str, value: T) -> None:
        memory[key] = value
        with suppress(KeyError):  # other threads forget, too
            memory.move_to_end(key)
        _shorten(memory)


def _shorten(memory: OrderedDict[str, T]) -> None:
    with suppress(KeyError):
        while len(memory) > _REMEMBERED:
            memory.popitem(last=False)


def taken_together(view: View, items: Sequence[Item], max_claim_count: MaxClaimCount) -> list[Item]:
    """Those of the first active messages that one claim takes: a message with one try left is taken alone."""
    entries = (view.entry(item.id) for item in items)
    count = kit.taken_together((entry.times if entry else 0 for entry in entries), max_claim_count)
    return list(items[:count])


def taken_by(view: View, message_id: str, *, ends: int, grace: int) -> Entry:
    """What a new claim that ends then says of a message, the claims before it being those of the view."""
    name = message_name(message_id)
    if name is None:
        raise ValueError(message_id)
    known = view.entry(message_id) or Entry(message_id, 0, 0, kept_until(name.expires))
    lives_until = max(view.lives_until(message_id, name), ends + grace)
    return known._replace(times=known.times + 1, held=True, lives_until=lives_until)


def buried(view: View, message_id: str, token: str) -> State:
    """The state of a message that is gone. ``token`` tells apart the calls that say so."""
    name = message_name(message_id)
    if name is None:
        raise ValueError(message_id)
    known = view.entry(message_id) or Entry(message_id, 0, 0, kept_until(name.expires))
    entry = known._replace(held=False, lives_until=view.lives_until(message_id, name))
    return State(token, 0, True, entry)


def _active(view: View, scan: Scan, limit: int) -> list[Item]:
    return list(islice((item for item in scan if not view.delayed(item) and not view.holder(item.id)), limit))


def pauses(until: float, shortest: float = _SHORTEST_PAUSE, longest: float = _LONGEST_PAUSE) -> Iterator[None]:
    """Yields immediately, then after longer and longer pauses, as long as there is time."""
    pause = shortest
    yield
    while time.monotonic() + pause < until:
        time.sleep(pause * random.uniform(0.5, 1.0))
        yield
        pause = min(2 * pause, longest)
