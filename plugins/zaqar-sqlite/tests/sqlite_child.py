"""What tests have other processes do: ``python sqlite_child.py FUNCTION ARGUMENT...``. Answers are lines of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import quote

from zaqar_core.contract import QueueKey
from zaqar_core.uri import Uri
from zaqar_sqlite.driver import SqliteDriver

QUEUE = QueueKey("", "q")


def open_driver(path: Path, *, timeout: float = 10) -> SqliteDriver:
    return SqliteDriver.open(Uri.parse(f"sqlite:///{quote(str(path))}"), connect_timeout=10, timeout=timeout)


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def open_and_close(path: Path) -> None:
    open_driver(path).close()


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
