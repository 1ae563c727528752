"""Records of the control plane: small named documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from zaqar_core.contract import Record, RecordStore, Space, new_id
from zaqar_swift.errors import begun, not_ours
from zaqar_swift.names import Clock, record_name, space_prefix, to_us
from zaqar_swift.operations import changing, reading
from zaqar_swift.packing import RecordObject, content_of, pack_record, record_of
from zaqar_swift.store import LONGEST_PAGE, Found, Row, Store

_FIRST_PAGE: Final = 128
_DELETED_TOGETHER: Final = 1_000


class SwiftRecords(RecordStore):
    """Each record is an object; listings are in the order of keys, which names hold in hexadecimal digits.

    Reading and writing are two requests, so each of several concurrent writers may be told that it succeeded.
    """

    def __init__(self, store: Store, clock: Clock, container: str, inline_bytes: int) -> None:
        self._store = store
        self._clock = clock
        self._container = container
        self._inline_bytes = inline_bytes

    @reading
    def get(self, space: Space, key: str) -> Record | None:
        found = self._get(space, key, self._store.deadline())
        return None if found is None else Record(key, found.value, found.version, found.nonce)

    @changing
    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        deadline = self._store.deadline()
        expires = 0 if ttl is None else self._clock.now() + to_us(ttl)
        record = RecordObject(expires, new_id(), nonce, value)
        if not self._put(space, key, record, deadline, new=True):
            found = self._get(space, key, deadline)
            if found is not None:  # this one, if it was sent again since no answer came
                return record.version if found.version == record.version else None
            self._put(space, key, record, deadline)  # what is there has expired
        with begun("the record was written, but others may have written too"):
            found = self._get(space, key, deadline)
        return None if found is not None and found.version != record.version else record.version

    @changing
    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        deadline = self._store.deadline()
        found = self._get(space, key, deadline)
        if found is None or found.version != version:
            return None
        record = RecordObject(found.expires, new_id(), nonce, value)
        self._put(space, key, record, deadline)
        return record.version

    @changing
    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        deadline = self._store.deadline()
        found = self._get(space, key, deadline)
        if found is None or version not in (None, found.version):
            return False
        return self._store.delete(self._container, record_name(space, key), deadline)

    @reading
    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        deadline = self._store.deadline()
        records: list[Record] = []
        stem = space_prefix(space)
        wanted = min(LONGEST_PAGE, limit + _FIRST_PAGE)
        for row, found in self._live(space, prefix, after, wanted, deadline):
            try:
                key = bytes.fromhex(row.name.removeprefix(stem)).decode()
            except ValueError as error:
                raise not_ours(row.name) from error
            records.append(Record(key, found.value, found.version, found.nonce))
            if len(records) == limit:
                break
        return records

    @reading
    def count(self, space: Space, *, prefix: str = "") -> int:
        deadline = self._store.deadline()
        return sum(1 for _ in self._live(space, prefix, None, LONGEST_PAGE, deadline))

    @changing
    def delete_all(self, space: Space, *, prefix: str = "") -> int:
        """In parallel; of those whose listing does not say whether they have expired, all count."""
        deadline = self._store.deadline()
        list_after = partial(
            self._store.page, self._container, record_name(space, prefix), deadline, limit=_DELETED_TOGETHER
        )
        page, deleted = list_after(), 0
        with begun("some of the records were deleted, maybe all; delete again"):
            while page:
                calls = [partial(self._store.delete, self._container, row.name, deadline) for row in page]
                there = self._store.all_done(calls, deadline)
                deleted += sum(was and self._counts(row) for row, was in zip(page, there, strict=True))
                page = list_after(marker=page[-1].name) if len(page) == _DELETED_TOGETHER else []
        return deleted

    def _counts(self, row: Row) -> bool:
        rest = content_of(row.name, row.content_type).rest
        return rest is None or self._unless_expired(record_of(row.name, rest)) is not None

    def _live(
        self, space: Space, prefix: str, after: str | None, size: int, deadline: float
    ) -> Iterator[tuple[Row, RecordObject]]:
        start = record_name(space, prefix)
        marker = "" if after is None else record_name(space, after)
        while True:
            page = self._store.page(self._container, start, deadline, marker=marker, limit=size)
            for row, found in zip(page, self._read(page, deadline), strict=True):
                if found is not None:
                    yield row, found
            if len(page) < size:
                return
            marker = page[-1].name

    def _read(self, rows: Sequence[Row], deadline: float) -> list[RecordObject | None]:
        """What is in the records listed; those too large for a listing are fetched."""
        contents = {row.name: content_of(row.name, row.content_type) for row in rows}
        names = [name for name, content in contents.items() if content.rest is None]
        calls = [partial(self._store.get, self._container, name, deadline) for name in names]
        fetched = dict(zip(names, self._store.all_of(calls, deadline), strict=True))
        records: list[RecordObject | None] = []
        for name, content in contents.items():
            found = fetched.get(name)
            if content.rest is not None:
                records.append(self._unless_expired(record_of(name, content.rest)))
            else:
                records.append(None if found is None else self._object(name, found))
        return records

    def _get(self, space: Space, key: str, deadline: float) -> RecordObject | None:
        name = record_name(space, key)
        found = self._store.get(self._container, name, deadline, newest=True)
        return None if found is None else self._object(name, found)

    def _object(self, name: str, found: Found) -> RecordObject | None:
        content = content_of(name, found.content_type)
        return self._unless_expired(record_of(name, found.data if content.rest is None else content.rest))

    def _unless_expired(self, record: RecordObject) -> RecordObject | None:
        return record if not record.expires or record.expires > self._clock.now() else None

    def _put(self, space: Space, key: str, record: RecordObject, deadline: float, *, new: bool = False) -> bool:
        # Swift counts in whole seconds, and may not remove it too early.
        delete_at = record.expires // 1_000_000 + 2 if record.expires else 0
        return self._store.put(
            self._container,
            record_name(space, key),
            pack_record(record, self._inline_bytes),
            deadline,
            delete_at=delete_at,
            new=new,
        )
