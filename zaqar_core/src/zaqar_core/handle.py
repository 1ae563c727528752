"""A handle that reads like a queue: post, claim in a ``with`` block, consume in a ``for`` loop."""

from __future__ import annotations

import builtins
import logging
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from zaqar_core import validation
from zaqar_core.claims import Claims
from zaqar_core.errors import CodecError, InvalidDuration, ZaqarError
from zaqar_core.messages import Messages
from zaqar_core.models import Claim, Message, NewMessage, Page, QueueStats, parts

_log = logging.getLogger(__name__)

_SHORTEST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
_LONGEST_WAIT = 24 * 3600.0


class Queue:
    """One queue of a ``Storage``; made by ``storage.queue(name)``. Nothing is registered before the first post."""

    def __init__(
        self, messages: Messages, claims: Claims, name: str, *, project: str | None, client_id: str | None
    ) -> None:
        self.name = name
        self._messages = messages
        self._claims = claims
        self._project = project
        self._client_id = client_id

    def post(
        self,
        body: Any,
        *,
        ttl: float | None = None,
        delay: float | None = None,
        headers: Mapping[str, str] | None = None,
        dedup_id: str | None = None,
    ) -> str:
        """Post one message (any JSON value) and return its id; the arguments are those of ``NewMessage``."""
        return self.post_many([NewMessage(body, ttl, delay, {} if headers is None else headers, dedup_id)])[0]

    def post_many(self, messages: Iterable[NewMessage]) -> builtins.list[str]:
        """Post a batch and return the ids in the order given."""
        return self._messages.post(self.name, messages, project=self._project, client_id=self._client_id)

    def list(
        self,
        *,
        marker: str | None = None,
        limit: int | None = None,
        echo: bool = True,
        include_claimed: bool = False,
        include_delayed: bool = False,
    ) -> Page[Message]:
        """A page of active messages by position."""
        return self._messages.list(
            self.name,
            marker=marker,
            limit=limit,
            echo=echo,
            include_claimed=include_claimed,
            include_delayed=include_delayed,
            project=self._project,
            client_id=self._client_id,
        )

    def claim(
        self,
        *,
        limit: int | None = None,
        ttl: float | None = None,
        grace: float | None = None,
        wait: float = 0,
    ) -> ClaimedMessages:
        """Lease up to ``limit`` messages; ``wait``: for how many seconds to go on asking while there are none.

        Use it in a ``with`` block: leaving it releases what was not deleted, except messages whose body cannot be
        decoded, which come back when the claim ends. ``limit``, ``ttl`` and ``grace`` are as in
        ``storage.claims.create``.
        """
        deadline = time.monotonic() + validation.duration(wait, "wait", 0.0, _LONGEST_WAIT)
        pause = _SHORTEST_PAUSE
        while True:
            asked = time.monotonic()
            claim = self._claims.create(self.name, ttl=ttl, grace=grace, limit=limit, project=self._project)
            left = deadline - time.monotonic()
            if claim.id is not None or left <= 0:
                return ClaimedMessages(self, claim, grace=grace, ends=asked + claim.ttl)
            time.sleep(min(left, pause * random.uniform(0.5, 1.5)))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def consume(
        self,
        *,
        limit: int | None = None,
        ttl: float | None = None,
        grace: float | None = None,
        wait: float | None = None,
    ) -> Iterator[ClaimedMessage]:
        """Yield messages, one claim at a time; delete each when it is done.

        When all messages of a claim have been yielded, or the loop is left, those that were not deleted are released.
        Messages whose claim has ended meanwhile are not yielded: ``message.claim.renew()`` makes it last longer. The
        loop ends when no message came for ``wait`` seconds; None: never.

        A message whose body cannot be decoded is yielded like any other, after a warning in the log. Its ``body``
        raises ``CodecError``, its ``raw`` has the bytes. Delete it, ``release()`` it for another consumer, or leave it:
        then it stays claimed until the claim's ttl is over, also when the loop is left. So the same loop gets it again
        after the ttl and not immediately, each time with a higher ``claim_count``, until it becomes a dead letter
        where the queue has ``_max_claim_count`` and ``_dead_letter_queue``.
        """
        while True:
            with self.claim(limit=limit, ttl=ttl, grace=grace, wait=_LONGEST_WAIT if wait is None else wait) as claim:
                if not claim and wait is not None:
                    return
                for message in claim:
                    if time.monotonic() >= claim.ends:
                        break
                    if message.raw is not None:
                        self._warn(message)
                    yield message

    def pop(self, limit: int = 1) -> builtins.list[Message]:
        """Remove and return the oldest active messages. A lost reply loses them."""
        return self._messages.pop(self.name, limit, project=self._project)

    def stats(self) -> QueueStats:
        """How many messages are in each state."""
        return self._messages.stats(self.name, project=self._project)

    def purge(self) -> None:
        """Remove all messages and claims."""
        self._messages.purge(self.name, project=self._project)

    def _warn(self, message: Message) -> None:
        try:
            _ = message.body
        except CodecError as error:
            _log.warning("message %s of queue %r is delivered without its body: %s", message.id, self.name, error)

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"


