"""Messages of the data plane."""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from zaqar_core.contract import (
    MAX_SETTLED_PER_CALL,
    EncodedMessage,
    MessageController,
    QueueKey,
    Refusal,
    StoredMessage,
    StoredPage,
)
from zaqar_core.errors import InvalidMarker, StorageError
from zaqar_core.limits import DEDUP_WINDOW
from zaqar_core.models import MessageRef, QueueStats
from zaqar_sqlite import sweep
from zaqar_sqlite.clock import to_ms
from zaqar_sqlite.connections import Database
from zaqar_sqlite.ids import new_tokens, seqs_of, to_id
from zaqar_sqlite.settle import read, write
from zaqar_sqlite.transactions import ACTIVE, CLAIMED, COLUMNS, DELAYED, OTHERS_COLUMNS, QueueTransaction, json_list

_START: Final = "0-0"
_MARKER: Final = re.compile(r"(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18})")
_MAX_INTEGER: Final = 2**63 - 1
_SCANNED_FOR_OTHERS: Final = 1_000
"""Beyond the page itself, how many messages a listing that hides a client's own looks at in one step."""

_INSERT: Final = """
    INSERT INTO messages (seq, queue, state, position, due_at, posted_at, expires_at, token, client_id, headers, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# "+queue": the plus keeps SQLite from searching the whole queue by an index instead of the few rows by number.
_BY_SEQ: Final = f"SELECT {COLUMNS} FROM messages WHERE seq IN (SELECT value FROM json_each(?)) AND +queue = ?"
_HOLDERS: Final = """
    SELECT seq, CAST(token AS BLOB), state, claim FROM messages
    WHERE seq IN (SELECT value FROM json_each(?)) AND +queue = ?
"""
_DELETE: Final = "DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))"
_POP: Final = f"""
    DELETE FROM messages WHERE seq IN
        (SELECT seq FROM messages WHERE queue = ? AND state = {ACTIVE} ORDER BY position, seq LIMIT ?)
    RETURNING {COLUMNS}
"""
# Two ranges, since an index search takes no pair of columns as its bound, and thousands may share a position.
_RANGE: Final = f"""
    SELECT * FROM (
        SELECT {OTHERS_COLUMNS} FROM messages
        WHERE queue = :queue AND state = :state AND position = :position AND seq > :seq
        ORDER BY seq LIMIT :limit)
    UNION ALL
    SELECT * FROM (
        SELECT {OTHERS_COLUMNS} FROM messages
        WHERE queue = :queue AND state = :state AND position > :position
        ORDER BY position, seq LIMIT :limit)
