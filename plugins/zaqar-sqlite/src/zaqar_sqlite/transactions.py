"""One queue inside one transaction: its counters, the time, the next number, and rows turned into messages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from zaqar_core.contract import NO_HEADERS, QueueKey, StoredMessage
from zaqar_sqlite.ids import seq_of, to_id

ACTIVE: Final = 0
CLAIMED: Final = 1
DELAYED: Final = 2

# A damaged file may hold anything in any column. As bytes, a text that is not UTF-8 can be read; a body of another type
# becomes bytes that are never taken for a body.
_UNREADABLE: Final = b"\xc1"
"""Starts neither JSON nor what codecs wrote, so the bytes behind it are never taken for a body."""
_STRINGS: Final = frozenset({str})
_ENVELOPE: Final = """
    seq, position, CAST(posted_at AS INTEGER), CAST(expires_at AS INTEGER), CAST(token AS BLOB),
    CAST(client_id AS BLOB), CAST(claim_count AS INTEGER), CAST(headers AS BLOB)
"""
_BODY: Final = f"""
    iif(typeof(body) = 'blob', body, CAST(x'{_UNREADABLE.hex()}' || ifnull(body, '') AS BLOB))
"""
_CLAIM: Final = "claim, (SELECT CAST(token AS BLOB) FROM claims WHERE claims.seq = messages.claim)"
UNCLAIMED: Final = f"{_ENVELOPE}, {_BODY}"
COLUMNS: Final = f"{UNCLAIMED}, {_CLAIM}"
"""What ``message_of`` needs of a message, in this order; of one without a claim, the last two are None."""
OTHERS_COLUMNS: Final = f"{_ENVELOPE}, CASE WHEN client_id = :hidden THEN NULL ELSE {_BODY} END, {_CLAIM}"
"""The same, without the bodies of the client ``:hidden``."""

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

    ``counts``: how many messages are active, claimed and delayed. Code that changes messages updates them and sets
    ``changed``, and ``timed`` if what it stored depends on ``now``. ``due``: whether time has changed something
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

    def uncount(self, state: int) -> None:
        """A message leaves this state. In a damaged file it may be none."""
        if state in (ACTIVE, CLAIMED, DELAYED):
            self.counts[state] -= 1

    def find_claim(self, claim_id: str) -> Claim | None:
        """The live claim of this queue."""
        seq = seq_of(claim_id)
        if seq is None:
            return None
        row = self.connection.execute(
            "SELECT started_at, ends_at, CAST(token AS BLOB) FROM claims WHERE seq = ? AND queue = ?", (seq, self.queue)
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
        """The message in a row of ``COLUMNS``.

        If its headers or its client cannot be read, neither can its body: that is ``_UNREADABLE`` and what is stored.
        """
        seq, _, posted_at, expires_at, token, client_id, claim_count, headers, body, claim, claim_token = row
        try:
            client, known = client_id.decode(), _headers(headers) if headers else NO_HEADERS
        except (ValueError, RecursionError):
            client, known, body = client_id.decode(errors="replace"), NO_HEADERS, _UNREADABLE + body
        return StoredMessage(
            id=to_id(seq, token),
            body=body,
            ttl=(expires_at - posted_at) / 1000,
            age=self.seconds_since(posted_at),
            client_id=client,
            claim_id=None if claim_token is None else to_id(claim, claim_token),
            claim_count=claim_count,
            headers=known,
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


def _headers(stored: bytes) -> Mapping[str, str]:
    """Raises ``ValueError`` or ``RecursionError`` for what are none."""
    headers = json.loads(stored.decode())
    if type(headers) is not dict or not _STRINGS.issuperset(map(type, headers.values())):
        raise ValueError("not an object of strings")
    return headers


def json_list(seqs: Iterable[int]) -> str:
    """For ``IN (SELECT value FROM json_each(?))``: any number of values as one parameter."""
    return f"[{','.join(map(str, seqs))}]"
