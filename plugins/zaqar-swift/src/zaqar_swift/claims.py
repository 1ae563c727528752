"""Claims of the data plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from zaqar_core import kit
from zaqar_core.contract import ClaimController, QueueKey, StoredClaim, StoredMessage
from zaqar_core.errors import InvalidDuration, StorageUnavailable
from zaqar_swift.choosing import BUSY, Choice, pauses
from zaqar_swift.names import Tick, is_claim_id, to_us
from zaqar_swift.operations import changing, reading
from zaqar_swift.packing import ClaimObject, Entry, State
from zaqar_swift.queues import Place, Queues, View, stored, view_of
from zaqar_swift.turns import TURNS


class SwiftClaims(ClaimController):
    """A claim is one object, which names its messages and is written by its holder alone."""

    def __init__(self, queues: Queues, choice: Choice) -> None:
        self._queues = queues
        self._store = queues.store
        self._choice = choice

    @changing
    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        taken = self._choice.take(
            place,
            ttl=to_us(ttl),
            grace=to_us(grace),
            limit=limit,
            max_claim_count=max_claim_count,
            deadline=deadline,
        )
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

    @reading
    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        if not is_claim_id(claim_id):
            return None
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        view = self._queues.view(place, deadline, claim_ids=[claim_id])
        claim, held = view.live(claim_id), view.held(claim_id)
        if claim is None:
            return None
        items = self._queues.find(place, view, [entry.id for entry in held], deadline)
        ordered = sorted(items.values(), key=lambda item: item.position)
        messages = self._queues.messages(place, view, ordered, deadline)
        if not messages:
            return None
        return StoredClaim(claim_id, claim.ttl / 1_000_000, max(0, view.now - claim.began) / 1_000_000, messages)

    @changing
    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        turn = self._turn(place, claim_id).take(deadline)
        try:
            for view, claim, held in self._found(place, claim_id, deadline):
                if claim is None or not self._queues.find(place, view, [entry.id for entry in held], deadline):
                    return False
                now = self._queues.clock.now()
                ends = now + to_us(ttl)
                lives_until = ends + to_us(grace)
                longer = [entry._replace(lives_until=max(entry.lives_until, lives_until)) for entry in held]
                kept = {entry.id: entry for entry in self._queues.keep_longer(place, longer, deadline)}
                states = {some_id: State(claim_id, ends, False, entry) for some_id, entry in kept.items()}
                if self._choice.settle(place, view, states, deadline):
                    entries = tuple(kept.get(entry.id, entry) for entry in claim.entries)
                    self._choice.write(place, claim_id, ClaimObject(now, to_us(ttl), ends, False, entries), deadline)
                    return True
            raise StorageUnavailable(BUSY)
        finally:
            turn.give_back()

    @changing
    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        deadline = self._store.deadline()
        place = self._queues.place(queue)
        turn = self._turn(place, claim_id).take(deadline)
        try:
            for view, claim, held in self._found(place, claim_id, deadline):
                if claim is None:
                    return
                which = {entry.id for entry in held}
                if message_ids is not None:
                    which &= set(message_ids)
                if not which:
                    return
                released = _released(view, held, which, to_us(delay), self._queues.clock.tick())
                self._ensure_they_outlive(place, view, released, delay, deadline)
                states = {some_id: State(claim_id, 0, False, entry) for some_id, entry in released.items()}
                if self._choice.settle(place, view, states, deadline):
                    entries = tuple(released.get(entry.id, entry) for entry in claim.entries)
                    ends = claim.ends if len(which) < len(held) else 0
                    self._choice.write(place, claim_id, claim._replace(ends=ends, entries=entries), deadline)
                    return
            raise StorageUnavailable(BUSY)
        finally:
            turn.give_back()

    def _ensure_they_outlive(
        self, place: Place, view: View, released: Mapping[str, Entry], delay: float, deadline: float
    ) -> None:
        """Raises ``InvalidDuration`` if a message that is there would expire before its delay is over."""
        lives_until = {some_id: (view.entry(some_id) or entry).lives_until for some_id, entry in released.items()}
        late = [some_id for some_id, entry in released.items() if delay and entry.available >= lives_until[some_id]]
        there = self._queues.find(place, view, late, deadline) if late else {}
        if there:
            left = min(lives_until[some_id] for some_id in there) - view.now
            raise InvalidDuration(
                f"delay={delay:g} outlasts a message that has {left / 1_000_000:.3f} s to live; nothing was released: "
                "release with a shorter delay, or first renew the claim with a longer grace"
            )

    def _turn(self, place: Place, claim_id: str) -> kit.Slots:
        """Serializes changes of one claim, since each writes all of it; only its holder does."""
        return TURNS.of((self._store.where, place, claim_id))

    def _found(
        self, place: Place, claim_id: str, deadline: float
    ) -> Iterator[tuple[View, ClaimObject | None, Sequence[Entry]]]:
        """The queue's claims, the live one asked for, and what it holds; again and again, as they may be changed."""
        if not is_claim_id(claim_id):
            yield View(0), None, ()
            return
        view = self._queues.view(place, deadline, claim_ids=[claim_id])
        for _ in pauses(deadline):
            found = view.claims.get(claim_id)
            self._choice.look(place, view, [entry.id for entry in found.entries] if found else (), deadline)
            yield view, view.live(claim_id), view.held(claim_id)


def _released(view: View, held: Sequence[Entry], which: set[str], delay: int, tick: Tick) -> dict[str, Entry]:
    """The entries of those that are released; with a delay they are moved, one behind the other in their old order."""
    entries = {}
    ordered = sorted((entry for entry in held if entry.id in which), key=lambda entry: view.place_of(entry.id))
    for number, entry in enumerate(ordered):
        entries[entry.id] = entry._replace(held=False)
        if delay:
            entries[entry.id] = entry._replace(
                held=False,
                moved_at=tick.now,
                moved_to=tick.position + delay + number,
                available=tick.now + delay + number,
            )
    return entries
