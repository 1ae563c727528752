"""The queues that this process has posted to: they must be registered, or no listing shows their messages.

A post uses cached metadata to decide whether it has to register its queue, and another client may delete the queue
meanwhile. So a queue that was posted to is looked at again: at the first operation after its metadata have expired (it
often needs them anyway), and when the storage is closed. There is no lock, as in ``metadata``.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from zaqar_core.contract import MessageController, QueueKey
from zaqar_core.errors import IncompatibleStorage, StorageUnavailable, ZaqarError
from zaqar_core.hiding import said
from zaqar_core.kit.deadline import remaining, time_limit
from zaqar_core.metadata import MetadataCache
from zaqar_core.records import QueueRecords
from zaqar_core.signals import is_from_handler

_log = logging.getLogger(__name__)

_MOST_PER_OPERATION = 4  # each is a call to the control plane, and may be a second one to the data plane
_MOST_KNOWN = 10_000
_SHARE = 4  # looking again takes a fourth of an operation's time at most


class PostedQueues:
    """The queues to check: each was posted to since it was last looked at."""

    def __init__(self, metadata: MetadataCache, queues: QueueRecords, messages: MessageController) -> None:
        self._metadata = metadata
        self._queues = queues
        self._messages = messages
        self._posts: deque[_Post] = deque()
        self._latest: dict[QueueKey, _Post] = {}
        self._not_before = 0.0

    def register(self, queue: QueueKey) -> None:
        """Register a queue; no-op if it was registered meanwhile."""
        try:
            self._queues.create(queue, b"{}")
        finally:
            self._metadata.forget(queue)

    def note(self, queue: QueueKey) -> None:
        """Call before each post, which may be interrupted, and after it, also after one that failed."""
        if self._metadata.ttl > 0:  # else nothing was decided by what may be old
            self._add(queue, self._metadata.until(queue))

    def look_again(self, timeout: float) -> None:
        """Look at some of those queues whose time has come. What fails is logged and tried again later."""
        if not self._posts:
            return
        now = time.monotonic()
        if now < self._not_before or not (due := self._due(now)):
            return
        with time_limit(timeout / _SHARE):
            self._look_at(due)

    def look_at_all(self, timeout: float) -> None:
        """Look at every queue once, within a share of ``timeout``; the last chance to do so."""
        with time_limit(timeout / _SHARE):
            self._look_at(list(self._posts))

    def _add(self, queue: QueueKey, due: float) -> None:
        post = self._latest.get(queue)
        if post is None or post.is_looked_at:
            post = _Post(queue, due)
            self._posts.append(post)
            if len(self._latest) >= _MOST_KNOWN:
                self._latest.clear()
            self._latest[queue] = post

    def _due(self, now: float) -> list[_Post]:
        """The first few posts, up to one whose time has not come."""
        due: list[_Post] = []
        with suppress(IndexError):  # there are no more, or another thread has removed them
            for place in range(_MOST_PER_OPERATION):
                post = self._posts[place]
                if post.due > now:
                    break
                due.append(post)
        return due

    def _look_at(self, posts: Iterable[_Post]) -> None:
        failures: list[Exception] = []
        for post in posts:
            post.is_looked_at = True  # before reading: a post that ends from here on is another one
            try:
                self._settle(post.queue)
            except Exception as error:  # of the driver; the operation under way may have to do with another queue
                if is_from_handler(error):
                    raise
                failures.append(error)
                # At the end, so that a queue that always fails delays no other.
                self._add(post.queue, time.monotonic() + self._metadata.ttl)
            with suppress(ValueError):  # another thread has settled it too
                self._posts.remove(post)
            if failures and remaining(0) == 0:
                break
        if failures:
            self._report(failures)

    def _report(self, failures: list[Exception]) -> None:
        if any(isinstance(error, StorageUnavailable) for error in failures):
            self._not_before = time.monotonic() + self._metadata.ttl
        error = failures[0]
        _log.warning(
            "cannot tell whether %s that this process posted to is still registered: %s: %s",
            "a queue" if len(failures) == 1 else f"each of {len(failures)} queues",
            type(error).__name__,
            said(error),
            exc_info=None if isinstance(error, ZaqarError) else error,
        )

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
