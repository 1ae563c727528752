"""SQLite as a target of the conformance suite. Nothing else in this package needs zaqar-conformance."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from zaqar_conformance.target import Target, TargetError
from zaqar_core.contract import Driver
from zaqar_core.uri import Uri
from zaqar_sqlite.clock import set_ahead

_DURABLE_SYNCHRONOUS = ("FULL", "EXTRA")


class SqliteTarget(Target):
    """One database file, on whatever disk the workspace is."""

    name = "sqlite"
    scheme = "sqlite"
    embedded = True

    def __init__(self) -> None:
        self._folder: Path | None = None

    def start(self, workspace: Path) -> str:
        self._folder = workspace
        return _uri(workspace / "queues.db")

    def stop(self) -> None:
        """The file goes with the workspace."""

    def move_clock(self, seconds: float) -> None:
        if self._folder is None:
            raise TargetError("the target sqlite was not started")
        set_ahead((self._folder / "queues.db").resolve(), seconds)

    @contextmanager
    def blocked(self, uri: str) -> Iterator[None]:
        """Another client holds the write lock."""
        with closing(sqlite3.connect(Uri.parse(uri).path.removeprefix("/"), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield

    def unreachable_uri(self) -> str:
        folder = self._folder or Path("/")
        return _uri(folder / "no-such-folder" / "queues.db")

    def durability_gaps(self, driver: Driver) -> list[str]:
        health = driver.health()
        gaps = []
        if str(health["synchronous"]).upper() not in _DURABLE_SYNCHRONOUS:
            gaps.append(f"synchronous={health['synchronous']}: a commit returns before it is on the disk")
        if str(health["journal_mode"]).lower() != "wal":
            gaps.append(f"journal_mode={health['journal_mode']}: this driver commits durably only with a WAL")
        return gaps


def _uri(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"
