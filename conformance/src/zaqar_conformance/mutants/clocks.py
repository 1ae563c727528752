"""Mutants that judge time wrongly."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.state import State
from zaqar_core.contract import EncodedMessage, QueueKey, StoredClaim, StoredMessage


@mutant("TIM-001")
class TtlsAreWholeSeconds(ReferenceMessages):
    """The datastore keeps expiry in whole seconds, rounded up."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        return super().post(queue, [each._replace(ttl=math.ceil(each.ttl)) for each in messages], client_id=client_id)


@mutant("TIM-001")
class ABatchHasOneTtl(ReferenceMessages):
    """All messages of a batch get the expiry of the first."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        return super().post(queue, [each._replace(ttl=messages[0].ttl) for each in messages], client_id=client_id)


@mutant("TIM-002")
class TtlIsWhatIsLeft(ReferenceMessages):
    """``ttl`` is reported as the datastore counts it: what is left."""

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        return [each._replace(ttl=each.ttl - each.age - 0.01) for each in super().get(queue, message_ids)]


@mutant("TIM-002")
class AgeIsInWholeSeconds(ReferenceMessages):
    """``age`` is the difference of two times in whole seconds."""

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        return [each._replace(age=float(math.ceil(each.age))) for each in super().get(queue, message_ids)]


@mutant("TIM-002")
class AgeIsNoNumber(ReferenceMessages):
    """The age of the first message is NaN, from an average over none."""

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        found = super().first(queue, newest=newest)
        return None if found is None else found._replace(age=math.nan)


@mutant("TIM-003")
class RetentionIsSevenDays(ReferenceMessages):
    """The datastore keeps nothing longer than seven days, and a longer ttl is cut without a word."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        week = 7 * 24 * 3600.0
        return super().post(queue, [each._replace(ttl=min(each.ttl, week)) for each in messages], client_id=client_id)


@mutant("TIM-003")
class LongClaimsOverflow(ReferenceClaims):
    """A claim of more than 2^16 seconds overflows its column and has ended at once."""

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        ttl = ttl % 65_536 if ttl > 65_536 else ttl
        return super().create(queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=max_claim_count)


@mutant("TIM-005")
class TimeNeverGoesBack(State):
    """The datastore holds its clock at the latest time that it has seen, until the true time has come there."""

    def __init__(self) -> None:
        self._latest = 0
        super().__init__()

    def clock(self) -> int:
        self._latest = max(self._latest, super().clock())
        return self._latest


@mutant("TIM-005")
class PositionsGoBackWithTheClock(State):
    """Messages stand where the time of their post says, also after the clock was set back."""

    def place(self, now: int) -> int:
        return now


@mutant("TIM-004")
class ClientsClock(State):
    """Time is judged by the clock of whatever client calls."""

    def __init__(self) -> None:
        super().__init__()
        self.now = lambda: int(time.time() * 1000)


@mutant("TIM-004")
class PostsByTheClientsClock(ReferenceMessages):
    """A message's expiry is reckoned by the client that posts it; who reads it goes by the datastore's clock."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            ids = super().post(queue, messages, client_id=client_id)
            off = round((time.time() - time.clock_gettime(time.CLOCK_REALTIME)) * 1000)
            items = self._state.queue(queue, self._state.now()).items
            for message_id in ids:
                if message_id in items:
                    items[message_id].expires += off
            return ids
