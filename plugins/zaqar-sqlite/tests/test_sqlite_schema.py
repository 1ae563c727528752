"""The schema: made once whoever comes at the same time, brought up to date, whole whenever somebody dies over it."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import IncompatibleStorage, StorageUnavailable
from zaqar_sqlite import schema
from zaqar_sqlite.claims import SqliteClaims
from zaqar_sqlite.driver import SqliteDriver
from zaqar_sqlite.messages import SqliteMessages
from zaqar_sqlite.records import SqliteRecords

Open = Callable[..., SqliteDriver]
Start = Callable[..., subprocess.Popen[str]]
Ensure = Callable[[Path], None]

QUEUE = QueueKey("", "q")
NEXT = (
    """-- A script of comments; and several
    ALTER TABLE messages ADD COLUMN priority INTEGER NOT NULL DEFAULT 7; -- statements, one of which
    CREATE TABLE extra (x);
    CREATE TRIGGER on_extra AFTER INSERT ON extra BEGIN
        UPDATE messages SET priority = new.x; -- has semicolons inside;
        DELETE FROM extra;
    END;
    """,
    "INSERT INTO extra VALUES (8);",
)


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def schema_of(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def post(driver: SqliteDriver) -> list[str]:
    return SqliteMessages(driver._database).post(QUEUE, [EncodedMessage(b"1", 1000.0)] * 3, client_id="c")


def bodies(driver: SqliteDriver) -> list[bytes]:
    messages = SqliteMessages(driver._database)
    page = messages.list(QUEUE, marker=None, limit=99, exclude_client=None, include_claimed=True, include_delayed=True)
    return [message.body for message in page.items]


def test_a_file_of_each_older_version_ends_at_the_newest_with_what_it_held(
    path: Path, open_driver: Open, ensure_whole: Ensure, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = len(schema.MIGRATIONS) + len(NEXT)
    for older in range(len(schema.MIGRATIONS), newest + 1):
        at = path.with_name(f"{older}.db")
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *NEXT)[:older])
        driver = open_driver(at)
        post(driver)
        driver.close()
        assert version(at) == older
        monkeypatch.undo()
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *NEXT))
        driver = open_driver(at)
        assert bodies(driver) == [b"1"] * 3
        assert len(set(post(driver))) == 3
        driver.close()
        monkeypatch.undo()
        assert version(at) == newest
        ensure_whole(at)
        with closing(sqlite3.connect(at)) as connection:
            priorities = connection.execute("SELECT priority FROM messages").fetchall()
        assert priorities == [(8,)] * 3 + [(7,)] * 3 if older < newest else [(7,)] * 6
        with pytest.raises(IncompatibleStorage, match=f"has schema version {newest}.*upgrade zaqar-sqlite"):
            open_driver(at)


def test_a_file_of_each_older_version_gets_the_schema_of_a_new_one(
    path: Path, open_driver: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = schema.MIGRATIONS
    open_driver(path).close()
    for older in range(1, len(shipped)):
        at = path.with_name(f"{older}.db")
        monkeypatch.setattr(schema, "MIGRATIONS", shipped[:older])
        open_driver(at).close()
        monkeypatch.undo()
        open_driver(at).close()
        assert (version(at), schema_of(at)) == (len(shipped), schema_of(path))
    assert version(path) == len(shipped)


def test_a_migration_that_fails_leaves_nothing_of_itself(
    path: Path, open_driver: Open, ensure_whole: Ensure, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = open_driver()
    post(driver)
    driver.close()
    before, made = version(path), schema_of(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT[0] + "SELECT no FROM nothing;"))
    with pytest.raises(IncompatibleStorage) as caught:
        open_driver()
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert (version(path), schema_of(path)) == (before, made)
    monkeypatch.undo()
    assert bodies(open_driver()) == [b"1"] * 3
    ensure_whole(path)


@pytest.mark.parametrize("old", [False, True])
def test_threads_that_open_a_file_at_once_all_succeed(
    tmp_path: Path, open_driver: Open, ensure_whole: Ensure, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    paths = [tmp_path / f"{number}.db" for number in range(8)]
    if old:
        for path in paths:
            post(open_driver(path))
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *NEXT))
    barrier = threading.Barrier(4)
    posted: list[str] = []

    def work() -> None:
        for path in paths:
            barrier.wait(10)
            posted.extend(post(open_driver(path)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(posted) == len(paths) * 4 * 3
    for path in paths:
        assert version(path) == len(schema.MIGRATIONS)
        ensure_whole(path)


def test_processes_that_open_a_new_file_at_once_all_succeed(
    tmp_path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure
) -> None:
    children = [start_child("open_as_told", tmp_path) for _ in range(3)]
    streams = [(child.stdin, child.stdout) for child in children if child.stdin and child.stdout]
    assert [answers.readline() for _, answers in streams] == ['"ready"\n'] * 3
    for number in range(12):
        for names, _ in streams:
            names.write(f"{number}.db\n")
        for names, _ in streams:
            names.flush()
        assert [answers.readline() for _, answers in streams] == ['"posted"\n'] * 3
        assert bodies(open_driver(tmp_path / f"{number}.db")) == [b"\0"] * 3
        ensure_whole(tmp_path / f"{number}.db")


def test_killed_at_any_statement_of_opening_a_new_file_the_next_one_opens_it(
    path: Path, open_driver: Open, start_child: Start, ensure_whole: Ensure
) -> None:
    answer, _ = start_child("killed_at_each_statement", path, "open").communicate(timeout=60)
    expected = sum(script.count(";\n") for script in schema.MIGRATIONS)
    assert int(answer) > expected
    for number in range(1, int(answer) + 1):
        at = path.with_name(f"{number}.db")
        post(open_driver(at))
        assert bodies(open_driver(at)) == [b"1"] * 3
        ensure_whole(at)


# --- from version 1 ------------------------------------------------------------------------------

AHEAD = 3600 * 1000
"""By how many milliseconds the clock of the file of version 1 was ahead of the host's."""


