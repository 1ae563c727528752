"""Records in memory."""

from __future__ import annotations

from collections.abc import Sequence

from zaqar_conformance.reference.state import State, milliseconds
from zaqar_core.contract import Record, RecordStore, Space


class ReferenceRecords(RecordStore):
    """Each method holds the one lock from its first look to its answer."""

    def __init__(self, state: State) -> None:
        self._state = state

    def get(self, space: Space, key: str) -> Record | None:
        with self._state.lock:
            record, expires = self._state.records.get((space, key), (None, None))
            return None if expires is not None and expires <= self._state.now() else record

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        with self._state.lock:
            if self.get(space, key) is not None:
                return None
            version = str(self._state.next())
            expires = None if ttl is None else self._state.now() + milliseconds(ttl)
            self._state.records[space, key] = Record(key, value, version, nonce), expires
            return version

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        with self._state.lock:
            current = self.get(space, key)
            if current is None or current.version != version:
                return None
            fresh = str(self._state.next())
            expires = self._state.records[space, key][1]
            self._state.records[space, key] = Record(key, value, fresh, nonce), expires
            return fresh

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        with self._state.lock:
            current = self.get(space, key)
            if current is None or version not in (None, current.version):
                return False
            del self._state.records[space, key]
            return True

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        with self._state.lock:
            keys = sorted(key for owner, key in self._state.records if owner == space and key.startswith(prefix))
            found = [self.get(space, key) for key in keys if after is None or key > after]
            return [record for record in found if record is not None][:limit]

    def count(self, space: Space, *, prefix: str = "") -> int:
        with self._state.lock:
            return len(self.scan(space, prefix=prefix, limit=len(self._state.records)))

    def delete_all(self, space: Space, *, prefix: str = "") -> int:
        with self._state.lock:
            found = self.scan(space, prefix=prefix, limit=len(self._state.records))
            for record in found:
                del self._state.records[space, record.key]
            return len(found)
