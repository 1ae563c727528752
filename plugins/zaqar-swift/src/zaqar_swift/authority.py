"""How one of several claimers comes to hold a message where a coordinator decides.

The coordinator knows the state of every message that was ever claimed, popped or deleted: its number of claims, its
last claim, when that ends, and whether the message is gone. A client that wants a message does a compare-and-set from
the state it has read to the next one. So of all clients that want a message for its third claim exactly one gets it,
however old their listings are and however long they were suspended before the swap.

Swift is told afterwards, for readers. A late write does no harm: among the claims in Swift the one with the highest
count is right (see ``View``), and that is the one that swapped last. If the coordinator knows nothing of a message, or
fewer claims than Swift, the claims in Swift decide: either it was never claimed, or the coordinator has lost data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from zaqar_core.contract import StoredMessage
from zaqar_core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from zaqar_swift.choosing import BUSY, Choice, MaxClaimCount, Taken, buried, pauses, taken_by, taken_together
from zaqar_swift.coordinator import Change, Coordinator
from zaqar_swift.errors import begun
from zaqar_swift.names import message_name, new_claim_id
from zaqar_swift.packing import ClaimObject, Sent, State, pack_state
from zaqar_swift.queues import MARGIN, Item, Place, Queues, Scan, View, stored

Wanted = Callable[[View, Sequence[Item]], dict[str, State]]

_TOLD: Final = "the coordinator knows of it, but Swift could not be told"
_HELD: Final = "messages may be held until the claim would have ended"
_LATE: Final = (
    "the claim was written so late that messages in it which had expired may have been deleted before; it may hold "
    "them until it ends"
)
_REMEMBERED_GONE: Final = 7 * 24 * 3600
"""Seconds after which Swift itself forgets a deletion (its ``reclaim_age``), and replicas with it."""
_LOOKED_AT: Final = 16
_BURIED_AT_ONCE: Final = 500
_CLEANED_IN_PASSING: Final = 16
_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1


class _Won(NamedTuple):
    """Messages whose states were swapped. ``listed``: what Swift said; ``view``: and what was so before."""

    states: dict[str, State]
    items: list[Item]
    contents: dict[str, Sent]
    listed: View
    view: View
    scan: Scan


class Authority(Choice):
    """Takes messages by the coordinator's word."""

    def __init__(self, queues: Queues, coordinator: Coordinator) -> None:
        super().__init__(queues)
        self._coordinator = coordinator

    def take(
        self, place: Place, *, ttl: int, grace: int, limit: int, deadline: float, max_claim_count: MaxClaimCount = None
    ) -> Taken | None:
        claim_id = new_claim_id(self._queues.clock.now())

        def wanted(view: View, items: Sequence[Item]) -> dict[str, State]:
            ends = self._queues.clock.now() + ttl
            entries = [taken_by(view, item.id, ends=ends, grace=grace) for item in items]
            kept = self._queues.keep_longer(place, entries, deadline)
            return {entry.id: State(claim_id, ends, False, entry) for entry in kept}

        won = self._win(place, limit, max_claim_count, wanted, deadline)
        if won is None:
            return None
        states = won.states.values()
        ends = max(state.ends for state in states)
        claim = ClaimObject(ends - ttl, ttl, ends, False, tuple(state.entry for state in states))
        try:
            self._queues.write_claim(place, claim_id, claim, deadline)
        except OutcomeUnknown:
            raise
        except StorageError as error:
            self._give_back(place, won, error, deadline)
            raise
        by_now = replace(won.listed, now=self._queues.clock.now())
        if any(by_now.over(item.id, item.name) for item in won.items):
            raise OutcomeUnknown(_LATE)
        self._tidy(place, won.listed, won.view, won.scan, deadline)
        return Taken(claim_id, claim, won.view, won.scan, won.items, won.contents)

    def pop(self, place: Place, *, limit: int, deadline: float) -> list[StoredMessage]:
        token = new_claim_id(self._queues.clock.now())

        def wanted(view: View, items: Sequence[Item]) -> dict[str, State]:
            return {item.id: buried(view, item.id, token) for item in items}

        won = self._win(place, limit, None, wanted, deadline)
        if won is None:
            return []
        self.delete(place, list(won.states), deadline)
        self._tidy(place, won.listed, won.view, won.scan, deadline)
        return [stored(won.view, item, won.contents[item.id]) for item in won.items]

    def look(self, place: Place, view: View, message_ids: Iterable[str], deadline: float) -> None:
        keys = {_key(place, some_id): some_id for some_id in message_ids}
        if keys:
            for key, answer in self._coordinator.read(list(keys), deadline).items():
                view.told(keys[key], answer)

    def settle(self, place: Place, view: View, states: Mapping[str, State], deadline: float) -> bool:
        changes = {
            _key(place, some_id): Change(view.known[some_id], pack_state(state), self._keep_for(state))
            for some_id, state in states.items()
        }
        return self._coordinator.swap(changes, deadline) if changes else True

    def bury(self, place: Place, message_ids: Sequence[str], deadline: float) -> None:
        ids = [some_id for some_id in message_ids if message_name(some_id) is not None]
        token = new_claim_id(self._queues.clock.now())
        for start in range(0, len(ids), _BURIED_AT_ONCE):
            some = ids[start : start + _BURIED_AT_ONCE]
            for _ in pauses(deadline, _SHORTEST_PAUSE, _LONGEST_PAUSE):
                view = View(self._queues.clock.now())
                self.look(place, view, some, deadline)
                if self.settle(place, view, {some_id: buried(view, some_id, token) for some_id in some}, deadline):
                    break
            else:
                raise StorageUnavailable(BUSY)

    def write(self, place: Place, claim_id: str, claim: ClaimObject, deadline: float) -> None:
        with begun(_TOLD):
            super().write(place, claim_id, claim, deadline)

    def delete(self, place: Place, message_ids: Sequence[str], deadline: float) -> list[str]:
        with begun(_TOLD):
            return super().delete(place, message_ids, deadline)

    def _win(
        self, place: Place, limit: int, max_claim_count: MaxClaimCount, wanted: Wanted, deadline: float
    ) -> _Won | None:
        """Swap the states of the first active messages for those wanted; None if no message is active.

        A state says how often the message was claimed, so those swapped have the counts by which they were chosen.
        """
        before: dict[str, bytes] = {}
        while time.monotonic() < deadline:
            listed, scan = self._queues.view_and_scan(place, deadline, expected=limit)
            view = listed.copy()
            won = self._win_of(place, listed, view, scan, limit, max_claim_count, wanted, deadline)
            if won is not None:
                return won
            self._tidy(place, listed, view, scan, deadline)
            # Nothing was active at the moment of the listing if what it shows had been taken before it already. Else
            # another client may have posted meanwhile, so look again.
            if view.known.items() <= before.items():
                return None
            before = view.known
        raise StorageUnavailable(BUSY)

    def _win_of(
        self,
        place: Place,
        listed: View,
        view: View,
        scan: Scan,
        limit: int,
        max_claim_count: MaxClaimCount,
        wanted: Wanted,
        deadline: float,
    ) -> _Won | None:
        """The same, of what was listed; the ``view`` is told what the coordinator says of all that looked active."""
        candidates = (item for item in scan if not listed.delayed(item) and not listed.holder(item.id))
        items: list[Item] = []
        contents: dict[str, Sent] = {}
        for _ in pauses(deadline, _SHORTEST_PAUSE, _LONGEST_PAUSE):
            free = [item for item in items if _is_free(view, item)]
            while len(free) < limit and (more := list(islice(candidates, max(limit, _LOOKED_AT)))):
                self.look(place, view, [item.id for item in more], deadline)
                items += more
                free += [item for item in more if _is_free(view, item)]
            free = taken_together(view, free[:limit], max_claim_count)
            if not free:
                return None
            contents |= self._queues.contents(place, [item for item in free if item.id not in contents], deadline)
            states = wanted(view, [item for item in free if item.id in contents])
            there = [item for item in free if item.id in states]
            if there and self.settle(place, view, states, deadline):
                return _Won(states, there, contents, listed, view, scan)
            vanished = {item.id for item in free} - states.keys()  # only their entries were left
            items = [item for item in items if item.id not in vanished]
            self.look(place, view, [item.id for item in items if not view.gone(item.id)], deadline)
        raise StorageUnavailable(BUSY)

    def _give_back(self, place: Place, won: _Won, error: StorageError, deadline: float) -> None:
        """What was swapped is as it was before, ``error`` being why. Raises ``OutcomeUnknown`` if it may not be so."""
        changes = {
            _key(place, some_id): Change(pack_state(state), won.view.known[some_id], self._keep_for(state))
            for some_id, state in won.states.items()
        }
        given_back = False
        with suppress(StorageError):
            given_back = self._coordinator.swap(changes, deadline)
        if not given_back:
            raise OutcomeUnknown(f"{_HELD}: {error}") from error

    def _tidy(self, place: Place, listed: View, view: View, scan: Scan, deadline: float) -> None:
        """Delete some messages that are gone but still stored, as after a client died before it told Swift.

        Clean up the rest too. Nothing urgent may be left to do, since this may take the rest of the time.
        """
        self._queues.sweep(place, [some_id for some_id in view.states if view.gone(some_id)], deadline)
        self.clean(place, listed, scan, deadline)

    def _keep_for(self, state: State) -> int:
        """Milliseconds for which the coordinator has to know the state: after that no client can take the message."""
        lives_for = state.entry.lives_until - self._queues.clock.now()
        seconds = max(0, lives_for // 1_000_000) + MARGIN
        return 1_000 * (min(seconds, _REMEMBERED_GONE) if state.gone else seconds)


def _key(place: Place, message_id: str) -> str:
    return place.prefix + message_id


def _is_free(view: View, item: Item) -> bool:
    if view.gone(item.id) or view.holder(item.id):
        return False
    return not view.delayed(replace(item, position=view.position(item.id, item.name)))
