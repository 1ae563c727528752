"""Connections to one file: transactions that end in time, a pool for threads, and what a fork needs."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from zaqar_core import kit
from zaqar_core.errors import StorageClosed, StorageUnavailable
from zaqar_sqlite.errors import Busy, translated
from zaqar_sqlite.options import Options

T = TypeVar("T")

MAX_IDLE: Final = 8
"""How many connections are kept open while nothing needs them."""
PAGES_BETWEEN_CHECKPOINTS: Final = 4_000
"""After so many pages the log is copied into the file. Commits write the same few pages again and again, so that a
longer log is less to copy; 16 MiB of it are read again soon enough after a crash."""
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024
"""The log file is cut back to this size after a checkpoint."""


class Database:
    """One SQLite file, shared by threads, processes and forked children.

    Each operation takes a connection of its own. Threads queue for a lock of ours before they write: SQLite's own
    waiting is sleeping and trying again, which among busy threads is slow and unfair.
    """

    def __init__(self, path: Path, options: Options, *, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self._options = options
        self._writer = threading.Lock()
        self._state = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._busy: set[sqlite3.Connection] = set()
        self._in_flight = 0
        self._closed = False
        self._forking = False
        self._stranded = False
        with _forking:
            _databases.add(self)

    def deadline(self) -> float:
        """The moment, by ``time.monotonic()``, at which an operation that begins now must have ended."""
        return kit.deadline(self.timeout)

    def read(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        """What ``work`` returns, which sees the database as it was at one instant. May call it more than once."""
        return self._until(deadline, "BEGIN", work)

    def write(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        """Run ``work`` in a transaction that nobody else's write can interleave with, and commit it."""
        writer = self._writer
        if not writer.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StorageUnavailable(f"other threads kept the database busy for {self.timeout:g} s; try again later")
        try:
            return self._until(deadline, "BEGIN IMMEDIATE", work)
        finally:
            writer.release()

    def run(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        """Run ``work`` outside of any transaction, for pragmas that need it so."""
        return self._until(deadline, None, work)

    def close(self) -> None:
        """Let operations that run end, at most ``timeout`` seconds, and close. Twice is once."""
        with self._state:
            self._closed = True
            self._close_idle()
            self._state.notify_all()
            # What has not ended by then closes its own connection as it ends.
            self._state.wait_for(lambda: not self._in_flight, self.timeout)

    @property
    def closed(self) -> bool:
        """Whether no connection is or will be open."""
        with self._state:  # Closing happens under it.
            return self._closed and not self._in_flight

    def _until(self, deadline: float, begin: str | None, work: Callable[[sqlite3.Connection], T]) -> T:
        tries = 0
        while True:
            try:
                return self._attempt(deadline, begin, work)
            except Busy as busy:
                pause = random.uniform(0.5, 1.0) * min(0.005, 0.0002 * 2**tries)
                if time.monotonic() + pause >= deadline:
                    raise StorageUnavailable(f"{busy}. Gave up in time; nothing happened, try again later") from busy
            time.sleep(pause)
            tries = min(tries + 1, 10)

    def _attempt(self, deadline: float, begin: str | None, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._enter(deadline)
        usable = committing = False
        try:
            if connection is None:
                connection = self._connect()
            if begin is None:
                result = work(connection)
            else:
                connection.execute(begin)
                result = work(connection)
                committing = True
                connection.execute("COMMIT")
            usable = True
            return result
        except sqlite3.Error as error:
            raise translated(error, committing=committing) from error
        finally:
            self._leave(connection, usable or (connection is not None and _rolled_back(connection)))

    def _enter(self, deadline: float) -> sqlite3.Connection | None:
        """Begin an operation: an idle connection, or None if one is to be made."""
        with self._state:
            if self._forking:
                self._state.wait_for(lambda: not self._forking, max(0.0, deadline - time.monotonic()))
            if self._closed:
                raise StorageClosed("the storage is closed; connect again")
            if self._stranded:
                raise StorageUnavailable(
                    "this process was forked while another thread was inside SQLite; connect again in a new process"
                )
            if self._forking:
                raise StorageUnavailable("a fork of this process held the database up; try again")
            self._in_flight += 1
            connection = self._idle.pop() if self._idle else None
            if connection is not None:
                self._busy.add(connection)
            return connection

    def _leave(self, connection: sqlite3.Connection | None, usable: bool) -> None:
        with self._state:
            self._in_flight -= 1
            if connection is not None:
                self._busy.discard(connection)
                if usable and not self._closed and len(self._idle) < MAX_IDLE:
                    self._idle.append(connection)
                else:
                    _close_quietly(connection)
            if self._closed or self._forking:
                self._state.notify_all()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            with self._state:
                self._busy.add(connection)
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
        except BaseException:
            with self._state:
                self._busy.discard(connection)
            _close_quietly(connection)
            raise
        return connection

    def _close_idle(self) -> None:
        while self._idle:
            _close_quietly(self._idle.pop())

    # --- Fork -------------------------------------------------------------------------------------
    # A connection that a child inherits must not be used nor closed there, and SQLite's tables of locks, which the
    # child inherits too, would make it believe in locks that it does not hold. So none is open during a fork.

    def _before_fork(self) -> None:
        self._state.acquire()
        self._forking = True
        self._state.wait_for(lambda: not self._in_flight, self.timeout)
        self._close_idle()

    def _after_fork_in_parent(self) -> None:
        self._forking = False
        self._state.notify_all()
        self._state.release()

    def _after_fork_in_child(self) -> None:
        if self._in_flight:
            self._stranded = True
            _abandoned.extend(self._busy)
        self._writer = threading.Lock()
        self._state = threading.Condition()
        self._busy = set()
        self._in_flight = 0
        self._forking = False


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Keep this process from forking, and from making another ``Database``."""
    with _forking:
        yield


def open_here(path: Path) -> bool:
    """Whether this process has the file open through a ``Database``. Call it under ``no_fork``."""
    return any(database.path == path and not database.closed for database in _databases)


def _rolled_back(connection: sqlite3.Connection) -> bool:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return True


def _close_quietly(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        connection.close()


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_abandoned: list[sqlite3.Connection] = []
_forking = threading.RLock()


def _before_fork() -> None:
    _forking.acquire()
    for database in list(_databases):
        database._before_fork()


def _after_fork_in_parent() -> None:
    for database in list(_databases):
        database._after_fork_in_parent()
    _forking.release()


def _after_fork_in_child() -> None:
    for database in list(_databases):
        database._after_fork_in_child()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
