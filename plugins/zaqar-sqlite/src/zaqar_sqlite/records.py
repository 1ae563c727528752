"""Records of the control plane: small named documents."""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from zaqar_core.contract import MAX_SETTLED_PER_CALL, Record, RecordStore, Space, new_id
from zaqar_core.errors import OutcomeUnknown, StorageError
from zaqar_sqlite.clock import to_ms
from zaqar_sqlite.connections import Database
from zaqar_sqlite.settle import UNSETTLED, Unsettled

T = TypeVar("T")

_ONE: Final = "kind = :kind AND project = :project AND key = :key"
_SOME: Final = "kind = :kind AND project = :project AND key >= :low"
_EXPIRED: Final = "expires_at <= ?"
_STEP: Final = MAX_SETTLED_PER_CALL
_COLUMNS: Final = "key, value, version, nonce"
_HIGHEST: Final = chr(0x10FFFF)


class SqliteRecords(RecordStore):
    """Records in the table ``records``. Versions are random, so that not even a lost file repeats one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, space: Space, key: str) -> Record | None:
        def work(connection: sqlite3.Connection) -> Record | None:
            row = connection.execute(f"SELECT {_COLUMNS} FROM records WHERE {_ONE}", _values(space, key=key)).fetchone()
            return None if row is None else _record(row)

        return self._read(work)

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        def work(connection: sqlite3.Connection, now: int) -> int:
            expires_at = None if ttl is None else now + to_ms(ttl)
            return connection.execute(
                """INSERT INTO records (kind, project, key, version, nonce, expires_at, value)
                VALUES (:kind, :project, :key, :version, :nonce, :expires_at, :value)
                ON CONFLICT (kind, project, key) DO NOTHING""",
                _values(space, key=key, version=version, nonce=nonce, expires_at=expires_at, value=value),
            ).rowcount

        version = new_id()
        return version if self._write(work) else None

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        def work(connection: sqlite3.Connection, _: int) -> int:
            return connection.execute(
                f"UPDATE records SET value = :value, version = :new, nonce = :nonce WHERE {_ONE} AND version = :old",
                _values(space, key=key, value=value, new=new, nonce=nonce, old=version),
            ).rowcount

        new = new_id()
        return new if self._write(work) else None

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        def work(connection: sqlite3.Connection, _: int) -> int:
            return connection.execute(
                f"DELETE FROM records WHERE {_ONE} AND version = ifnull(:version, version)",
                _values(space, key=key, version=version),
            ).rowcount

        return bool(self._write(work))

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        def work(connection: sqlite3.Connection) -> list[Record]:
            where, values = _range(space, prefix, after)
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM records WHERE {where} ORDER BY key LIMIT :limit", {**values, "limit": limit}
            ).fetchall()
            return [_record(row) for row in rows]

        return self._read(work)

    def count(self, space: Space, *, prefix: str = "") -> int:
        def work(connection: sqlite3.Connection) -> int:
            where, values = _range(space, prefix, None)
            return int(connection.execute(f"SELECT count(*) FROM records WHERE {where}", values).fetchone()[0])

        return self._read(work)

    def delete_all(self, space: Space, *, prefix: str = "") -> int:
        def work(connection: sqlite3.Connection, _: int) -> int:
            where, values = _range(space, prefix, None)
            return connection.execute(
                f"DELETE FROM records WHERE id IN (SELECT id FROM records WHERE {where} LIMIT {_STEP})", values
            ).rowcount

        deadline = self._database.deadline()
        deleted = step = self._write(work, deadline)
        try:
            while step == _STEP:
                step = self._write(work, deadline)
                deleted += step
        except StorageError as error:
            raise OutcomeUnknown(
                f"{deleted} records were deleted; repeat the call to delete the rest. The next step failed: {error}"
            ) from error
        return deleted

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns, which only reads, once no record has expired that is still stored.

        As ``settle.read`` it locks nothing, and judges by the moment of the removal if there was one.
        """

        def attempt(moment: int | None, connection: sqlite3.Connection) -> T | Unsettled:
            now = self._database.clock.now_ms() if moment is None else moment
            if connection.execute(f"SELECT 1 FROM records WHERE {_EXPIRED} LIMIT 1", (now,)).fetchone():
                return UNSETTLED
            return work(connection)

        deadline = self._database.deadline()
        moment = None
        while isinstance(answer := self._database.read(partial(attempt, moment), deadline), Unsettled):
            moment = self._write(lambda _, now: now, deadline)
        return answer

    def _write(self, work: Callable[[sqlite3.Connection, int], T], deadline: float | None = None) -> T:
        """What ``work`` returns, in one transaction, once what has expired is removed: seen as gone, it stays so.

        The work gets the connection and the moment by which that was judged.
        """

        def attempt(connection: sqlite3.Connection) -> T | Unsettled:
            now = self._database.clock.now_ms()
            return UNSETTLED if remove_expired(connection, now) == _STEP else work(connection, now)

        deadline = self._database.deadline() if deadline is None else deadline
        while isinstance(answer := self._database.write(attempt, deadline), Unsettled):
            pass
        return answer


def remove_expired(connection: sqlite3.Connection, now: int) -> int:
    """Remove up to ``MAX_SETTLED_PER_CALL`` expired records; how many."""
    return connection.execute(
        f"DELETE FROM records WHERE id IN (SELECT id FROM records WHERE {_EXPIRED} ORDER BY expires_at LIMIT {_STEP})",
        (now,),
    ).rowcount


def _record(row: Sequence[Any]) -> Record:
    key, value, version, nonce = row
    return Record(key=key, value=value, version=version, nonce=nonce)


def _values(space: Space, **more: object) -> dict[str, Any]:
    return {"kind": space.kind, "project": space.project, **more}


def _range(space: Space, prefix: str, after: str | None) -> tuple[str, dict[str, Any]]:
    # No key contains U+0000, so that "after + U+0000" is the least text above ``after``.
    low = prefix if after is None else max(prefix, after + "\0")
    high = _above(prefix)
    values = _values(space, low=low)
    return (_SOME, values) if high is None else (f"{_SOME} AND key < :high", {**values, "high": high})


def _above(prefix: str) -> str | None:
    """The least text above all that start with ``prefix``, or None if there is none."""
    stem = prefix.rstrip(_HIGHEST)
    if not stem:
        return None
    last = ord(stem[-1]) + 1
    # Surrogates are no characters of their own.
    return stem[:-1] + chr(0xE000 if last == 0xD800 else last)
