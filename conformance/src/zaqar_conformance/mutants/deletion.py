"""Mutants that delete, purge, pop or count wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from zaqar_conformance.mutants.pauses import round_trip
from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.driver import ReferenceDriver
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.state import QueueState, State
from zaqar_core.contract import QueueKey, Refusal, StoredClaim, StoredMessage
from zaqar_core.errors import MessageDoesNotExist
from zaqar_core.models import QueueStats


class _Judging(ReferenceMessages):
    """A base that deletes as ``verdict`` says; the reference's verdict where it is "right"."""

    def verdict(self, held: QueueState, message_id: str, claims: Sequence[str] | None) -> Refusal | str | None:
        raise NotImplementedError

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        with self._state.lock:
            refused: dict[str, Refusal] = {}
            for message_id in message_ids:
                held = self._state.queue(queue, self._state.now())
                verdict = self.verdict(held, message_id, claim_ids)
                if isinstance(verdict, Refusal):
                    refused[message_id] = verdict
                elif verdict == "right":
                    refused |= super().delete(queue, [message_id], claim_ids=claim_ids)
                else:
                    held.items.pop(message_id, None)
            return refused


@mutant("MSG-014")
class TheClaimIsAskedForFirst(_Judging):
    """``delete`` looks at the claim before the message: an absent message with an unknown claim is refused."""

    def verdict(self, held: QueueState, message_id: str, claims: Sequence[str] | None) -> Refusal | str | None:
        unknown = claims is not None and not any(claim in held.leases for claim in claims)
        return Refusal.CLAIM_DOES_NOT_EXIST if unknown else "right"


@mutant("MSG-014")
class DeletingTwiceIsAnError(ReferenceMessages):
    """``delete`` of an absent message raises ``MessageDoesNotExist``."""

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        with self._state.lock:
            if not self._state.queue(queue, self._state.now()).items.keys() & set(message_ids):
                raise MessageDoesNotExist(f"no message {message_ids[0]!r}")
            return super().delete(queue, message_ids, claim_ids=claim_ids)


@mutant("MSG-015")
class UnknownClaimsDeleteWhatIsFree(_Judging):
    """A message that nobody holds is deleted whatever claim is named."""

    def verdict(self, held: QueueState, message_id: str, claims: Sequence[str] | None) -> Refusal | str | None:
        item = held.items.get(message_id)
        return None if item is not None and item.claim_id is None else "right"


@mutant("MSG-015")
class UnknownClaimsDoNotMatch(_Judging):
    """An unknown claim is told apart from one that does not match by nobody: the error is the same."""

    def verdict(self, held: QueueState, message_id: str, claims: Sequence[str] | None) -> Refusal | str | None:
        unknown = claims is not None and not any(claim in held.leases for claim in claims)
        return Refusal.CLAIM_DOES_NOT_MATCH if unknown and message_id in held.items else "right"


@mutant("MSG-016")
class AnyLiveClaimDeletes(_Judging):
    """Whoever has a live claim may delete any message of the queue."""

    def verdict(self, held: QueueState, message_id: str, claims: Sequence[str] | None) -> Refusal | str | None:
        return None if any(claim in held.leases for claim in claims or ()) else "right"


@mutant("MSG-017")
class ClaimedAreDeletedByAnybody(_Judging):
    """``delete`` without a claim removes what others are at work on."""

    def verdict(self, held: QueueState, message_id: str, claims: Sequence[str] | None) -> Refusal | str | None:
        return None if claims is None else "right"


@mutant("MSG-017")
class DeleteLooksThenActs(ReferenceMessages):
    """``delete`` looks whether a message is claimed in one call, and removes it in the next."""

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        if claim_ids is not None:
            return super().delete(queue, message_ids, claim_ids=claim_ids)
        with self._state.lock:
            items = self._state.queue(queue, self._state.now()).items
            held = [each for each in message_ids if each in items and items[each].claim_id is not None]
        round_trip()
        with self._state.lock:
            items = self._state.queue(queue, self._state.now()).items
            for message_id in set(message_ids) - set(held):
                items.pop(message_id, None)
        return dict.fromkeys(held, Refusal.MESSAGE_IS_CLAIMED)


@mutant("MSG-018")
class BulkDeleteStopsAtARefusal(ReferenceMessages):
    """``bulk_delete`` ends at the first message that is refused."""

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        for message_id in message_ids:
            refused = super().delete(queue, [message_id], claim_ids=claim_ids)
            if refused:
                return refused
        return {}


