"""The one place that turns SQLite's errors into those of the project."""

from __future__ import annotations

import sqlite3
from typing import Final

from zaqar_core.errors import IncompatibleStorage, OutcomeUnknown, StorageError, StorageFull, StorageUnavailable

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA)
_REMEDY: Final = {
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for this process",
    sqlite3.SQLITE_PERM: "give this process access to the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "check that the file and its folder exist and are writable",
    sqlite3.SQLITE_IOERR: "check the disk and the file system",
    sqlite3.SQLITE_NOMEM: "give this process more memory",
    sqlite3.SQLITE_INTERRUPT: "it needs longer than it may take",
}


class Busy(StorageUnavailable):
    """Another connection holds the lock that was needed. Nothing happened; to be tried again."""


def wrong_version(name: str, found: int, known: int) -> IncompatibleStorage:
    """What to raise for a file whose schema has another version than the one that this process uses."""
    remedy = "upgrade zaqar-sqlite" if found > known else "an older file took its place: connect again"
    return IncompatibleStorage(
        f"{name!r} has schema version {found}, this zaqar-sqlite knows up to {known}; {remedy}. "
        "The file was left untouched"
    )


def translated(error: sqlite3.Error | OverflowError, *, committing: bool) -> StorageError:
    """What to raise ``from error``. ``committing``: the COMMIT itself failed, so that it may have happened.

    ``OverflowError``: Python's for a number that no column holds. The only ones without a bound are moments.
    """
    if isinstance(error, OverflowError):
        return StorageUnavailable(
            f"the host's clock is too far in the future ({error}); correct it. Nothing was written"
        )
    # Absent where Python itself raised, without SQLite. The low byte is the kind, the rest its detail.
    detail: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    code = detail & 0xFF
    said = f"SQLite says: {error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    if code in _BUSY:
        return Busy(f"another process or connection holds the database's lock; {said}")
    # Growing the shared-memory file fails for want of room as an I/O error.
    if code == sqlite3.SQLITE_FULL or detail == sqlite3.SQLITE_IOERR_SHMSIZE:
        return StorageFull(f"there is no room to write; free some on the disk. Nothing was written. {said}")
    if committing:
        return OutcomeUnknown(f"the commit failed, so it is unknown whether it happened; check the disk. {said}")
    undecodable = isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")
    if code in _DAMAGED or undecodable:
        return IncompatibleStorage(f"the file is damaged or not as this version made it; restore a backup. {said}")
    return StorageUnavailable(f"SQLite cannot use the file; {_REMEDY.get(code, 'see the cause')}. {said}")
