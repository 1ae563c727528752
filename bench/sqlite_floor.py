"""How far zaqar-sqlite is from a hand-written sqlite3 loop: both on one disk, in one run, turn by turn.

The loop stores, leases and deletes JSON in one table with the two indexes that it needs, commits where the driver
commits, and keeps no promise besides (no tenants, no expiry, no counts, no markers). Prints a table; the ratio is the
loop's time over the driver's, medians over the turns: 100 % is as fast as the loop.

    python bench/sqlite_floor.py [--turns 30] [--folder .] [--synchronous FULL]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zaqar_core import NewMessage, Storage, connect

BODY = {"id": 12345, "kind": "order", "text": "x" * 200, "price": 9.75, "tags": ["a", "b"]}
QUEUE = "bench"
REPEAT = 20
"""How often an operation is repeated in one turn."""


class Loop:
    """What one would write without an SDK."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self.db = sqlite3.connect(folder / "loop.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute(f"PRAGMA synchronous = {synchronous}")
        self.db.execute(
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT, expires REAL, leased REAL DEFAULT 0)"
        )
        self.db.execute("CREATE INDEX by_lease ON messages (leased, id)")
        self.db.execute("CREATE INDEX by_expiry ON messages (expires)")

    def post(self, count: int) -> None:
        rows = [(json.dumps(BODY), time.time() + 3600) for _ in range(count)]
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("INSERT INTO messages (body, expires) VALUES (?, ?)", rows)
        self.db.execute("COMMIT")

    def claim_and_delete(self, count: int) -> None:
        now = time.time()
        self.db.execute("BEGIN IMMEDIATE")
        rows = self.db.execute(
            "SELECT id, body FROM messages WHERE leased < ? ORDER BY leased, id LIMIT ?", (now, count)
        ).fetchall()
        self.db.executemany("UPDATE messages SET leased = ? WHERE id = ?", [(now + 300, row[0]) for row in rows])
        self.db.execute("COMMIT")
        assert [json.loads(row[1]) for row in rows] == [BODY] * count
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("DELETE FROM messages WHERE id = ?", [(row[0],) for row in rows])
        self.db.execute("COMMIT")


class Sdk:
    """The same through ``Storage``."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        uri = f"sqlite:///{quote(str(folder / 'sdk.db'))}"
        self.storage: Storage = connect(uri, synchronous=synchronous)

    def post(self, count: int) -> None:
        self.storage.messages.post(QUEUE, [NewMessage(BODY, ttl=3600) for _ in range(count)])

    def claim_and_delete(self, count: int) -> None:
        claim = self.storage.claims.create(QUEUE, ttl=300, grace=60, limit=count)
        assert claim.id is not None
        assert [message.body for message in claim.messages] == [BODY] * count
        refused = self.storage.messages.bulk_delete(QUEUE, [m.id for m in claim.messages], claim_ids=[claim.id])
        assert refused == []


def seconds(work: Callable[[int], None], count: int) -> float:
    """The mean time of one call."""
    start = time.perf_counter()
    for _ in range(REPEAT):
        work(count)
    return (time.perf_counter() - start) / REPEAT


def measure(loop: Loop, sdk: Sdk, turns: int) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of loop and SDK for each operation, a value a turn; what is posted is claimed and deleted again."""
    table: dict[str, tuple[list[float], list[float]]] = {}
    for turn in range(turns):
        sides: list[tuple[int, Any]] = [(0, loop), (1, sdk)]
        for count in (1, 10, 100):
            for side, subject in sides if turn % 2 else sides[::-1]:
                for name in ("post", "claim_and_delete"):
                    taken = seconds(getattr(subject, name), count)
                    table.setdefault(f"{name} {count}", ([], []))[side].append(taken)
        print(f"\rturn {turn + 1} of {turns}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure (default: here)")
    parser.add_argument("--synchronous", default="FULL", choices=["FULL", "NORMAL", "OFF"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name).resolve()
        sdk = Sdk(folder, arguments.synchronous)
        with sdk.storage:
            table = measure(Loop(folder, arguments.synchronous), sdk, arguments.turns)
    print(f"synchronous={arguments.synchronous}, medians of {arguments.turns} turns of {REPEAT} calls")
    print(f"{'operation':<22}{'loop ms':>10}{'SDK ms':>10}{'speed':>9}")
    for operation, (loop_times, sdk_times) in table.items():
        ratio = statistics.median(a / b for a, b in zip(loop_times, sdk_times, strict=True))
        loop_ms, sdk_ms = (statistics.median(times) * 1000 for times in (loop_times, sdk_times))
        print(f"{operation.replace('_', ' '):<22}{loop_ms:>10.3f}{sdk_ms:>10.3f}{ratio:>9.0%}")


if __name__ == "__main__":
    main()
