"""``storage.claims``: lease messages, renew, release; and the dead letters that a claim meets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from zaqar_core import validation
from zaqar_core.capabilities import Capability
from zaqar_core.context import Context
from zaqar_core.contract import (
    ClaimController,
    EncodedMessage,
    MessageController,
    QueueKey,
    StoredClaim,
    StoredMessage,
)
from zaqar_core.errors import ClaimDoesNotExist, StorageUnavailable, Unsupported
from zaqar_core.limits import DEFAULT_CLAIM_GRACE, DEFAULT_CLAIM_TTL, DEFAULT_PAGE, MIN_DURATION
from zaqar_core.models import Claim
from zaqar_core.observers import observed


class Claims:
    """The claims of any queue. Needs ``CLAIMS``."""

    def __init__(self, context: Context, driver: ClaimController | None, messages: MessageController) -> None:
        self._context = context
        self._claims = driver
        self._messages = messages

    @observed("claims.create", count=lambda claim: len(claim.messages))
    def create(
        self,
        queue: str,
        *,
        ttl: float | None = None,
        grace: float | None = None,
        limit: int | None = None,
        project: str | None = None,
    ) -> Claim:
        """Take the oldest active messages, at most ``limit``, for ``ttl`` seconds; id None if there were none.

        They live at least until the claim's end + ``grace``. Not given, ``ttl`` is 300, ``grace`` 60 and ``limit`` 10,
        or as much as the limits allow if that is less. Messages that were claimed ``_max_claim_count`` times
        go to the ``_dead_letter_queue`` instead, if the queue's metadata name both.
        """
        key, driver = self._open(queue, project)
        ttl, grace = self._durations(ttl, grace)
        limit = validation.limit(limit, self._context.limits.max_messages_per_claim, DEFAULT_PAGE)
        metadata = self._context.metadata_of(key) or {}
        dead_letters = metadata.get("_dead_letter_queue")
        most = metadata.get("_max_claim_count")
        if dead_letters is None or most is None:
            return self._model(driver.create(key, ttl=ttl, grace=grace, limit=limit))
        target = QueueKey(key.project, dead_letters)
        deadline = time.monotonic() + self._context.timeout
        while True:
            claim = driver.create(key, ttl=ttl, grace=grace, limit=limit, max_claim_count=most)
            if claim.id is not None and claim.exhausted:
                self._bury(key, claim.id, claim.exhausted, target, metadata.get("_dead_letter_queue_messages_ttl"))
            if claim.messages or not claim.exhausted:
                return self._model(claim)
            if time.monotonic() >= deadline:
                raise StorageUnavailable(
                    f"queue {queue!r} gave nothing but dead letters for {self._context.timeout:g} s; those are moved: "
                    "claim again, or with a larger limit"
                )

    @observed("claims.get", count=lambda claim: len(claim.messages))
    def get(self, queue: str, claim_id: str, *, project: str | None = None) -> Claim:
        """A live claim with the messages it still holds. Raises ``ClaimDoesNotExist``."""
        key, driver = self._open(queue, project)
        claim = driver.get(key, validation.identifier(claim_id, "claim id"))
        if claim is None:
            raise _absent(queue, claim_id)
        return self._model(claim)

    @observed("claims.update")
    def update(
        self,
        queue: str,
        claim_id: str,
        *,
        ttl: float | None = None,
        grace: float | None = None,
        project: str | None = None,
    ) -> None:
        """Let the claim end ``ttl`` seconds from now, sooner or later than before. Raises ``ClaimDoesNotExist``.

        ``ttl``: None: the claim's own, as it was given last, for which the claim is read once. ``grace``: as in
        ``create``.
        """
        key, driver = self._open(queue, project)
        claim = validation.identifier(claim_id, "claim id")
        own = DEFAULT_CLAIM_TTL
        if ttl is None:
            held = driver.get(key, claim)
            if held is None:
                raise _absent(queue, claim_id)
            own = held.ttl
        ttl, grace = self._durations(ttl, grace, default_ttl=own)
        if not driver.update(key, claim, ttl=ttl, grace=grace):
            raise _absent(queue, claim_id)

    @observed("claims.delete")
    def delete(
        self,
        queue: str,
        claim_id: str,
        *,
        message_ids: Iterable[str] | None = None,
        delay: float = 0,
        project: str | None = None,
    ) -> None:
        """Release all messages of the claim, or those named; ``delay`` > 0 (needs ``DELAY``) hides them so long.

        Without delay they stand where they stood. An absent claim is no error.
        """
        key, driver = self._open(queue, project)
        claim = validation.identifier(claim_id, "claim id")
        most = self._context.limits.max_ids_per_call
        ids = None if message_ids is None else validation.identifiers(message_ids, "message id", most)
        delay = validation.duration(delay, "delay", 0.0, self._context.limits.max_message_delay)
        if delay > 0:
            self._context.need(Capability.DELAY, f"a release with a delay of {delay:g} s")
        if ids != []:
            driver.release(key, claim, message_ids=ids, delay=delay)

    def _open(self, queue: str, project: str | None) -> tuple[QueueKey, ClaimController]:
        key = self._context.key(queue, project)
        self._context.need(Capability.CLAIMS, "a claim")
        if self._claims is None:
            raise Unsupported("this backend declares CLAIMS but offers no claim controller; report it to its authors")
        return key, self._claims

    def _durations(
        self, ttl: float | None, grace: float | None, *, default_ttl: float = DEFAULT_CLAIM_TTL
    ) -> tuple[float, float]:
        limits = self._context.limits
        return (
            validation.duration(ttl, "claim ttl", MIN_DURATION, limits.max_claim_ttl, default=default_ttl),
            validation.duration(grace, "grace", 0.0, limits.max_claim_grace, default=DEFAULT_CLAIM_GRACE),
        )

    def _model(self, claim: StoredClaim) -> Claim:
        return Claim(claim.id, claim.ttl, claim.age, [self._context.message(stored) for stored in claim.messages])

    def _bury(
        self, queue: QueueKey, claim_id: str, dead: Sequence[StoredMessage], target: QueueKey, ttl: float | None
    ) -> None:
        """Post dead letters, then delete them: a crash between may leave two copies, never none."""
        if self._context.metadata_of(target) is None:
            self._context.register(target)
        dedup = Capability.IDEMPOTENT_POST in self._context.capabilities
        longest = self._context.limits.max_message_ttl
        for run in self._posts(dead):
            letters = [
                EncodedMessage(
                    message.body,
                    max(MIN_DURATION, float(min(message.ttl - message.age if ttl is None else ttl, longest))),
                    headers=message.headers,
                    dedup_id=f"dead:{message.id}" if dedup else None,
                )
                for message in run
            ]
            self._messages.post(target, letters, client_id=run[0].client_id)
            self._messages.delete(queue, [message.id for message in run], claim_ids=[claim_id])

    def _posts(self, dead: Sequence[StoredMessage]) -> Iterator[list[StoredMessage]]:
        """Split dead letters into runs that one post may have: of one client, within the limits."""
        limits = self._context.limits
        most = min(limits.max_messages_per_post, limits.max_ids_per_call)
        run: list[StoredMessage] = []
        size = 0
        for message in dead:
            full = len(run) == most or size + len(message.body) > limits.max_post_bytes
            if run and (full or message.client_id != run[0].client_id):
                yield run
                run, size = [], 0
            run.append(message)
            size += len(message.body)
        if run:
            yield run


def _absent(queue: str, claim_id: str) -> ClaimDoesNotExist:
    return ClaimDoesNotExist(
        f"no live claim {claim_id!r} on queue {queue!r}; it has expired or was released: claim again"
    )
