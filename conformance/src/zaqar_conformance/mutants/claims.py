"""Mutants that claim, renew or release wrongly."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from zaqar_conformance.mutants.pauses import round_trip
from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.state import Item, Lease, QueueState, State, milliseconds
from zaqar_core.contract import QueueKey, StoredClaim, StoredMessage, StoredPage, new_id
from zaqar_core.errors import ClaimDoesNotExist, StorageError


class Claiming(ReferenceClaims):
    """A base: ``take`` is what a mutant does wrong, ``right`` what the reference does."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        raise NotImplementedError

    def right(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        return super().create(queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=most)

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        return self.take(queue, ttl, grace, limit, max_claim_count)

    def held(self, queue: QueueKey) -> QueueState:
        """The queue as it is now."""
        return self._state.queue(queue, self._state.now())

    def members(self, queue: QueueKey, claim_id: str) -> list[Item]:
        """What the claim holds, by position."""
        now = self._state.now()
        found = self._state.queue(queue, now).by_position(now, claimed=True)
        return [item for item in found if item.claim_id == claim_id]

    def lease(self, queue: QueueKey, items: Sequence[Item], ttl: float, grace: float) -> StoredClaim:
        """Put these messages under a new claim, whatever they are under."""
        now = self._state.now()
        if not items:
            return StoredClaim(None, ttl, 0.0)
        claim_id = new_id()
        self.held(queue).leases[claim_id] = Lease(ttl, now, now + milliseconds(ttl))
        for item in items:
            item.claim_id = claim_id
            item.claim_count += 1
            item.expires = max(item.expires, now + milliseconds(ttl) + milliseconds(grace))
        return StoredClaim(claim_id, ttl, 0.0, [item.stored(now) for item in items])


@mutant("CLM-001")
class ClaimsTakeTheNewest(Claiming):
    """A claim takes from the wrong end of the queue."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            now = self._state.now()
            return self.lease(queue, self.held(queue).by_position(now)[::-1][:limit], ttl, grace)


@mutant("CLM-001", "CLM-018")
class ClaimsGoOnOverOthers(Claiming):
    """Once the first active message is found a claim takes those behind it, whoever holds them."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            now = self._state.now()
            found = self.held(queue).by_position(now, claimed=True)
            rest = list(itertools.dropwhile(lambda item: item.claim_id is not None, found))
            return self.lease(queue, rest[:limit], ttl, grace)


@mutant("CLM-001")
class ClaimedAreStillListed(ReferenceMessages):
    """Listings show claimed messages as if they were active."""

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
        return super().list(
            queue,
            marker=marker,
            limit=limit,
            exclude_client=exclude_client,
            include_claimed=True,
            include_delayed=include_delayed,
        )


@mutant("CLM-002", "MSG-031")
class OneClaimAQueue(Claiming):
    """While a claim lives on a queue another finds nothing: what is locked is the queue."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            if self.held(queue).leases:
                return StoredClaim(None, ttl, 0.0)
            return self.right(queue, ttl, grace, limit, most)


@mutant("CLM-002")
class TheLoserGetsNone(Claiming):
    """A claim picks the first messages, and is told None if others took them before it could, though more follow."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            picked = self.held(queue).by_position(self._state.now())[:limit]
        round_trip()
        with self._state.lock:
            items = self.held(queue).items
            left = [item for item in picked if item.claim_id is None and item.id in items]
            return self.lease(queue, left, ttl, grace)


@mutant("CLM-002")
class EmptyClaimsHaveIds(Claiming):
    """With nothing to take there is a claim all the same, without messages."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        return made if made.id else made._replace(id=new_id())


@mutant("CLM-003")
class ClaimIdsCount(Claiming):
    """Claim ids are consecutive numbers."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            made = self.right(queue, ttl, grace, limit, most)
            if made.id is None:
                return made
            fresh = f"claim-{self._state.next()}"
            leases = self.held(queue).leases
            members = self.members(queue, made.id)
            leases[fresh] = leases.pop(made.id)
            for item in members:
                item.claim_id = fresh
            messages = [message._replace(claim_id=fresh) for message in made.messages]
            return made._replace(id=fresh, messages=messages)


@mutant("CLM-004")
class EndedClaimsGoToTheEnd(Claiming):
    """When a claim ends its messages come back behind all others."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            made = self.right(queue, ttl, grace, limit, most)
            for item in self.members(queue, made.id or ""):
                item.order = self._state.next()
                item.place = max(item.place, self._state.now())
            return made


@mutant("CLM-004")
class ClaimsEndByTheSecond(Claiming):
    """A claim ends at a full second, up to one too late."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            made = self.right(queue, ttl, grace, limit, most)
            if made.id is not None:
                lease = self.held(queue).leases[made.id]
                lease.ends = -(-lease.ends // 1000) * 1000
            return made


@mutant("CLM-005")
class ClaimsRememberTheirMessages(Claiming):
    """``get`` gives the messages that the claim was made with, those deleted or released since too."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._made: dict[str, StoredClaim] = {}

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        self._made[made.id or ""] = made
        return made

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        found = super().get(queue, claim_id)
        return None if found is None else found._replace(messages=self._made[claim_id].messages)


@mutant("CLM-005")
class ClaimsAgeFromTheirMaking(Claiming):
    """A claim's age counts from its making, whatever renewed it since."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._made: dict[str, int] = {}

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        self._made[made.id or ""] = self._state.now()
        return made

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        found = super().get(queue, claim_id)
        return None if found is None else found._replace(age=(self._state.now() - self._made[claim_id]) / 1000)


@mutant("CLM-006")
class LifeGrowsOnlyInTheRecord(Claiming):
    """A claim lengthens the life that is reported, not the datastore's own expiry: claimed messages vanish."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            lives = {item.id: item.expires for item in self.held(queue).items.values()}
            made = self.right(queue, ttl, grace, limit, most)
            for item in self.members(queue, made.id or ""):
                item.expires = lives[item.id]
            return made


@mutant("CLM-006")
class GraceIsForgotten(Claiming):
    """A claimed message lives until the claim's end and not beyond."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        return self.right(queue, ttl, 0.0, limit, most)


@mutant("CLM-007")
class ClaimsShortenLives(Claiming):
    """A claim sets a message's end to its own, be it sooner."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            made = self.right(queue, ttl, grace, limit, most)
            for item in self.members(queue, made.id or ""):
                item.expires = self._state.now() + milliseconds(ttl + grace)
            return made


@mutant("CLM-007")
class ReleaseTakesTheLifeBack(Claiming):
    """A release gives a message back the end that it had before the claim."""

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
            mine = self.members(queue, claim_id)
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
            for item in mine:
                item.expires = self._lives.get(item.id, item.expires)


@mutant("CLM-007")
class ClaimsResetTheAge(Claiming):
    """A claim writes its messages anew, whose age then starts again."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            made = self.right(queue, ttl, grace, limit, most)
            for item in self.members(queue, made.id or ""):
                item.posted = self._state.now()
            return made


@mutant("CLM-008")
class RenewalsAddUp(ReferenceClaims):
    """``update`` adds the ttl to the end that the claim had."""

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        with self._state.lock:
            before = self._state.queue(queue, self._state.now()).leases.get(claim_id)
            done = super().update(queue, claim_id, ttl=ttl, grace=grace)
            if before is not None and done:
                lease = self._state.queue(queue, self._state.now()).leases[claim_id]
                lease.ends = before.ends + milliseconds(ttl)
            return done


@mutant("CLM-008")
class RenewalsNeverShorten(ReferenceClaims):
    """``update`` leaves the end where it was if that is later."""

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        with self._state.lock:
            before = self._state.queue(queue, self._state.now()).leases.get(claim_id)
            done = super().update(queue, claim_id, ttl=ttl, grace=grace)
            if before is not None and done:
                lease = self._state.queue(queue, self._state.now()).leases[claim_id]
                lease.ends = max(lease.ends, before.ends)
            return done


@mutant("CLM-009")
class RenewalsForgetTheMessages(ReferenceClaims):
    """``update`` moves the claim's end, and its messages expire when they would have."""

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        with self._state.lock:
            lives = {item.id: item.expires for item in self._state.queue(queue, self._state.now()).items.values()}
            done = super().update(queue, claim_id, ttl=ttl, grace=grace)
            for item in self._state.queue(queue, self._state.now()).items.values():
                item.expires = lives[item.id]
            return done


@mutant("CLM-010")
class ReleasedGoToTheFront(ReferenceClaims):
    """A release pushes messages back to the front one by one, so that they come back in reverse."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            mine = [item for item in held.by_position(now, claimed=True) if item.claim_id == claim_id]
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
            for place, order in zip(mine, [item.order for item in reversed(mine)], strict=True):
                place.order = order
            if mine and not delay:
                first = min(item.place for item in mine)
                for item in mine:
                    item.place = first


@mutant("CLM-010")
class ReleasingTwiceIsAnError(ReferenceClaims):
    """``release`` of a claim that is gone raises ``ClaimDoesNotExist``."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            if claim_id not in self._state.queue(queue, self._state.now()).leases:
                raise ClaimDoesNotExist(f"no claim {claim_id!r}")
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)


@mutant("CLM-011")
class ReleaseStealsFromOthers(ReferenceClaims):
    """``release`` with ``message_ids`` frees those messages, whichever claim holds them."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            held = self._state.queue(queue, self._state.now())
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
            for message_id in message_ids or ():
                if message_id in held.items:
                    held.items[message_id].claim_id = None


@mutant("CLM-011")
class ReleaseOfSomeIsOfAll(ReferenceClaims):
    """``release`` takes no notice of ``message_ids``."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        super().release(queue, claim_id, delay=delay)


@mutant("CLM-011")
class ReleaseOfSomeMovesThem(ReferenceClaims):
    """``release`` with ``message_ids`` puts those messages behind all others; without, it puts them back."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now, claimed=True)
            mine = [item for item in found if item.claim_id == claim_id]
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
            for item in mine:
                if message_ids is not None and item.claim_id is None and not delay:
                    item.place, item.order = now, self._state.next()


@mutant("CLM-012")
class ReleaseIgnoresDelays(ReferenceClaims):
    """``release`` takes no notice of ``delay``."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        super().release(queue, claim_id, message_ids=message_ids)


@mutant("CLM-012")
class DelayedReleasesReverse(ReferenceClaims):
    """What is released with a delay comes back in reverse."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now, claimed=True)
            mine = [item for item in found if item.claim_id == claim_id]
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
            freed = [item for item in mine if item.claim_id is None]
            if delay > 0:
                for item, order in zip(freed, [item.order for item in reversed(freed)], strict=True):
                    item.order = order


@mutant("CLM-013")
class VanishedMembersAreFatal(Claiming):
    """A claim one of whose messages is gone cannot be renewed or released: the driver trips over the missing one."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._ids: dict[str, list[str]] = {}

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        self._ids[made.id or ""] = [message.id for message in made.messages]
        return made

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        with self._state.lock:
            items = self.held(queue).items
            if any(message_id not in items for message_id in self._ids.get(claim_id, ())):
                raise TypeError("'NoneType' object is not subscriptable")
            return super().update(queue, claim_id, ttl=ttl, grace=grace)


@mutant("CLM-014")
class EmptiedClaimsLiveOn(Claiming):
    """A claim whose messages are all deleted or released is still there."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._made: dict[str, tuple[QueueKey, int]] = {}

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        self._made[made.id or ""] = queue, self._state.now() + milliseconds(ttl)
        return made

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        home, ends = self._made.get(claim_id, (queue, 0))
        empty = StoredClaim(claim_id, 60.0, 0.0) if home == queue and self._state.now() < ends else None
        return super().get(queue, claim_id) or empty


@mutant("CLM-015")
class LateRenewalsRevive(Claiming):
    """``update`` of an expired claim takes its messages again if nobody else has."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._ids: dict[str, list[str]] = {}

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        self._ids[made.id or ""] = [message.id for message in made.messages]
        return made

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        with self._state.lock:
            held, now = self.held(queue), self._state.now()
            mine = [held.items[each] for each in self._ids.get(claim_id, ()) if each in held.items]
            if claim_id not in held.leases and mine and all(item.claim_id is None for item in mine):
                held.leases[claim_id] = Lease(ttl, now, now + milliseconds(ttl))
                for item in mine:
                    item.claim_id = claim_id
            return super().update(queue, claim_id, ttl=ttl, grace=grace)


@mutant("CLM-015")
class ExpiredClaimsAreFound(Claiming):
    """``get`` gives a claim until something removes its record, be it over or not."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._made: dict[str, tuple[QueueKey, StoredClaim]] = {}

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        if made.id is not None:
            self._made[made.id] = queue, made
        return made

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        home, made = self._made.get(claim_id, (None, None))
        return super().get(queue, claim_id) or (made if home == queue else None)

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        self._made.pop(claim_id, None)
        super().release(queue, claim_id, message_ids=message_ids, delay=delay)


@mutant("CLM-016")
class OldClaimsReleaseNewOnes(Claiming):
    """A claim keeps a list of its messages: released when it is over, it frees them from whoever holds them since."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._ids: dict[str, list[str]] = {}

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        self._ids[made.id or ""] = [message.id for message in made.messages]
        return made

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            held = self.held(queue)
            if claim_id in held.leases or message_ids is not None:
                super().release(queue, claim_id, message_ids=message_ids, delay=delay)
                return
            for message_id in self._ids.get(claim_id, ()):
                if message_id in held.items:
                    held.items[message_id].claim_id = None


@mutant("CLM-016")
class OldEndsEndNewClaims(Claiming):
    """Each message remembers the end of the first claim on it: when that comes a later claim loses it."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._ends: dict[str, int] = {}

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        for message in made.messages:
            self._ends.setdefault(message.id, self._state.now() + milliseconds(ttl))
        return made

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        with self._state.lock:
            for item in self.members(queue, claim_id):
                if self._ends.get(item.id, 1 << 62) <= self._state.now():
                    item.claim_id = None
            return super().get(queue, claim_id)


@mutant("CLM-017")
class ReleaseForgivesClaims(ReferenceClaims):
    """A release takes the claim off the message's count."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now, claimed=True)
            mine = [item for item in found if item.claim_id == claim_id]
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
            for item in mine:
                item.claim_count -= item.claim_id is None


@mutant("CLM-018")
class ClaimsLookThenAct(Claiming):
    """A claim reads which messages are free in one call and takes them in the next."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            picked = self.held(queue).by_position(self._state.now())[:limit]
        round_trip()
        with self._state.lock:
            items = self.held(queue).items
            return self.lease(queue, [item for item in picked if item.id in items], ttl, grace)


@mutant("CLM-018")
class ExpiryIsNotAsked(Claiming):
    """A claim that ends is cleaned up by who sees it, a call later, when its messages may be another's."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        with self._state.lock:
            now = self._state.now()
            held = self._state._queues.get(queue, QueueState())
            lapsed = [
                item.id
                for item in held.items.values()
                if item.claim_id is not None and getattr(held.leases.get(item.claim_id), "ends", 0) <= now
            ]
        if lapsed:
            round_trip()
        with self._state.lock:
            items = self.held(queue).items
            for message_id in lapsed:
                if message_id in items:
                    items[message_id].claim_id = None
            return self.right(queue, ttl, grace, limit, most)


@mutant("CLM-019")
class PopsAndClaimsDoNotMeet(ReferenceMessages):
    """``pop`` reads what is active in one call and deletes it in the next, when a claim may hold it."""

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now)[:limit]
        round_trip()
        with self._state.lock:
            items = self._state.queue(queue, now).items
            return [items.pop(item.id).stored(now) for item in found if item.id in items]


