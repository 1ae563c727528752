"""Mutants that hand out last tries wrongly, or release with delays that messages do not outlive."""

from __future__ import annotations

from collections.abc import Sequence

from zaqar_conformance.mutants.claims import Claiming
from zaqar_conformance.mutants.pauses import round_trip
from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.state import Item, State, milliseconds
from zaqar_core.contract import QueueKey, StoredClaim
from zaqar_core.errors import InvalidDuration


class Trying(Claiming):
    """A base: ``chosen`` says which of the active messages a claim with a maximum takes."""

    def chosen(self, found: Sequence[Item], limit: int, most: int) -> Sequence[Item]:
        raise NotImplementedError

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        if most is None:
            return self.right(queue, ttl, grace, limit, most)
        with self._state.lock:
            items = self.chosen(self.held(queue).by_position(self._state.now()), limit, most)
            made = self.lease(queue, items, ttl, grace)
            exhausted = [each for each in made.messages if each.claim_count > most]
            messages = [each for each in made.messages if each.claim_count <= most]
            return made._replace(messages=messages, exhausted=exhausted)


@mutant("CLM-022")
class NeighboursShareTheFate(Trying):
    """A claim takes the oldest messages, whatever tries they have left."""

    def chosen(self, found: Sequence[Item], limit: int, most: int) -> Sequence[Item]:
        return found[:limit]


@mutant("CLM-022")
class LastTriesAreOvertaken(Trying):
    """A claim passes over last tries while there are other messages, so that healthy ones overtake them."""

    def chosen(self, found: Sequence[Item], limit: int, most: int) -> Sequence[Item]:
        others = [item for item in found if most < 2 or item.claim_count != most - 1]
        return others[:limit] or found[:1]


@mutant("CLM-022")
class LastTriesComeTogether(Trying):
    """A claim ends before the first last try; where that comes first it takes all those on theirs."""

    def chosen(self, found: Sequence[Item], limit: int, most: int) -> Sequence[Item]:
        if most > 1 and found and found[0].claim_count == most - 1:
            return [item for item in found[:limit] if item.claim_count == most - 1]
        last = next((place for place, item in enumerate(found) if most > 1 and item.claim_count == most - 1), limit)
        return found[: min(last, limit)]


@mutant("CLM-022")
class ExhaustedCountAsNeighbours(Trying):
    """A claim that has met an exhausted message ends before a last try, as if that were not alone with it."""

    def chosen(self, found: Sequence[Item], limit: int, most: int) -> Sequence[Item]:
        places = [place for place, item in enumerate(found[:limit]) if most > 1 and item.claim_count == most - 1]
        return found[: max(1, places[0]) if places else limit]


@mutant("CLM-002")
class LockedRowsAreNotSeen(Claiming):
    """A claim locks as many rows as its limit while it decides how many to take; others pass over locked rows."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._locked: set[str] = set()

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            found = self.held(queue).by_position(self._state.now())
            mine = {item.id for item in [item for item in found if item.id not in self._locked][:limit]}
            self._locked |= mine
            others = [item for item in found if item.id not in mine]
        round_trip()
        with self._state.lock:
            items = self.held(queue).items
            hidden = {item.id: items.pop(item.id) for item in others if item.id in items and item.claim_id is None}
            made = self.right(queue, ttl, grace, limit, most)
            self.held(queue).items.update(hidden)
            self._locked -= mine
            return made


@mutant("CLM-012")
class ReleasedTogetherGoByThePost(ReferenceClaims):
    """Messages that a release delays until the same moment stand there in the order of their posts."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            items = self._state.queue(queue, self._state.now()).items.values()
            orders = {item.id: item.order for item in items}
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
            for item in items:
                item.order = orders[item.id]


@mutant("CLM-023")
class LongDelaysLoseMessages(ReferenceClaims):
    """A release takes any delay; what expires before it is over is never seen again."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            lives = {item.id: item.expires for item in self._state.queue(queue, self._state.now()).items.values()}
            for item in self._state.queue(queue, self._state.now()).items.values():
                item.expires += milliseconds(delay)
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
            for item in self._state.queue(queue, self._state.now()).items.values():
                item.expires = lives[item.id]


@mutant("CLM-023")
class RefusalsComeHalfway(ReferenceClaims):
    """A release goes through the messages one by one, and raises at the first that would not outlive its delay."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        each: list[list[str] | None] = [None] if message_ids is None else [[one] for one in message_ids]
        for ids in each:
            super().release(queue, claim_id, message_ids=ids, delay=delay)


@mutant("CLM-023")
class DelaysAreJudgedByThePost(Claiming):
    """A release judges a delay by the end that a message had before it was claimed."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._lives: dict[str, int] = {}

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            for item in self.held(queue).items.values():
                self._lives.setdefault(item.id, item.expires)
            return self.right(queue, ttl, grace, limit, most)

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            named = [each for each in self.members(queue, claim_id) if message_ids is None or each.id in message_ids]
            if delay and any(self._lives[each.id] <= self._state.now() + milliseconds(delay) for each in named):
                raise InvalidDuration(f"delay {delay:g} s is longer than a life")
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
