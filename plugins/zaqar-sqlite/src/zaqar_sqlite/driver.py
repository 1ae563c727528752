"""The driver: opens a file, says what holds for it, closes it."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from zaqar_core import kit
from zaqar_core.capabilities import Capability
from zaqar_core.contract import Driver
from zaqar_core.errors import BrokenDriver, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_sqlite import schema, sweep
from zaqar_sqlite.claims import SqliteClaims
from zaqar_sqlite.clock import Clock
from zaqar_sqlite.connections import Database, open_here, opening
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
        slot = opening().take(deadline)
        try:
            if not open_here(path):
                schema.refuse_foreign(path)
            database = Database(path, options, timeout=timeout)
            _create(path)
        finally:
            slot.give_back()
        try:
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
        if _status(self._database.path) is None:
            raise StorageUnavailable(f"the file {self._database.path.name!r} is gone; restore it and connect again")
        self._database.read(lambda connection: _value(connection, "SELECT seen FROM state"), self._database.deadline())

    def health(self) -> Mapping[str, object]:
        path = self._database.path
        file, log = _status(path), _status(path.with_name(path.name + "-wal"))
        return {
            "sqlite_version": sqlite3.sqlite_version,
            "file": path.name,
            "file_bytes": 0 if file is None else file.st_size,
            "file_mode": None if file is None else f"{stat.S_IMODE(file.st_mode):04o}",
            "wal_bytes": 0 if log is None else log.st_size,
            **self._database.run(partial(_facts, self._database.clock), self._database.deadline()),
        }

    def gc(self) -> int:
        return sweep.everything(self._database, self._database.deadline())

    def close(self) -> None:
        self._database.close()


def _create(path: Path) -> None:
    """Make the file if it is absent: connections never do, lest a file lost in use be replaced by an empty one.

    It is for its owner alone, for it holds the URIs of pools, with their passwords. SQLite gives the files that it puts
    beside it the same permissions.
    """
    try:
        # Closing a plain file drops the locks that this process holds on it through SQLite; a new one has none.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StorageUnavailable(
            f"{path.name!r} cannot be made ({error.strerror}); check its folder's permissions"
        ) from error


def _settings(connection: sqlite3.Connection) -> dict[str, object]:
    """What holds, read back from SQLite."""
    return {
        "schema_version": _value(connection, "PRAGMA user_version"),
        "journal_mode": _value(connection, "PRAGMA journal_mode"),
        "synchronous": _SYNCHRONOUS[_value(connection, "PRAGMA synchronous")],
    }


def _facts(clock: Clock, connection: sqlite3.Connection) -> dict[str, object]:
    return {
        **_settings(connection),
        "queues": _value(connection, "SELECT count(*) FROM queues WHERE project IS NOT NULL"),
        "positions_ahead_seconds": max(
            _value(connection, "SELECT position_offset FROM state"),
            _value(connection, "SELECT position_offset + seen FROM state") - clock.now_ms(),
        )
        / 1000,
    }


def _value(connection: sqlite3.Connection, statement: str) -> Any:
    return connection.execute(statement).fetchone()[0]


def _status(path: Path) -> os.stat_result | None:
    """None if there is no such file."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageUnavailable(
            f"{path.name!r} cannot be reached ({error.strerror}); check the permissions of its folder"
        ) from error
