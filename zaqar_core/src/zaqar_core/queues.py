"""``storage.queues``: the registered queues of a project and their metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zaqar_core import validation
from zaqar_core.context import Context
from zaqar_core.contract import MessageController, QueueKey
from zaqar_core.errors import QueueDoesNotExist, Unsupported
from zaqar_core.limits import DEFAULT_PAGE
from zaqar_core.models import Page, QueueEntry, QueueStats
from zaqar_core.observers import observed
from zaqar_core.records import QueueRecords
from zaqar_core.steps import begun
from zaqar_core.subscriptions import Subscriptions


class Queues:
    """Queues as the control plane knows them."""

    def __init__(self, context: Context, messages: MessageController, subscriptions: Subscriptions) -> None:
        self._context = context
        self._messages = messages
        self._subscriptions = subscriptions

    @observed("queues.create", queue="name")
    def create(self, name: str, metadata: Mapping[str, Any] | None = None, *, project: str | None = None) -> bool:
        """Whether this call made the queue; on one that exists nothing changes. Raises ``InvalidMetadata``."""
        key = self._context.key(name, project)
        data = validation.metadata({} if metadata is None else metadata, name, self._context.limits)
        try:
            return self._records.create(key, data)
        finally:
            self._forget(key)

    @observed("queues.exists", queue="name")
    def exists(self, name: str, *, project: str | None = None) -> bool:
        """Whether the queue is registered."""
        return self._records.exists(self._context.key(name, project))

    @observed("queues.get_metadata", queue="name")
    def get_metadata(self, name: str, *, project: str | None = None) -> dict[str, Any]:
        """The queue's metadata. Raises ``QueueDoesNotExist``; ``IncompatibleStorage`` if they are no JSON object."""
        metadata = self._records.get_metadata(self._context.key(name, project))
        if metadata is None:
            raise _absent(name)
        return metadata

    @observed("queues.set_metadata", queue="name")
    def set_metadata(self, name: str, metadata: Mapping[str, Any], *, project: str | None = None) -> None:
        """Replace the metadata whole. Raises ``QueueDoesNotExist``, ``InvalidMetadata``."""
        key = self._context.key(name, project)
        data = validation.metadata(metadata, name, self._context.limits)
        try:
            found = self._records.set_metadata(key, data)
        finally:
            self._forget(key)
        if not found:
            raise _absent(name)

    @observed("queues.update_metadata", queue="name")
    def update_metadata(
        self,
        name: str,
        changes: Mapping[str, Any] | None = None,
        *,
        remove: Iterable[str] = (),
        project: str | None = None,
    ) -> dict[str, Any]:
        """Set some keys and remove others; the rest stay, also those that other clients change at the same time.

        Returns the metadata as they are then. They are checked as a whole: ``_dead_letter_queue`` can be set once
        ``_max_claim_count`` is, or together with it. To remove a key that is not there is no error, unless it begins
        with ``_`` and is no known one. Raises ``QueueDoesNotExist``, ``InvalidMetadata``.
        """
        key = self._context.key(name, project)
        wanted, unwanted = validation.metadata_changes({} if changes is None else changes, remove)
        result: dict[str, Any] = {}

        def change(metadata: dict[str, Any]) -> bytes:
            nonlocal result
            validation.removal(unwanted, metadata)
            result = {known: value for known, value in metadata.items() if known not in unwanted} | wanted
            return validation.metadata(result, name, self._context.limits, stored=metadata.keys() - wanted.keys())

        try:
            found = self._records.change_metadata(key, change)
        finally:
            self._forget(key)
        if not found:
            raise _absent(name)
        return result

    @observed("queues.delete", queue="name")
    def delete(self, name: str, *, project: str | None = None) -> None:
        """Delete the queue with its messages, claims and subscriptions; an unknown one is no error.

        It takes several steps: ``OutcomeUnknown`` means that some of them may be done. Do it again to finish it.
        """
        key, records = self._context.key(name, project), self._records
        self._messages.purge(key)
        with begun(f"deleting queue {name!r}"):
            self._subscriptions.drop(key)
            try:
                records.delete(key)
            finally:
                self._forget(key)

    @observed("queues.list", count=lambda page: len(page.items))
    def list(
        self,
        *,
        marker: str | None = None,
        limit: int | None = None,
        detailed: bool = False,
        prefix: str = "",
        project: str | None = None,
    ) -> Page[QueueEntry]:
        """A page of the project's queues by name (code-point order); ``detailed`` with their metadata."""
        self._context.check_open()
        return self._records.list(
            self._context.project_or(project),
            marker=validation.name_marker(marker),
            limit=validation.limit(limit, self._context.limits.max_queues_per_page, DEFAULT_PAGE),
            detailed=validation.flag(detailed, "detailed"),
            prefix=validation.queue_prefix(prefix),
        )

    @observed("queues.count")
    def count(self, *, project: str | None = None) -> int:
        """How many queues the project has."""
        self._context.check_open()
        return self._records.count(self._context.project_or(project))

    @observed("queues.stats", queue="name")
    def stats(self, name: str, *, project: str | None = None) -> QueueStats:
        """How many messages are in each state. Raises ``QueueDoesNotExist``."""
        key = self._context.key(name, project)
        if not self._records.exists(key):
            raise _absent(name)
        return self._messages.stats(key)

    @property
    def _records(self) -> QueueRecords:
        if self._context.queues is None:
            raise Unsupported("this backend keeps no records, so it has no queues; connect with control='...'")
        return self._context.queues

    def _forget(self, key: QueueKey) -> None:
        """After every change, one of unknown outcome too."""
        if self._context.metadata is not None:
            self._context.metadata.forget(key)


def _absent(name: str) -> QueueDoesNotExist:
    return QueueDoesNotExist(f"no queue {name!r} is registered in the project; create it, or post to it")
