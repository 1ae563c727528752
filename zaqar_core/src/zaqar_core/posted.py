"""The queues that this process has posted to: they must be registered, or no listing shows their messages.

A post decides by remembered metadata whether it has to register its queue. Another client may delete the queue in that
time. So a queue that was posted to is looked at again: when its metadata have become too old, at the next operation
(which often needs them anyway), and when the storage is closed. There is no lock, as in ``metadata``.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import suppress

from zaqar_core.contract import MessageController, QueueKey
from zaqar_core.errors import IncompatibleStorage, ZaqarError
from zaqar_core.kit.deadline import time_limit
from zaqar_core.metadata import MetadataCache
from zaqar_core.records import QueueRecords

_log = logging.getLogger(__name__)

_MOST_PER_OPERATION = 100
_MOST_KNOWN = 10_000
_SHARE = 4  # an operation gives looking again a fourth of its time at most


class PostedQueues:
    """Those that were not looked at since a post ended."""

    def __init__(self, metadata: MetadataCache, queues: QueueRecords, messages: MessageController) -> None:
        self._metadata = metadata
        self._queues = queues
        self._messages = messages
        self._posts: deque[_Post] = deque()
        self._latest: dict[QueueKey, _Post] = {}
        self._not_before = 0.0

    def register(self, queue: QueueKey) -> None:
        """Register a queue that is not; one that is there meanwhile stays as it is."""
        try:
            self._queues.create(queue, b"{}")
        finally:
            self._metadata.forget(queue)

    def note(self, queue: QueueKey) -> None:
        """Call after each post, also after one that failed: it may have stored messages."""
        if self._metadata.ttl == 0:
            return  # nothing was decided by what may be old
        post = self._latest.get(queue)
        if post is None or post.is_looked_at:
            post = _Post(queue, self._metadata.until(queue))
            self._posts.append(post)
            if len(self._latest) >= _MOST_KNOWN:
                self._latest.clear()
            self._latest[queue] = post

    def look_again(self, timeout: float) -> None:
        """Look at those queues whose time has come. What fails is logged and tried again later."""
        if self._posts and max(self._posts[0].due, self._not_before) <= time.monotonic():
            with time_limit(timeout / _SHARE):
                self._look_at(_MOST_PER_OPERATION, time.monotonic())

    def look_at_all(self, timeout: float) -> None:
        """Look at every queue, within ``timeout``; the last chance to do so."""
        with time_limit(timeout):
            self._look_at(len(self._posts), float("inf"))

    def _look_at(self, most: int, due: float) -> None:
        try:
            for _ in range(most):
                post = self._posts[0]
                if post.due > due:
                    return
                post.is_looked_at = True  # before reading: a post that ends from here on is another one
                self._settle(post.queue)
                with suppress(ValueError):  # another thread has settled it too
                    self._posts.remove(post)
        except IndexError:  # another thread has settled the last
            return
        except ZaqarError as error:
            self._not_before = time.monotonic() + self._metadata.ttl
            _log.warning("whether queues that were posted to are still registered is not known: %s", error)

    def _settle(self, queue: QueueKey) -> None:
        try:
            if self._metadata.read(queue) is not None or not self._has_messages(queue):
                return
        except IncompatibleStorage:  # damaged, but there
            return
        self.register(queue)
        _log.warning(
            "queue %r was deleted by another client while it was posted to; it is registered again", queue.name
        )

    def _has_messages(self, queue: QueueKey) -> bool:
        page = self._messages.list(
            queue, marker=None, limit=1, exclude_client=None, include_claimed=True, include_delayed=True
        )
        return bool(page.items) or page.more


class _Post:
    """One or more posts to a queue, all ended before it was looked at."""

    __slots__ = ("due", "is_looked_at", "queue")

    def __init__(self, queue: QueueKey, due: float) -> None:
        self.queue = queue
        self.due = due
        self.is_looked_at = False