class ClaimedMessages:
    """The messages of one claim: iterate, delete each when done; leaving the ``with`` block releases the rest.

    Messages whose body cannot be decoded are not released then: they come back when the claim ends.
    """

    def __init__(self, queue: Queue, claim: Claim, *, grace: float | None, ends: float) -> None:
        self.id = claim.id
        self.ends = ends
        """When the claim ends at the earliest, by ``time.monotonic()``."""
        self.ttl = claim.ttl
        """How many seconds the claim lasts, from its making or its last renewal."""
        self._grace = grace
        self._queue = queue
        self._messages = [ClaimedMessage(**parts(message), claim=self) for message in claim.messages]
        self._held = {message.id for message in self._messages}

    def renew(self, *, ttl: float | None = None, grace: float | None = None) -> None:
        """Let the claim end ``ttl`` seconds from now; None: as many as when it was claimed or last renewed here.

        A ttl that ``storage.claims.update`` has set is not known here; ``update`` without a ttl takes the stored one.

        ``grace``: for how many seconds its messages live on after it at least; None: as before.
        Raises ``ClaimDoesNotExist`` if the claim has ended.
        """
        if self.id is None:
            return
        ttl = self.ttl if ttl is None else ttl
        grace = self._grace if grace is None else grace
        queue = self._queue
        asked = time.monotonic()
        queue._claims.update(queue.name, self.id, ttl=ttl, grace=grace, project=queue._project)
        self.ends, self.ttl, self._grace = asked + ttl, ttl, grace

    def release(self, *, delay: float = 0) -> None:
        """Give back all messages that were not deleted, now or ``delay`` seconds from now. Twice is once.

        Raises ``InvalidDuration``, and releases nothing, if one of them would expire before it came back.
        """
        if self._held:
            try:
                self._release(None, delay)
            except InvalidDuration:  # perhaps of a dead letter that could not be moved, which this does not show
                self._release([message.id for message in self._messages if message.id in self._held], delay)
            self._held.clear()

    def _leave(self) -> None:
        """Release the rest. What cannot be decoded stays held: this consumer would get it again immediately."""
        held = [message for message in self._messages if message.id in self._held]
        others = [message.id for message in held if message.raw is None]
        if len(others) == len(held):
            self.release()
            return
        most = self._queue._claims._context.limits.max_ids_per_call
        for ids in (others[at : at + most] for at in range(0, len(others), most)):
            self._release(ids, 0)
            self._held.difference_update(ids)

    def _release_one(self, message_id: str, delay: float) -> None:
        self._release([message_id], delay)
        self._held.discard(message_id)

    def _release(self, ids: list[str] | None, delay: float) -> None:
        queue = self._queue
        if self.id is not None:
            queue._claims.delete(queue.name, self.id, message_ids=ids, delay=delay, project=queue._project)

    def _delete(self, message_id: str) -> None:
        queue = self._queue
        queue._messages.delete(queue.name, message_id, claim_id=self.id, project=queue._project)
        self._held.discard(message_id)

    def __iter__(self) -> Iterator[ClaimedMessage]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._leave()
        except ZaqarError as failed:
            if error is None:
                raise
            # The block's own error matters more; the claim's end will release the messages anyway.
            _log.warning("a claim on a queue could not be released: %s", failed)

    def __repr__(self) -> str:
        return f"<ClaimedMessages {self.id!r} of {self._queue!r}: {len(self)}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ClaimedMessage(Message):
    """A message held by a ``claim``: that of the ``with`` block or loop that gave it.

    A copy belongs to the same claim. Pickled, it becomes a plain ``Message``: the claim stays in this process.
    """

    claim: ClaimedMessages = field(kw_only=True, repr=False, compare=False)

    def delete(self) -> None:
        """The work is done: delete the message. Raises ``ClaimDoesNotExist`` if the claim has ended."""
        self.claim._delete(self.id)

    def release(self, *, delay: float = 0) -> None:
        """Give this message back now, or ``delay`` seconds from now.

        Raises ``InvalidDuration``, and releases nothing, if the message would expire before it came back.
        """
        self.claim._release_one(self.id, delay)

    def __copy__(self) -> ClaimedMessage:
        return ClaimedMessage(**parts(self), claim=self.claim)

    def __deepcopy__(self, memo: dict[int, Any]) -> ClaimedMessage:
        return ClaimedMessage(**deepcopy(parts(self), memo), claim=self.claim)
