"""What changes by time alone: delays and claims end, messages expire. Done in passing, before an operation answers."""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from zaqar_core.contract import MAX_SETTLED_PER_CALL, QueueKey
from zaqar_sqlite.connections import Database
from zaqar_sqlite.transactions import ACTIVE, DELAYED, POSITIONS_PER_MS, QueueTransaction, json_list

T = TypeVar("T")


def read(database: Database, key: QueueKey, work: Callable[[QueueTransaction], T]) -> T:
    """What ``work`` returns, which only reads, of the queue at one instant, settled.

    It runs in a transaction that locks nothing, however long it takes. If something has to be settled, other
    transactions do it, and the work sees the queue as of the moment at which they did: what falls due meanwhile cannot
    send it back again and again.
    """

    def attempt(moment: int | None, connection: sqlite3.Connection) -> T | Unsettled:
        transaction = QueueTransaction(connection, key, database.clock.now_ms() if moment is None else moment)
        return UNSETTLED if transaction.due else work(transaction)

    deadline = database.deadline()
    moment = None
    while isinstance(result := database.read(partial(attempt, moment), deadline), Unsettled):
        moment = write(database, key, lambda transaction: transaction.now, deadline=deadline)
    return result


def write(
    database: Database,
    key: QueueKey,
    work: Callable[[QueueTransaction], T],
    *,
    deadline: float | None = None,
    steps: int | None = None,
) -> T:
    """Run ``work`` on the queue, settled, in one transaction; before it, others settle what is more than a step.

    ``steps``: how many transactions at most settle, for work whose answer does not depend on it.
    """

    def attempt(enough: bool, connection: sqlite3.Connection) -> T | Unsettled:
        # The clock is read inside the transaction: a writer that waited for its turn must not bring an old time.
        transaction = QueueTransaction(connection, key, database.clock.now_ms())
        complete = settle(transaction)
        result = work(transaction) if complete or enough else UNSETTLED
        transaction.write_back()
        return result

    deadline = database.deadline() if deadline is None else deadline
    step = 1
    while True:
        result = database.write(partial(attempt, step == steps), deadline)
        if not isinstance(result, Unsettled):
            return result
        step += 1


def settle(transaction: QueueTransaction) -> bool:
    """Settle up to ``MAX_SETTLED_PER_CALL`` messages; whether that was all."""
    if not transaction.due:
        return True
    connection = transaction.connection
    rows = connection.execute(_DUE, (transaction.queue, transaction.now, MAX_SETTLED_PER_CALL)).fetchall()
    expired: list[int] = []
    available: list[int] = []
    for seq, state, _, expires_at in rows:
        transaction.uncount(state)
        (expired if expires_at <= transaction.now else available).append(seq)
    transaction.counts[ACTIVE] += len(available)
    connection.execute(_REMOVE, (json_list(expired),))
    connection.execute(_ACTIVATE, (transaction.position_offset, json_list(available)))
    transaction.drop_empty_claims(claim for _, _, claim, _ in rows)
    transaction.changed = transaction.timed = True
    transaction.due = len(rows) == MAX_SETTLED_PER_CALL
    return not transaction.due


_DUE: Final = """
    SELECT seq, state, claim, CAST(expires_at AS INTEGER) FROM messages
    WHERE queue = ? AND due_at <= ? ORDER BY due_at LIMIT ?
"""
_REMOVE: Final = "DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))"
# A delay that the clock, set back, made longer: its message comes behind what was listed meanwhile, not before it.
_ACTIVATE: Final = f"""
    UPDATE messages SET state = {ACTIVE}, claim = NULL, due_at = expires_at, position = CASE state
        WHEN {DELAYED} THEN max(position, (due_at + ? - 1) * {POSITIONS_PER_MS} + position % {POSITIONS_PER_MS})
        ELSE position END
    WHERE seq IN (SELECT value FROM json_each(?))
"""


class Unsettled:
    """The answer of a transaction that could only settle."""


UNSETTLED: Final = Unsettled()
