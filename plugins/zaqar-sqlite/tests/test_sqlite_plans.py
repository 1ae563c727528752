"""How SQLite finds what an operation needs: by which indexes, and in how many steps however much there is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_sqlite.claims import SqliteClaims
from zaqar_sqlite.driver import SqliteDriver
from zaqar_sqlite.messages import SqliteMessages
from zaqar_sqlite.records import SqliteRecords

Open = Callable[..., SqliteDriver]
SetClock = Callable[[float], None]

QUEUE = QueueKey("p", "q")
SPACE = Space("queues", "p")
NOON = 1_000_000.0

NAME = "sqlite_autoindex_queues_1 (project=? AND name=?)"
DUE = "messages_by_due (queue=? AND due_at<?)"
SAME_MOMENT = "messages_by_position (queue=? AND state=? AND position>? AND position<?)"
SOME_MEMBERS = "messages_by_due (queue=? AND due_at=? AND claim=? AND rowid=?)"
MEMBERS = "messages_by_due (queue=? AND due_at=? AND claim=?)"
POSITION = "messages_by_position (queue=? AND state=?)"
DEDUP_ID = "sqlite_autoindex_dedup_1 (queue=? AND dedup_id=?)"
FORGET = "dedup_by_forget_at (forget_at<?)"
KEY = "sqlite_autoindex_records_1 (kind=? AND project=? AND key=?)"
EXPIRED = "records_by_expiry (expires_at<?)"

LOOKUPS = {
    "post": {NAME, DUE},
    "post with dedup ids": {NAME, DUE, DEDUP_ID, FORGET},
    "get": {NAME, DUE},
    "list": {
        NAME,
        DUE,
        "messages_by_position (queue=? AND state=? AND position=? AND rowid>?)",
        "messages_by_position (queue=? AND state=? AND position>?)",
    },
    "first": {NAME, DUE, POSITION},
    "stats": {NAME, DUE, POSITION},
    "delete": {NAME, DUE},
    "delete claimed": {NAME, DUE, MEMBERS},
    "pop": {NAME, DUE, POSITION},
    "claim": {NAME, DUE, POSITION},
    "get claim": {NAME, DUE, MEMBERS, "sort"},
    "renew": {NAME, DUE, MEMBERS},
    "release": {NAME, DUE, MEMBERS},
    "release some": {NAME, DUE, MEMBERS, SOME_MEMBERS, SAME_MOMENT, "sort"},
    "settle": {NAME, DUE, MEMBERS, POSITION},
    "purge": {
        NAME,
        "sqlite_autoindex_queues_1 (project=?)",
        "messages_by_due (queue=?)",
        "sqlite_autoindex_dedup_1 (queue=?)",
    },
    "gc": {
        NAME,
        DUE,
        MEMBERS,
        FORGET,
        "queues (rowid>?)",
        "sqlite_autoindex_queues_1 (project=?)",
        "records_by_expiry (expires_at<?)",
    },
    "get record": {KEY, EXPIRED},
    "insert record": {EXPIRED},
    "replace record": {KEY, EXPIRED},
    "delete record": {KEY, EXPIRED},
    "scan records": {"sqlite_autoindex_records_1 (kind=? AND project=? AND key>? AND key<?)", EXPIRED},
}
FLAT = sorted(set(LOOKUPS) - {"settle", "purge", "gc"})
"""What costs the same however much there is."""


class Stage(NamedTuple):
    """A driver with some of everything stored, and the operations to do there."""

    driver: SqliteDriver
    path: Path
    operations: dict[str, Callable[[], object]]


def batch(count: int, ttl: float = 100.0, delay: float = 0.0, dedup: str | None = None) -> list[EncodedMessage]:
    return [EncodedMessage(b"1", ttl, delay, dedup_id=dedup and f"{dedup}{number}") for number in range(count)]


def prepared(driver: SqliteDriver, path: Path, depth: int, set_clock: SetClock) -> Stage:
    database = driver._database
    messages, claims, records = SqliteMessages(database), SqliteClaims(database), SqliteRecords(database)
    for queue in (QUEUE, QueueKey("p", "other")):
        messages.post(queue, batch(depth, dedup="old"), client_id="c")
        claims.create(queue, ttl=90.0, grace=0.0, limit=depth)
        messages.post(queue, batch(depth, delay=80.0), client_id="c")
        messages.post(queue, batch(depth), client_id="c")
    claim = claims.create(QUEUE, ttl=50.0, grace=0.0, limit=6)
    ids = [message.id for message in claim.messages]
    [active] = messages.post(QUEUE, batch(1), client_id="c")
    for number in range(depth):
        records.insert(SPACE, f"k{number:05}", b"{}", nonce="n", ttl=70.0)
    version = str(records.insert(SPACE, "x", b"{}", nonce="n"))

    def later(seconds: float, work: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            set_clock(NOON + seconds)
            return work()

        return run

    def listed() -> object:
        return messages.list(
            QUEUE, marker="5-5", limit=5, exclude_client=None, include_claimed=True, include_delayed=True
        )

    holder = str(claim.id)
    return Stage(
        driver,
        path,
        {
            "post": lambda: messages.post(QUEUE, batch(5), client_id="c"),
            "post with dedup ids": lambda: messages.post(QUEUE, batch(5, dedup="new"), client_id="c"),
            "get": lambda: messages.get(QUEUE, ids),
            "list": listed,
            "first": lambda: messages.first(QUEUE, newest=True),
            "stats": lambda: messages.stats(QUEUE),
            "delete": lambda: messages.delete(QUEUE, [active], claim_ids=None),
            "delete claimed": lambda: messages.delete(QUEUE, ids[:1], claim_ids=[holder]),
            "pop": lambda: messages.pop(QUEUE, limit=3),
            "claim": lambda: claims.create(QUEUE, ttl=30.0, grace=0.0, limit=3),
            "get claim": lambda: claims.get(QUEUE, holder),
            "renew": lambda: claims.update(QUEUE, holder, ttl=55.0, grace=0.0),
            "release": lambda: claims.release(QUEUE, holder),
            "release some": lambda: claims.release(QUEUE, holder, message_ids=ids[1:3], delay=9.0),
            "settle": later(90, lambda: messages.stats(QUEUE)),
            "purge": lambda: messages.purge(QUEUE),
            "gc": later(400, driver.gc),
            "get record": lambda: records.get(SPACE, "x"),
            "insert record": lambda: records.insert(SPACE, "y", b"{}", nonce="n"),
            "replace record": lambda: records.replace(SPACE, "x", b"1", version=version, nonce="n"),
            "delete record": lambda: records.delete(SPACE, "x", version=version),
            "scan records": lambda: records.scan(SPACE, prefix="k", after="k00005", limit=3),
        },
    )


def statements(stage: Stage, operation: str) -> list[str]:
    """What the operation has SQLite do."""
    said: list[str] = []
    database = stage.driver._database
    for connection in database._connections.values():
        connection.set_trace_callback(said.append)
    stage.operations[operation]()
    for connection in database._connections.values():
        connection.set_trace_callback(None)
    return [statement for statement in said if statement.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")]


def lookups(path: Path, statement: str) -> set[str]:
    """How the rows of the tables that grow are found; "sort" if they have to be put in order afterwards."""
    found = set()
    with closing(sqlite3.connect(path)) as connection:
        for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
            search = re.match(r"SEARCH (\w+) USING (?:COVERING )?INDEX (\w+ \(.*\))", step)
            by_number = re.match(r"SEARCH (\w+) USING INTEGER PRIMARY KEY (\(.*\))", step)
            if search:
                found.add(search[2])
            elif by_number and by_number[2] != "(rowid=?)":
                found.add(f"{by_number[1]} {by_number[2]}")
            elif "TEMP B-TREE" in step:
                found.add("sort")
            elif not re.match(r"SCAN (s|state|json_each .*|\(subquery-\d+\))$", step) and re.match("SCAN|.*AUTO", step):
                found.add(f"{step}: {statement}")
    return found


@pytest.mark.parametrize("operation", LOOKUPS)
def test_an_operation_finds_its_rows_by_the_indexes_meant_for_it(
    path: Path, open_driver: Open, set_clock: SetClock, operation: str
) -> None:
    stage = prepared(open_driver(), path, 30, set_clock)
    done = statements(stage, operation)
    assert done
    assert set().union(*(lookups(path, statement) for statement in done)) == LOOKUPS[operation]


@pytest.fixture
def stages(path: Path, open_driver: Open, set_clock: SetClock) -> list[Stage]:
    return [
        prepared(open_driver(at), at, depth, set_clock)
        for depth, at in ((20, path.with_name("20.db")), (1000, path.with_name("1000.db")))
    ]


def test_an_operation_takes_as_many_steps_in_a_deep_queue_as_in_a_shallow_one(stages: list[Stage]) -> None:
    """Steps of SQLite's virtual machine, which are counted, not timed."""
    taken: dict[str, list[int]] = {}
    for operation in FLAT:
        for stage in stages:
            steps = 0

            def count() -> int:
                nonlocal steps
                steps += 1
                return 0

            database = stage.driver._database
            for connection in database._connections.values():
                connection.set_progress_handler(count, 1)
            stage.operations[operation]()
            for connection in database._connections.values():
                connection.set_progress_handler(None, 1)
            taken.setdefault(operation, []).append(steps)
    assert {operation: steps for operation, steps in taken.items() if steps[1] > steps[0] * 1.1} == {}
    assert min(steps for steps, _ in taken.values()) > 20
