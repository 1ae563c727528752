"""The queue metadata that the data plane needs, remembered for a short while.

There is no lock: an exception at any bytecode, a call from a signal handler and a fork leave nothing to repair.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from zaqar_core.contract import QueueKey
from zaqar_core.records import QueueRecords

_MOST_ENTRIES = 10_000
_GENERATIONS = 1024


class _Entry(NamedTuple):
    until: float
    generation: object
    metadata: Mapping[str, Any] | None


class MetadataCache:
    """Reads through to the queue records; what it says is at most ``ttl`` seconds old. 0 turns it off."""

    def __init__(self, queues: QueueRecords, ttl: float) -> None:
        self.ttl = ttl
        self._queues = queues
        self._entries: dict[QueueKey, _Entry] = {}
        # A change replaces its queue's generation, so that what was read before it is not used after it, whenever it
        # is written down. Queues share generations, since there may be any number of queues.
        self._generations = [object()] * _GENERATIONS

    def get(self, queue: QueueKey) -> Mapping[str, Any] | None:
        """The queue's metadata, or None if it is not registered."""
        entry = self._entries.get(queue)
        if entry is not None and time.monotonic() < entry.until and entry.generation is self._generation(queue):
            return entry.metadata
        return self.read(queue)

    def read(self, queue: QueueKey) -> Mapping[str, Any] | None:
        """The same as the datastore has it now."""
        until, generation = time.monotonic() + self.ttl, self._generation(queue)
        metadata = self._queues.get_settings(queue)
        if self.ttl > 0:
            if len(self._entries) >= _MOST_ENTRIES:
                self._entries.clear()
            self._entries[queue] = _Entry(until, generation, metadata)
        return metadata

    def until(self, queue: QueueKey) -> float:
        """The moment, by ``time.monotonic()``, until which ``get`` need not read again."""
        entry = self._entries.get(queue)
        return time.monotonic() + self.ttl if entry is None else entry.until

    def forget(self, queue: QueueKey) -> None:
        """Call after a change of ours."""
        self._generations[hash(queue) % _GENERATIONS] = object()

    def _generation(self, queue: QueueKey) -> object:
        return self._generations[hash(queue) % _GENERATIONS]
