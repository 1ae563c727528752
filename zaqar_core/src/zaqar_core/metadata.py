"""The queue metadata that the data plane needs, remembered for a short while."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

from zaqar_core.contract import QueueKey
from zaqar_core.records import QueueRecords

_MOST_ENTRIES = 10_000


class MetadataCache:
    """Reads through to the queue records; what it says is at most ``ttl`` seconds old. 0 turns it off."""

    def __init__(self, queues: QueueRecords, ttl: float) -> None:
        self._queues = queues
        self._ttl = ttl
        self._entries: dict[QueueKey, tuple[float, Mapping[str, Any] | None]] = {}
        self._changes = 0
        self._lock = threading.Lock()
        _caches.add(self)

    def get(self, queue: QueueKey) -> Mapping[str, Any] | None:
        """The queue's metadata, or None if it is not registered."""
        entry = self._entries.get(queue)
        now = time.monotonic()
        if entry is not None and now < entry[0]:
            return entry[1]
        changes = self._changes
        metadata = self._queues.get_settings(queue)
        if self._ttl > 0:
            with self._lock:
                # What was read before one of our own changes must not outlive it.
                if changes == self._changes:
                    if len(self._entries) >= _MOST_ENTRIES:
                        self._entries.clear()
                    self._entries[queue] = (now + self._ttl, metadata)
        return metadata

    def forget(self, queue: QueueKey) -> None:
        """Call after a change of ours."""
        with self._lock:
            self._changes += 1
            self._entries.pop(queue, None)

    def unlock(self) -> None:
        """Call in the child of a fork, in whose parent another thread may have held the lock."""
        self._lock = threading.Lock()


_caches: weakref.WeakSet[MetadataCache] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for cache in list(_caches):
        cache.unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
