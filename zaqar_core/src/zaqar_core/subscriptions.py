"""``storage.subscriptions``: who wants to be told about a queue's messages."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from zaqar_core import validation
from zaqar_core.capabilities import Capability
from zaqar_core.context import Context
from zaqar_core.contract import QueueKey, Record, RecordStore
from zaqar_core.documents import DIGEST, SUBSCRIPTIONS, Documents, Fields, digest, readable, to_bytes
from zaqar_core.encoding import shown
from zaqar_core.errors import SubscriptionDoesNotExist, Unsupported
from zaqar_core.limits import DEFAULT_PAGE, MAX_NAMES_PER_PAGE
from zaqar_core.models import Page, Subscription
from zaqar_core.observers import observed
from zaqar_core.steps import attempts


class Subscriptions:
    """The subscriptions of any queue, one for each subscriber. Needs ``SUBSCRIPTIONS``.

    They are records of the data plane. An id is a digest of the subscriber, by which the record is found and which
    makes it the only one, and a random part, so that no id is used again.
    """

    def __init__(self, context: Context, records: RecordStore | None) -> None:
        self._context = context
        self._records = None if records is None else Documents(records, SUBSCRIPTIONS)

    @observed("subscriptions.create")
    def create(
        self,
        queue: str,
        *,
        subscriber: str,
        ttl: float | None = None,
        options: Mapping[str, Any] | None = None,
        project: str | None = None,
    ) -> str | None:
        """The id of the new subscription; None, and nothing changed, if the subscriber has one on this queue.

        ``subscriber``: where to send to, a URI such as ``https://...`` or ``mailto:...``. ``ttl``: seconds until it
        ends; None: never. ``options``: a JSON object. It is not confirmed.
        """
        key, documents = self._open(queue, project)
        subscriber = validation.subscriber(subscriber)
        given = validation.subscription_options({} if options is None else options)
        if ttl is not None:
            ttl = validation.duration(ttl, "ttl", *validation.SUBSCRIPTION_TTL)
        subscription_id = f"{digest(subscriber)}{secrets.token_urlsafe(12)}"
        value = {
            "id": subscription_id,
            "subscriber": subscriber,
            "ttl": ttl,
            "options": given,
            "confirmed": False,
        }
        version = documents.insert(key.project, _key(key, digest(subscriber)), to_bytes(value), ttl=ttl)
        return None if version is None else subscription_id

    @observed("subscriptions.get")
    def get(self, queue: str, subscription_id: str, *, project: str | None = None) -> Subscription:
        """The subscription. Raises ``SubscriptionDoesNotExist``."""
        key, documents = self._open(queue, project)
        return _model(key, self._existing(documents, key, subscription_id))

    @observed("subscriptions.get_with_subscriber")
    def get_with_subscriber(self, queue: str, subscriber: str, *, project: str | None = None) -> Subscription:
        """The subscription of this subscriber. Raises ``SubscriptionDoesNotExist``."""
        key, documents = self._open(queue, project)
        record = documents.get(key.project, _key(key, digest(validation.subscriber(subscriber))))
        if record is None:
            raise SubscriptionDoesNotExist(f"this subscriber has no subscription on queue {queue!r}; create one")
        return _model(key, record)

    @observed("subscriptions.exists")
    def exists(self, queue: str, subscription_id: str, *, project: str | None = None) -> bool:
        """Whether there is such a subscription."""
        key, documents = self._open(queue, project)
        return _find(documents, key, subscription_id) is not None

    @observed("subscriptions.list", count=lambda page: len(page.items))
    def list(
        self, queue: str, *, marker: str | None = None, limit: int | None = None, project: str | None = None
    ) -> Page[Subscription]:
        """A page of the queue's subscriptions, in no order that means anything."""
        key, documents = self._open(queue, project)
        most = validation.limit(limit, MAX_NAMES_PER_PAGE, DEFAULT_PAGE)
        prefix = _key(key, "")
        after = validation.digest_marker(marker, DIGEST)
        found = documents.scan(key.project, prefix=prefix, after=prefix + after if after else None, limit=most + 1)
        items = readable(
            found[:most], lambda record: _model(key, record), lambda record: record.key.removeprefix(prefix)
        )
        last = found[len(items) - 1].key.removeprefix(prefix) if items else after
        return Page(items, last, more=len(found) > len(items))

    @observed("subscriptions.update")
    def update(
        self, queue: str, subscription_id: str, *, options: Mapping[str, Any], project: str | None = None
    ) -> None:
        """Replace the options whole; the ttl stays. Raises ``SubscriptionDoesNotExist``."""
        self._change(queue, subscription_id, project, options=validation.subscription_options(options))

    @observed("subscriptions.confirm")
    def confirm(self, queue: str, subscription_id: str, *, confirmed: bool = True, project: str | None = None) -> None:
        """Note that the subscriber agreed, or does no more. Raises ``SubscriptionDoesNotExist``."""
        self._change(queue, subscription_id, project, confirmed=validation.flag(confirmed, "confirmed"))

    @observed("subscriptions.delete")
    def delete(self, queue: str, subscription_id: str, *, project: str | None = None) -> None:
        """Delete the subscription; an unknown one is no error."""
        key, documents = self._open(queue, project)
        for _ in attempts(f"subscription {shown(subscription_id)}"):
            record = _find(documents, key, subscription_id)
            if record is None or documents.delete(key.project, record.key, version=record.version):
                return

    def drop(self, key: QueueKey) -> None:
        """Delete every subscription of a queue that goes."""
        if self._records is not None and Capability.SUBSCRIPTIONS in self._context.capabilities:
            self._records.delete_all(key.project, prefix=_key(key, ""))

    def _open(self, queue: str, project: str | None) -> tuple[QueueKey, Documents]:
        key = self._context.key(queue, project)
        self._context.need(Capability.SUBSCRIPTIONS, "a subscription")
        if self._records is None:
            raise Unsupported("this backend declares SUBSCRIPTIONS but keeps no records; report it to its authors")
        return key, self._records

    def _change(self, queue: str, subscription_id: str, project: str | None, **changes: object) -> None:
        key, documents = self._open(queue, project)
        for _ in attempts(f"subscription {shown(subscription_id)}"):
            record = self._existing(documents, key, subscription_id)
            value = {**Fields(SUBSCRIPTIONS, key.project, record).rest(), **changes}
            if documents.replace(key.project, record, to_bytes(value)):
                return

    def _existing(self, documents: Documents, key: QueueKey, subscription_id: str) -> Record:
        record = _find(documents, key, subscription_id)
        if record is None:
            raise SubscriptionDoesNotExist(
                f"no subscription {subscription_id!r} on queue {key.name!r}; it may have ended: see subscriptions.list"
            )
        return record


def _find(documents: Documents, key: QueueKey, subscription_id: str) -> Record | None:
    text = validation.identifier(subscription_id, "subscription id")
    record = documents.get(key.project, _key(key, text[:DIGEST])) if text.isascii() and text.isprintable() else None
    return record if record is not None and _model(key, record).id == text else None


def _key(key: QueueKey, subscriber: str) -> str:
    """The record's key: digests of the queue's name, which may take all of a key by itself, and of the subscriber."""
    return digest(key.name) + subscriber


def _model(key: QueueKey, record: Record) -> Subscription:
    fields = Fields(SUBSCRIPTIONS, key.project, record)
    return Subscription(
        fields.take("id", str),
        key.name,
        fields.take("subscriber", str),
        fields.seconds("ttl"),
        fields.take("options", dict),
        fields.take("confirmed", bool),
    )
