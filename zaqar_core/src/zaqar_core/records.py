"""The queue controller, written once over any driver's :class:`~zaqar_core.contract.RecordStore`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zaqar_core.contract import QueueKey, RecordStore
from zaqar_core.documents import QUEUES, Documents, attempts
from zaqar_core.encoding import decode
from zaqar_core.models import Page, QueueEntry


class QueueRecords:
    """Queues as records: the key is the name, the value the metadata as JSON. Input is validated already."""

    def __init__(self, records: RecordStore) -> None:
        self._documents = Documents(records, QUEUES)

    def create(self, queue: QueueKey, metadata: bytes) -> bool:
        """Whether this call made the queue."""
        return self._documents.insert(queue.project, queue.name, metadata) is not None

    def get_metadata(self, queue: QueueKey) -> Mapping[str, Any] | None:
        """The queue's metadata, or None if it is not registered."""
        record = self._documents.get(queue.project, queue.name)
        return None if record is None else decode(record.value)

    def set_metadata(self, queue: QueueKey, metadata: bytes) -> bool:
        """Replace the metadata whole, whoever else writes; False if the queue is not registered."""
        for _ in attempts(f"the metadata of {queue.name!r}"):
            record = self._documents.get(queue.project, queue.name)
            if record is None:
                return False
            if self._documents.replace(queue.project, record, metadata):
                return True
        raise AssertionError

    def delete(self, queue: QueueKey) -> None:
        """Forget the queue, if it is there."""
        self._documents.delete(queue.project, queue.name)

    def list(self, project: str, *, marker: str, limit: int, detailed: bool, prefix: str) -> Page[QueueEntry]:
        """Queues by name after ``marker``, which is the last name shown ("" for the start)."""
        found = self._documents.scan(project, prefix=prefix, after=marker or None, limit=limit + 1)
        entries = [QueueEntry(record.key, decode(record.value) if detailed else None) for record in found[:limit]]
        return Page(entries, entries[-1].name if entries else marker, more=len(found) > limit)

    def count(self, project: str) -> int:
        """How many queues the project has."""
        return self._documents.count(project)