@mutant("MSG-018")
class BulkDeleteSaysNothing(ReferenceMessages):
    """``bulk_delete`` swallows refusals: it deletes what it may and returns nothing."""

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        refused = super().delete(queue, message_ids, claim_ids=claim_ids)
        return refused if len(message_ids) == 1 else {}


@mutant("MSG-018")
class BulkDeleteKnowsOneClaim(ReferenceMessages):
    """``bulk_delete`` looks at the first of the claims named."""

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        return super().delete(queue, message_ids, claim_ids=claim_ids and claim_ids[:1])


@mutant("MSG-019")
class RenewalRevives(ReferenceClaims):
    """A renewal reads a claim's messages and writes them back whole, those deleted meanwhile too."""

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            read = [replace(item) for item in held.items.values() if item.claim_id == claim_id]
        round_trip()
        with self._state.lock:
            if not super().update(queue, claim_id, ttl=ttl, grace=grace):
                return False
            items = self._state.queue(queue, self._state.now()).items
            for item in read:
                items.setdefault(item.id, item)
            return True


@mutant("MSG-019")
class DeletedIsStillCounted(ReferenceMessages):
    """A deletion with a claim leaves the counter as it was."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._too_many: dict[QueueKey, int] = {}

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        with self._state.lock:
            before = len(self._state.queue(queue, self._state.now()).items)
            refused = super().delete(queue, message_ids, claim_ids=claim_ids)
            gone = before - len(self._state.queue(queue, self._state.now()).items)
            if claim_ids:
                self._too_many[queue] = self._too_many.get(queue, 0) + gone
            return refused

    def stats(self, queue: QueueKey) -> QueueStats:
        true, more = super().stats(queue), self._too_many.get(queue, 0)
        return replace(true, claimed=true.claimed + more, total=true.total + more)


@mutant("MSG-020", "QUE-005")
class PurgeKeepsClaims(ReferenceMessages):
    """A purge removes the active messages and leaves those that are claimed, with their claims."""

    def purge(self, queue: QueueKey) -> None:
        with self._state.lock:
            held = self._state.queue(queue, self._state.now())
            held.items = {key: item for key, item in held.items.items() if item.claim_id is not None}
            held.dedup.clear()


@mutant("MSG-020")
class PurgeKeepsDelayed(ReferenceMessages):
    """A purge removes what is available, and delayed messages appear later."""

    def purge(self, queue: QueueKey) -> None:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            later = {key: item for key, item in held.items.items() if item.available > now}
            super().purge(queue)
            self._state.queue(queue, now).items.update(later)


@mutant("POP-001")
class PopTakesTheNewest(ReferenceMessages):
    """``pop`` takes from the wrong end."""

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            return [held.items.pop(item.id).stored(now) for item in held.by_position(now)[::-1][:limit]]


@mutant("POP-001")
class PopTakesAHundredAtMost(ReferenceMessages):
    """``pop`` gives one request's worth, 100 messages, whatever the limit and however many there are."""

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        return super().pop(queue, limit=min(limit, 100))


@mutant("POP-002")
class PopIsAShortClaim(ReferenceMessages):
    """``pop`` claims for a second and deletes afterwards, which fails unseen for the last message."""

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        with self._state.lock:
            before = dict(self._state.queue(queue, self._state.now()).items)
            popped = super().pop(queue, limit=limit)
            if popped:
                held, last = self._state.queue(queue, self._state.now()), before[popped[-1].id]
                last.available = self._state.now() + 100
                held.items[last.id] = last
            return popped


@mutant("POP-003")
class PopTakesClaimed(ReferenceMessages):
    """``pop`` takes messages that others have claimed."""

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            return [held.items.pop(item.id).stored(now) for item in held.by_position(now, claimed=True)[:limit]]


@mutant("POP-004")
class PopLooksThenActs(ReferenceMessages):
    """``pop`` reads the first messages in one call and deletes them in the next: two clients get the same."""

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now)[:limit]
        round_trip()
        with self._state.lock:
            items = self._state.queue(queue, now).items
            for item in found:
                items.pop(item.id, None)
            return [item.stored(now) for item in found]


