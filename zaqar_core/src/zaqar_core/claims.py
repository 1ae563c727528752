"""``storage.claims``: lease messages, renew and release them, and move the dead letters that a claim finds."""

from __future__ import annotations

import time
from collections.abc import Iterable

from zaqar_core import validation
from zaqar_core.capabilities import Capability
from zaqar_core.context import Context
from zaqar_core.contract import ClaimController, MessageController, QueueKey, StoredClaim
from zaqar_core.dead_letters import DeadLetterQueue, DeadLetters
from zaqar_core.errors import ClaimDoesNotExist, InvalidDuration, StorageUnavailable, Unsupported
from zaqar_core.kit.deadline import remaining
from zaqar_core.limits import DEFAULT_CLAIM_GRACE, DEFAULT_CLAIM_TTL, DEFAULT_PAGE, MIN_DURATION
from zaqar_core.models import Claim
from zaqar_core.observers import observed
from zaqar_core.steps import begun


class Claims:
    """The claims of any queue. Needs ``CLAIMS``."""

    def __init__(self, context: Context, driver: ClaimController | None, messages: MessageController) -> None:
        self._context = context
        self._claims = driver
        self._dead_letters = DeadLetters(context, messages)

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
        go to the ``_dead_letter_queue`` instead, if the queue's metadata name both. Where that fails, it is logged and
        shown to observers, and the claim is returned without them. If the metadata cannot be read, nothing is claimed.
        """
        key, driver = self._open(queue, project)
        ttl, grace = self._durations(ttl, grace)
        limit = validation.limit(limit, self._context.limits.max_messages_per_claim, DEFAULT_PAGE)
        settings = self._context.metadata_of(key) or {}
        most, target = settings.get("_max_claim_count"), settings.get("_dead_letter_queue")
        if most is None or target is None:
            return self._model(driver.create(key, ttl=ttl, grace=grace, limit=limit))
        to = DeadLetterQueue(QueueKey(key.project, target), settings.get("_dead_letter_queue_messages_ttl"))
        return self._model(self._past_dead_letters(driver, key, ttl, grace, limit, most, to))

    @observed("claims.get", count=lambda claim: len(claim.messages))
    def get(self, queue: str, claim_id: str, *, project: str | None = None) -> Claim:
        """A live claim with the messages it still holds. Raises ``ClaimDoesNotExist``.

        Dead letters that ``create`` did not return and could not move are shown too: they have been claimed more than
        ``_max_claim_count`` times. So has a message of a claim that is older than a lower maximum.
        """
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

        ``ttl``: None: the claim's own, as it was given last, for which the claim is read once. ``grace``: None: 60,
        or as much as the limits allow if that is less; backends do not store a claim's grace, so that one made with
        another grace needs it again here. ``ClaimedMessages.renew`` remembers it.
        """
        key, driver = self._open(queue, project)
        claim = validation.identifier(claim_id, "claim id")
        length, extra = self._durations(ttl, grace)
        if ttl is None:
            held = driver.get(key, claim)
            if held is None:
                raise _absent(queue, claim_id)
            length, extra = self._durations(None, grace, default_ttl=held.ttl)
        if not driver.update(key, claim, ttl=length, grace=extra):
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
        """Release all messages of the claim, or those named. An absent claim is no error.

        Without ``delay`` they stand where they stood. With one (needs ``DELAY``) they come back that many seconds
        later. Raises ``InvalidDuration``, and releases nothing, if one of them would expire first. That may be a dead
        letter which the claim holds because it could not be moved: to release the others, name them.
        """
        key, driver = self._open(queue, project)
        claim = validation.identifier(claim_id, "claim id")
        most = self._context.limits.max_ids_per_call
        ids = None if message_ids is None else validation.identifiers(message_ids, "message id", most)
        delay = validation.duration(delay, "delay", 0.0, self._context.limits.max_message_delay)
        if delay > 0:
            self._context.need(Capability.DELAY, f"a release with a delay of {delay:g} s")
        if ids == []:
            return
        try:
            driver.release(key, claim, message_ids=ids, delay=delay)
        except InvalidDuration as error:
            raise InvalidDuration(
                f"delay is {delay:g} s, and a message has less left to live; nothing was released: give a shorter "
                "delay, or claim with a longer grace"
            ) from error

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

    def _past_dead_letters(
        self,
        driver: ClaimController,
        key: QueueKey,
        ttl: float,
        grace: float,
        limit: int,
        most: int,
        to: DeadLetterQueue,
    ) -> StoredClaim:
        """Claim until a message is found that is not exhausted, or none at all; move the dead letters found."""
        what, remedy = f"claiming from queue {key.name!r}", "it found dead letters and moved some of them: claim again"
        moving, asked = True, time.monotonic()
        claim = driver.create(key, ttl=ttl, grace=grace, limit=limit, max_claim_count=most)
        while True:
            if claim.exhausted and moving:
                moving = self._dead_letters.move(key, claim, to, ends=asked + ttl)
            if claim.messages or not claim.exhausted:
                return claim
            with begun(what, remedy=remedy):
                if remaining(self._context.timeout) <= 0:
                    raise StorageUnavailable("the timeout is over, and it has given nothing but dead letters")
                asked = time.monotonic()
                claim = driver.create(key, ttl=ttl, grace=grace, limit=limit, max_claim_count=most)


def _absent(queue: str, claim_id: str) -> ClaimDoesNotExist:
    return ClaimDoesNotExist(
        f"no live claim {claim_id!r} on queue {queue!r}; it has expired or was released: claim again"
    )