@mutant("CLM-020")
class ExhaustedOnceTooLate(Claiming):
    """``max_claim_count`` lets a message be claimed once more than it says."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        return self.right(queue, ttl, grace, limit, None if most is None else most + 1)


@mutant("CLM-020")
class ExhaustedAreHandedOut(Claiming):
    """Used-up messages come back among the others, and not apart."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        made = self.right(queue, ttl, grace, limit, most)
        return made._replace(messages=[*made.messages, *made.exhausted], exhausted=())


@mutant("CLM-021")
class LargeClaimsFail(Claiming):
    """A claim of more than 4 000 messages fails: too many arguments to unpack."""

    def take(self, queue: QueueKey, ttl: float, grace: float, limit: int, most: int | None) -> StoredClaim:
        if limit > 4000 and len(self.held(queue).items) > 4000:
            raise StorageError("too many results to unpack")
        return self.right(queue, ttl, grace, limit, most)


@mutant("CLM-021")
class LargeReleasesFreeAThousand(ReferenceClaims):
    """A release frees the first 1 000 messages of a claim; the rest stays claimed until its end."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now, claimed=True)
            mine = [item.id for item in found if item.claim_id == claim_id]
            wanted = mine if message_ids is None else [each for each in message_ids if each in set(mine)]
            super().release(queue, claim_id, message_ids=wanted[:1000], delay=delay)
