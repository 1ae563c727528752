"""A message with damaged columns is delivered, its body raises, it can be deleted, and it spoils nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

import zaqar_core
from zaqar_core import Message, NewMessage, Storage
from zaqar_core.errors import CodecError

UNREADABLE = {
    "headers that are not JSON": "headers = '{bad'",
    "headers of another shape": "headers = '[1, 2]'",
    "headers of other types": """headers = '{"a": 5}'""",
    "headers nested too deep": "headers = printf('%.4000c', '[')",
    "headers that are not UTF-8": "headers = CAST(x'ff' AS TEXT)",
    "headers that are a blob": "headers = x'00ff'",
    "a client that is not UTF-8": "client_id = CAST(x'ff' AS TEXT)",
    "a body that is text": "body = '{\"n\": 3}'",
    "a body that is a text of other bytes": "body = CAST(x'ff00ff' AS TEXT)",
    "a body that is a number": "body = 5",
    "a body that was changed": "body = x'ff' || body",
}
READABLE = {
    "a token that is not UTF-8": "token = CAST(x'ff' AS TEXT)",
    "a token that is too long": "token = 'x' || token",
    "a count that is text": "claim_count = 'x'",
    "a moment that is text": "posted_at = 'x'",
}
COUNT = 10
DAMAGED = 3


@pytest.fixture
def storage(path: Path) -> Iterator[Storage]:
    with zaqar_core.connect(f"sqlite:///{quote(str(path))}", client_id="me") as opened:
        yield opened


def post(storage: Storage) -> list[str]:
    metadata = {"_max_claim_count": 2, "_dead_letter_queue": "dead"}
    storage.queues.create("q", metadata)
    return storage.messages.post("q", [NewMessage({"n": n}, headers={"a": "b"}) for n in range(COUNT)])


def damage(path: Path, change: str, column: str = "seq") -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        (seq,) = connection.execute("SELECT seq FROM messages ORDER BY seq LIMIT 1 OFFSET ?", (DAMAGED,)).fetchone()
        assert connection.execute(f"UPDATE messages SET {change} WHERE seq = ?", (seq,)).rowcount == 1


def ensure_only_one_is_damaged(messages: list[Message], ids: list[str], *, readable: bool) -> None:
    assert len(messages) == COUNT
    for n, (message, posted) in enumerate(zip(messages, ids, strict=True)):
        if n != DAMAGED:
            assert (message.id, message.body, dict(message.headers)) == (posted, {"n": n}, {"a": "b"})
        elif not readable:
            assert message.id == posted
            assert message.raw is not None
            assert message.raw[:1] != b"{"
            with pytest.raises(CodecError):
                _ = message.body
        else:
            assert message.body == {"n": n}


each_damage = pytest.mark.parametrize(
    ("change", "readable"),
    [pytest.param(change, False, id=name) for name, change in UNREADABLE.items()]
    + [pytest.param(change, True, id=name) for name, change in READABLE.items()],
)


@each_damage
def test_a_damaged_message_is_delivered_with_the_others_and_can_be_deleted(
    path: Path, storage: Storage, change: str, readable: bool
) -> None:
    ids = post(storage)
    damage(path, change)
    listed = list(storage.messages.list("q", limit=20).items)
    ensure_only_one_is_damaged(listed, ids, readable=readable)
    assert [message.id for message in storage.messages.list("q", limit=20, echo=False, client_id="other").items] == [
        message.id for message in listed
    ]
    [got] = storage.messages.bulk_get("q", [listed[DAMAGED].id])
    assert got.id == listed[DAMAGED].id
    assert storage.messages.stats("q").free == COUNT
    storage.messages.delete("q", got.id)
    assert storage.messages.stats("q").free == COUNT - 1
    assert len(storage.messages.pop("q", COUNT)) == COUNT - 1


@each_damage
def test_a_damaged_message_is_claimed_released_and_popped_like_any_other(
    path: Path, storage: Storage, change: str, readable: bool
) -> None:
    ids = post(storage)
    damage(path, change)
    claim = storage.claims.create("q", ttl=60, grace=60, limit=20)
    messages = list(claim.messages)
    ensure_only_one_is_damaged(messages, ids, readable=readable)
    again = storage.claims.get("q", str(claim.id))
    assert [message.id for message in again.messages] == [message.id for message in messages]
    storage.claims.delete("q", str(claim.id), message_ids=[messages[DAMAGED].id])
    assert storage.messages.stats("q").free == 1
    storage.claims.delete("q", str(claim.id))
    ensure_only_one_is_damaged(storage.messages.pop("q", COUNT), ids, readable=readable)


@each_damage
def test_a_damaged_message_that_is_used_up_becomes_a_dead_letter(
    path: Path, storage: Storage, change: str, readable: bool
) -> None:
    post(storage)
    damage(path, change)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE messages SET claim_count = 2")
    assert storage.claims.create("q", ttl=60, grace=60, limit=20).messages == []
    dead = storage.messages.list("dead", limit=20).items
    assert len(dead) == COUNT
    assert sum(message.raw is not None for message in dead) == (0 if readable else 1)


def test_a_damaged_expiry_ends_the_message_when_it_is_due(path: Path, storage: Storage) -> None:
    post(storage)
    damage(path, "expires_at = 'x', due_at = 1")
    assert len(storage.messages.list("q", limit=20).items) == COUNT - 1
    assert storage.messages.stats("q").total == COUNT - 1


def test_a_message_in_no_known_state_can_be_deleted(path: Path, storage: Storage) -> None:
    ids = post(storage)
    damage(path, "state = 7")
    assert len(storage.messages.pop("q", COUNT)) == COUNT - 1
    assert storage.claims.create("q", ttl=60, grace=60).id is None
    storage.messages.delete("q", ids[DAMAGED])
    assert storage.messages.bulk_get("q", ids) == []
