"""The queue controller, written once over any driver's :class:`~zaqar_core.contract.RecordStore`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zaqar_core.contract import QueueKey, Record, RecordStore, Space, new_id
from zaqar_core.encoding import decode
from zaqar_core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from zaqar_core.models import Page, QueueEntry

KIND = "queues"

_MOST_ATTEMPTS = 100
# How often a replacement is tried against other writers before it is given up.


class QueueRecords:
    """Queues as records: the key is the name, the value the metadata as JSON. Input is validated already."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    def create(self, queue: QueueKey, metadata: bytes) -> bool:
        """Whether this call made the queue."""
        return self._settle_unknown(
            queue, lambda nonce: self._records.insert(_space(queue), queue.name, metadata, nonce=nonce)
        )

    def get_metadata(self, queue: QueueKey) -> Mapping[str, Any] | None:
        """The queue's metadata, or None if it is not registered."""
        record = self._records.get(_space(queue), queue.name)
        return None if record is None else decode(record.value)

    def set_metadata(self, queue: QueueKey, metadata: bytes) -> bool:
        """Replace the metadata whole, whoever else writes; False if the queue is not registered."""
        for _ in range(_MOST_ATTEMPTS):
            record = self._records.get(_space(queue), queue.name)
            if record is None:
                return False
            if self._replace(queue, record, metadata):
                return True
        raise StorageUnavailable(
            f"the metadata of {queue.name!r} was changed by others {_MOST_ATTEMPTS} times meanwhile; try again later"
        )

    def _replace(self, queue: QueueKey, record: Record, metadata: bytes) -> bool:
        return self._settle_unknown(
            queue,
            lambda nonce: self._records.replace(
                _space(queue), queue.name, metadata, version=record.version, nonce=nonce
            ),
        )

    def delete(self, queue: QueueKey) -> None:
        """Forget the queue, if it is there."""
        self._records.delete(_space(queue), queue.name)

    def list(self, project: str, *, marker: str, limit: int, detailed: bool, prefix: str) -> Page[QueueEntry]:
        """Queues by name after ``marker``, which is the last name shown ("" for the start)."""
        found = self._records.scan(Space(KIND, project), prefix=prefix, after=marker or None, limit=limit + 1)
        entries = [QueueEntry(record.key, decode(record.value) if detailed else None) for record in found[:limit]]
        return Page(entries, entries[-1].name if entries else marker, more=len(found) > limit)

    def count(self, project: str) -> int:
        """How many queues the project has."""
        return self._records.count(Space(KIND, project))

    def _settle_unknown(self, queue: QueueKey, write: Callable[[str], str | None]) -> bool:
        """Run a write; after an unknown outcome read back whether it was ours that took effect."""
        nonce = new_id()
        try:
            return write(nonce) is not None
        except OutcomeUnknown:
            if self._holds(queue, nonce):
                return True
            raise

    def _holds(self, queue: QueueKey, nonce: str) -> bool:
        """Whether the write of this nonce is seen to have taken effect; an error here would say that it did not."""
        try:
            record = self._records.get(_space(queue), queue.name)
        except StorageError:
            return False
        return record is not None and record.nonce == nonce


def _space(queue: QueueKey) -> Space:
    return Space(KIND, queue.project)
