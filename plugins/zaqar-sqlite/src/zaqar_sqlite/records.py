"""Records of the control plane: small named documents."""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from zaqar_core.contract import Record, RecordStore, Space, new_id
from zaqar_sqlite import clock
from zaqar_sqlite.clock import to_ms
from zaqar_sqlite.connections import Database

T = TypeVar("T")

_NOW: Final = "(SELECT max(clock, :wall) FROM state)"
_LIVE: Final = f"(expires_at IS NULL OR expires_at > {_NOW})"
_ONE: Final = f"kind = :kind AND project = :project AND key = :key AND {_LIVE}"
_SOME: Final = f"kind = :kind AND project = :project AND key >= :low AND {_LIVE}"
_JUST_EXPIRED: Final = "SELECT 1 FROM state, records WHERE expires_at > clock AND expires_at <= :wall LIMIT 1"
_COLUMNS: Final = "key, value, version, nonce"
_HIGHEST: Final = chr(0x10FFFF)


class SqliteRecords(RecordStore):
    """Records in the table ``records``. Versions are random, so that not even a lost file repeats one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, space: Space, key: str) -> Record | None:
        def work(connection: sqlite3.Connection) -> Record | None:
            row = connection.execute(f"SELECT {_COLUMNS} FROM records WHERE {_ONE}", _values(space, key=key)).fetchone()
            return None if row is None else Record(*row)

        return self._read(work)

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        def work(connection: sqlite3.Connection) -> int:
            now = _tick(connection)
            expires_at = None if ttl is None else now + to_ms(ttl)
            return connection.execute(
                f"""INSERT INTO records (kind, project, key, version, nonce, expires_at, value)
                VALUES (:kind, :project, :key, :version, :nonce, :expires_at, :value)
                ON CONFLICT (kind, project, key) DO UPDATE
                SET version = :version, nonce = :nonce, expires_at = :expires_at, value = :value
                WHERE expires_at <= {now}""",
                _values(space, key=key, version=version, nonce=nonce, expires_at=expires_at, value=value),
            ).rowcount

        version = new_id()
        return version if self._database.write(work, self._database.deadline()) else None

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        def work(connection: sqlite3.Connection) -> int:
            _tick(connection)
            return connection.execute(
                f"UPDATE records SET value = :value, version = :new, nonce = :nonce WHERE {_ONE} AND version = :old",
                _values(space, key=key, value=value, new=new, nonce=nonce, old=version),
            ).rowcount

        new = new_id()
        return new if self._database.write(work, self._database.deadline()) else None

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        def work(connection: sqlite3.Connection) -> int:
            _tick(connection)
            return connection.execute(
                f"DELETE FROM records WHERE {_ONE} AND version = ifnull(:version, version)",
                _values(space, key=key, version=version),
            ).rowcount

        return bool(self._database.write(work, self._database.deadline()))

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        def work(connection: sqlite3.Connection) -> list[Record]:
            where, values = _range(space, prefix, after)
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM records WHERE {where} ORDER BY key LIMIT :limit", {**values, "limit": limit}
            )
            return [Record(*row) for row in rows]

        return self._read(work)

    def count(self, space: Space, *, prefix: str = "") -> int:
        def work(connection: sqlite3.Connection) -> int:
            where, values = _range(space, prefix, None)
            return int(connection.execute(f"SELECT count(*) FROM records WHERE {where}", values).fetchone()[0])

        return self._read(work)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns; if it may have found a record expired, only once that time is stored."""

        def attempt(connection: sqlite3.Connection) -> tuple[bool, T]:
            answer = work(connection)
            expired = connection.execute(_JUST_EXPIRED, {"wall": clock.wall_ms()}).fetchone()
            return expired is not None, answer

        def ticked(connection: sqlite3.Connection) -> T:
            _tick(connection)
            return work(connection)

        deadline = self._database.deadline()
        expired, answer = self._database.read(attempt, deadline)
        return self._database.write(ticked, deadline) if expired else answer


def _values(space: Space, **more: object) -> dict[str, Any]:
    return {"kind": space.kind, "project": space.project, "wall": clock.wall_ms(), **more}


def _tick(connection: sqlite3.Connection) -> int:
    """The time, stored, so that nobody sees an earlier one afterwards."""
    return int(
        connection.execute("UPDATE state SET clock = max(clock, ?) RETURNING clock", (clock.wall_ms(),)).fetchall()[0][
            0
        ]
    )


def _range(space: Space, prefix: str, after: str | None) -> tuple[str, dict[str, Any]]:
    # No key contains U+0000, so that "after + U+0000" is the least text above ``after``.
    low = prefix if after is None else max(prefix, after + "\0")
    high = _above(prefix)
    values = _values(space, low=low)
    return (_SOME, values) if high is None else (f"{_SOME} AND key < :high", {**values, "high": high})


def _above(prefix: str) -> str | None:
    """The least text above all that start with ``prefix``, or None if there is no such text."""
    stem = prefix.rstrip(_HIGHEST)
    if not stem:
        return None
    last = ord(stem[-1]) + 1
    # Surrogates are no characters of their own.
    return stem[:-1] + chr(0xE000 if last == 0xD800 else last)
