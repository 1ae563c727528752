"""Drivers on a file of the test's own, a clock that obeys, other processes, and a look at the file itself."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

import pytest

from zaqar_core.uri import Uri
from zaqar_sqlite.clock import Clock
from zaqar_sqlite.driver import SqliteDriver


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


@pytest.fixture
def open_driver(path: Path) -> Iterator[Callable[..., SqliteDriver]]:
    """Opens a driver, on ``path`` unless told otherwise, and closes it after the test."""
    with ExitStack() as stack:

        def open_one(
            at: Path = path, *, timeout: float = 10, connect_timeout: float = 5, **options: object
        ) -> SqliteDriver:
            uri = Uri.parse(f"sqlite:///{quote(str(at))}", options)
            driver = SqliteDriver.open(uri, connect_timeout=connect_timeout, timeout=timeout)
            stack.callback(driver.close)
            return driver

        yield open_one


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the host's clock, as this package reads it, to so many seconds; it stands at 1 000 000 to begin with."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(Clock, "now_ms", lambda _: round(seconds * 1000))

    set_to(1_000_000)
    return set_to


@pytest.fixture
def start_child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a function of ``sqlite_child.py`` in a process of its own, which does not outlive the test."""
    with ExitStack() as stack:

        def start(function: str, *arguments: object) -> subprocess.Popen[str]:
            command = [sys.executable, str(Path(__file__).with_name("sqlite_child.py")), function]
            child = subprocess.Popen(
                [*command, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            return child

        yield start


@pytest.fixture
def ensure_whole() -> Callable[[Path], None]:
    """Checks the file by SQLite's own means, and that each queue's counters say what its rows do."""

    def ensure(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            queues = connection.execute(
                "SELECT id, free, claimed, delayed FROM queues WHERE name IS NOT NULL"
            ).fetchall()
            for queue, *counts in queues:
                rows = connection.execute("SELECT state, count(*) FROM messages WHERE queue = ? GROUP BY 1", (queue,))
                assert dict(rows.fetchall()) == {state: count for state, count in enumerate(counts) if count}
            lost = "SELECT count(*) FROM messages WHERE claim IS NOT NULL AND claim NOT IN (SELECT seq FROM claims)"
            assert connection.execute(lost).fetchone() == (0,)

    return ensure
