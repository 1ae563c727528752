"""Which files are taken, which are refused and left as they are, and what becomes of them when all is closed."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from zaqar_core.contract import EncodedMessage, QueueKey
from zaqar_core.errors import BrokenDriver, IncompatibleStorage, InvalidUri, StorageError, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_sqlite.driver import SqliteDriver
from zaqar_sqlite.schema import APPLICATION_ID, MIGRATIONS

Open = Callable[..., SqliteDriver]
Start = Callable[..., subprocess.Popen[str]]

QUEUE = QueueKey("", "q")


def post(driver: SqliteDriver) -> None:
    assert driver.messages
    driver.messages.post(QUEUE, [EncodedMessage(b"1", 60.0)], client_id="c")


def total(driver: SqliteDriver) -> int:
    assert driver.messages
    return driver.messages.stats(QUEUE).total


def listed(driver: SqliteDriver) -> int:
    assert driver.messages
    page = driver.messages.list(
        QUEUE, marker=None, limit=9, exclude_client=None, include_claimed=False, include_delayed=False
    )
    return len(page.items)


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def open_text(text: str) -> SqliteDriver:
    return SqliteDriver.open(Uri.parse(text), connect_timeout=5, timeout=10)


def make_database(path: Path, *statements: str) -> bytes:
    """Make an SQLite database and give its bytes."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path.read_bytes()


def ensure_refused_untouched(open_driver: Open, path: Path, match: str) -> None:
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(IncompatibleStorage, match=match):
        open_driver()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert files(path.parent) == [path.name]


@pytest.mark.parametrize("text", [b"hello\n", b"\0", b"SQLite format 2\0" + bytes(100), b"SQLite format 3"])
def test_a_file_of_another_kind_is_refused_and_untouched(path: Path, open_driver: Open, text: bytes) -> None:
    path.write_bytes(text)
    ensure_refused_untouched(open_driver, path, r"'queues.db' is not an SQLite database; name a file of its own")


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE t (x)"],
        ["PRAGMA journal_mode = WAL", "CREATE TABLE t (x)"],
        ["PRAGMA application_id = 5"],
        ["PRAGMA application_id = 5", "CREATE TABLE t (x)"],
        [f"PRAGMA user_version = {len(MIGRATIONS)}", "CREATE TABLE messages (seq INTEGER PRIMARY KEY)"],
    ],
)
def test_another_applications_database_is_refused_and_untouched(
    path: Path, open_driver: Open, statements: list[str]
) -> None:
    make_database(path, *statements)
    ensure_refused_untouched(
        open_driver, path, r"'queues.db' is another application's database; name a file of its own"
    )


@pytest.mark.parametrize("length", [16, 60, 80, 100, 103])
def test_the_beginning_of_another_applications_database_is_refused(path: Path, open_driver: Open, length: int) -> None:
    path.write_bytes(make_database(path, "CREATE TABLE t (x)")[:length])
    ensure_refused_untouched(open_driver, path, "'queues.db' is another application's database")


