"""Exceptions from signal handlers: wherever one arrives, nothing is lost, and the next call works.

``test_an_exception_at_any_bytecode`` raises at each bytecode of each operation of the driver; the rest uses signals.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from zaqar_conformance.bytecodes import Interruption, interrupt
from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_sqlite import connections
from zaqar_sqlite import driver as driver_module
from zaqar_sqlite.claims import SqliteClaims
from zaqar_sqlite.connections import Database
from zaqar_sqlite.driver import SqliteDriver
from zaqar_sqlite.messages import SqliteMessages
from zaqar_sqlite.options import Options
from zaqar_sqlite.records import SqliteRecords

Open = Callable[..., SqliteDriver]
Ensure = Callable[[Path], None]

QUEUE = QueueKey("", "q")
PROBE = QueueKey("", "probe")
SPACE = Space("queues", "")
BATCH = [EncodedMessage(b"1", 1000.0, headers={"a": "b"}), EncodedMessage(b"2", 1000.0)]


def operations(driver: SqliteDriver) -> dict[str, Callable[[], object]]:
    """Each operation, on a queue of four messages, two of them claimed, and on one record."""
    database = driver._database
    messages, claims, records = SqliteMessages(database), SqliteClaims(database), SqliteRecords(database)
    claim = claims.create
    messages.purge(QUEUE)
    records.delete_all(SPACE)
    posted = messages.post(QUEUE, BATCH * 2, client_id="c")
    held = claim(QUEUE, ttl=900.0, grace=0.0, limit=2)
    claim_id, held_ids = str(held.id), [message.id for message in held.messages]
    version = str(records.insert(SPACE, "a", b"{}", nonce="n"))
    delayed = [EncodedMessage(b"3", 1000.0, delay=10.0, dedup_id="d")]
    page: dict[str, object] = {"marker": None, "limit": 5, "include_claimed": True, "include_delayed": True}
    return {
        "post": lambda: messages.post(QUEUE, [*BATCH, *delayed], client_id="c"),
        "get": lambda: messages.get(QUEUE, posted),
        "list": lambda: messages.list(QUEUE, exclude_client=None, **page),  # type: ignore[arg-type]
        "list others": lambda: messages.list(QUEUE, exclude_client="c", **page),  # type: ignore[arg-type]
        "first": lambda: messages.first(QUEUE, newest=True),
        "stats": lambda: messages.stats(QUEUE),
        "renew": lambda: claims.update(QUEUE, claim_id, ttl=900.0, grace=0.0),
        "get claim": lambda: claims.get(QUEUE, claim_id),
        "delete": lambda: messages.delete(QUEUE, held_ids[:1], claim_ids=[claim_id]),
        "release later": lambda: claims.release(QUEUE, claim_id, message_ids=held_ids, delay=5.0),
        "release": lambda: claims.release(QUEUE, claim_id),
        "claim": lambda: claim(QUEUE, ttl=900.0, grace=9.0, limit=1, max_claim_count=3),
        "pop": lambda: messages.pop(QUEUE, limit=1),
        "purge": lambda: messages.purge(QUEUE),
        "insert record": lambda: records.insert(SPACE, "b", b"{}", nonce="n", ttl=900.0),
        "get record": lambda: records.get(SPACE, "a"),
        "replace record": lambda: records.replace(SPACE, "a", b"1", version=version, nonce="n"),
        "scan records": lambda: records.scan(SPACE, limit=5),
        "count records": lambda: records.count(SPACE),
        "delete record": lambda: records.delete(SPACE, "b"),
        "delete records": lambda: records.delete_all(SPACE, prefix="b"),
        "ping": driver.ping,
        "health": driver.health,
        "gc": driver.gc,
    }


NAMES = (
    "post", "get", "list", "list others", "first", "stats", "renew", "get claim", "delete", "release later", "release",
    "claim", "pop", "purge", "insert record", "get record", "replace record", "scan records", "count records",
    "delete record", "delete records", "ping", "health", "gc",
)  # fmt: skip


def handles(path: Path) -> int:
    """How many open files this process has of the database."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(link.readlink()).startswith(str(path))
    return found


def ensure_usable(driver: SqliteDriver, other: sqlite3.Connection) -> None:
    """The write lock is free, in the file and in this process, and each kind of call works."""
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    database = driver._database
    messages, claims = SqliteMessages(database), SqliteClaims(database)
    [posted] = messages.post(PROBE, BATCH[:1], client_id="c")
    page = messages.list(PROBE, marker=None, limit=9, exclude_client=None, include_claimed=False, include_delayed=False)
    assert [message.id for message in page.items] == [posted]
    claim = claims.create(PROBE, ttl=900.0, grace=0.0, limit=9)
    assert [message.id for message in claim.messages] == [posted]
    assert messages.delete(PROBE, [posted], claim_ids=[str(claim.id)]) == {}
    assert not database._holders()


