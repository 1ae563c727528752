"""What tests have other processes do: ``python sqlite_child.py FUNCTION ARGUMENT...``. Answers are lines of JSON."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote

from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_sqlite import connections
from zaqar_sqlite.claims import SqliteClaims
from zaqar_sqlite.connections import Database
from zaqar_sqlite.driver import SqliteDriver
from zaqar_sqlite.messages import SqliteMessages
from zaqar_sqlite.records import SqliteRecords

QUEUE = QueueKey("", "q")
BATCH = 20


def open_driver(path: Path, *, timeout: float = 10) -> SqliteDriver:
    return SqliteDriver.open(Uri.parse(f"sqlite:///{quote(str(path))}"), connect_timeout=10, timeout=timeout)


def post(database: Database, count: int = 1, *, queue: str = "q", size: int = 1) -> list[str]:
    batch = [EncodedMessage(bytes(size), 1000.0)] * count
    return SqliteMessages(database).post(QueueKey("", queue), batch, client_id="c")


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


# --- coming, going, holding ----------------------------------------------------------------------


def open_and_close(path: Path) -> None:
    open_driver(path).close()


def open_as_told(folder: Path) -> None:
    """For each name on the standard input: open the file, post one message, close, say so."""
    say("ready")
    for name in sys.stdin:
        with closing(open_driver(folder / name.strip())) as driver:
            post(driver._database)
        say("posted")


def hold_lock(path: Path, *statements: str) -> None:
    """Hold what the statements lock until the standard input ends."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()
        say("held")
        sys.stdin.read()


# --- full ----------------------------------------------------------------------------------------


def fill(path: Path) -> None:
    """Post until no file of this process may grow further, then go on with more room."""
    with closing(open_driver(path)) as driver:
        database = driver._database
        acknowledged = post(database, 10)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300 * 1024, resource.RLIM_INFINITY))
        error = None
        while error is None:
            try:
                acknowledged += post(database, 10, size=1000)
            except StorageUnavailable as raised:
                error = raised
        stored = len(SqliteMessages(database).get(QUEUE, acknowledged))
        total = SqliteMessages(database).stats(QUEUE).total
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        acknowledged += post(database, 10, size=1000)
        say(
            {
                "error": type(error).__name__,
                "cause": type(error.__cause__).__name__,
                "stored": stored,
                "total": total,
                "acknowledged": acknowledged,
            }
        )


# --- forked --------------------------------------------------------------------------------------


