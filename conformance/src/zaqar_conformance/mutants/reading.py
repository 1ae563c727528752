"""Mutants that read wrongly: get, first, delays, what other clients wrote, what has expired."""

from __future__ import annotations

import time
from collections.abc import Sequence

from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.driver import ReferenceDriver
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.state import Item, QueueState, State
from zaqar_core.contract import EncodedMessage, QueueKey, StoredClaim, StoredMessage, StoredPage
from zaqar_core.errors import QueueDoesNotExist, StorageError
from zaqar_core.models import QueueStats


@mutant("MSG-009")
class GetIgnoresTheOrder(ReferenceMessages):
    """``get`` gives messages in the order in which the datastore finds them."""

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        return sorted(super().get(queue, message_ids), key=lambda message: message.id)


@mutant("MSG-009")
class GetRepeats(ReferenceMessages):
    """``get`` gives a message as often as its id is named."""

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        found = {message.id: message for message in super().get(queue, message_ids)}
        return [found[message_id] for message_id in message_ids if message_id in found]


@mutant("MSG-009")
class GetHidesClaimed(ReferenceMessages):
    """``get`` finds active messages only."""

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        return [message for message in super().get(queue, message_ids) if message.claim_id is None]


@mutant("MSG-010")
class ExpiredIsFetched(ReferenceMessages):
    """``get`` gives a message until ``gc`` has removed it, be it expired or not."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._bodies: dict[str, StoredMessage] = {}

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        ids = super().post(queue, messages, client_id=client_id)
        self._bodies |= {message.id: message for message in super().get(queue, ids)}
        return ids

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        found = {message.id: message for message in super().get(queue, message_ids)}
        kept = {**self._bodies, **found}
        return [kept[message_id] for message_id in dict.fromkeys(message_ids) if message_id in kept]


@mutant("MSG-010")
class ExpiredIsCounted(ReferenceMessages):
    """Statistics count what has expired until something else removes it."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._expired: dict[QueueKey, int] = {}

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        brief = sum(message.ttl < 1 for message in messages)
        self._expired[queue] = self._expired.get(queue, 0) + brief
        return super().post(queue, messages, client_id=client_id)

    def stats(self, queue: QueueKey) -> QueueStats:
        true = super().stats(queue)
        if true.total:
            return true
        left = self._expired.get(queue, 0)
        return QueueStats(left, 0, 0, left, None, None)


@mutant("MSG-011")
class ExpiredHeadWedgesClaims(ReferenceClaims):
    """A claim looks at the first 1 000 messages only; once those have expired it finds nothing."""

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        with self._state.lock:
            held = self._state._queues.get(queue, QueueState())
            now = self._state.now()
            ahead = sum(item.expires <= now for item in held.items.values())
            if ahead >= 1000:
                held.items = dict(list(held.items.items())[1000:])
                return StoredClaim(None, ttl, 0.0)
            return super().create(queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=max_claim_count)


@mutant("MSG-011")
class ExpiredHeadIsTooMuch(ReferenceMessages):
    """With more than 8 000 results to unpack, or 1 000 to settle, a listing fails."""

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
        with self._state.lock:
            held = self._state._queues.get(queue, QueueState())
            now = self._state.now()
            if sum(item.expires <= now for item in held.items.values()) > 1000:
                raise StorageError("too many results to unpack")
            return super().list(
                queue,
                marker=marker,
                limit=limit,
                exclude_client=exclude_client,
                include_claimed=include_claimed,
                include_delayed=include_delayed,
            )


@mutant("MSG-012")
class GcTakesWhatIsClaimed(ReferenceDriver):
    """``gc`` removes what would have expired were it not for a claim."""

    def gc(self) -> int:
        with self.state.lock:
            now = self.state.now()
            for held in self.state._queues.values():
                held.items = {
                    key: item
                    for key, item in held.items.items()
                    if item.claim_id is None or item.expires > now + 61_000 or item.expires < now
                }
            return 0


@mutant("MSG-012")
class GcEndsClaims(ReferenceDriver):
    """``gc`` takes live claims for old ones and ends them."""

    def gc(self) -> int:
        with self.state.lock:
            for held in self.state._queues.values():
                held.leases = {}
            return 0


@mutant("MSG-013")
class FirstHidesClaimed(ReferenceMessages):
    """``first`` knows active messages only."""

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now)
            return found[-1 if newest else 0].stored(now) if found else None


@mutant("MSG-013")
class NewestIsOldest(ReferenceMessages):
    """``first`` takes no notice of ``newest``."""

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        return super().first(queue, newest=False)


@mutant("MSG-021")
class UnknownQueuesAreErrors(ReferenceMessages):
    """Statistics of a queue that was never posted to raise ``QueueDoesNotExist``."""

    def stats(self, queue: QueueKey) -> QueueStats:
        with self._state.lock:
            if queue not in self._state._queues:
                raise QueueDoesNotExist(f"no queue {queue.name!r}")
            return super().stats(queue)


@mutant("MSG-027")
class ClaimsIgnoreDelays(ReferenceClaims):
    """Once a claim has found the first active message it takes those behind it, delayed ones too."""

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            if held.by_position(now):
                for item in held.items.values():
                    item.available = min(item.available, now)
            return super().create(queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=max_claim_count)


@mutant("MSG-027")
class FirstIgnoresDelays(ReferenceMessages):
    """``first`` shows delayed messages."""

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        with self._state.lock:
            now = self._state.now()
            found = self._state.queue(queue, now).by_position(now, claimed=True, delayed=True)
            return found[-1 if newest else 0].stored(now) if found else None


class _PostOrder(QueueState):
    """Orders by post alone."""

    def by_position(self, now: int, *, claimed: bool = False, delayed: bool = False) -> list[Item]:
        return sorted(super().by_position(now, claimed=claimed, delayed=delayed), key=lambda item: item.order)


@mutant("MSG-028")
class DelayedKeepTheirPlace(State):
    """A delayed message stands where it was posted."""

    def queue(self, key: QueueKey, now: int) -> QueueState:
        self._queues.setdefault(key, _PostOrder())
        return super().queue(key, now)


@mutant("MSG-029")
class DelayedLiveLonger(ReferenceMessages):
    """The ttl of a delayed message counts from the end of its delay."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        longer = [each._replace(ttl=each.ttl + each.delay) for each in messages]
        return super().post(queue, longer, client_id=client_id)


@mutant("MSG-030")
class CountsAreCached(ReferenceMessages):
    """Statistics are kept for 50 milliseconds, whatever is written meanwhile."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._kept: dict[QueueKey, tuple[float, QueueStats]] = {}

    def stats(self, queue: QueueKey) -> QueueStats:
        until, kept = self._kept.get(queue, (0.0, QueueStats()))
        if time.monotonic() < until:
            return kept
        fresh = super().stats(queue)
        self._kept[queue] = time.monotonic() + 0.05, fresh
        return fresh


@mutant("MSG-030")
class ReplicasLag(ReferenceMessages):
    """Messages are fetched from a replica, which has them 20 milliseconds later."""

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        return [message for message in super().get(queue, message_ids) if message.age >= 0.02]
