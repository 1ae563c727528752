"""Records of the control plane: small named documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zaqar_core.contract import Record, RecordStore, Space, new_id
from zaqar_core.errors import OutcomeUnknown, StorageError
from zaqar_redis import scripts
from zaqar_redis.packing import document_of, packed_document
from zaqar_redis.queues import Queues
from zaqar_redis.scripts import Script
from zaqar_redis.units import space_stem, to_ms


class RedisRecords(RecordStore):
    """Each method is one script. Versions are random, so that not even a lost store repeats one."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def get(self, space: Space, key: str) -> Record | None:
        version, packed = self._run(scripts.RECORD_GET, space, key)
        return None if version is None else _record(key, version, packed)

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        version = new_id()
        ends = "" if ttl is None else to_ms(ttl)
        stored = self._run(scripts.RECORD_INSERT, space, key, version, packed_document(nonce, value), ends)
        return version if stored else None

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        new = new_id()
        stored = self._run(scripts.RECORD_REPLACE, space, key, version, new, packed_document(nonce, value))
        return new if stored else None

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        if version == "":
            return False
        return bool(self._run(scripts.RECORD_DELETE, space, key, version or ""))

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        low, high = _bounds(prefix, after)
        keys, versions, values = self._run(scripts.RECORD_SCAN, space, low, high, limit)
        return [_record(key.decode(errors="replace"), *row) for key, *row in zip(keys, versions, values, strict=True)]

    def count(self, space: Space, *, prefix: str = "") -> int:
        return int(self._run(scripts.RECORD_COUNT, space, *_bounds(prefix, None)))

    def delete_all(self, space: Space, *, prefix: str = "") -> int:
        deadline, deleted, more = self._queues.deadline(), 0, True
        while more:
            try:
                count, more = self._run(scripts.RECORD_DELETE_ALL, space, *_bounds(prefix, None), deadline=deadline)
            except StorageError as error:
                if deleted == 0 or isinstance(error, OutcomeUnknown):
                    raise
                raise OutcomeUnknown(f"{deleted} records are deleted, and then: {error}; do it again") from error
            deleted += count
        return deleted

    def _run(self, script: Script, space: Space, *arguments: Any, deadline: float | None = None) -> Any:
        return self._queues.server.run(script, space_stem(self._queues.prefix, space), *arguments, deadline=deadline)


def _record(key: str, version: bytes | None, packed: bytes | None) -> Record:
    nonce, value = document_of(packed)
    return Record(key, value, (version or b"").decode(errors="replace"), nonce)


def _bounds(prefix: str, after: str | None) -> tuple[bytes, bytes]:
    """Of the keys that start with ``prefix`` and come after ``after``. UTF-8 sorts as code points do."""
    above = b"\xff"  # no byte of UTF-8
    low = b"(" + after.encode() if after is not None and after >= prefix else b"[" + prefix.encode() if prefix else b"-"
    return low, b"(" + prefix.encode() + above if prefix else b"+"
