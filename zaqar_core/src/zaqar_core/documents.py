"""Records of one kind, as the core's controllers use them: writes whose outcome is unknown are read back."""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from zaqar_core.contract import Record, RecordStore, Space, new_id
from zaqar_core.encoding import parse
from zaqar_core.errors import IncompatibleStorage, OutcomeUnknown, StorageError, StorageUnavailable
from zaqar_core.kit.deadline import remaining

T = TypeVar("T")

QUEUES = "queues"
POOLS = "pools"
FLAVORS = "flavors"
CATALOGUE = "catalogue"
ENTRIES_BY_POOL = "catalogue-by-pool"
SUBSCRIPTIONS = "subscriptions"

DIGEST = 24
"""How many characters a digest has: 144 bits."""
_PAGE = 1_000
_LONGEST = 1e12
_MISSING = object()


class Documents:
    """Records of the kind ``kind``, in any project ("" for those of no project)."""

    def __init__(self, records: RecordStore, kind: str) -> None:
        self._records = records
        self._kind = kind

    def get(self, project: str, key: str) -> Record | None:
        """The record, or None if it is absent."""
        return self._in_time().get(self._space(project), key)

    def insert(self, project: str, key: str, value: bytes, *, ttl: float | None = None) -> str | None:
        """The version of the new record; None if there is one already."""
        space, records = self._space(project), self._in_time()
        return self._settled(project, key, lambda nonce: records.insert(space, key, value, nonce=nonce, ttl=ttl))

    def replace(self, project: str, record: Record, value: bytes) -> str | None:
        """The version that replaced this one; None if it is not the current one any more."""
        space, key, version, records = self._space(project), record.key, record.version, self._in_time()
        return self._settled(
            project, key, lambda nonce: records.replace(space, key, value, version=version, nonce=nonce)
        )

    def delete(self, project: str, key: str, *, version: str | None = None) -> bool:
        """Whether this call deleted the record (of that version, if one is given)."""
        return self._in_time().delete(self._space(project), key, version=version)

    def delete_all(self, project: str, *, prefix: str) -> int:
        """Delete every record whose key starts with ``prefix``; an error may leave some of them."""
        return self._in_time().delete_all(self._space(project), prefix=prefix)

    def scan(self, project: str, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        """Up to ``limit`` records by key, those that start with ``prefix`` and come after ``after``."""
        return self._in_time().scan(self._space(project), prefix=prefix, after=after, limit=limit)

    def all(self, project: str, *, prefix: str = "") -> Iterator[Record]:
        """Every record by key, read in pages: what comes and goes meanwhile may be missed."""
        after: str | None = None
        while True:
            page = self.scan(project, prefix=prefix, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].key

    def count(self, project: str, *, prefix: str = "") -> int:
        """How many records have a key that starts with ``prefix``."""
        return self._in_time().count(self._space(project), prefix=prefix)

    def _space(self, project: str) -> Space:
        return Space(self._kind, project)

    def _in_time(self) -> RecordStore:
        """The store, if the operation has time left; checked at each step, so that none outlasts its timeout."""
        if remaining(math.inf) <= 0:
            raise StorageUnavailable("the timeout of the operation is over; allow more time, or try again")
        return self._records

    def _settled(self, project: str, key: str, write: Callable[[str], str | None]) -> str | None:
        """Run a write; after an unknown outcome read back whether it was ours that took effect."""
        nonce = new_id()
        try:
            return write(nonce)
        except OutcomeUnknown:
            version = self._version_of(project, key, nonce)
            if version is None:
                raise
            return version

    def _version_of(self, project: str, key: str, nonce: str) -> str | None:
        """The version that the write with this nonce made; None if it is not seen, or the read fails.

        An error of the read must not replace ``OutcomeUnknown``: it would say that nothing happened.
        """
        try:
            record = self.get(project, key)
        except StorageError:
            return None
        return record.version if record is not None and record.nonce == nonce else None


_JSON: Mapping[type, str] = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


class Fields:
    """The fields of a stored record; each is taken by name and type.

    What is missing or of another type, ``null`` included, raises ``IncompatibleStorage``, which names the record.
    """

    def __init__(self, kind: str, project: str, record: Record) -> None:
        self._where = kind, project, record.key
        try:
            value = parse(record.value)
        except ValueError as error:
            raise self._damage(f"its {len(record.value)} bytes cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise self._damage(f"expected a JSON object, got {_json_type(value)}")
        self._fields: dict[str, Any] = value

    def take(self, name: str, kind: type[T]) -> T:
        """The field's value; a subclass of ``kind``, such as bool for int, is refused."""
        value = self._fields.pop(name, _MISSING)
        if type(value) is not kind:
            raise self._wrong(name, value, _JSON[kind])
        return value

    def texts(self, name: str) -> list[str]:
        """The field's value: a list of strings."""
        values = self.take(name, list)
        if not all(isinstance(value, str) for value in values):
            raise self._damage(f"expected its field {name!r} to be a list of strings only")
        return values

    def seconds(self, name: str) -> float | None:
        """The field's value: a number of seconds, or null."""
        value = self._fields.pop(name, _MISSING)
        if value is None or (type(value) in (int, float) and 0 <= value <= _LONGEST):
            return None if value is None else float(value)
        raise self._wrong(name, value, "a number of seconds or null")

    def rest(self) -> dict[str, Any]:
        """What was not taken: fields of a newer version, which are kept when the record is written again."""
        return self._fields

    def _damage(self, why: str) -> IncompatibleStorage:
        return damaged(*self._where, why)

    def _wrong(self, name: str, value: object, expected: str) -> IncompatibleStorage:
        got = "nothing" if value is _MISSING else _json_type(value)
        return self._damage(f"expected its field {name!r} to be {expected}, got {got}")


def _json_type(value: object) -> str:
    return "a number" if isinstance(value, float) else _JSON[type(value)]


def damaged(kind: str, project: str, key: str, why: str) -> IncompatibleStorage:
    """The error about a record that cannot be understood. It shows no values, which may be secrets."""
    owner = f" of project {project!r}" if project else ""
    return IncompatibleStorage(
        f"the record {key!r} of {kind}{owner} is damaged, or was written by something else: {why}; it was left as it "
        "is: repair it, or delete it from the record store"
    )


def readable(found: Iterable[Record], read: Callable[[Record], T], marker: Callable[[Record], str]) -> list[T]:
    """What the records of a page say, up to the first that is damaged.

    Where that is the very first, raises ``IncompatibleStorage`` and says how to list what comes after it.
    """
    items: list[T] = []
    for record in found:
        try:
            items.append(read(record))
        except IncompatibleStorage as error:
            if items:
                break
            raise IncompatibleStorage(f"{error}; marker={marker(record)!r} lists what comes after it") from error
    return items


def to_bytes(value: Mapping[str, Any]) -> bytes:
    """A document of the core's own making, as it is stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def digest(*texts: str) -> str:
    """Characters, as many as ``DIGEST`` says, that stand for these texts in a key, however long they are."""
    parts = "".join(f"{len(text)}:{text}" for text in texts)
    return urlsafe_b64encode(sha256(parts.encode()).digest())[:DIGEST].decode()
