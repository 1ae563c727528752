"""Connections to one file: transactions that end in time, a pool for threads, and what a fork needs.

An exception can come between any two bytecodes, from a signal handler. So nothing here relies on a lock that such an
exception would leave locked: ``kit.Slots`` knows by the frame whether a holder is still there, and every other step
that matters is one call into C, of a dict, a set or a list.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar

from zaqar_core import kit
from zaqar_core.errors import IncompatibleStorage, StorageClosed, StorageUnavailable, ZaqarError
from zaqar_sqlite.clock import Clock
from zaqar_sqlite.errors import Busy, translated, wrong_version
from zaqar_sqlite.options import Options

T = TypeVar("T")

MAX_CONNECTIONS: Final = 64
"""How many calls read at a time; further ones wait."""
MAX_IDLE: Final = 8
"""How many connections for reading are kept open while nothing needs them."""
WRITER: Final = -1
"""The number of the connection for writing."""
PAGES_BETWEEN_CHECKPOINTS: Final = 4_000
"""After how many pages the log is copied into the file. Commits write the same few pages again and again, so a
longer log means less to copy; after a crash, reading 16 MiB of it again takes little time."""
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024
"""The log file is cut back to this size after a checkpoint."""

_POLL: Final = 0.001
"""Seconds between two looks at what other threads do, while a fork or a close waits for them."""


class Database:
    """One SQLite file, shared by threads, processes and forked children.

    Each operation takes a connection of its own. Threads queue before they write: SQLite's own waiting is sleeping and
    trying again, which among busy threads is slow and unfair.
    """

    def __init__(self, path: Path, options: Options, *, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self.clock = Clock(path)
        self.schema_version: int | None = None
        """The one that this process uses, once ``schema.prepare`` has seen to it."""
        self._options = options
        self._closed = False
        self._begin_anew()
        _databases.add(weakref.ref(self, _databases.discard))

    def _begin_anew(self) -> None:
        self._writer = kit.Slots(1, "the database's write lock")
        self._readers = kit.Slots(MAX_CONNECTIONS, "every connection to the database")
        self._connections: dict[int, sqlite3.Connection] = {}
        """By the number of the slot, or ``WRITER``. Only the slot's holder touches it or, if it has none, a closer.
        Writers share one: so the next one finds the transaction that an exception may have left open."""
        self._unclean: set[int] = set()
        """The slots whose connection is not fit for another call: it is in use, or was when an exception came."""

    def deadline(self) -> float:
        """The moment, by ``time.monotonic()``, at which the operation under way must have ended."""
        return kit.deadline(self.timeout)

    def read(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        """What ``work`` returns, which sees the database as it was at one instant. May call it more than once."""
        return self._call(self._readers, deadline, "BEGIN", work)

    def write(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        """Run ``work`` in a transaction that no other write can interleave with, and commit it."""
        return self._call(self._writer, deadline, "BEGIN IMMEDIATE", work)

    def run(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        """Run ``work`` outside of any transaction, for pragmas that need it so."""
        return self._call(self._readers, deadline, None, work)

    def close(self) -> None:
        """Let operations that run end, at most ``timeout`` seconds, and close. Twice is once."""
        self._closed = True
        self._close_idle()
        # What has not ended by then closes its own connection as it ends.
        self._wait_for_others(self.deadline())
        self._close_idle()

    @property
    def closed(self) -> bool:
        """Whether no connection is or will be open."""
        return self._closed and not self._connections and not self._holders()

    def _holders(self) -> dict[int, FrameType]:
        """The frames that use a connection, by its number."""
        writer = self._writer.holders().get(0)
        return self._readers.holders() | ({} if writer is None else {WRITER: writer})

    def _call(self, slots: kit.Slots, deadline: float, begin: str | None, work: Callable[[sqlite3.Connection], T]) -> T:
        if time.monotonic() >= deadline:
            raise StorageUnavailable("the timeout was over before this step of the call began; try again later")
        tries = 0
        while True:
            self._wait_for_forks(deadline)
            slot = slots.take(deadline)
            number = WRITER if slots is self._writer else slot.number
            try:
                while not _forks or self._closed:  # a fork that has begun meanwhile waits for this call
                    try:
                        return self._use(number, begin, work, slots)
                    except Busy as busy:
                        pause = random.uniform(0.5, 1.0) * min(0.005, 0.0002 * 2**tries)
                        if time.monotonic() + pause >= deadline:
                            raise StorageUnavailable(
                                f"{busy}. Gave up in time; nothing happened, try again later"
                            ) from busy
                    finally:
                        if not self._is_forked(slots):
                            self._clean(number)
                    time.sleep(pause)
                    tries = min(tries + 1, 10)
            finally:
                if not self._is_forked(slots):
                    self._clean(number)  # again, for an exception may have interrupted the line before this block
                slot.give_back()
                if self._closed:
                    self._close_idle()

    def _wait_for_forks(self, deadline: float) -> None:
        while _forks and not self._closed:
            if time.monotonic() + _POLL >= deadline:
                raise StorageUnavailable("a fork of this process held the database up; try again")
            time.sleep(_POLL)

    def _is_forked(self, slots: kit.Slots) -> bool:
        """Whether this is the child of a fork, which came since the call took one of these ``slots``, or before."""
        return (slots is not self._readers and slots is not self._writer) or kit.forked()

    def _use(self, number: int, begin: str | None, work: Callable[[sqlite3.Connection], T], slots: kit.Slots) -> T:
        # Asked only now that the slot is taken: so either a close sees this call, or this call sees that.
        if self._closed:
            raise StorageClosed("the storage is closed; connect again")
        _ensure_not_stranded(self.path)
        if self._is_forked(slots):
            raise _forked()
        self._clean(number)  # after a holder that an exception ended
        self._unclean.add(number)
        committing = False
        try:
            connection = self._connections.get(number) or self._connect(number)
            if self._is_forked(slots):  # asked again: only a connection that was made before a fork is barred by it
                raise _forked()
            if begin is None:
                result = work(connection)
            else:
                connection.execute(begin)
                result = work(connection)
                committing = True
                connection.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            if self._is_forked(slots):
                raise _forked() from error
            failure = translated(error, committing=committing)
            if not committing and not isinstance(failure, Busy):
                failure = self._wrong_version(number) or failure
            self._roll_back(number)
            raise failure from error
        except ZaqarError:
            if not self._is_forked(slots):
                self._roll_back(number)
            raise
        self._keep(number)
        return result

    def _wrong_version(self, number: int) -> IncompatibleStorage | None:
        """What to raise if another version of this package has changed the schema since this process connected."""
        connection = self._connections.get(number)
        if connection is not None and self.schema_version is not None:
            with contextlib.suppress(sqlite3.Error):
                [found] = connection.execute("PRAGMA user_version").fetchone()
                if found != self.schema_version:
                    return wrong_version(self.path.name, found, self.schema_version)
        return None

    def _roll_back(self, number: int) -> None:
        """Make the connection fit for the next call, if SQLite can."""
        connection = self._connections.get(number)
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._keep(number)

    def _keep(self, number: int) -> None:
        """Leave the connection open for the next call, unless there are enough of them."""
        if number < MAX_IDLE:
            self._unclean.discard(number)

    def _clean(self, number: int) -> None:
        """Close the connection unless it is to be kept."""
        if number in self._unclean:
            self._close_at(number)
            self._unclean.discard(number)

    def _close_at(self, number: int) -> None:
        connection = self._connections.get(number)
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                # Closing alone would leave a transaction open for as long as a traceback keeps a cursor alive.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):
                if self._connections.get(number) is connection:  # else a fork came in between
                    connection.close()
            self._connections.pop(number, None)

    def _connect(self, number: int) -> sqlite3.Connection:
        connect = partial(
            sqlite3.connect,
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        # Made and kept in one call into C, so that none can get lost between the two.
        self._connections.update(zip((number,), map(connect, (f"{self.path.as_uri()}?mode=rw",)), strict=True))
        connection = self._connections.get(number)
        if connection is None:
            raise _forked()
        for pragma in (
            f"synchronous = {self._options.synchronous}",
            f"cache_size = {-1024 * self._options.cache_mib}",
            f"wal_autocheckpoint = {PAGES_BETWEEN_CHECKPOINTS}",
            f"journal_size_limit = {WAL_BYTES_KEPT}",
            "secure_delete = FAST",
            "temp_store = MEMORY",
            # Where fsync does not reach the disk (macOS); nothing elsewhere.
            f"fullfsync = {int(self._options.synchronous == 'FULL')}",
            f"checkpoint_fullfsync = {int(self._options.synchronous == 'FULL')}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _close_idle(self) -> None:
        """Close the connections that no call uses.

        Call it where no other call can begin to use one: once ``_closed`` is set, or in the thread that forks.
        """
        for number in list(self._connections):
            if number not in self._holders():
                self._close_at(number)

    def _wait_for_others(self, deadline: float) -> None:
        """Until no other thread is inside of a call, at the latest until the deadline."""
        mine = _stack()
        while any(frame not in mine for frame in self._holders().values()) and time.monotonic() < deadline:
            time.sleep(_POLL)

    # --- Fork -------------------------------------------------------------------------------------
    # A connection that a child inherits must not be used nor closed there, and SQLite's tables of locks, which the
    # child inherits too, would make it believe in locks that it does not hold. So none is open during a fork.

    def _before_fork(self) -> None:
        self._wait_for_others(self.deadline())
        self._close_idle()

    def _after_fork_in_child(self) -> None:
        holders, mine = self._holders(), _stack()
        if self._connections or any(frame not in mine for frame in holders.values()):
            _stranded.add(self.path)
        for number, connection in self._connections.items():
            _keep_for_ever(connection)
            if holders.get(number) in mine:  # another thread's may be locked for good
                # The interrupted call goes on: whatever it begins with this connection is refused, COMMIT too.
                connection.set_authorizer(_deny)
        self._begin_anew()


def opening() -> kit.Slots:
    """Take it to look at a file that may not be ours, and until a ``Database`` is made of it."""
    return _process.opening


def open_here(path: Path) -> bool:
    """Whether this process has the file open through a ``Database``. Call it inside of ``opening``.

    Raises ``StorageUnavailable`` where this process must not open it.
    """
    _ensure_not_stranded(path)
    databases = [reference() for reference in list(_databases)]
    return any(database is not None and database.path == path and not database.closed for database in databases)


def _ensure_not_stranded(path: Path) -> None:
    if path in _stranded:
        raise StorageUnavailable(
            f"this process was forked while a call was using {path.name!r}, so SQLite cannot use that file here any "
            "more; use a process that is started anew, or forked while no call is under way"
        )


def _forked() -> StorageUnavailable:
    return StorageUnavailable(
        "this process was forked in the middle of a call, which only the parent completes; this process changed nothing"
    )


def _deny(*_: object) -> int:
    return sqlite3.SQLITE_DENY


def _keep_for_ever(connection: sqlite3.Connection) -> None:
    """Not even the end of the process closes it: that would undo, in the shared log, what the parent is writing."""
    _abandoned.append(connection)
    with contextlib.suppress(ImportError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _stack() -> list[FrameType]:
    """The frames that this thread is inside of."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


class _Process:
    def __init__(self) -> None:
        self.opening = kit.Slots(1, "the opening of SQLite files in this process")


_process = _Process()
_databases: set[weakref.ref[Database]] = set()
_abandoned: list[sqlite3.Connection] = []
_stranded: set[Path] = set()
"""The files that were in use when this process was forked. What SQLite knows of their locks is not true here."""
_forks: list[None] = []
"""One entry for each thread that is forking."""


def _before_fork() -> None:
    for reference in list(_databases):
        database = reference()
        if database is not None:
            database._before_fork()


def _after_fork_in_child() -> None:
    for reference in list(_databases):
        database = reference()
        if database is not None:
            database._after_fork_in_child()
    _process.opening = _Process().opening
    _forks.clear()


if hasattr(os, "register_at_fork"):
    # Functions in C come first and last: no exception can come between them and leave all calls waiting for a fork that
    # is over. What is registered last runs first before a fork.
    os.register_at_fork(before=_before_fork, after_in_parent=_forks.pop, after_in_child=_after_fork_in_child)
    os.register_at_fork(before=partial(_forks.append, None))
