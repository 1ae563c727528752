"""Dead letters: messages that have used up their tries, which a claim moves to another queue on its way.

That is housekeeping. What fails in it is logged and shown to observers, and the claim is returned all the same. A dead
letter that was not moved stays held by the claim, which does not hand it out. A later claim tries again when that one
has ended.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from zaqar_core.capabilities import Capability
from zaqar_core.context import Context
from zaqar_core.contract import EncodedMessage, MessageController, QueueKey, StoredClaim, StoredMessage
from zaqar_core.errors import ClaimDoesNotExist, OutcomeUnknown, StorageError, StorageUnavailable, ZaqarError
from zaqar_core.kit.deadline import remaining, time_limit
from zaqar_core.limits import MIN_DURATION
from zaqar_core.observers import observe_move

_log = logging.getLogger(__name__)


class DeadLetterQueue(NamedTuple):
    """Where a queue's dead letters go. ``ttl``: how long they live there; None: as long as they had left."""

    key: QueueKey
    ttl: float | None


class DeadLetters:
    """Posts dead letters, then deletes them: a crash between may leave two copies, never none."""

    def __init__(self, context: Context, messages: MessageController) -> None:
        self._context = context
        self._messages = messages

    def move(self, queue: QueueKey, claim: StoredClaim, to: DeadLetterQueue, *, ends: float) -> bool:
        """Move what is exhausted in the claim, as far as half of its lease and of the operation's time allow.

        ``ends``: when the lease is over, by ``time.monotonic()``. Returns False if it failed with a ``ZaqarError``,
        which is what drivers raise. Anything else passes, such as what a signal handler of the application raises.
        """
        now = time.monotonic()
        budget = max(0.0, min(ends - now, remaining(self._context.timeout))) / 2
        try:
            moved = observe_move(self._context, queue, partial(self._move, queue, claim, to, until=now + budget))
        except ZaqarError as error:
            _log.warning(
                "dead letters of queue %r of project %r could not be moved to %r: %s; they are tried again when their "
                "claim has ended",
                queue.name,
                queue.project,
                to.key.name,
                error,
            )
            return False
        if moved < len(claim.exhausted):
            _log.info(
                "%d of %d dead letters of queue %r of project %r were moved to %r in the time that there was; the "
                "others are tried again when their claim has ended",
                moved,
                len(claim.exhausted),
                queue.name,
                queue.project,
                to.key.name,
            )
        return True

    def _move(self, queue: QueueKey, claim: StoredClaim, to: DeadLetterQueue, *, until: float) -> int:
        """Move one message, then as many at a time as the time that it took lets expect; how many were moved.

        A move that outlives its claim would post copies again and again, since the claim's messages are another's then.
        """
        if time.monotonic() >= until:
            return 0
        with _until(until):
            if self._context.metadata_of(to.key) is None:
                self._context.register(to.key)
        moved, size, began = 0, 1, time.monotonic()
        while moved < len(claim.exhausted) and size > 0:
            run = self._run(claim.exhausted[moved : moved + size])
            self._move_run(queue, str(claim.id), run, to, until)
            moved += len(run)
            now = time.monotonic()
            took, began = max(now - began, 1e-6), now
            size = int(len(run) * (until - now) / took)
        return moved

    def _move_run(
        self, queue: QueueKey, claim_id: str, run: Sequence[StoredMessage], to: DeadLetterQueue, until: float
    ) -> None:
        dedup = Capability.IDEMPOTENT_POST in self._context.capabilities
        longest = self._context.limits.max_message_ttl
        letters = [
            EncodedMessage(
                message.body,
                max(MIN_DURATION, float(min(message.ttl - message.age if to.ttl is None else to.ttl, longest))),
                headers=message.headers,
                dedup_id=f"dead:{message.id}" if dedup else None,
            )
            for message in run
        ]
        with _until(until):
            copies = self._context.post(self._messages, to.key, letters, client_id=run[0].client_id)
        try:
            with _until(until):
                refused = self._messages.delete(queue, [message.id for message in run], claim_ids=[claim_id])
        except OutcomeUnknown:
            raise
        except StorageUnavailable:
            self._take_back(to.key, copies)
            raise
        if refused:
            self._take_back(to.key, [copy for copy, message in zip(copies, run, strict=True) if message.id in refused])
            raise ClaimDoesNotExist(f"their claim ended before {len(refused)} of {len(run)} could be deleted")

    def _take_back(self, target: QueueKey, copies: Sequence[str]) -> None:
        """Delete copies of messages that are still where they were, and will be moved again.

        Not where posts are idempotent: another client's copy of the same message would have the same id.
        """
        if Capability.IDEMPOTENT_POST not in self._context.capabilities:
            with suppress(StorageError):
                self._messages.delete(target, copies, claim_ids=None)

    def _run(self, dead: Sequence[StoredMessage]) -> Sequence[StoredMessage]:
        """The first of these that one post may have: of one client, within the limits."""
        limits = self._context.limits
        most = min(limits.max_messages_per_post, limits.max_ids_per_call)
        size = 0
        for number, message in enumerate(dead):
            size += len(message.body)
            if number and (number == most or size > limits.max_post_bytes or message.client_id != dead[0].client_id):
                return dead[:number]
        return dead


def _until(moment: float) -> time_limit:
    """For calls that must not keep a consumer waiting; taking copies back may."""
    return time_limit(max(0.0, moment - time.monotonic()))
