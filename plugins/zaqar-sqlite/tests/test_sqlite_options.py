"""Options of the URI: what each does to SQLite, to the capabilities, and what is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import zaqar_core
from zaqar_core import Capability
from zaqar_core.errors import InvalidOption
from zaqar_sqlite.connections import WAL_BYTES_KEPT, Database
from zaqar_sqlite.driver import SqliteDriver
from zaqar_sqlite.options import MAX_CACHE_MIB

Open = Callable[..., SqliteDriver]

OFF, NORMAL, FULL = 0, 1, 2


def pragma(database: Database, name: str, connections: int = 3) -> list[object]:
    """What the pragma says on each of several connections at once, the first of them old, the others new."""

    def ask(connection: sqlite3.Connection) -> list[object]:
        values = list(connection.execute(f"PRAGMA {name}").fetchone())
        return values + (pragma(database, name, connections - 1) if connections > 1 else [])

    return database.read(ask, database.deadline())


@pytest.mark.parametrize(
    ("options", "value", "durable"),
    [
        ({}, FULL, True),
        ({"synchronous": "FULL"}, FULL, True),
        ({"synchronous": "full"}, FULL, True),
        ({"synchronous": "NORMAL"}, NORMAL, False),
        ({"synchronous": "Off"}, OFF, False),
    ],
)
def test_synchronous_is_set_on_every_connection_and_alone_decides_about_durability(
    open_driver: Open, options: dict[str, object], value: int, durable: bool
) -> None:
    driver = open_driver(**options)
    assert pragma(driver._database, "synchronous") == [value] * 3
    assert pragma(driver._database, "fullfsync") == pragma(driver._database, "checkpoint_fullfsync") == [durable] * 3
    assert driver.possible_capabilities - driver.capabilities == (set() if durable else {Capability.DURABILITY})
    assert driver.health()["synchronous"] == ["OFF", "NORMAL", "FULL"][value]


@pytest.mark.parametrize(("options", "mib"), [({}, 16), ({"cache_mib": 1}, 1), ({"cache_mib": "65536"}, MAX_CACHE_MIB)])
def test_cache_mib_is_set_on_every_connection(open_driver: Open, options: dict[str, object], mib: int) -> None:
    assert pragma(open_driver(**options)._database, "cache_size") == [-1024 * mib] * 3


def test_every_connection_writes_to_a_log_of_bounded_size(open_driver: Open) -> None:
    driver = open_driver()
    assert pragma(driver._database, "journal_mode") == ["wal"] * 3
    assert pragma(driver._database, "journal_size_limit") == [WAL_BYTES_KEPT] * 3
    assert driver.health()["journal_mode"] == "wal"


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ("synchronus=FULL", "the sqlite driver has no option 'synchronus'; did you mean 'synchronous'"),
        ("cache=16", "no option 'cache'; did you mean 'cache_mib'"),
        ("journal_mode=DELETE", "no option 'journal_mode'; known are: cache_mib, synchronous"),
        ("synchronous=EXTRA", "synchronous='EXTRA' is none of FULL, NORMAL, OFF; choose one"),
        ("synchronous=", "synchronous='' is none of FULL, NORMAL, OFF; choose one"),
        ("synchronous=2", "synchronous='2' is none of FULL, NORMAL, OFF; choose one"),
        ("cache_mib=0", "cache_mib=0 is outside 1 to 65536; choose one inside"),
        ("cache_mib=-16", "cache_mib=-16 is outside 1 to 65536; choose one inside"),
        ("cache_mib=65537", "cache_mib=65537 is outside 1 to 65536; choose one inside"),
        ("cache_mib=1.5", "cache_mib='1.5' is not a whole number; write one"),
        ("cache_mib=", "cache_mib='' is not a whole number; write one"),
    ],
)
def test_a_wrong_option_is_refused_with_the_remedy_and_makes_no_file(tmp_path: Path, option: str, match: str) -> None:
    with pytest.raises(InvalidOption, match=match):
        zaqar_core.connect(f"sqlite:///{tmp_path}/queues.db?{option}")
    name, _, value = option.partition("=")
    with pytest.raises(InvalidOption, match=match):
        zaqar_core.connect(f"sqlite:///{tmp_path}/queues.db", **{name: value})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
