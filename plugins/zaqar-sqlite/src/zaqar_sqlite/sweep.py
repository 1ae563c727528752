"""Removes what no call can see any more, in short transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from zaqar_core.contract import MAX_SETTLED_PER_CALL, QueueKey
from zaqar_sqlite.clock import Clock
from zaqar_sqlite.connections import Database
from zaqar_sqlite.records import remove_expired
from zaqar_sqlite.settle import settle
from zaqar_sqlite.transactions import QueueTransaction

_STEP: Final = MAX_SETTLED_PER_CALL


def everything(database: Database, deadline: float) -> int:
    """Remove what has expired and what purges left behind, as far as the time allows; how many things."""
    removed = _expired_messages(database, deadline) + detached(database, deadline)
    for remove in (_forget_dedup_ids, remove_expired):
        removed += _in_steps(database, deadline, partial(_remove, remove, database.clock))
    # Copies the log into the file as far as no reader needs it; never waits.
    database.run(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone(), deadline)
    return removed


def detach(connection: sqlite3.Connection, key: QueueKey) -> bool:
    """Take the queue's name from its row, which empties it immediately; whether there was one."""
    return bool(
        connection.execute(
            "UPDATE queues SET project = NULL, name = NULL WHERE project = ? AND name = ?", (key.project, key.name)
        ).rowcount
    )


def detached(database: Database, deadline: float) -> int:
    """Remove what detached queues left, as far as the time allows; how many messages."""
    return _in_steps(database, deadline, _sweep_detached)


def _in_steps(database: Database, deadline: float, step: Callable[[sqlite3.Connection], int | None]) -> int:
    """Repeat ``step``, each time in a transaction of its own, until it answers None; the sum of its answers."""
    removed = 0
    while time.monotonic() < deadline:
        count = database.write(step, deadline)
        if count is None:
            break
        removed += count
    return removed


def _sweep_detached(connection: sqlite3.Connection) -> int | None:
    row = connection.execute("SELECT id FROM queues WHERE project IS NULL LIMIT 1").fetchone()
    if row is None:
        return None
    messages = connection.execute(
        "DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE queue = ? LIMIT ?) RETURNING claim",
        (row[0], _STEP),
    ).fetchall()
    connection.executemany("DELETE FROM claims WHERE seq = ?", {claim for claim in messages if claim[0] is not None})
    if len(messages) == _STEP:
        return len(messages)
    dedup = connection.execute(
        "DELETE FROM dedup WHERE id IN (SELECT id FROM dedup WHERE queue = ? LIMIT ?)", (row[0], _STEP)
    ).rowcount
    if dedup < _STEP:
        connection.execute("DELETE FROM queues WHERE id = ?", row)
    return len(messages)


def _remove(
    remove: Callable[[sqlite3.Connection, int], int], clock: Clock, connection: sqlite3.Connection
) -> int | None:
    return remove(connection, clock.now_ms()) or None


def _forget_dedup_ids(connection: sqlite3.Connection, now: int) -> int:
    return connection.execute(
        "DELETE FROM dedup WHERE id IN (SELECT id FROM dedup WHERE forget_at <= ? ORDER BY forget_at LIMIT ?)",
        (now, _STEP),
    ).rowcount


def _expired_messages(database: Database, deadline: float) -> int:
    removed = 0
    after = 0
    while time.monotonic() < deadline:
        row = database.read(partial(_next_due, after, database.clock), deadline)
        if row is None:
            break
        after = row[0]
        removed += _settle_queue(database, QueueKey(row[1], row[2]), deadline)
    return removed


def _next_due(after: int, clock: Clock, connection: sqlite3.Connection) -> tuple[int, str, str] | None:
    row: tuple[int, str, str] | None = connection.execute(
        """SELECT id, project, name FROM queues WHERE id > :after AND project IS NOT NULL AND EXISTS
        (SELECT 1 FROM messages WHERE queue = queues.id AND due_at <= :now) ORDER BY id LIMIT 1""",
        {"now": clock.now_ms(), "after": after},
    ).fetchone()
    return row


def _settle_queue(database: Database, key: QueueKey, deadline: float) -> int:
    def step(connection: sqlite3.Connection) -> int | None:
        transaction = QueueTransaction(connection, key, database.clock.now_ms())
        if not transaction.due:
            return None
        before = sum(transaction.counts)
        settle(transaction)
        transaction.write_back()
        return before - sum(transaction.counts)

    return _in_steps(database, deadline, step)
