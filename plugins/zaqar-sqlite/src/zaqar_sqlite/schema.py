"""Whether a file is this package's, and its schema: created, migrated, or left alone."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from zaqar_core.errors import IncompatibleStorage, StorageUnavailable
from zaqar_sqlite.connections import Database
from zaqar_sqlite.errors import wrong_version

APPLICATION_ID: Final = 0x7A717172
"""Marks a file as ours, in its header (``PRAGMA application_id``)."""

_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 105
_STEPS_BETWEEN_LOOKS: Final = 10_000
"""After how many steps of SQLite's virtual machine, well below a millisecond, a migration looks at the time."""


def refuse_foreign(path: Path) -> None:
    """Raise ``IncompatibleStorage`` for a file that is not ours, without touching it; an empty or absent one is.

    SQLite itself would add side files to a database in WAL mode or change it on the way, so the header is read as
    plain bytes. Closing a plain file drops the locks that this process holds on it through SQLite: call this only
    while it has none (``connections.open_here``), and inside of ``connections.opening``.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageUnavailable(f"{path.name!r} cannot be read ({error.strerror}); check its permissions") from error
    if not header:
        return
    if not header.startswith(_MAGIC):
        raise _refusal(path.name, "is not an SQLite database")
    application_id = int.from_bytes(header[68:72], "big")
    if application_id == 0 and _has_no_tables(header) and not _has_side_files(path):
        return
    if application_id != APPLICATION_ID:
        raise _refusal(path.name, "is another application's database")
    _refuse_newer(path.name, int.from_bytes(header[60:64], "big"), len(MIGRATIONS))


def prepare(database: Database, deadline: float, migrations: Sequence[str] | None = None) -> None:
    """Bring the file to the newest schema and to WAL mode. Other processes may do so at the same time.

    ``migrations``: SQL scripts; the schema's version is how many were applied.
    """
    scripts = MIGRATIONS if migrations is None else migrations
    name = database.path.name
    while database.read(lambda connection: _version(connection, name, len(scripts)), deadline) < len(scripts):
        database.write(lambda connection: _migrate_once(connection, name, scripts, deadline), deadline)
    database.schema_version = len(scripts)
    if database.run(lambda connection: _journal_mode(connection, ""), deadline) != "wal":
        mode = database.run(lambda connection: _journal_mode(connection, " = WAL"), deadline)
        if mode != "wal":
            raise StorageUnavailable(
                f"the file system of {name!r} has no shared memory, which SQLite's WAL mode needs; use a local disk"
            )


def _journal_mode(connection: sqlite3.Connection, wanted: str) -> str:
    return str(connection.execute(f"PRAGMA journal_mode{wanted}").fetchone()[0])


def _migrate_once(connection: sqlite3.Connection, name: str, scripts: Sequence[str], deadline: float) -> None:
    version = _version(connection, name, len(scripts))
    if version == len(scripts):
        return  # Another process was faster.
    connection.set_progress_handler(lambda: time.monotonic() >= deadline, _STEPS_BETWEEN_LOOKS)
    try:
        for statement in _statements(scripts[version]):
            connection.execute(statement)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
        raise StorageUnavailable(
            f"{name!r} is still at schema version {version}: there was no time to bring it to version {version + 1}; "
            "connect with a longer connect_timeout once, as long as it takes"
        ) from error
    finally:
        connection.set_progress_handler(None, 0)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version + 1}")


def _version(connection: sqlite3.Connection, name: str, newest: int) -> int:
    application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if application_id != APPLICATION_ID:
        if application_id or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise _refusal(name, "is another application's database")
        return 0
    _refuse_newer(name, version, newest)
    return version


def _refuse_newer(name: str, version: int, newest: int) -> None:
    if version > newest:
        raise wrong_version(name, version, newest)


def _refusal(name: str, what: str) -> IncompatibleStorage:
    return IncompatibleStorage(f"{name!r} {what}; name a file of its own in the URI. It was left untouched")


def _has_no_tables(header: bytes) -> bool:
    # Byte 100 is the kind of the first page (13: a leaf), the two at 103 how many entries the list of tables has.
    return header[100:101] == b"\r" and header[103:105] == b"\0\0"


def _has_side_files(path: Path) -> bool:
    sides = (path.with_name(path.name + "-wal"), path.with_name(path.name + "-journal"))
    return any(os.path.lexists(side) for side in sides)


def _statements(script: str) -> Iterator[str]:
    """``executescript`` would commit; one statement at a time stays inside the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _load() -> tuple[str, ...]:
    folder = resources.files("zaqar_sqlite") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(file.read_text(encoding="utf-8") for file in files)


MIGRATIONS: Final = _load()