@mutant("POP-004")
class PopsLoseTheLosers(ReferenceMessages):
    """A pop deletes the first messages it has read, and returns those that nobody else got, read in another call."""

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        with self._state.lock:
            now = self._state.now()
            first = [item.id for item in self._state.queue(queue, now).by_position(now)[:limit]]
        round_trip()
        with self._state.lock:
            found = self.get(queue, first)
            super().pop(queue, limit=limit)
            return found


@mutant("STA-001")
class CountersDrift(ReferenceMessages):
    """The counter of free messages goes down twice when a message is popped."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._popped: dict[QueueKey, int] = {}

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        popped = super().pop(queue, limit=limit)
        self._popped[queue] = self._popped.get(queue, 0) + len(popped)
        return popped

    def stats(self, queue: QueueKey) -> QueueStats:
        true = super().stats(queue)
        return replace(true, free=true.free - self._popped.get(queue, 0))


@mutant("STA-001")
class FreeIncludesDelayed(ReferenceMessages):
    """Free messages are reckoned as all but those claimed, delayed ones too."""

    def stats(self, queue: QueueKey) -> QueueStats:
        true = super().stats(queue)
        return replace(true, free=true.total - true.claimed, delayed=0)


@mutant("STA-002")
class EndsAreOfActiveMessages(ReferenceMessages):
    """``oldest`` and ``newest`` leave out claimed messages."""

    def stats(self, queue: QueueKey) -> QueueStats:
        with self._state.lock:
            true, now = super().stats(queue), self._state.now()
            active = self._state.queue(queue, now).by_position(now)
            ids = {item.id for item in active}
            return replace(
                true,
                oldest=true.oldest if true.oldest and true.oldest.id in ids else None,
                newest=true.newest if true.newest and true.newest.id in ids else None,
            )


@mutant("STA-002")
class EndsHaveNoAge(ReferenceMessages):
    """``oldest`` and ``newest`` say an age of 0."""

    def stats(self, queue: QueueKey) -> QueueStats:
        true = super().stats(queue)
        if true.oldest is None or true.newest is None:
            return true
        return replace(true, oldest=replace(true.oldest, age=0.0), newest=replace(true.newest, age=0.0))


@mutant("STA-003")
class CountsAreOfSeveralMoments(ReferenceMessages):
    """Claimed messages are counted in one call and the rest in the next: what moves between counts twice, or not."""

    def stats(self, queue: QueueKey) -> QueueStats:
        claimed = super().stats(queue).claimed
        round_trip()
        later = super().stats(queue)
        return replace(later, claimed=claimed, total=later.free + claimed + later.delayed)


@mutant("STA-004")
class CountsWaitForOthers(ReferenceMessages):
    """Statistics show what they showed last, until a message is posted, read or taken."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._kept: dict[QueueKey, tuple[int, QueueStats]] = {}

    def stats(self, queue: QueueKey) -> QueueStats:
        with self._state.lock:
            true = super().stats(queue)
            kept = self._kept.get(queue)
            if kept is not None and kept[1].total and self._state.now() < kept[0] + 2000 and true.total < kept[1].total:
                return kept[1]
            self._kept[queue] = self._state.now(), true
            return true


@mutant("STA-004")
class EndedClaimsStillCount(ReferenceMessages):
    """Statistics count messages as claimed until somebody claims again."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._held: dict[QueueKey, int] = {}

    def stats(self, queue: QueueKey) -> QueueStats:
        true = super().stats(queue)
        before = self._held.get(queue, 0)
        self._held[queue] = true.claimed
        if true.claimed < before <= true.free:
            return replace(true, claimed=before, free=true.free - before)
        return true


@mutant("CLM-015", "STA-004")
class ExpiredClaimsTripWhatMeetsThem(ReferenceDriver):
    """Once a claim has expired, reading it and counting its queue's messages raise the client's ``TypeError``."""

    class _Messages(ReferenceMessages):
        def stats(self, queue: QueueKey) -> QueueStats:
            _trip(self._state, queue)
            return super().stats(queue)

    class _Claims(ReferenceClaims):
        def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
            _trip(self._state, queue)
            return super().get(queue, claim_id)

    messages_class: ClassVar[type[ReferenceMessages]] = _Messages
    claims_class: ClassVar[type[ReferenceClaims]] = _Claims


def _trip(state: State, queue: QueueKey) -> None:
    with state.lock:
        held = state._queues.get(queue, QueueState())
        if any(lease.ends <= state.now() for lease in held.leases.values()):
            raise TypeError("unsupported operand type(s) for -: 'NoneType' and 'int'")
