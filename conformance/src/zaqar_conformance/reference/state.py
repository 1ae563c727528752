"""All that the reference driver holds: plain objects behind one lock. Times are whole milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from zaqar_conformance.reference.lock import Lock
from zaqar_core.contract import QueueKey, Record, Space, StoredMessage


@dataclass
class Lease:
    """A claim. Only ``ttl`` is in seconds, as it was given."""

    ttl: float
    started: int
    ends: int


@dataclass
class Item:
    """A message. It is delayed before ``available``, expired from ``expires`` on, claimed while its claim lives.

    ``available`` is 0 once that moment has come. ``place`` is the same moment by the clock of positions.
    """

    id: str
    body: bytes
    client_id: str
    headers: Mapping[str, str]
    posted: int
    available: int
    place: int
    expires: int
    order: int
    claim_id: str | None = None
    claim_count: int = 0

    @property
    def position(self) -> tuple[int, int]:
        """Listings and claims go by this."""
        return self.place, self.order

    def stored(self, now: int) -> StoredMessage:
        """The contract's view of it."""
        ttl = (self.expires - self.posted) / 1000
        return StoredMessage(
            self.id, self.body, ttl, self.age(now), self.client_id, self.claim_id, self.claim_count, self.headers
        )

    def age(self, now: int) -> float:
        """Seconds since its post; 0 if the clock was set back since to before it."""
        return max(0, now - self.posted) / 1000


@dataclass
class QueueState:
    """One queue: its messages and live claims by id, and the dedup ids with the id they gave and until when."""

    items: dict[str, Item] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    dedup: dict[str, tuple[str, int]] = field(default_factory=dict)

    def settle(self, now: int) -> None:
        """Let what time has ended be gone: claims, then messages, then dedup ids, then claims that hold nothing.

        Gone is gone: what a clock that was ahead has ended stays so after its correction.
        """
        self.leases = {claim_id: lease for claim_id, lease in self.leases.items() if now < lease.ends}
        for item in self.items.values():
            if item.claim_id not in self.leases:
                item.claim_id = None
            if item.available <= now:
                item.available = 0
        self.items = {message_id: item for message_id, item in self.items.items() if now < item.expires}
        self.dedup = {dedup_id: entry for dedup_id, entry in self.dedup.items() if now < entry[1]}
        held = {item.claim_id for item in self.items.values()}
        self.leases = {claim_id: lease for claim_id, lease in self.leases.items() if claim_id in held}

    def by_position(self, now: int, *, claimed: bool = False, delayed: bool = False) -> list[Item]:
        """Active messages by position; with claimed and delayed ones if asked."""
        found = [
            item
            for item in self.items.values()
            if (claimed or item.claim_id is None) and (delayed or item.available <= now)
        ]
        return sorted(found, key=lambda item: item.position)


class State:
    """Everything, behind one lock and judged by one clock."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.records: dict[tuple[Space, str], tuple[Record, int | None]] = {}
        self._queues: dict[QueueKey, QueueState] = {}
        self._last = 0
        self._seen = 0
        self._set_back = 0
        self.ahead = 0
        """Milliseconds by which the clock is wrong."""
        self.now: Callable[[], int] = self.clock
        """The one clock, in milliseconds; it may be set forward and back."""

    def clock(self) -> int:
        """Milliseconds of the machine's clock that never runs backwards, moved by ``ahead``."""
        return time.monotonic_ns() // 1_000_000 + self.ahead

    def queue(self, key: QueueKey, now: int) -> QueueState:
        """The settled queue; an unknown one is empty."""
        self._set_back += max(0, self._seen - now)
        self._seen = now
        queue = self._queues.setdefault(key, QueueState())
        queue.settle(now)
        return queue

    def put(self, key: QueueKey, queue: QueueState) -> None:
        """Take the new state of a queue in one step, between which and the old one no exception can come."""
        self._queues[key] = queue

    def purge(self, key: QueueKey) -> None:
        """Forget the queue."""
        self._queues.pop(key, None)

    def place(self, now: int) -> int:
        """``now`` by the clock of positions, which runs with the real one but stands still where that is set back."""
        return now + self._set_back

    def next(self) -> int:
        """A number greater than all before."""
        self._last += 1
        return self._last


def milliseconds(seconds: float) -> int:
    """A duration of the contract in the state's unit."""
    return round(seconds * 1000)
