"""Claims of the data plane."""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, tee
from typing import Any, Final

from zaqar_core import kit
from zaqar_core.contract import ClaimController, QueueKey, StoredClaim, StoredMessage
from zaqar_core.errors import InvalidDuration
from zaqar_sqlite.clock import to_ms
from zaqar_sqlite.connections import Database
from zaqar_sqlite.ids import new_tokens, seqs_of, to_id
from zaqar_sqlite.settle import read, write
from zaqar_sqlite.transactions import (
    ACTIVE,
    CLAIMED,
    COLUMNS,
    DELAYED,
    POSITIONS_PER_MS,
    UNCLAIMED,
    QueueTransaction,
    json_list,
)

_INSERT: Final = "INSERT INTO claims (seq, queue, started_at, ends_at, token) VALUES (?, ?, ?, ?, ?)"
_OLDEST: Final = f"""
    SELECT {UNCLAIMED} FROM messages WHERE queue = ? AND state = {ACTIVE} ORDER BY position, seq LIMIT ?
"""
_TAKE: Final = f"""
    UPDATE messages SET state = {CLAIMED}, claim = ?, claim_count = claim_count + 1, due_at = ?,
        expires_at = max(expires_at, ?)
    WHERE seq IN (SELECT value FROM json_each(?))
"""
_MEMBERS: Final = "queue = :queue AND due_at = :ends_at AND claim = :claim"
_BY_POSITION: Final = " ORDER BY position, seq"
_SELECT: Final = f"SELECT {COLUMNS} FROM messages WHERE {_MEMBERS}{_BY_POSITION}"
_SELECT_LIVES: Final = f"SELECT seq, CAST(expires_at AS INTEGER) FROM messages WHERE {_MEMBERS}"
_RENEW: Final = f"UPDATE messages SET due_at = :until, expires_at = max(expires_at, :expires_at) WHERE {_MEMBERS}"
_RELEASE: Final = f"UPDATE messages SET state = {ACTIVE}, claim = NULL, due_at = expires_at WHERE {_MEMBERS}"
_POSTPONE: Final = f"""
    UPDATE messages SET state = {DELAYED}, claim = NULL, position = ? + json_each.key, due_at = ?
    FROM json_each(?) WHERE seq = json_each.value
"""
_LAST_AT: Final = f"""
    SELECT max(position) FROM messages WHERE queue = ? AND state = {DELAYED} AND position >= ? AND position < ?
"""
_ONLY: Final = " AND seq IN (SELECT value FROM json_each(:seqs))"
_TOKENS: Final = "SELECT seq, CAST(token AS BLOB) FROM messages WHERE seq IN (SELECT value FROM json_each(?))"


