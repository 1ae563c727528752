"""Claims in memory."""

from __future__ import annotations

from collections.abc import Sequence

from zaqar_conformance.reference.state import Item, Lease, QueueState, State, milliseconds
from zaqar_core import kit
from zaqar_core.contract import ClaimController, QueueKey, StoredClaim, StoredMessage, new_id
from zaqar_core.errors import InvalidDuration


class ReferenceClaims(ClaimController):
    """Each method holds the one lock from its first look to its answer."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            oldest = held.by_position(now)[:limit]
            taken = oldest[: kit.taken_together((item.claim_count for item in oldest), max_claim_count)]
            if not taken:
                return StoredClaim(None, ttl, 0.0)
            claim_id = new_id()
            held.leases[claim_id] = Lease(ttl, now, now + milliseconds(ttl))
            messages: list[StoredMessage] = []
            exhausted: list[StoredMessage] = []
            for item in taken:
                used_up = max_claim_count is not None and item.claim_count >= max_claim_count
                item.claim_id = claim_id
                item.claim_count += 1
                item.expires = max(item.expires, now + milliseconds(ttl) + milliseconds(grace))
                (exhausted if used_up else messages).append(item.stored(now))
            return StoredClaim(claim_id, ttl, 0.0, messages, exhausted)

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            lease = held.leases.get(claim_id)
            if lease is None:
                return None
            messages = [item.stored(now) for item in _members(held, claim_id, now)]
            return StoredClaim(claim_id, lease.ttl, max(0, now - lease.started) / 1000, messages)

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            if claim_id not in held.leases:
                return False
            held.leases[claim_id] = Lease(ttl, now, now + milliseconds(ttl))
            for item in _members(held, claim_id, now):
                item.expires = max(item.expires, now + milliseconds(ttl) + milliseconds(grace))
            return True

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            until = now + milliseconds(delay)
            released = [item for item in _members(held, claim_id, now) if message_ids is None or item.id in message_ids]
            for item in released:
                if delay > 0 and item.expires <= until:
                    raise InvalidDuration(
                        f"delay {delay:g} s: message {item.id!r} expires in {(item.expires - now) / 1000:g} s, before "
                        "the delay would be over; nothing was released: give a shorter delay, or claim with more grace"
                    )
            for item in released:
                item.claim_id = None
                if delay > 0:
                    item.available = until
                    item.place = self._state.place(now) + milliseconds(delay)
                    item.order = self._state.next()  # in the order in which they stood


def _members(held: QueueState, claim_id: str, now: int) -> list[Item]:
    return [item for item in held.by_position(now, claimed=True) if item.claim_id == claim_id]
