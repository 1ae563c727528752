"""What was damaged, or written by another program, spoils nothing else and is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
import redis

import zaqar_core
from zaqar_conformance.servers import Server
from zaqar_core import NewMessage, Storage
from zaqar_core.contract import EncodedMessage, QueueKey, Space, new_id
from zaqar_core.errors import CodecError, IncompatibleStorage, OutcomeUnknown, StorageUnavailable
from zaqar_redis.driver import RedisDriver
from zaqar_redis.units import queue_stem, space_stem

COUNT = 10
BAD = 3
"""The number of the damaged message."""


def with_byte(value: bytes, at: int, byte: bytes) -> bytes:
    return value[:at] + byte + value[at + 1 :]


def damages() -> dict[str, Callable[[bytes], bytes | None]]:
    """What becomes of the stored bytes; None: they are removed."""
    return {
        "moment": lambda packed: with_byte(packed, 1, b"\xc1"),
        "client": lambda packed: with_byte(packed, 10, b"\xc1"),
        "text": lambda packed: with_byte(packed, 12, b"\xff"),
        "cut short": lambda packed: packed[:-1],
        "longer": lambda packed: packed + b"\0",
        "JSON": lambda _: b'{"n": 1}',
        "of codecs": lambda _: b"\0zstd\0x",
        "another array": lambda _: bytes(msgpack.packb([1, 2])),
        "other types": lambda _: bytes(msgpack.packb(["now", 1, None, [], "body"])),
        "no bytes": lambda _: bytes(msgpack.packb([1, "c", 600_000_000, None, "body"])),
        "headers of other types": lambda _: bytes(msgpack.packb([1, "c", 600_000_000, {"a": 1}, b"1"])),
        "an array as key": lambda _: b"\x95\x01\xa1c\xce\x23\xc3\x46\x00\x81\x90\x01\xc4\x011",
        "empty": lambda _: b"",
        "missing": lambda _: None,
    }


@pytest.fixture
def storage(server: Server) -> Any:
    with zaqar_core.connect(
        f"redis://127.0.0.1:{server.port}/0", project=new_id(), client_id="me-me-me", metadata_ttl=0
    ) as one:
        yield one


def post(storage: Storage, client: redis.Redis, damage: Callable[[bytes], bytes | None]) -> tuple[Sequence[str], str]:
    """Ids of messages of which one is damaged, and the stem of their queue."""
    messages = [NewMessage(n, headers={"a": "b"}) for n in range(COUNT)]
    ids = storage.messages.post("q", messages, client_id="another1")
    stem = queue_stem("zaqar", QueueKey(storage.project, "q"))
    stored: Any = client.hget(f"{stem}:bodies", ids[BAD])
    changed = damage(stored)
    if changed is None:
        client.hdel(f"{stem}:bodies", ids[BAD])
    else:
        client.hset(f"{stem}:bodies", ids[BAD], changed)
    return ids, stem


def check(messages: Sequence[zaqar_core.Message], ids: Sequence[str]) -> None:
    """All are there; only the damaged one has no body."""
    assert [each.id for each in messages] == list(ids)
    for number, each in enumerate(messages):
        if number != BAD:
            assert (each.body, each.headers, each.raw) == (number, {"a": "b"}, None)
    with pytest.raises(CodecError, match="damaged"):
        _ = messages[BAD].body
    assert messages[BAD].raw is not None
    assert messages[BAD].ttl > 0
    assert messages[BAD].age >= 0


@pytest.mark.parametrize("name", damages())
def test_a_damaged_message_is_delivered_and_spoils_no_other(storage: Storage, client: redis.Redis, name: str) -> None:
    ids, _ = post(storage, client, damages()[name])
    messages, claims = storage.messages, storage.claims
    check(messages.list("q", limit=COUNT).items, ids)
    check(messages.list("q", limit=COUNT, echo=False).items, ids)
    assert messages.stats("q").free == COUNT
    claim = claims.create("q", ttl=60, grace=60, limit=COUNT)
    check(claim.messages, ids)
    check(claims.get("q", str(claim.id)).messages, ids)
    claims.delete("q", str(claim.id))
    check(messages.pop("q", COUNT), ids)
    assert messages.stats("q").total == 0


@pytest.mark.parametrize("name", damages())
def test_a_damaged_message_alone_is_oldest_newest_and_deleted(storage: Storage, client: redis.Redis, name: str) -> None:
    ids, _ = post(storage, client, damages()[name])
    storage.messages.bulk_delete("q", [each for each in ids if each != ids[BAD]])
    stats = storage.messages.stats("q")
    assert stats.oldest is not None
    assert stats.newest is not None
    assert stats.oldest.id == stats.newest.id == ids[BAD]
    assert stats.oldest.age >= 0
    first = storage.messages.first("q")
    assert first is not None
    assert first.id == ids[BAD]
    if name != "missing":
        assert storage.messages.get("q", ids[BAD]).raw == first.raw
    storage.messages.delete("q", ids[BAD])
    assert storage.messages.stats("q").total == 0


def test_what_can_be_read_of_a_damaged_message_is_shown(storage: Storage, client: redis.Redis) -> None:
    ids, _ = post(storage, client, lambda packed: packed[:-1])
    [bad] = [each for each in storage.messages.list("q", limit=COUNT).items if each.id == ids[BAD]]
    assert (bad.client_id, bad.headers, bad.ttl) == ("another1", {"a": "b"}, 3600)
    assert bad.raw is not None
    assert bad.raw.startswith(b"\xc1\x95")


def test_a_damaged_message_becomes_a_dead_letter(storage: Storage, client: redis.Redis) -> None:
    storage.queues.create("q", {"_max_claim_count": 1, "_dead_letter_queue": "dead"})
    post(storage, client, damages()["moment"])
    for _ in range(2):
        claim = storage.claims.create("q", ttl=60, grace=60, limit=COUNT)
        if claim.id is not None:
            storage.claims.delete("q", claim.id)
    letters = storage.messages.list("dead", limit=COUNT).items
    assert len(letters) == COUNT
    with pytest.raises(CodecError):
        _ = letters[BAD].body
    assert letters[BAD].ttl > 3600


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff" * 12 + b"\0" * 7 + b"1", b"." * 12 + b"\0" * 7 + b"many"])
def test_damaged_counts_of_claims(storage: Storage, client: redis.Redis, damage: bytes) -> None:
    ids, stem = post(storage, client, lambda packed: packed[:-1])
    claim = storage.claims.create("q", ttl=60, grace=60, limit=COUNT)
    storage.claims.delete("q", str(claim.id))
    client.hset(f"{stem}:holders", ids[0], damage)
    claim = storage.claims.create("q", ttl=60, grace=60, limit=1)
    assert [each.claim_count for each in claim.messages] == [1]
    storage.claims.delete("q", str(claim.id))
    client.hset(f"{stem}:holders", ids[0], damage)
    check(storage.messages.pop("q", COUNT), ids)


@pytest.mark.parametrize("damage", [b"", b"\xc1junk", b"\x01", b"\x01\xa1x\x01\x01"])
def test_a_damaged_clock_is_made_again(
    driver: RedisDriver, client: redis.Redis, queue: QueueKey, damage: bytes
) -> None:
    ids = driver.messages.post(queue, [EncodedMessage(b"1", 60)] * 3, client_id="c")
    client.set(f"{queue_stem('zaqar', queue)}:clock", damage)
    ids += driver.messages.post(queue, [EncodedMessage(b"1", 60)], client_id="c")
    assert [each.id for each in driver.messages.pop(queue, limit=10)] == ids


RECORD_DAMAGES: dict[str, bytes | None] = {
    "no MessagePack": b"\xc1\xc1",
    "cut short": b"\x92\xa1n",
    "JSON": b"{}",
    "another type": bytes(msgpack.packb({"nonce": "n"})),
    "other types": bytes(msgpack.packb([b"n", "{}"])),
    "three": bytes(msgpack.packb(["n", b"{}", 1])),
    "empty": b"",
    "missing": None,
}


def damage_record(client: redis.Redis, space: Space, key: str, name: str) -> None:
    values = f"{space_stem('zaqar', space)}:values"
    damage = RECORD_DAMAGES[name]
    if damage is None:
        client.hdel(values, key)
    else:
        client.hset(values, key, damage)


@pytest.mark.parametrize("name", RECORD_DAMAGES)
def test_a_damaged_record_is_named_listed_replaced_and_deleted(
    storage: Storage, client: redis.Redis, name: str
) -> None:
    queues = storage.queues
    for queue in ("a", "b", "c"):
        queues.create(queue, {"n": 1})
    space = Space("queues", storage.project)
    damage_record(client, space, "b", name)
    for read in (lambda: queues.get_metadata("b"), lambda: queues.list(detailed=True, marker="a")):
        with pytest.raises(IncompatibleStorage, match=f"'b' of queues of project '{storage.project}'"):
            read()
    assert [each.name for each in queues.list().items] == ["a", "b", "c"]
    assert [each.name for each in queues.list(detailed=True, marker="b").items] == ["c"]
    queues.set_metadata("b", {"n": 2})
    assert queues.get_metadata("b")["n"] == 2
    damage_record(client, space, "b", name)
    queues.delete("b")
    assert [each.name for each in queues.list().items] == ["a", "c"]


@pytest.mark.parametrize("version", [None, b"\xff"])
def test_a_record_with_a_damaged_version_is_listed_and_deleted(
    driver: RedisDriver, client: redis.Redis, queue: QueueKey, version: bytes | None
) -> None:
    space = Space("things", queue.project)
    driver.records.insert(space, "k", b"{}", nonce="n")
    versions = f"{space_stem('zaqar', space)}:versions"
    if version is None:
        client.hdel(versions, "k")
    else:
        client.hset(versions, "k", version)
    [record] = driver.records.scan(space, limit=10)
    assert record.key == "k"
    assert driver.records.delete(space, "k")
    assert driver.records.scan(space, limit=10) == []


def test_deleting_records_that_fails_after_the_first_step_is_unknown(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()
    driver, space = open_driver(server.port, timeout=1), Space("things", "p")
    for number in range(1_001):
        driver.records.insert(space, f"{number}", b"{}", nonce="n")
    run = driver._queues.server.run
    steps: list[int] = []

    def run_and_stop(*arguments: Any, **options: Any) -> Any:
        if steps:
            server.kill()
        steps.append(1)
        return run(*arguments, **options)

    monkeypatch.setattr(driver._queues.server, "run", run_and_stop)
    with pytest.raises(OutcomeUnknown, match="1000 records are deleted"):
        driver.records.delete_all(space)
    with pytest.raises(StorageUnavailable) as caught:
        driver.records.delete_all(space)
    assert not isinstance(caught.value, OutcomeUnknown)