def ensure_consistent(other: sqlite3.Connection) -> None:
    """Each queue's counters say what its rows do, and a batch is there as a whole or not at all."""
    rows = other.execute("""SELECT free + claimed + delayed, (SELECT count(*) FROM messages WHERE queue = queues.id),
        (SELECT count(*) FROM messages WHERE queue = queues.id AND state = 1), claimed FROM queues WHERE name = 'q'""")
    for counted, stored, held, claimed in rows.fetchall():
        assert (counted, claimed) == (stored, held)
    posts = other.execute("SELECT posted_at, count(*) FROM messages WHERE body = x'33' GROUP BY 1").fetchall()
    assert len(posts) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_an_exception_at_any_bytecode_of_an_operation_loses_nothing_and_the_next_call_works(
    path: Path, open_driver: Open, ensure_whole: Ensure, name: str
) -> None:
    """The exception is kept until the next one, and with it all frames that it came through."""
    driver = open_driver(timeout=2, synchronous="OFF")
    kept: list[Interruption] = []

    def call() -> None:
        try:
            operation()
        except Interruption as error:
            kept.append(error)
            raise

    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        at, interrupted = 0, True
        while interrupted:
            at += 1
            operation = operations(driver)[name]
            interrupted = interrupt(call, at)
            ensure_consistent(other)
            ensure_usable(driver, other)
            del kept[:]
    assert at > 100
    driver.close()
    assert handles(path) == 0
    ensure_whole(path)


def test_an_exception_at_any_bytecode_of_opening_and_closing_loses_nothing(
    path: Path, open_driver: Open, ensure_whole: Ensure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URI is read before, for that opens nothing and takes thousands of bytecodes."""
    driver = open_driver(timeout=2, synchronous="OFF")
    uri = Uri.parse(f"sqlite:///{path}")
    monkeypatch.setattr(driver_module, "options_of", lambda _: Options(synchronous="OFF"))
    monkeypatch.setattr(driver_module, "path_of", lambda _: path)

    def open_and_close() -> None:
        SqliteDriver.open(uri, connect_timeout=2, timeout=2).close()

    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        at = 1
        while interrupt(open_and_close, at):
            ensure_usable(driver, other)
            open_and_close()
            at += 1
    assert at > 100
    driver.close()
    gc.collect()
    assert handles(path) == 0
    ensure_whole(path)


def test_the_next_write_rolls_back_what_several_exceptions_in_a_row_left_open(
    path: Path, open_driver: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One exception ends a transaction, and others each attempt to clean up after it; with readers under way."""
    driver = open_driver(timeout=2)
    database = driver._database

    def interrupted(*_: object) -> None:
        raise Interruption

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE state SET next_seq = 1000000")
        monkeypatch.setattr(Database, "_close_at", interrupted)
        raise Interruption

    def write_among_readers(_: sqlite3.Connection) -> None:
        with pytest.raises(Interruption):
            database.write(work, database.deadline())

    database.read(lambda _: database.read(write_among_readers, database.deadline()), database.deadline())
    monkeypatch.undo()
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        [posted] = SqliteMessages(database).post(QUEUE, BATCH[:1], client_id="c")
        assert posted.startswith("1-")
        ensure_usable(driver, other)


def test_a_call_from_a_handler_in_the_middle_of_a_write_is_told_so_at_once_and_a_read_works(open_driver: Open) -> None:
    driver = open_driver(timeout=60)
    database = driver._database
    messages = SqliteMessages(database)
    began = time.monotonic()

    def handler(*_: object) -> None:
        assert messages.stats(QUEUE).total == 0
        with pytest.raises(StorageUnavailable, match="belongs to a call that this one interrupted"):
            messages.post(QUEUE, BATCH, client_id="c")

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE state SET seen = seen")
        os.kill(os.getpid(), signal.SIGUSR1)

    with handled(signal.SIGUSR1, handler):
        database.write(work, database.deadline())
    assert time.monotonic() - began < 30
    assert len(messages.post(QUEUE, BATCH, client_id="c")) == 2


def test_a_handler_waits_for_another_threads_write(open_driver: Open) -> None:
    driver = open_driver(timeout=60)
    database = driver._database
    messages = SqliteMessages(database)
    inside, go_on = threading.Event(), threading.Event()

    def hold(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE state SET seen = seen")
        inside.set()
        go_on.wait(30)

    def handler(*_: object) -> None:
        go_on.set()
        messages.post(QUEUE, BATCH, client_id="c")

    thread = threading.Thread(target=database.write, args=(hold, database.deadline()))
    thread.start()
    assert inside.wait(30)
    with handled(signal.SIGUSR1, handler):
        os.kill(os.getpid(), signal.SIGUSR1)
        messages.post(QUEUE, BATCH, client_id="c")
    thread.join()
    assert messages.stats(QUEUE).total == 4


def test_limits_of_time_by_signals_leave_a_driver_that_works(
    path: Path, open_driver: Open, ensure_whole: Ensure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real signals, which also arrive while C code runs; 300 of them, at any point of a call."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # some arrive in finalizers, where Python drops them

    class Limit(Exception):
        pass

    def on_alarm(*_: object) -> None:
        raise Limit

    driver = open_driver(timeout=10, synchronous="OFF")
    messages = SqliteMessages(driver._database)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        for number in range(300):
            with handled(signal.SIGALRM, on_alarm), contextlib.suppress(Limit):
                try:
                    first = 0.0005 + 0.00001 * (number % 200)
                    signal.setitimer(signal.ITIMER_REAL, first, 0.05)  # again, for a finalizer swallows it
                    while True:
                        messages.post(QUEUE, BATCH, client_id="c")
                        messages.purge(QUEUE)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            ensure_usable(driver, other)
    driver.close()
    gc.collect()
    assert handles(path) == 0
    ensure_whole(path)


@contextlib.contextmanager
def handled(number: signal.Signals, handler: Callable[..., None]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


# --- fork ----------------------------------------------------------------------------------------


def test_a_fork_that_an_exception_interrupted_stops_no_call(open_driver: Open) -> None:
    """What marks a fork as under way is set and taken back by functions in C."""
    driver = open_driver(timeout=2)
    at = 1
    while interrupt(connections._before_fork, at):
        at += 1
    assert at > 10
    assert not connections._forks
    driver.ping()