class SqliteClaims(ClaimController):
    """Claims in the table ``claims``; their members are the messages whose ``due_at`` is the claim's end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        def work(transaction: QueueTransaction) -> StoredClaim:
            if not transaction.counts[ACTIVE]:
                return StoredClaim(None, ttl, 0.0)
            seq = transaction.take_seqs(1)
            ends_at = transaction.now + to_ms(ttl)
            lives_until = ends_at + to_ms(grace)
            connection = transaction.connection
            rows = _oldest(transaction, limit, max_claim_count)
            if not rows:
                return StoredClaim(None, ttl, 0.0)
            connection.execute(_TAKE, (seq, ends_at, lives_until, json_list(row[0] for row in rows)))
            connection.execute(_INSERT, (seq, transaction.queue, transaction.now, ends_at, token))
            transaction.counts[ACTIVE] -= len(rows)
            transaction.counts[CLAIMED] += len(rows)
            claim_id = to_id(seq, token)
            messages: list[StoredMessage] = []
            exhausted: list[StoredMessage] = []
            for *identity, expires_at, own_token, client_id, claim_count, headers, body in rows:
                used_up = max_claim_count is not None and claim_count >= max_claim_count
                lives = max(expires_at, lives_until)
                row = (*identity, lives, own_token, client_id, claim_count + 1, headers, body, seq, token.encode())
                (exhausted if used_up else messages).append(transaction.message_of(row))
            return StoredClaim(claim_id, to_ms(ttl) / 1000, 0.0, messages, exhausted)

        [token] = new_tokens(1)
        return write(self._database, queue, work)

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        def work(transaction: QueueTransaction) -> StoredClaim | None:
            claim = transaction.find_claim(claim_id)
            if claim is None:
                return None
            rows = transaction.connection.execute(
                _SELECT, {"queue": transaction.queue, "ends_at": claim.ends_at, "claim": claim.seq}
            ).fetchall()
            return StoredClaim(
                claim_id,
                (claim.ends_at - claim.started_at) / 1000,
                transaction.seconds_since(claim.started_at),
                [transaction.message_of(row) for row in rows],
            )

        return read(self._database, queue, work)

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        def work(transaction: QueueTransaction) -> bool:
            claim = transaction.find_claim(claim_id)
            if claim is None:
                return False
            until = transaction.now + to_ms(ttl)
            transaction.connection.execute(
                _RENEW,
                {
                    "queue": transaction.queue,
                    "ends_at": claim.ends_at,
                    "claim": claim.seq,
                    "until": until,
                    "expires_at": until + to_ms(grace),
                },
            )
            transaction.connection.execute(
                "UPDATE claims SET started_at = ?, ends_at = ? WHERE seq = ?", (transaction.now, until, claim.seq)
            )
            transaction.timed = True
            return True

        return write(self._database, queue, work)

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        def work(transaction: QueueTransaction) -> int | None:
            """What the message that ends first has left, if that is too short: then nothing is released."""
            claim = transaction.find_claim(claim_id)
            if claim is None:
                return None
            connection = transaction.connection
            values: dict[str, int | str | None] = {
                "queue": transaction.queue,
                "ends_at": claim.ends_at,
                "claim": claim.seq,
            }
            only = ""
            if message_ids is not None:
                only = _ONLY
                rows = connection.execute(_TOKENS, (json_list(seqs_of(message_ids)),))
                values["seqs"] = json_list(seq for seq, token in rows if to_id(seq, token) in named)
            if delay > 0:
                members = connection.execute(f"{_SELECT_LIVES}{only}{_BY_POSITION}", values).fetchall()
                until = transaction.now + to_ms(delay)
                ends = min((expires_at for _, expires_at in members), default=until + 1)
                if ends <= until:
                    return ends - transaction.now
                seqs = json_list(seq for seq, _ in members)
                connection.execute(_POSTPONE, (_first_position(transaction, until), until, seqs))
                released, state = len(members), DELAYED
            else:
                released, state = connection.execute(f"{_RELEASE}{only}", values).rowcount, ACTIVE
            transaction.counts[CLAIMED] -= released
            transaction.counts[state] += released
            transaction.drop_empty_claims([claim.seq])
            transaction.changed = transaction.timed = True
            return None

        named = set(message_ids or ())
        too_short = write(self._database, queue, work)
        if too_short is not None:
            raise InvalidDuration(
                f"a delay of {delay:g} s is not shorter than what one of the messages has left to live, "
                f"{too_short / 1000:g} s; nothing was released: release with a shorter delay, or claim with a "
                "longer grace"
            )


def _oldest(transaction: QueueTransaction, limit: int, max_claim_count: int | None) -> list[Any]:
    """The rows to take; no more are read."""
    rows, counted = tee(transaction.connection.execute(_OLDEST, (transaction.queue, limit)))
    return list(islice(rows, kit.taken_together((row[6] for row in counted), max_claim_count)))


def _first_position(transaction: QueueTransaction, moment: int) -> int:
    """Where the first of those stands that become available at a moment: behind all that do so already."""
    first = transaction.position_at(moment)
    bounds = (transaction.queue, first, first + POSITIONS_PER_MS - 1)
    last = transaction.connection.execute(_LAST_AT, bounds).fetchone()[0]
    return first if last is None else int(last) + 1
