"""The queue controller, written once over any driver's :class:`~zaqar_core.contract.RecordStore`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zaqar_core.contract import QueueKey, Record, RecordStore
from zaqar_core.documents import QUEUES, Documents, Fields, readable
from zaqar_core.models import Page, QueueEntry
from zaqar_core.settings import settings
from zaqar_core.steps import attempts


class QueueRecords:
    """Queues as records: the key is the name, the value the metadata as JSON. Input is validated already."""

    def __init__(self, records: RecordStore) -> None:
        self._documents = Documents(records, QUEUES)

    def create(self, queue: QueueKey, metadata: bytes) -> bool:
        """Whether this call made the queue."""
        return self._documents.insert(queue.project, queue.name, metadata) is not None

    def exists(self, queue: QueueKey) -> bool:
        """Whether the queue is registered, whatever its metadata are."""
        return self._documents.get(queue.project, queue.name) is not None

    def get_metadata(self, queue: QueueKey) -> dict[str, Any] | None:
        """The queue's metadata, or None if it is not registered."""
        record = self._documents.get(queue.project, queue.name)
        return None if record is None else _metadata(queue.project, record)

    def get_settings(self, queue: QueueKey) -> dict[str, Any] | None:
        """What of the queue's metadata the core acts on, as ``settings`` says; None if it is not registered."""
        metadata = self.get_metadata(queue)
        return None if metadata is None else settings(queue, metadata)

    def set_metadata(self, queue: QueueKey, metadata: bytes) -> bool:
        """Replace the metadata as a whole (last write wins); False if the queue is not registered."""
        for _ in attempts(f"the metadata of {queue.name!r}"):
            record = self._documents.get(queue.project, queue.name)
            if record is None:
                return False
            if self._documents.replace(queue.project, record, metadata):
                return True
        raise AssertionError

    def change_metadata(self, queue: QueueKey, change: Callable[[dict[str, Any]], bytes]) -> bool:
        """Replace the metadata by what ``change`` makes of the current ones; False if the queue is not registered.

        ``change`` is asked again where another writer came first.
        """
        for _ in attempts(f"the metadata of {queue.name!r}"):
            record = self._documents.get(queue.project, queue.name)
            if record is None:
                return False
            if self._documents.replace(queue.project, record, change(_metadata(queue.project, record))):
                return True
        raise AssertionError

    def delete(self, queue: QueueKey) -> None:
        """Forget the queue, if it is there."""
        self._documents.delete(queue.project, queue.name)

    def list(self, project: str, *, marker: str, limit: int, detailed: bool, prefix: str) -> Page[QueueEntry]:
        """Queues by name after ``marker``, which is the last name shown ("" for the start).

        A detailed page ends before a queue whose metadata cannot be read.
        """

        def entry(record: Record) -> QueueEntry:
            return QueueEntry(record.key, _metadata(project, record) if detailed else None)

        found = self._documents.scan(project, prefix=prefix, after=marker or None, limit=limit + 1)
        entries = readable(found[:limit], entry, lambda record: record.key)
        return Page(entries, entries[-1].name if entries else marker, more=len(found) > len(entries))

    def count(self, project: str) -> int:
        """How many queues the project has."""
        return self._documents.count(project)


def _metadata(project: str, record: Record) -> dict[str, Any]:
    return Fields(QUEUES, project, record).rest()