def forked(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked child, which leaves as any program does; its exit code."""
    pid = os.fork()
    if not pid:
        work()
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_between(path: Path) -> None:
    """Fork again and again; each child uses and closes what it inherited, and forks itself; the parent goes on."""
    with closing(open_driver(path)) as driver:
        database = driver._database

        def child() -> None:
            thread = threading.Thread(target=post, args=(database,), kwargs={"queue": "child"})
            thread.start()
            thread.join()
            say(forked(lambda: say(len(post(database, queue="grandchild")))))
            driver.close()

        for _ in range(3):
            post(database, queue="parent")
            say(forked(child))
        post(database, queue="parent")


def fork_and_close(path: Path) -> None:
    """The parent closes, being the last as far as it knows, before the child uses what it inherited."""
    read_end, write_end = os.pipe()
    driver = open_driver(path)
    post(driver._database)
    pid = os.fork()
    if not pid:
        os.close(write_end)
        os.read(read_end, 1)
        post(driver._database)
        os._exit(0)  # closes nothing, like a kill
    driver.close()
    os.close(write_end)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def fork_while_another_thread_writes(path: Path) -> None:
    """Fork when another thread is in the middle of a transaction, which ends while the fork waits.

    Before it does, somebody else asks for something, and does not wait for the fork.
    """
    with closing(open_driver(path)) as driver:
        database = driver._database
        inside = threading.Event()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE state SET next_seq = next_seq + 1000")
            inside.set()
            while not connections._forks:
                time.sleep(0)
            try:
                database.read(lambda _: None, time.monotonic() + 0.05)
            except StorageUnavailable as error:
                say(str(error))
            connection.execute("UPDATE state SET next_seq = next_seq + 1000")

        for _ in range(3):
            inside.clear()
            thread = threading.Thread(target=database.write, args=(work, database.deadline()))
            thread.start()
            inside.wait(10)
            say(forked(partial(post, database, queue="child")))
            thread.join()
            post(database, queue="parent")


def fork_that_cannot_wait(path: Path) -> None:
    """Fork while a transaction of another thread takes longer than ``timeout``."""
    with closing(open_driver(path, timeout=0.2)) as driver:
        database = driver._database
        inside, over = threading.Event(), threading.Event()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE state SET next_seq = 5000")
            inside.set()
            over.wait(10)

        def child() -> None:
            try:
                post(database, queue="child")
            except StorageUnavailable as error:
                say(str(error))
            driver.close()

        writer = threading.Thread(target=database.write, args=(work, database.deadline() + 10))
        writer.start()
        inside.wait(10)
        say(forked(child))
        over.set()
        writer.join()
        post(database, queue="parent")


# --- killed --------------------------------------------------------------------------------------


def post_and_claim(path: Path, name: str) -> None:
    """Until killed: post batches, claim some, delete some of those; say each thing as soon as it was acknowledged."""
    database = open_driver(path)._database
    claims, messages = SqliteClaims(database), SqliteMessages(database)
    while True:
        say({"whole": post(database, BATCH, queue=f"whole-{name}")})
        say({"posted": post(database, BATCH)})
        claim = claims.create(QUEUE, ttl=1000.0, grace=0.0, limit=7)
        taken = [message.id for message in claim.messages]
        say({"claimed": taken})
        say({"deleting": taken[:3]})
        messages.delete(QUEUE, taken[:3], claim_ids=[str(claim.id)])
        say({"deleted": taken[:3]})


def killed_at_each_statement(template: Path, operation: str) -> None:
    """Do ``operation`` on copies of ``template``, each time killed one statement later; says how many copies.

    The last one was killed when the operation had returned.
    """
    number = 0
    alive = False
    while not alive:
        number += 1
        path = template.with_name(f"{number}.db")
        if template.exists():
            shutil.copyfile(template, path)
        alive = forked(partial(_killed_at, number, path, operation)) != -signal.SIGKILL
    say(number)


def _killed_at(number: int, path: Path, operation: str) -> None:
    left = number
    connect = sqlite3.connect

    def count(_: str) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(*arguments: object, **named: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **named)  # type: ignore[call-overload]
        if path.name in str(arguments[0]):  # others use SQLite too, to measure coverage for one
            connection.set_trace_callback(count)
        return connection

    if operation == "open":
        sqlite3.connect = watched  # type: ignore[assignment]
        open_driver(path)
    else:
        database = open_driver(path)._database
        database.write(lambda _: None, database.deadline())  # so that there is a connection to write with
        for connection in database._connections.values():
            connection.set_trace_callback(count)
        _operate(database, operation)
    os._exit(0)  # closes nothing, like a kill


def _operate(database: Database, operation: str) -> None:
    claims, messages = SqliteClaims(database), SqliteMessages(database)
    held = [
        message
        for message in messages.list(
            QUEUE, marker=None, limit=99, exclude_client=None, include_claimed=True, include_delayed=True
        ).items
        if message.claim_id
    ]
    match operation:
        case "post":
            post(database, 5)
        case "claim":
            claims.create(QUEUE, ttl=100.0, grace=2000.0, limit=2)
        case "renew":
            claims.update(QUEUE, str(held[0].claim_id), ttl=500.0, grace=2000.0)
        case "release":
            claims.release(QUEUE, str(held[0].claim_id), delay=10.0)
        case "delete":
            messages.delete(QUEUE, [message.id for message in held], claim_ids=[str(held[0].claim_id)])
        case "pop":
            messages.pop(QUEUE, limit=2)
        case "purge":
            messages.purge(QUEUE)
        case "insert":
            SqliteRecords(database).insert(Space("queues", ""), "new", b"{}", nonce="n")


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