def make_version_1(path: Path, now: int) -> None:
    """A file as zaqar-sqlite made it at schema version 1, where positions were moments and one clock judged both."""
    first, *_ = schema.MIGRATIONS
    clock = now + AHEAD
    message = "INSERT INTO messages VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, 'c', '', ?)"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(first)
        connection.execute("UPDATE state SET clock = ?, next_seq = 100", (clock,))
        connection.execute("INSERT INTO queues VALUES (1, '', 'q', 2, 1, 2)")
        connection.execute("INSERT INTO claims VALUES (9, 1, ?, ?, ?)", (now, now + 60_000, "t" * 12))
        life = now + 900_000
        rows = [
            # seq, state, position, due_at, claim, claim_count
            (1, 0, clock - 5, life, None, 0, b"active"),
            (2, 1, clock - 3, now + 60_000, 9, 1, b"claimed"),
            (3, 2, now + 30_000, now + 30_000, None, 0, b"soon"),
            (4, 2, now + 40_000, now + 40_000, None, 0, b"later"),
            (5, 0, clock, life, None, 0, b"last"),
        ]
        for seq, state, position, due_at, claim, claim_count, body in rows:
            values = (seq, state, position, due_at, claim, claim_count, now, life, "t" * 12, body)
            connection.execute(message, values)
        connection.execute(
            "INSERT INTO records (kind, project, key, version, nonce, expires_at, value) VALUES "
            "('queues', '', 'q', 'v', 'n', ?, '{}')",
            (now + 50_000,),
        )
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("PRAGMA journal_mode = WAL")


def test_a_file_of_version_1_keeps_its_order_its_moments_and_its_markers(
    path: Path, open_driver: Open, set_clock: Callable[[float], None], ensure_whole: Ensure
) -> None:
    noon = 1_000_000
    set_clock(noon)
    make_version_1(path, noon * 1000)
    ensure_whole(path)
    marker = f"{noon * 1000 + AHEAD - 4}-2"  # as version 1 gave it, behind "active"
    driver = open_driver()
    assert version(path) == len(schema.MIGRATIONS)
    messages, claims = SqliteMessages(driver._database), SqliteClaims(driver._database)

    def after(some_marker: str | None) -> list[bytes]:
        page = messages.list(
            QUEUE, marker=some_marker, limit=9, exclude_client=None, include_claimed=False, include_delayed=False
        )
        return [message.body for message in page.items]

    assert bodies(driver) == [b"active", b"claimed", b"last", b"soon", b"later"]
    [new] = messages.post(QUEUE, [EncodedMessage(b"new", 10.0)], client_id="c")
    assert after(None) == [b"active", b"last", b"new"]
    assert after(marker) == [b"last", b"new"]
    assert driver.health()["positions_ahead_seconds"] == AHEAD / 1000
    set_clock(noon + 9.999)
    assert after(None)[-1] == b"new"
    set_clock(noon + 10)  # what is given from now on runs by the host's clock, although the file's was ahead
    assert messages.get(QUEUE, [new]) == []
    set_clock(noon + 40)
    assert after(marker) == [b"last", b"soon", b"later"]
    records = SqliteRecords(driver._database)
    assert [record.key for record in records.scan(Space("queues", ""), limit=9)] == ["q"]
    set_clock(noon + 60)
    assert claims.get(QUEUE, f"9-{'t' * 12}") is None
    assert after(None) == [b"active", b"claimed", b"last", b"soon", b"later"]
    assert records.count(Space("queues", "")) == 0
    set_clock(noon + 900)
    assert after(None) == []
    driver.close()
    ensure_whole(path)


def test_a_migration_that_has_no_time_leaves_the_file_and_says_what_to_do(
    path: Path, open_driver: Open, ensure_whole: Ensure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite asks whether to go on; the answer is the deadline's."""
    driver = open_driver()
    post(driver)
    driver.close()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n;"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT[0] + endless))
    newest = version(path)
    with pytest.raises(StorageUnavailable, match=f"still at schema version {newest}.*a longer connect_timeout"):
        open_driver(connect_timeout=0.2)
    assert version(path) == newest
    monkeypatch.undo()
    assert bodies(open_driver()) == [b"1"] * 3
    ensure_whole(path)
