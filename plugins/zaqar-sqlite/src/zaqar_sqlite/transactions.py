"""One queue inside one transaction: its counters, the time, the next number, and rows turned into messages."""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from zaqar_core.contract import NO_HEADERS, QueueKey, StoredMessage
from zaqar_core.errors import IncompatibleStorage
from zaqar_sqlite.ids import seq_of, to_id

ACTIVE: Final = 0
CLAIMED: Final = 1
DELAYED: Final = 2

UNCLAIMED: Final = "seq, position, posted_at, expires_at, token, client_id, claim_count, headers, body"
COLUMNS: Final = f"{UNCLAIMED}, (SELECT printf('%x-%s', seq, token) FROM claims WHERE claims.seq = messages.claim)"
"""What ``message_of`` needs of a message, in this order; of one without a claim, the last is None."""

POSITIONS_PER_MS: Final = 100_000
"""Positions are finer than time: 0 is for what is posted in a millisecond; the others, from 1, are for what becomes
available at the next one, so that messages released together can keep their order. More than a claim can hold."""

_LOAD = """
    SELECT s.seen, s.position_offset, s.next_seq, q.id, q.free, q.claimed, q.delayed,
        EXISTS (SELECT 1 FROM messages WHERE queue = q.id AND due_at <= ?1)
    FROM state AS s LEFT JOIN queues AS q ON q.project = ?2 AND q.name = ?3
"""
_DROP_EMPTY_CLAIMS = """
    DELETE FROM claims WHERE seq IN (SELECT value FROM json_each(?)) AND NOT EXISTS
        (SELECT 1 FROM messages WHERE queue = claims.queue AND due_at = claims.ends_at AND claim = claims.seq)
"""


class Claim(NamedTuple):
    """A claim that lives. Times in milliseconds."""

    seq: int
    started_at: int
    ends_at: int


class QueueTransaction:
    """A queue as it stands at ``now``. ``queue``: its row, None if nothing was ever posted to it.

    ``counts``: how many messages are active, claimed and delayed; who changes messages changes them as well and
    sets ``changed``, and ``timed`` if what it stored depends on ``now``. ``due``: whether time has changed something
    that is not settled yet. ``position_offset``: what positions are ahead of the host's clock, in milliseconds.
    """

    __slots__ = ("_next_seq", "changed", "connection", "counts", "due", "now", "position_offset", "queue", "timed")

    def __init__(self, connection: sqlite3.Connection, key: QueueKey, now: int) -> None:
        row = connection.execute(_LOAD, (now, key.project, key.name)).fetchone()
        self.connection = connection
        self.now = now
        self.position_offset: int = row[1] + max(0, row[0] - now)  # more, if the clock was set back
        self._next_seq: int = row[2]
        self.queue: int | None = row[3]
        self.counts: list[int] = [row[4] or 0, row[5] or 0, row[6] or 0]
        self.due = bool(row[7])
        self.changed = False
        self.timed = False

    def create_queue(self, key: QueueKey) -> int:
        """Make the queue's row."""
        row = self.connection.execute(
            "INSERT INTO queues (project, name) VALUES (?, ?) RETURNING id", (key.project, key.name)
        ).fetchone()
        self.queue = int(row[0])
        return self.queue

    @property
    def position(self) -> int:
        """That of a message posted now; none that is active has a higher one."""
        return (self.now + self.position_offset) * POSITIONS_PER_MS

    def position_at(self, moment: int) -> int:
        """The first of those for messages that become available at ``moment``, in the future."""
        return (moment + self.position_offset - 1) * POSITIONS_PER_MS + 1

    def take_seqs(self, count: int) -> int:
        """The first of ``count`` numbers that nothing had before."""
        first = self._next_seq
        self._next_seq += count
        self.changed = self.timed = True
        return first

    def find_claim(self, claim_id: str) -> Claim | None:
        """The live claim of this queue."""
        seq = seq_of(claim_id)
        if seq is None:
            return None
        row = self.connection.execute(
            "SELECT started_at, ends_at, token FROM claims WHERE seq = ? AND queue = ?", (seq, self.queue)
        ).fetchone()
        if row is None or to_id(seq, row[2]) != claim_id or row[1] <= self.now:
            return None
        return Claim(seq, row[0], row[1])

    def drop_empty_claims(self, seqs: Iterable[int | None]) -> None:
        """Of these claims, delete those that hold no message any more."""
        claims = {seq for seq in seqs if seq is not None}
        if claims:
            self.connection.execute(_DROP_EMPTY_CLAIMS, (json_list(claims),))

    def message_of(self, row: Sequence[Any]) -> StoredMessage:
        """The message in a row of ``COLUMNS``."""
        seq, _, posted_at, expires_at, token, client_id, claim_count, headers, body, claim_id = row
        return StoredMessage(
            id=to_id(seq, token),
            body=body,
            ttl=(expires_at - posted_at) / 1000,
            age=self.seconds_since(posted_at),
            client_id=client_id,
            claim_id=claim_id,
            claim_count=claim_count,
            headers=_headers(headers, seq),
        )

    def seconds_since(self, moment: int) -> float:
        """0 if the clock was set back to before the moment."""
        return max(0, self.now - moment) / 1000

    def write_back(self) -> None:
        """Store what changed of the state and of the queue's row."""
        if self.timed:
            self.connection.execute(
                "UPDATE state SET seen = ?, position_offset = ?, next_seq = ?",
                (self.now, self.position_offset, self._next_seq),
            )
        if self.changed:
            self.connection.execute(
                "UPDATE queues SET free = ?, claimed = ?, delayed = ? WHERE id = ?", (*self.counts, self.queue)
            )


def _headers(text: str, seq: int) -> Mapping[str, str]:
    if not text:
        return NO_HEADERS
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError) as error:
        raise IncompatibleStorage(
            f"the headers of message number {seq} cannot be read; the file is damaged: restore a backup"
        ) from error


def json_list(seqs: Iterable[int]) -> str:
    """For ``IN (SELECT value FROM json_each(?))``: any number of values as one parameter."""
    return f"[{','.join(map(str, seqs))}]"
