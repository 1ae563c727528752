"""Claims of the data plane."""

from __future__ import annotations

from collections.abc import Sequence

from zaqar_core.contract import ClaimController, QueueKey, StoredClaim, StoredMessage
from zaqar_core.errors import InvalidDuration
from zaqar_redis import scripts
from zaqar_redis.packing import Holder, age_of, claim_of, holder_of, message_of, messages_of
from zaqar_redis.queues import Queues
from zaqar_redis.units import is_id, new_ids, to_ms, to_us


class RedisClaims(ClaimController):
    """Each method is one script, which the server runs atomically."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        [claim_id] = new_ids(1)
        tries = max_claim_count or 0
        now, ids, *columns = self._queues.run(scripts.CLAIM, queue, claim_id, to_us(ttl), to_us(grace), limit, tries)
        if not ids:
            return StoredClaim(id=None, ttl=ttl, age=0.0)
        lives_until = now + to_us(ttl) + to_us(grace)
        messages: list[StoredMessage] = []
        exhausted: list[StoredMessage] = []
        for message_id, packed_holder, packed in zip(ids, *columns, strict=True):
            before = holder_of(packed_holder)
            holder = Holder(claim_id, max(before.lives_until, lives_until), before.claim_count + 1)
            message = message_of(now, message_id.decode(), holder, packed)
            used_up = max_claim_count is not None and before.claim_count >= max_claim_count
            (exhausted if used_up else messages).append(message)
        return StoredClaim(id=claim_id, ttl=to_ms(ttl) / 1000, age=0.0, messages=messages, exhausted=exhausted)

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        if not is_id(claim_id):
            return None
        now, *found = self._queues.run(scripts.CLAIMED, queue, claim_id)
        if not found:
            return None
        facts, ids, holders, bodies = found
        claim = claim_of(facts)
        messages = messages_of(now, ids, holders, [facts] * len(ids), bodies)
        return StoredClaim(id=claim_id, ttl=claim.ttl / 1_000_000, age=age_of(now, claim.began), messages=messages)

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        return is_id(claim_id) and bool(self._queues.run(scripts.RENEW, queue, claim_id, to_us(ttl), to_us(grace)))

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        if not is_id(claim_id):
            return
        which = ["all"]
        if message_ids is not None:
            which = ["some", *(message_id for message_id in dict.fromkeys(message_ids) if is_id(message_id))]
        if self._queues.run(scripts.RELEASE, queue, claim_id, to_us(delay), *which) < 0:
            raise InvalidDuration(
                f"expected a delay shorter than what each message has left to live, got {delay:g} s, which one of them "
                "would not outlive; nothing was released: choose a shorter delay"
            )