def crashed(path: Path, statement: str) -> None:
    """Make of the database at ``path`` one whose user did the statement and died: it is in the log alone."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(statement)
        log = path.with_name(f"{path.name}-wal")
        content = path.read_bytes(), log.read_bytes()
    path.write_bytes(content[0])
    log.write_bytes(content[1])


@pytest.mark.parametrize("made", [[], ["CREATE TABLE t (x)"]])
def test_another_applications_database_is_refused_with_the_log_that_its_crash_left(
    path: Path, open_driver: Open, made: list[str]
) -> None:
    """Its file alone may be one of no tables, as ours before the first migration."""
    make_database(path, "PRAGMA journal_mode = WAL", *made)
    crashed(path, "CREATE TABLE u (x)")
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(IncompatibleStorage, match="another application's"):
        open_driver()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    assert set(before) == {"queues.db", "queues.db-wal"}


def test_another_applications_database_in_the_place_of_one_that_is_open_is_refused(
    path: Path, open_driver: Open
) -> None:
    post(open_driver())
    for file in path.parent.iterdir():
        file.unlink()
    make_database(path, "CREATE TABLE t (x)")
    ensure_refused_untouched(open_driver, path, "'queues.db' is another application's database")


@pytest.mark.parametrize("pages", [0.03, 1, 2, -1])
def test_a_truncated_database_is_refused_and_untouched(path: Path, open_driver: Open, pages: float) -> None:
    open_driver().close()
    path.write_bytes(path.read_bytes()[: int(4096 * pages)])
    ensure_refused_untouched(open_driver, path, "the file is damaged .*restore a backup")


def test_a_database_of_a_newer_version_is_refused_and_untouched(path: Path, open_driver: Open) -> None:
    open_driver().close()
    make_database(path, "PRAGMA user_version = 99")
    newest = len(MIGRATIONS)
    match = rf"'queues.db' has schema version 99, this zaqar-sqlite knows up to {newest}; upgrade zaqar-sqlite"
    ensure_refused_untouched(open_driver, path, match)


def test_a_newer_version_is_refused_with_the_log_that_its_crash_left(path: Path, open_driver: Open) -> None:
    open_driver().close()
    make_database(path, "PRAGMA user_version = 99")
    crashed(path, "CREATE TABLE new (x)")
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(IncompatibleStorage, match="has schema version 99"):
        open_driver()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_newer_version_that_is_in_use_is_refused_and_no_connection_stays(path: Path, open_driver: Open) -> None:
    open_driver().close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
        with pytest.raises(IncompatibleStorage, match="has schema version 99") as caught:
            open_driver()
    assert files(path.parent) == [path.name]
    assert caught.traceback  # which had kept alive what was opened
    with closing(sqlite3.connect(path)) as newer:
        assert newer.execute("PRAGMA user_version").fetchone() == (99,)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        (len(MIGRATIONS) + 1, "upgrade zaqar-sqlite"),
        (1, "an older file took its place: connect again"),
        (len(MIGRATIONS), None),
    ],
)
@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE state RENAME COLUMN seen TO looked_at",
        "ALTER TABLE messages RENAME TO posted",
        "CREATE TRIGGER no BEFORE INSERT ON messages BEGIN SELECT raise(ABORT, 'no'); END",
    ],
    ids=["column", "table", "constraint"],
)
def test_a_schema_that_another_version_changed_in_use_is_refused_by_its_version(
    path: Path, open_driver: Open, change: str, version: int, remedy: str | None
) -> None:
    """Without this it would look damaged, and a backup would be restored over a file that is in order."""
    driver = open_driver()
    post(driver)
    with closing(sqlite3.connect(path)) as other:
        other.execute(change)
        other.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StorageError) as caught:
        post(driver)
    named = f"'queues.db' has schema version {version}, this zaqar-sqlite knows up to {len(MIGRATIONS)}; {remedy}"
    assert (named in str(caught.value)) == (remedy is not None)
    assert isinstance(caught.value, IncompatibleStorage) or remedy is None
    assert isinstance(caught.value.__cause__, sqlite3.Error)


def test_damage_met_in_use_is_told_and_chained(path: Path, open_driver: Open) -> None:
    driver = open_driver()
    post(driver)
    driver.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(IncompatibleStorage, match=r"the file is damaged .*restore a backup") as caught:
        total(open_driver())
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)


@pytest.mark.parametrize("statements", [None, [], ["PRAGMA user_version = 3"]])
def test_an_empty_file_or_database_is_taken(path: Path, open_driver: Open, statements: list[str] | None) -> None:
    if statements is None:
        path.touch()
    else:
        make_database(path, "CREATE TABLE t (x)", "DROP TABLE t", *statements)
    post(open_driver())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("sqlite://host/queues.db", InvalidUri, "no host.*sqlite:///relative.db"),
        ("sqlite:///", InvalidUri, "names no file; write"),
        ("sqlite:///:memory:", InvalidUri, ":memory:.*name a file"),
        ("sqlite:///a%00b.db", InvalidUri, "U.0000; remove"),
        ("sqlite:///.", InvalidUri, r"'\.' is a folder; name a file in it"),
        ("sqlite:///\ud800.db", InvalidUri, "cannot be the name of a file; correct"),
        ("sqlite:///no/queues.db", StorageUnavailable, "the folder of 'no/queues.db' does not exist; create it"),
        (f"sqlite:///{'x' * 300}", StorageUnavailable, r"cannot be re.*\(File name too long\); c"),
        ("sqlite:///loop", StorageUnavailable, "'loop' cannot be re"),
        ("sqlite:///pipe", InvalidUri, "'pipe' is a device, pipe or socket; name a plain file"),
    ],
)
def test_a_path_that_no_file_can_have_is_refused_and_nothing_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: type[Exception], match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    with pytest.raises(error, match=match):
        open_text(text)
    assert files(tmp_path) == ["loop", "pipe"]


@pytest.mark.parametrize("name", ["a b%20c?d#e.db", "ü\U0001f600.db", "file:x.db", "-x", "\n"])
def test_any_name_is_that_of_the_file(tmp_path: Path, open_driver: Open, name: str) -> None:
    driver = open_driver(tmp_path / name)
    post(driver)
    assert files(tmp_path) == sorted([name, f"{name}-shm", f"{name}-wal"])


def test_a_folder_in_which_nothing_can_be_made_is_told() -> None:
    with pytest.raises(
        StorageUnavailable, match=r"'queues.db' cannot be made \(.*\); check its folder's permissions"
    ) as caught:
        open_text("sqlite:////proc/queues.db")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_file_that_cannot_be_read_is_told() -> None:
    with pytest.raises(StorageUnavailable, match=r"'mem' cannot be read \(.*\); check its permissions") as caught:
        open_text("sqlite:////proc/self/mem")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_new_file_and_those_beside_it_are_for_their_owner_alone(path: Path, open_driver: Open) -> None:
    """It holds the URIs of pools, with their passwords."""
    before = os.umask(0o022)
    try:
        driver = open_driver()
    finally:
        os.umask(before)
    post(driver)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"queues.db": 0o600, "queues.db-wal": 0o600, "queues.db-shm": 0o600}
    assert driver.health()["file_mode"] == "0600"


def test_the_permissions_of_a_file_that_is_there_stay_the_operators(path: Path, open_driver: Open) -> None:
    path.touch()
    path.chmod(0o664)
    driver = open_driver()
    post(driver)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o664}
    assert driver.health()["file_mode"] == "0664"


def test_a_host_whose_clock_is_beyond_what_the_file_can_store_is_told(
    path: Path, open_driver: Open, set_clock: Callable[[float], None]
) -> None:
    driver = open_driver()
    set_clock(2.0**60)
    with pytest.raises(StorageUnavailable, match="the host's clock is too far in the future"):
        post(driver)
    set_clock(1_000_000)
    post(driver)
    assert total(driver) == 1


def test_a_folder_that_became_a_file_or_unreachable_is_told(tmp_path: Path, open_driver: Open) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    driver = open_driver(folder / "queues.db")
    post(driver)
    folder.rename(tmp_path / "away")
    folder.touch()
    with pytest.raises(StorageUnavailable, match="is gone; restore it"):
        driver.ping()
    folder.unlink()
    folder.symlink_to("folder")
    with pytest.raises(StorageUnavailable, match=r"'queues.db' cannot be reached \(.*\); check the permissions"):
        driver.ping()
    with pytest.raises(StorageUnavailable, match=r"'queues.db' cannot be reached"):
        driver.health()


def test_an_sqlite_that_is_too_old_is_told(tmp_path: Path, open_driver: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(BrokenDriver, match=r"needs SQLite 3\.38\.0 or later, this Python has .*; use a newer Python"):
        open_driver()
    assert files(tmp_path) == []


def test_a_relative_path_stays_the_same_file_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(open_text("sqlite:///queues.db")) as driver:
        monkeypatch.chdir("/")
        driver._database._close_idle()  # so that the next operation opens the file anew
        post(driver)
    assert files(tmp_path) == ["queues.db"]


def test_through_a_link_it_is_the_same_file(tmp_path: Path, path: Path, open_driver: Open) -> None:
    (tmp_path / "link").symlink_to(path)
    through, straight = open_driver(tmp_path / "link"), open_driver()
    post(through)
    assert total(straight) == 1
    assert files(tmp_path) == ["link", "queues.db", "queues.db-shm", "queues.db-wal"]


def test_after_the_last_close_there_is_the_file_alone_and_no_handle_on_it(path: Path, open_driver: Open) -> None:
    first, second = open_driver(), open_driver()
    barrier = threading.Barrier(4)
    threads = [
        threading.Thread(target=lambda: first._database.read(lambda _: barrier.wait(10), first._database.deadline()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(first._database._connections) >= 4
    post(second)
    first.close()
    assert path.with_name("queues.db-wal").exists()
    second.close()
    assert files(path.parent) == [path.name]
    assert not [link for link in Path("/proc/self/fd").iterdir() if str(path) in os.path.realpath(link)]
    assert total(open_driver()) == 1


def test_close_does_not_wait_longer_than_the_timeout_and_what_runs_on_closes_as_it_ends(
    path: Path, open_driver: Open
) -> None:
    driver = open_driver(timeout=0.05)
    inside, go_on = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE state SET seen = 77")
        inside.set()
        go_on.wait(10)

    thread = threading.Thread(target=lambda: driver._database.write(work, driver._database.deadline()))
    thread.start()
    assert inside.wait(10)
    driver.close()
    assert path.with_name("queues.db-wal").exists()
    go_on.set()
    thread.join()
    assert driver._database.closed
    assert files(path.parent) == [path.name]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT seen FROM state").fetchone() == (77,)


def test_opening_and_closing_in_one_process_keeps_the_locks_that_others_respect(
    tmp_path: Path, path: Path, open_driver: Open, start_child: Start
) -> None:
    """A process that comes and goes would take itself for the last one, and remove the log, were the locks gone."""
    driver = open_driver()
    post(driver)
    (tmp_path / "link").symlink_to(path)
    for at in (path, tmp_path / "link"):
        open_driver(at).close()
    child = start_child("open_and_close", path)
    assert child.wait(20) == 0
    assert path.with_name("queues.db-wal").exists()
    post(driver)
    assert total(open_driver()) == 2


def test_a_file_lost_in_use_is_told_and_no_empty_one_takes_its_place(path: Path, open_driver: Open) -> None:
    driver = open_driver()
    post(driver)
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(StorageUnavailable, match=r"'queues.db' is gone; restore it and connect again"):
        driver.ping()
    assert driver.health()["file_bytes"] == driver.health()["wal_bytes"] == 0
    driver._database._close_idle()
    with pytest.raises(StorageUnavailable, match="check that the file and its folder exist") as caught:
        post(driver)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert files(path.parent) == []


def test_what_sqlite_forbids_is_told_with_its_remedy(path: Path, open_driver: Open) -> None:
    driver = open_driver()
    database = driver._database
    for connection in database._connections.values():
        connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StorageUnavailable, match=r"make the file and its folder writable.*SQLITE_READONLY"):
        post(driver)
    with pytest.raises(StorageUnavailable, match="see the cause") as caught:
        database.read(lambda connection: connection.execute("SELECT ?"), database.deadline())
    assert isinstance(caught.value.__cause__, sqlite3.ProgrammingError)
    with pytest.raises(StorageError, match="damaged or not as this version made it"):
        database.read(lambda connection: connection.execute("SELECT no FROM state"), database.deadline())
    assert stat.S_ISREG(path.stat().st_mode)
    assert total(driver) == 0
