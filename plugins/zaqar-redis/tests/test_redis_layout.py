"""Keys: none collide, all of a queue lie in one slot, nothing is left behind, other layouts are left alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
import redis
from redis.crc import key_slot

from zaqar_core.contract import EncodedMessage, QueueKey, Space, new_id
from zaqar_core.errors import IncompatibleStorage
from zaqar_redis.driver import RedisDriver
from zaqar_redis.units import queue_stem, space_stem

NAMES: Final = (
    *("", "a", "b", "a/b", "a.b", "{a", "a}", "{a}", "{}", "}{", "%7B", "*"),
    *("a:order", "order", "layout", "ü", "u\u0308"),
)


def keys_of(client: redis.Redis, stem: str) -> set[str]:
    found: Any = client.keys("*")
    return {key.decode() for key in found if key.decode().startswith(f"{stem}:")}


def test_no_two_names_give_one_stem() -> None:
    keys = [QueueKey(project, name) for project, name in itertools.product(NAMES, NAMES)]
    stems = {queue_stem("zaqar", key) for key in keys} | {space_stem("zaqar", Space(*key)) for key in keys}
    assert len(stems) == 2 * len(keys)
    assert not any(f"{one}:".startswith(f"{other}:") for one, other in itertools.permutations(stems, 2))


def test_all_keys_of_a_queue_lie_in_one_slot(client: redis.Redis, driver: RedisDriver) -> None:
    for name in NAMES[1:]:
        queue = QueueKey(new_id(), name)
        driver.messages.post(queue, [EncodedMessage(b"1", 60, dedup_id="x")] * 2, client_id="c")
        driver.messages.post(queue, [EncodedMessage(b"1", 60)], client_id="c")
        driver.claims.create(queue, ttl=60, grace=0, limit=1)
        keys = keys_of(client, queue_stem("zaqar", queue))
        assert len(keys) >= 9
        assert len({key_slot(key.encode()) for key in keys}) == 1


def test_a_worked_off_queue_leaves_a_clock_that_goes_by_itself(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    driver.messages.post(queue, [EncodedMessage(b"1", 60)] * 30, client_id="c")
    driver.messages.pop(queue, limit=10)
    claims = [driver.claims.create(queue, ttl=60, grace=0, limit=10) for _ in range(2)]
    ids = [message.id for message in claims[0].messages]
    driver.messages.delete(queue, ids, claim_ids=[str(claims[0].id)])
    driver.claims.release(queue, str(claims[1].id))
    driver.messages.pop(queue, limit=10)
    [clock] = keys_of(client, queue_stem("zaqar", queue))
    assert clock.endswith(":clock")
    assert 0 < client.ttl(clock) <= 24 * 3600


def test_the_server_does_not_search_dozens_of_claimed_messages_from_the_front(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    driver.messages.post(queue, [EncodedMessage(b"1", 60)] * 40, client_id="c")
    stem = queue_stem("zaqar", queue)
    for limit, quick in ((20, False), (20, True)):
        driver.claims.create(queue, ttl=60, grace=0, limit=limit)
        encodings = {client.object("ENCODING", f"{stem}:{name}") for name in ("claimed", "holders")}
        assert (encodings == {b"skiplist", b"hashtable"}) is quick
    assert driver.messages.stats(queue).claimed == client.hlen(f"{stem}:holders") == 40


def test_a_purge_leaves_nothing_but_the_clock(client: redis.Redis, driver: RedisDriver, queue: QueueKey) -> None:
    messages = [EncodedMessage(b"1", 60, dedup_id=f"d{number}") for number in range(2_500)]
    driver.messages.post(queue, messages, client_id="c")
    for _ in range(2_100):
        driver.claims.create(queue, ttl=60, grace=0, limit=1)
    driver.messages.purge(queue)
    [clock] = keys_of(client, queue_stem("zaqar", queue))
    assert clock.endswith(":clock")


def test_gc_removes_what_has_expired_in_every_queue(client: redis.Redis, driver: RedisDriver) -> None:
    queues = [QueueKey(new_id(), name) for name in NAMES[1:]]
    for queue in queues:
        driver.messages.post(queue, [EncodedMessage(b"1", 0.001)] * 10, client_id="c")
    time.sleep(0.01)
    assert driver.gc() >= 10 * len(queues)
    for queue in queues:
        assert {key.rpartition(":")[2] for key in keys_of(client, queue_stem("zaqar", queue))} == {"clock"}


def test_gc_leaves_what_is_not_its_own(client: redis.Redis, open_driver: Callable[..., RedisDriver]) -> None:
    prefix = f"x{new_id()}"
    for key in (f"{prefix}:q:{{a/b}}:unknown", f"{prefix}:other", f"{prefix}", f"{prefix}:q:{{a/b}}"):
        client.set(key, "1")
    client.set(f"{prefix}:".encode() + b"\xff", "1")
    open_driver(prefix=prefix).gc()
    assert len(client.keys(f"{prefix}*")) == 6  # and the layout's


def test_prefixes_are_stores_of_their_own(open_driver: Callable[..., RedisDriver], queue: QueueKey) -> None:
    one, other = open_driver(prefix="one"), open_driver(prefix="two")
    one.messages.post(queue, [EncodedMessage(b"1", 60)], client_id="c")
    assert one.messages.stats(queue).total == 1
    assert other.messages.stats(queue).total == 0


@pytest.mark.parametrize("version", ["1", "3", "x"])
def test_another_layout_is_refused_and_left_alone(
    client: redis.Redis, open_driver: Callable[..., RedisDriver], version: str
) -> None:
    """Version 1 kept delayed messages among the others, and one clock for positions and availability."""
    prefix = f"x{new_id()}"
    client.set(f"{prefix}:{{layout}}", version)
    with pytest.raises(IncompatibleStorage, match=f"layout version {version}, this driver reads version 2"):
        open_driver(prefix=prefix)
    assert client.keys(f"{prefix}*") == [f"{prefix}:{{layout}}".encode()]
    assert client.get(f"{prefix}:{{layout}}") == version.encode()


def test_a_key_of_another_program_is_an_incompatible_store(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    client.set(f"{queue_stem('zaqar', queue)}:order", "1")
    with pytest.raises(IncompatibleStorage, match="prefix"):
        driver.messages.stats(queue)