"""


def _end_of(direction: str) -> str:
    return f"""
        SELECT {COLUMNS} FROM messages WHERE queue = ? AND state = ?
        ORDER BY position {direction}, seq {direction} LIMIT 1
    """


_FIRST: Final = _end_of("ASC")
_LAST: Final = _end_of("DESC")


class SqliteMessages(MessageController):
    """Messages in the table ``messages``. An unknown queue has no row, and nothing is found under none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        def work(transaction: QueueTransaction) -> list[str]:
            row = transaction.create_queue(queue) if transaction.queue is None else transaction.queue
            ids = _known_dedup_ids(transaction, messages)
            seq = transaction.take_seqs(len(messages))
            now = transaction.now
            answer: list[str] = []
            rows: list[tuple[object, ...]] = []
            fresh: list[tuple[int, str, str, int]] = []
            for message, token in zip(messages, tokens, strict=True):
                dedup_id = message.dedup_id
                if dedup_id in ids:
                    answer.append(ids[dedup_id])
                    continue
                message_id = to_id(seq, token)
                answer.append(message_id)
                if dedup_id is not None:
                    ids[dedup_id] = message_id
                    fresh.append((row, dedup_id, message_id, now + to_ms(DEDUP_WINDOW)))
                expires_at = now + to_ms(message.ttl)
                state, position, due_at = ACTIVE, transaction.position, expires_at
                if message.delay > 0:
                    available_at = now + to_ms(message.delay)
                    state, position = DELAYED, transaction.position_at(available_at)
                    due_at = min(available_at, expires_at)
                text = json.dumps(dict(message.headers)) if message.headers else ""
                rows.append((seq, row, state, position, due_at, now, expires_at, token, client_id, text, message.body))
                transaction.counts[state] += 1
                seq += 1
            transaction.connection.executemany(_INSERT, rows)
            if fresh:
                _remember_dedup_ids(transaction, fresh)
            return answer

        if not messages:
            return []
        tokens = new_tokens(len(messages))
        # As many expired messages go as new ones come, so an unread queue does not grow without bound.
        return write(self._database, queue, work, steps=1 + len(messages) // MAX_SETTLED_PER_CALL)

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        def work(transaction: QueueTransaction) -> list[StoredMessage]:
            found = transaction.connection.execute(_BY_SEQ, (json_list(seqs), transaction.queue)).fetchall()
            messages = {message.id: message for message in map(transaction.message_of, found)}
            return [messages[some_id] for some_id in dict.fromkeys(message_ids) if some_id in messages]

        seqs = seqs_of(message_ids)
        return read(self._database, queue, work) if seqs else []

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        def work(transaction: QueueTransaction) -> StoredMessage | None:
            row = _end(transaction, newest=newest)
            return None if row is None else transaction.message_of(row)

        return read(self._database, queue, work)

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        def work(transaction: QueueTransaction) -> dict[str, Refusal]:
            held = transaction.connection.execute(_HOLDERS, (json_list(seqs), transaction.queue)).fetchall()
            found = {to_id(seq, token): (seq, state, claim) for seq, token, state, claim in held}
            claims = None if claim_ids is None else _live(transaction, claim_ids)
            refused = {}
            deleted = []
            for message_id in dict.fromkeys(message_ids):
                if message_id not in found:
                    continue
                _, state, claim = found[message_id]
                if claims is None:
                    refusal = Refusal.MESSAGE_IS_CLAIMED if state == CLAIMED else None
                elif not claims:
                    refusal = Refusal.CLAIM_DOES_NOT_EXIST
                else:
                    refusal = None if claim in claims else Refusal.CLAIM_DOES_NOT_MATCH
                if refusal:
                    refused[message_id] = refusal
                else:
                    deleted.append(found[message_id])
            _delete(transaction, deleted)
            return refused

        seqs = seqs_of(message_ids)
        return write(self._database, queue, work) if seqs else {}

    def pop(self, queue: QueueKey, *, limit: int) -> list[StoredMessage]:
        def work(transaction: QueueTransaction) -> list[StoredMessage]:
            if not transaction.counts[ACTIVE]:
                return []
            rows = transaction.connection.execute(_POP, (transaction.queue, limit)).fetchall()
            rows.sort(key=_by_position)
            transaction.counts[ACTIVE] -= len(rows)
            transaction.changed = True
            return [transaction.message_of(row) for row in rows]

        return write(self._database, queue, work)

    def stats(self, queue: QueueKey) -> QueueStats:
        def work(transaction: QueueTransaction) -> QueueStats:
            oldest, newest = (_end(transaction, newest=newest) for newest in (False, True))
            return QueueStats(
                free=transaction.counts[ACTIVE],
                claimed=transaction.counts[CLAIMED],
                delayed=transaction.counts[DELAYED],
                total=sum(transaction.counts),
                oldest=_ref(transaction, oldest),
                newest=_ref(transaction, newest),
            )

        return read(self._database, queue, work)

    def purge(self, queue: QueueKey) -> None:
        deadline = self._database.deadline()
        if self._database.write(lambda connection: sweep.detach(connection, queue), deadline):
            # The queue is empty from here on. What is left of it is swept now, or by a later purge or gc.
            with contextlib.suppress(StorageError):
                sweep.detached(self._database, _halfway(deadline))

    def list(
        self,
        queue: QueueKey,
        *,
        marker: str | None,
        limit: int,
        exclude_client: str | None,
        include_claimed: bool,
        include_delayed: bool,
    ) -> StoredPage:
        def work(transaction: QueueTransaction) -> StoredPage:
            present = [state for state in states if transaction.counts[state]]
            after = passed = start
            shown: list[Any] = []
            complete = not present
            while not complete and len(shown) <= limit and (after == start or time.monotonic() < stop):
                rows = _scan(transaction, present, after, step, exclude_client)
                complete = len(rows) < step
                for row in rows:
                    after = _by_position(row)
                    if row[5] != hidden:
                        shown.append(row)
                    elif row[1] <= transaction.position:
                        # A marker goes past hidden messages, but not past later posts: these come before a delayed one.
                        passed = after
            items = shown[:limit]
            if items:
                last = _by_position(items[-1])
                passed = last if len(shown) > limit else max(last, passed)
            return StoredPage(
                items=[transaction.message_of(row) for row in items],
                marker=f"{passed[0]}-{passed[1]}",
                more=len(shown) > limit or not complete,
            )

        start = _read_marker(marker or _START)
        hidden = None if exclude_client is None else exclude_client.encode()
        stop = _halfway(self._database.deadline())
        step = limit + 1 if exclude_client is None else limit + 1 + _SCANNED_FOR_OTHERS
        states = [ACTIVE, *([CLAIMED] if include_claimed else []), *([DELAYED] if include_delayed else [])]
        return read(self._database, queue, work)


def _scan(
    transaction: QueueTransaction, states: Sequence[int], after: tuple[int, int], limit: int, hidden: str | None
) -> list[Any]:
    """The first ``limit`` rows after a position, by position; without the bodies of the client ``hidden``."""
    rows: list[Any] = []
    for state in states:
        rows += transaction.connection.execute(
            _RANGE,
            {
                "queue": transaction.queue,
                "state": state,
                "position": after[0],
                "seq": after[1],
                "limit": limit,
                "hidden": hidden,
            },
        ).fetchall()
    rows.sort(key=_by_position)
    return rows[:limit]


def _halfway(deadline: float) -> float:
    """When to stop what can be continued another time, so that the call ends in time."""
    now = time.monotonic()
    return now + (deadline - now) / 2


def _known_dedup_ids(transaction: QueueTransaction, messages: Sequence[EncodedMessage]) -> dict[str | None, str]:
    wanted = [message.dedup_id for message in messages if message.dedup_id is not None]
    if not wanted:
        return {}
    rows = transaction.connection.execute(
        """SELECT dedup_id, message_id FROM dedup
        WHERE queue = ? AND dedup_id IN (SELECT value FROM json_each(?)) AND forget_at > ?""",
        (transaction.queue, json.dumps(wanted), transaction.now),
    )
    return dict(rows.fetchall())


def _remember_dedup_ids(transaction: QueueTransaction, rows: Sequence[tuple[int, str, str, int]]) -> None:
    # Two old ones go for each new one, so they do not pile up where gc is never called.
    transaction.connection.execute(
        "DELETE FROM dedup WHERE id IN (SELECT id FROM dedup WHERE forget_at <= ? ORDER BY forget_at LIMIT ?)",
        (transaction.now, 2 * len(rows)),
    )
    transaction.connection.executemany(
        """INSERT INTO dedup (queue, dedup_id, message_id, forget_at) VALUES (?, ?, ?, ?)
        ON CONFLICT (queue, dedup_id) DO UPDATE SET message_id = excluded.message_id, forget_at = excluded.forget_at""",
        rows,
    )


def _read_marker(marker: str) -> tuple[int, int]:
    match = _MARKER.fullmatch(marker)
    position, seq = (int(match[1]), int(match[2])) if match else (_MAX_INTEGER + 1, 0)
    if max(position, seq) > _MAX_INTEGER:
        raise InvalidMarker(
            f"{marker[:64]!r} is not a marker that this listing gave; pass a page's marker, or None to start"
        )
    return position, seq


def _by_position(row: Sequence[Any]) -> tuple[int, int]:
    return row[1], row[0]


def _end(transaction: QueueTransaction, *, newest: bool) -> Any:
    """The first or last row by position among active and claimed messages, or None."""
    statement = _LAST if newest else _FIRST
    rows = [
        row
        for state in (ACTIVE, CLAIMED)
        if transaction.counts[state]
        for row in transaction.connection.execute(statement, (transaction.queue, state)).fetchall()
    ]
    return (max if newest else min)(rows, key=_by_position, default=None)


def _ref(transaction: QueueTransaction, row: Any) -> MessageRef | None:
    return None if row is None else MessageRef(to_id(row[0], row[4]), transaction.seconds_since(row[2]))


def _live(transaction: QueueTransaction, claim_ids: Iterable[str]) -> set[int]:
    found = (transaction.find_claim(claim_id) for claim_id in dict.fromkeys(claim_ids))
    return {claim.seq for claim in found if claim is not None}


def _delete(transaction: QueueTransaction, found: Sequence[tuple[int, int, int | None]]) -> None:
    if found:
        transaction.connection.execute(_DELETE, (json_list(seq for seq, _, _ in found),))
        for _, state, _ in found:
            transaction.uncount(state)
        transaction.drop_empty_claims(claim for _, _, claim in found)
        transaction.changed = True
