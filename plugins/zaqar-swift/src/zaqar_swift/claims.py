"""Claims of the data plane."""

from __future__ import annotations

from collections.abc import Sequence

from zaqar_core.contract import ClaimController, QueueKey, StoredClaim, StoredMessage
from zaqar_swift.choosing import Choice
from zaqar_swift.names import is_claim_id, to_us
from zaqar_swift.packing import ClaimObject, Entry
from zaqar_swift.queues import Place, Queues, View, stored, view_of


class SwiftClaims(ClaimController):
    """A claim is one object, which names its messages and is written by its holder alone."""

    def __init__(self, queues: Queues, choice: Choice) -> None:
        self._queues = queues
        self._store = queues.store
        self._choice = choice

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        taken = self._choice.take(place, ttl=to_us(ttl), grace=to_us(grace), limit=limit, deadline=deadline)
        if taken is None:
            return StoredClaim(None, ttl, 0.0)
        view = view_of(taken.claim.began, {**taken.before.claims, taken.claim_id: taken.claim})
        messages: list[StoredMessage] = []
        exhausted: list[StoredMessage] = []
        for item in taken.items:
            message = stored(view, item, taken.contents[item.id])
            used_up = max_claim_count is not None and message.claim_count > max_claim_count
            (exhausted if used_up else messages).append(message)
        return StoredClaim(taken.claim_id, to_us(ttl) / 1_000_000, 0.0, messages, exhausted)

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        view, claim, held = self._find(place, claim_id, deadline)
        if claim is None:
            return None
        items = self._queues.find(place, view, [entry.id for entry in held], deadline)
        ordered = sorted(items.values(), key=lambda item: item.position)
        messages = self._queues.messages(place, view, ordered, deadline)
        if not messages:
            return None
        return StoredClaim(claim_id, claim.ttl / 1_000_000, max(0, view.now - claim.began) / 1_000_000, messages)

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        view, claim, held = self._find(place, claim_id, deadline)
        if claim is None or not self._queues.find(place, view, [entry.id for entry in held], deadline):
            return False
        now = self._queues.clock.now()
        ends = now + to_us(ttl)
        lives_until = ends + to_us(grace)
        longer = [entry._replace(lives_until=max(entry.lives_until, lives_until)) for entry in held]
        kept = {entry.id: entry for entry in self._queues.keep_longer(place, longer, deadline)}
        entries = tuple(kept.get(entry.id, entry) for entry in claim.entries)
        self._queues.write_claim(place, claim_id, ClaimObject(now, to_us(ttl), ends, False, entries), deadline)
        return True

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        view, claim, held = self._find(place, claim_id, deadline)
        if claim is None:
            return
        released = {entry.id for entry in held}
        if message_ids is not None:
            released &= set(message_ids)
        if not released:
            return
        entries = tuple(_released(view, held, released, to_us(delay)).get(entry.id, entry) for entry in claim.entries)
        ends = claim.ends if len(released) < len(held) else 0
        self._queues.write_claim(place, claim_id, claim._replace(ends=ends, entries=entries), deadline)

    def _find(self, place: Place, claim_id: str, deadline: float) -> tuple[View, ClaimObject | None, Sequence[Entry]]:
        """The queue's claims, the live one asked for, and what it holds as far as claims say."""
        if not is_claim_id(claim_id):
            return View(0), None, ()
        view = self._queues.view(place, deadline)
        return view, view.live(claim_id), view.held(claim_id)


def _released(view: View, held: Sequence[Entry], which: set[str], delay: int) -> dict[str, Entry]:
    """The entries of those that are released; with a delay they are moved, one behind the other in their old order."""
    entries = {}
    ordered = sorted((entry for entry in held if entry.id in which), key=lambda entry: view.place_of(entry.id))
    for number, entry in enumerate(ordered):
        entries[entry.id] = entry._replace(held=False)
        if delay:
            entries[entry.id] = entry._replace(held=False, moved_at=view.now, moved_to=view.now + delay + number)
    return entries
