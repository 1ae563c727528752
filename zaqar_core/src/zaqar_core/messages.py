"""``storage.messages``: post, read and delete messages."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from zaqar_core import errors, validation
from zaqar_core.capabilities import Capability
from zaqar_core.context import Context
from zaqar_core.contract import EncodedMessage, MessageController, Refusal
from zaqar_core.encoding import encode
from zaqar_core.errors import (
    BatchTooLarge,
    InvalidBody,
    InvalidDuration,
    InvalidInput,
    MessageDoesNotExist,
    QueueIsEmpty,
)
from zaqar_core.limits import DEFAULT_MESSAGE_TTL, DEFAULT_PAGE, MIN_DURATION
from zaqar_core.models import Message, NewMessage, Page, QueueStats
from zaqar_core.observers import observed


class Messages:
    """The messages of any queue. An unknown queue acts as an empty one; the first post registers it."""

    def __init__(self, context: Context, driver: MessageController) -> None:
        self._context = context
        self._driver = driver

    @observed("messages.post", count=len)
    def post(
        self, queue: str, messages: Iterable[NewMessage], *, project: str | None = None, client_id: str | None = None
    ) -> builtins.list[str]:
        """Post messages and return their ids in the order given.

        Raises ``InvalidInput`` (nothing was written), ``StorageUnavailable`` (with ``ATOMIC_POST`` nothing was
        written) or ``OutcomeUnknown`` (all of them may have been).
        """
        key = self._context.key(queue, project)
        client = self._context.client_or(client_id)
        batch = validation.batch(messages, self._context.limits.max_messages_per_post)
        metadata = self._context.metadata_of(key)
        encoded = self._encode_all(batch, metadata or {})
        self._check_size(encoded, metadata or {})
        if metadata is None:
            self._context.register(key)
        return self._context.post(self._driver, key, encoded, client_id=client)

    @observed("messages.get", count=lambda _: 1)
    def get(self, queue: str, message_id: str, *, project: str | None = None) -> Message:
        """One message, claimed or delayed ones too. Raises ``MessageDoesNotExist``."""
        found = self.bulk_get(queue, [message_id], project=project)
        if not found:
            raise MessageDoesNotExist(f"no message {message_id!r} in queue {queue!r}; it may be deleted or expired")
        return found[0]

    @observed("messages.bulk_get", count=len)
    def bulk_get(self, queue: str, message_ids: Iterable[str], *, project: str | None = None) -> builtins.list[Message]:
        """The messages of these ids: in the order asked, repeats once, missing ones left out."""
        key = self._context.key(queue, project)
        ids = validation.identifiers(message_ids, "message id", self._context.limits.max_ids_per_call)
        return [self._context.message(stored) for stored in self._driver.get(key, ids)] if ids else []

    @observed("messages.list", count=lambda page: len(page.items))
    def list(
        self,
        queue: str,
        *,
        marker: str | None = None,
        limit: int | None = None,
        echo: bool = True,
        include_claimed: bool = False,
        include_delayed: bool = False,
        project: str | None = None,
        client_id: str | None = None,
    ) -> Page[Message]:
        """A page of active messages by position; ``echo=False`` leaves out the caller's own.

        ``limit``: how many at most; None: 10, or as many as the limits allow if those are fewer. Pass the page's
        ``marker`` to go on. Raises ``InvalidMarker``.
        """
        key = self._context.key(queue, project)
        client = self._context.client_or(client_id)
        page = self._driver.list(
            key,
            marker=validation.marker(marker),
            limit=validation.limit(limit, self._context.limits.max_messages_per_page, DEFAULT_PAGE),
            exclude_client=None if validation.flag(echo, "echo") else client,
            include_claimed=validation.flag(include_claimed, "include_claimed"),
            include_delayed=validation.flag(include_delayed, "include_delayed"),
        )
        return Page([self._context.message(stored) for stored in page.items], page.marker, page.more)

    @observed("messages.first", count=lambda _: 1)
    def first(self, queue: str, *, newest: bool = False, project: str | None = None) -> Message:
        """The first (or last) by position among active and claimed messages. Raises ``QueueIsEmpty``."""
        key = self._context.key(queue, project)
        stored = self._driver.first(key, newest=validation.flag(newest, "newest"))
        if stored is None:
            raise QueueIsEmpty(f"queue {queue!r} has no message to show; post one")
        return self._context.message(stored)

    @observed("messages.delete", count=lambda _: 1)
    def delete(self, queue: str, message_id: str, *, claim_id: str | None = None, project: str | None = None) -> None:
        """Delete one message; no-op if it does not exist.

        Raises ``ClaimDoesNotExist``, ``ClaimDoesNotMatch`` or ``MessageIsClaimed``; the message then stays.
        """
        claims = None if claim_id is None else [claim_id]
        for refused, reason in self._delete(queue, [message_id], claims, project)[0].items():
            raise _refusal(reason, refused, claim_id)

    def bulk_delete(
        self,
        queue: str,
        message_ids: Iterable[str],
        *,
        claim_ids: Iterable[str] | None = None,
        project: str | None = None,
    ) -> builtins.list[str]:
        """Delete messages and return the ids that were refused.

        With ``claim_ids``: those that none of these claims holds; without: those that a live claim holds.
        """
        return self._bulk_delete(queue, message_ids, claim_ids, project=project)[0]

    @observed("messages.pop", count=len)
    def pop(self, queue: str, limit: int = 1, *, project: str | None = None) -> builtins.list[Message]:
        """Remove and return the oldest active messages, at most ``limit``. A lost reply loses them. Needs ``POP``."""
        key = self._context.key(queue, project)
        self._context.need(Capability.POP, "pop")
        popped = self._driver.pop(key, limit=validation.limit(limit, self._context.limits.max_messages_per_pop))
        return [self._context.message(stored) for stored in popped]

    @observed("messages.stats")
    def stats(self, queue: str, *, project: str | None = None) -> QueueStats:
        """How many messages are in each state."""
        return self._driver.stats(self._context.key(queue, project))

    @observed("messages.purge")
    def purge(self, queue: str, *, project: str | None = None) -> None:
        """Remove all messages and claims; the queue's metadata stays."""
        self._driver.purge(self._context.key(queue, project))

    @observed("messages.bulk_delete", count=itemgetter(1))
    def _bulk_delete(
        self, queue: str, message_ids: Iterable[str], claim_ids: Iterable[str] | None, *, project: str | None
    ) -> tuple[builtins.list[str], int]:
        """The ids that were refused, and how many were not."""
        refused, asked = self._delete(queue, message_ids, claim_ids, project)
        return [*refused], asked - len(refused)

    def _delete(
        self, queue: str, message_ids: Iterable[str], claim_ids: Iterable[str] | None, project: str | None
    ) -> tuple[dict[str, Refusal], int]:
        """Why which were refused, and how many were asked for."""
        key = self._context.key(queue, project)
        most = self._context.limits.max_ids_per_call
        ids = validation.identifiers(message_ids, "message id", most)
        claims = None if claim_ids is None else validation.identifiers(claim_ids, "claim id", most)
        return (self._driver.delete(key, ids, claim_ids=claims) if ids else {}), len(ids)

    def _encode_all(self, batch: Iterable[object], metadata: Mapping[str, Any]) -> builtins.list[EncodedMessage]:
        ttl = min(metadata.get("_default_message_ttl", DEFAULT_MESSAGE_TTL), self._context.limits.max_message_ttl)
        delay = min(metadata.get("_default_message_delay", 0.0), self._context.limits.max_message_delay)
        encoded = []
        for index, message in enumerate(batch):
            try:
                encoded.append(self._encode(message, ttl, delay))
            except InvalidInput as error:
                raise type(error)(f"message {index}: {error}") from error.__cause__
        return encoded

    def _encode(self, message: object, default_ttl: float, default_delay: float) -> EncodedMessage:
        if not isinstance(message, NewMessage):
            raise InvalidInput(f"expected a NewMessage, got {type(message).__name__}; wrap it: NewMessage(body)")
        limits = self._context.limits
        ttl = default_ttl if message.ttl is None else message.ttl
        ttl = validation.duration(ttl, "ttl", MIN_DURATION, limits.max_message_ttl)
        delay = default_delay if message.delay is None else message.delay
        delay = validation.duration(delay, "delay", 0.0, limits.max_message_delay)
        if delay >= ttl:
            whose_delay, whose_ttl = (
                " (the queue's default)" if given is None else "" for given in (message.delay, message.ttl)
            )
            raise InvalidDuration(
                f"a delay of {delay:.10g} s{whose_delay} and a ttl of {ttl:.10g} s{whose_ttl}: the message would "
                "expire before it becomes available; make the delay less than the ttl"
            )
        if delay > 0:
            self._context.need(Capability.DELAY, f"a delay of {delay:g} s")
        dedup_id = message.dedup_id
        if dedup_id is not None:
            dedup_id = validation.dedup_id(dedup_id)
            self._context.need(Capability.IDEMPOTENT_POST, "a dedup_id")
        body = self._context.codecs.encode(encode(message.body, "body", InvalidBody))
        if len(body) > limits.max_body_bytes:
            raise InvalidBody(
                f"body has {len(body)} bytes; at most {limits.max_body_bytes} are allowed: store it elsewhere and "
                "post a reference"
            )
        return EncodedMessage(body, ttl, delay, validation.headers(message.headers), dedup_id)

    def _check_size(self, encoded: builtins.list[EncodedMessage], metadata: Mapping[str, Any]) -> None:
        size = sum(len(message.body) for message in encoded)
        most = min(self._context.limits.max_post_bytes, metadata.get("_max_messages_post_size", size))
        if size > most:
            raise BatchTooLarge(f"a post of {size} bytes of bodies; at most {most} are allowed here: split it")


def _refusal(reason: Refusal, message_id: str, claim_id: str | None) -> errors.ZaqarError:
    if reason is Refusal.MESSAGE_IS_CLAIMED:
        return errors.MessageIsClaimed(f"message {message_id!r} is claimed; delete it with its claim_id, or wait")
    if reason is Refusal.CLAIM_DOES_NOT_MATCH:
        return errors.ClaimDoesNotMatch(
            f"claim {claim_id!r} does not hold message {message_id!r}; use the one that does"
        )
    return errors.ClaimDoesNotExist(f"no live claim {claim_id!r}; it has expired or was released: claim again")
