"""The driver: opens a file, says what holds for it, closes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from zaqar_core import kit
from zaqar_core.capabilities import Capability
from zaqar_core.contract import Driver
from zaqar_core.errors import BrokenDriver, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_sqlite import clock, schema, sweep
from zaqar_sqlite.claims import SqliteClaims
from zaqar_sqlite.connections import Database, no_fork, open_here
from zaqar_sqlite.messages import SqliteMessages
from zaqar_sqlite.options import options_of, path_of
from zaqar_sqlite.records import SqliteRecords

OLDEST_SQLITE: Final = (3, 38, 0)
"""The first that has both RETURNING and JSON in every build."""

_SYNCHRONOUS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")


class SqliteDriver(Driver):
    """Both planes in one file. ``sqlite:///relative.db``, ``sqlite:////absolute/path.db``."""

    contract = 1
    # One by one: a later core's vocabulary may hold what this driver has never heard of.
    possible_capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.CLAIMS,
            Capability.DELAY,
            Capability.POP,
            Capability.SUBSCRIPTIONS,
            Capability.ATOMIC_POST,
            Capability.IDEMPOTENT_POST,
            Capability.FIFO,
            Capability.STRICT_MARKERS,
            Capability.CONSISTENT_READS,
            Capability.EXCLUSIVE_CLAIMS,
            Capability.ATOMIC_RECORDS,
            Capability.EXACT_STATS,
            Capability.FLAT_STATS,
            Capability.HIGH_THROUGHPUT,
            Capability.SERVER_CLOCK,
            Capability.AT_LEAST_ONCE,
            Capability.PERSISTENT,
            Capability.DURABILITY,
            Capability.FAILOVER_SAFE,
            Capability.MULTI_PROCESS,
        }
    )

    def __init__(self, database: Database, capabilities: frozenset[Capability]) -> None:
        self._database = database
        self._capabilities = capabilities
        self.messages = SqliteMessages(database)
        self.claims = SqliteClaims(database)
        self.records = SqliteRecords(database)

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise BrokenDriver(
                f"zaqar-sqlite needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or later, this Python has "
                f"{sqlite3.sqlite_version}; use a newer Python or system library"
            )
        options = options_of(uri)
        path = path_of(uri)
        deadline = kit.deadline(connect_timeout)
        with no_fork():
            if not open_here(path):
                schema.refuse_foreign(path)
            database = Database(path, options, timeout=timeout)
        try:
            _create(path)
            schema.prepare(database, deadline)
            settings = database.run(_settings, deadline)
        except BaseException:
            database.close()
            raise
        durable = settings["journal_mode"] == "wal" and settings["synchronous"] in ("FULL", "EXTRA")
        return cls(database, cls.possible_capabilities - (frozenset() if durable else {Capability.DURABILITY}))

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    def ping(self) -> None:
        if not self._database.path.exists():
            raise StorageUnavailable(f"the file {self._database.path.name!r} is gone; restore it and connect again")
        self._database.read(lambda connection: connection.execute("SELECT clock FROM state"), self._database.deadline())

    def health(self) -> Mapping[str, object]:
        path = self._database.path
        return {
            "sqlite_version": sqlite3.sqlite_version,
            "file": path.name,
            "file_bytes": _size(path),
            "wal_bytes": _size(path.with_name(path.name + "-wal")),
            **self._database.run(_facts, self._database.deadline()),
        }

    def gc(self) -> int:
        return sweep.everything(self._database, self._database.deadline())

    def close(self) -> None:
        self._database.close()


def _create(path: Path) -> None:
    """Make the file if it is absent: connections never do, lest a file lost in use be replaced by an empty one."""
    if path.exists():
        return
    try:
        # SQLite does it, not we: closing a plain file here would drop locks held through SQLite on the same one.
        sqlite3.connect(path).close()
    except sqlite3.Error as error:
        raise StorageUnavailable(f"{path.name!r} cannot be made; check its folder's permissions") from error


def _settings(connection: sqlite3.Connection) -> dict[str, object]:
    """What holds, read back from SQLite."""
    return {
        "schema_version": _value(connection, "PRAGMA user_version"),
        "journal_mode": _value(connection, "PRAGMA journal_mode"),
        "synchronous": _SYNCHRONOUS[_value(connection, "PRAGMA synchronous")],
    }


def _facts(connection: sqlite3.Connection) -> dict[str, object]:
    return {
        **_settings(connection),
        "queues": _value(connection, "SELECT count(*) FROM queues WHERE project IS NOT NULL"),
        "clock_ahead_seconds": max(0, _value(connection, "SELECT clock FROM state") - clock.wall_ms()) / 1000,
    }


def _value(connection: sqlite3.Connection, statement: str) -> Any:
    return connection.execute(statement).fetchone()[0]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
