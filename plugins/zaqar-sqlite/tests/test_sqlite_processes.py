"""Other processes: that hold the lock, are forked from this one, or are killed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import StorageUnavailable
from zaqar_sqlite.claims import SqliteClaims
from zaqar_sqlite.driver import SqliteDriver
from zaqar_sqlite.messages import SqliteMessages
from zaqar_sqlite.records import SqliteRecords

Open = Callable[..., SqliteDriver]
Start = Callable[..., subprocess.Popen[str]]
Ensure = Callable[[Path], None]

QUEUE = QueueKey("", "q")
STRANDED = (
    "this process was forked while a call was using {!r}, so SQLite cannot use that file here any more; "
    "use a process that is started anew, or forked while no call is under way"
)
SLACK = 3.0
"""Seconds beyond a time-out, for a machine that is busy."""


def post(driver: SqliteDriver, count: int = 1, queue: str = "q", ttl: float = 1000.0) -> list[str]:
    batch = [EncodedMessage(b"1", ttl)] * count
    return SqliteMessages(driver._database).post(QueueKey("", queue), batch, client_id="c")


def total(driver: SqliteDriver, queue: str = "q") -> int:
    return SqliteMessages(driver._database).stats(QueueKey("", queue)).total


def answers(child: subprocess.Popen[str]) -> list[Any]:
    """All that the child says until it ends well."""
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


def hold(start_child: Start, path: Path, *statements: str) -> subprocess.Popen[str]:
    holder = start_child("hold_lock", path, *statements)
    assert holder.stdout
    assert holder.stdout.readline() == '"held"\n'
    return holder


# --- the lock ------------------------------------------------------------------------------------


def test_while_another_process_holds_the_write_lock_writes_fail_in_time_and_all_else_goes_on(
    path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure
) -> None:
    driver = open_driver(timeout=0.2)
    [first] = post(driver)
    holder = hold(start_child, path, "BEGIN IMMEDIATE", "UPDATE state SET next_seq = 1000")
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(
            StorageUnavailable, match=r"another process .* lock.*SQLITE_BUSY.*try again later"
        ) as caught:
            post(driver, 50)
        assert isinstance(caught.value.__cause__, StorageUnavailable)
        assert isinstance(caught.value.__cause__.__cause__, sqlite3.OperationalError)
    assert 0.3 <= time.monotonic() - began <= 0.4 + SLACK
    driver.ping()
    assert total(driver) == total(open_driver()) == 1
    holder.communicate(timeout=20)
    assert len({first, *post(driver, 50)}) == total(driver) == 51
    ensure_whole(path)


def test_a_write_that_waits_gets_its_turn_when_the_lock_is_let_go(
    path: Path, open_driver: Open, start_child: Start
) -> None:
    driver = open_driver(timeout=30)
    holder = hold(start_child, path, "BEGIN IMMEDIATE")
    thread = threading.Thread(target=post, args=(driver,))
    thread.start()
    while not driver._database._writer.holders():
        assert thread.is_alive()
    holder.communicate(timeout=20)
    thread.join()
    assert total(driver) == 1


@pytest.mark.parametrize("exists", [False, True])
def test_opening_a_file_that_another_process_locks_fails_within_connect_timeout(
    path: Path, open_driver: Open, start_child: Start, exists: bool
) -> None:
    if exists:
        open_driver().close()
    statements = ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"]
    holder = hold(start_child, path, *statements, *(["SELECT seen FROM state"] if exists else []))
    before = path.read_bytes()
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"lock.*try again later"):
        open_driver(connect_timeout=0.2, timeout=60)
    assert time.monotonic() - began <= 0.2 + SLACK
    assert path.read_bytes() == before
    holder.communicate(timeout=20)
    post(open_driver())


def test_a_thread_that_writes_too_long_keeps_others_no_longer_than_their_timeout(open_driver: Open) -> None:
    driver = open_driver(timeout=0.2)
    inside, go_on = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE state SET seen = seen")
        inside.set()
        go_on.wait(20)

    thread = threading.Thread(target=driver._database.write, args=(work, driver._database.deadline()))
    thread.start()
    assert inside.wait(20)
    with pytest.raises(
        StorageUnavailable, match="the database's write lock was in use until the timeout; nothing was done"
    ):
        post(driver)
    assert total(driver) == 0
    go_on.set()
    thread.join()
    post(driver)
    assert total(driver) == 1


# --- no room -------------------------------------------------------------------------------------


def test_a_full_file_refuses_what_does_not_fit_keeps_the_rest_and_goes_on_when_there_is_room(
    path: Path, open_driver: Open, ensure_whole: Ensure
) -> None:
    driver = open_driver()
    database = driver._database
    messages, claims = SqliteMessages(database), SqliteClaims(database)
    post(driver, 100)
    for connection in database._connections.values():
        connection.execute("PRAGMA max_page_count = 1")
    for count in (2000, 500):
        with pytest.raises(StorageUnavailable, match=r"no room to write; free some.*SQLITE_FULL") as caught:
            post(driver, count)
        assert type(caught.value).__name__ == "StorageFull"
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert total(driver) == total(open_driver()) == 100
    claim = claims.create(QUEUE, ttl=100.0, grace=0.0, limit=10)
    assert messages.delete(QUEUE, [message.id for message in claim.messages], claim_ids=[str(claim.id)]) == {}
    for connection in database._connections.values():
        connection.execute("PRAGMA max_page_count = 1000000")
    post(driver, 2000)
    assert total(open_driver()) == 2090
    ensure_whole(path)


def test_where_files_may_not_grow_nothing_acknowledged_is_lost(
    path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure
) -> None:
    [said] = answers(start_child("fill", path))
    assert (said["error"], said["cause"]) == ("OutcomeUnknown", "OperationalError")
    acknowledged = said["acknowledged"]
    assert len(set(acknowledged)) == len(acknowledged) > 20
    assert said["stored"] == len(acknowledged) - 10
    assert said["total"] - said["stored"] in (0, 10)
    driver = open_driver()
    assert len(SqliteMessages(driver._database).get(QUEUE, acknowledged)) == len(acknowledged)
    assert total(driver) == said["total"] + 10
    ensure_whole(path)


# --- fork ----------------------------------------------------------------------------------------


def test_children_and_grandchildren_use_the_driver_they_inherit_and_the_parent_goes_on(
    path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure
) -> None:
    assert answers(start_child("fork_between", path)) == [1, 0, 0] * 3
    driver = open_driver()
    assert [total(driver, name) for name in ("parent", "child", "grandchild")] == [4, 3, 3]
    ensure_whole(path)


def test_what_a_child_posts_stays_though_the_parent_closed_before(
    path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure
) -> None:
    assert answers(start_child("fork_and_close", path)) == [0]
    assert total(open_driver()) == 2
    ensure_whole(path)


def test_a_fork_waits_for_the_transaction_that_another_thread_is_in(
    path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure
) -> None:
    refused = "a fork of this process held the database up; try again"
    assert answers(start_child("fork_while_another_thread_writes", path)) == [refused, 0] * 3
    driver = open_driver()
    assert [total(driver, name) for name in ("parent", "child")] == [3, 3]
    assert int(post(driver)[0].partition("-")[0], 16) == 3 * 2000 + 6 + 1
    ensure_whole(path)


def test_a_child_of_a_fork_that_could_not_wait_is_told_to_connect_anew_and_the_parent_loses_nothing(
    path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure
) -> None:
    assert answers(start_child("fork_that_cannot_wait", path)) == [
        STRANDED.format(path.name),
        0,
    ]
    driver = open_driver()
    assert [total(driver, name) for name in ("parent", "child")] == [1, 0]
    assert int(post(driver)[0].partition("-")[0], 16) == 5001
    ensure_whole(path)


# --- kill -9 -------------------------------------------------------------------------------------


def test_what_killed_processes_had_acknowledged_is_there_and_batches_are_whole(
    path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure
) -> None:
    said: list[dict[str, list[str]]] = []
    names = [f"{lines}-{number}" for lines in (7, 8, 9, 10) for number in (1, 2)]
    for lines in (7, 8, 9, 10):
        children = [start_child("post_and_claim", path, f"{lines}-{number}") for number in (1, 2)]
        for child in children:
            assert child.stdout
            said += [json.loads(child.stdout.readline()) for _ in range(lines)]
            child.kill()
            said += [json.loads(line) for line in child.stdout if line.endswith("\n")]
            child.wait(20)
    heard = {kind: {one for each in said for one in each.get(kind, [])} for kind in ("posted", "deleting", "deleted")}
    claimed = [one for each in said for one in each.get("claimed", [])]
    driver = open_driver()
    messages = SqliteMessages(driver._database)

    def there(ids: set[str]) -> set[str]:
        return {message.id for message in messages.get(QUEUE, list(ids))}

    assert len(heard["posted"]) >= 20 * len(names)
    assert heard["posted"] - heard["deleting"] <= there(heard["posted"])
    assert not there(heard["deleted"])
    assert len(claimed) == len(set(claimed)) >= 7 * len(names)
    assert {message.claim_id is not None for message in messages.get(QUEUE, claimed)} == {True}
    stored = [total(driver, f"whole-{name}") for name in names]
    assert [count % 20 for count in stored] == [0] * len(names)
    assert 0 < sum(len(each.get("whole", [])) for each in said) <= sum(stored)
    ensure_whole(path)


@pytest.mark.parametrize("operation", ["post", "claim", "renew", "release", "delete", "pop", "purge", "insert"])
def test_an_operation_killed_at_any_statement_happened_or_did_not(
    path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure, operation: str
) -> None:
    template = open_driver()
    post(template, 4)
    SqliteClaims(template._database).create(QUEUE, ttl=200.0, grace=0.0, limit=2)
    template.close()
    [copies] = answers(start_child("killed_at_each_statement", path, operation))
    seen = []
    for number in range(1, copies + 1):
        at = path.with_name(f"{number}.db")
        driver = open_driver(at)
        seen.append(state(driver))
        driver.close()
        ensure_whole(at)
    before, after = state(open_driver()), seen[-1]
    assert before != after
    assert seen[0] == before
    changed = seen.index(after)
    assert seen == [before] * changed + [after] * (copies - changed)


def state(driver: SqliteDriver) -> object:
    """What the operations change, as any client sees it."""
    database = driver._database
    page = SqliteMessages(database).list(
        QUEUE, marker=None, limit=99, exclude_client=None, include_claimed=True, include_delayed=True
    )
    claims = {message.claim_id for message in page.items if message.claim_id}
    ttls = [claim.ttl for one in claims if (claim := SqliteClaims(database).get(QUEUE, one))]
    stats = SqliteMessages(database).stats(QUEUE)
    return (
        (stats.free, stats.claimed, stats.delayed),
        [(message.body, message.claim_count) for message in page.items],
        sorted(ttls),
        SqliteRecords(database).count(Space("queues", "")),
    )
