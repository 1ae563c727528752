"""Servers set up in ways that forbid, limit or promise something."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from zaqar_conformance.servers import Server, free_port
from zaqar_core.contract import EncodedMessage, QueueKey
from zaqar_core.errors import OutcomeUnknown, StorageFull, StorageUnavailable
from zaqar_redis.driver import RedisDriver


def message(**options: Any) -> EncodedMessage:
    return EncodedMessage(b'"body"', 60, **options)


def post(driver: RedisDriver, queue: QueueKey, count: int = 1) -> list[str]:
    return driver.messages.post(queue, [message()] * count, client_id="c")


def fill(driver: RedisDriver, queue: QueueKey, batch: list[EncodedMessage]) -> None:
    while True:
        driver.messages.post(queue, batch, client_id="c")


def claim(driver: RedisDriver, queue: QueueKey, limit: int = 10) -> str:
    return str(driver.claims.create(queue, ttl=60, grace=0, limit=limit).id)


def test_nothing_there(open_driver: Callable[..., RedisDriver]) -> None:
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        open_driver(free_port())


def test_a_full_server_refuses_posts_and_lets_consumers_go_on(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    server = start_server("--maxmemory", "8mb")
    driver = open_driver(server.port)
    batch = [EncodedMessage(b"x" * 10_000, 600)] * 20
    waiting = QueueKey(queue.project, "waiting")
    driver.messages.post(waiting, [EncodedMessage(b"1", 60, 0.1)], client_id="c")
    with pytest.raises(StorageFull, match="maxmemory"):
        fill(driver, queue, batch)
    time.sleep(0.1)
    total = driver.messages.stats(queue).total
    assert total % 20 == 0
    assert driver.messages.stats(waiting).free == 1
    held = driver.claims.create(queue, ttl=60, grace=3600, limit=10)
    assert driver.claims.update(queue, str(held.id), ttl=90, grace=7200)
    ids = [each.id for each in held.messages]
    driver.claims.release(queue, str(held.id), message_ids=ids[:2], delay=1)
    assert driver.messages.delete(queue, ids[2:5], claim_ids=[str(held.id)]) == {}
    driver.claims.release(queue, str(held.id))
    assert len(driver.messages.pop(queue, limit=60)) == 60
    assert len(open_driver(server.port).messages.post(queue, batch, client_id="c")) == 20


def test_a_replica_is_read_only(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    primary = start_server()
    replica = start_server("--replicaof", "127.0.0.1", str(primary.port))
    with pytest.raises(StorageUnavailable, match="primary"):
        open_driver(replica.port)
    with redis.Redis(port=replica.port) as client:
        client.replicaof("NO", "ONE")
        driver = open_driver(replica.port)
        post(driver, queue)
        client.replicaof("127.0.0.1", str(primary.port))
        for call in (lambda: post(driver, queue), lambda: claim(driver, queue)):
            with pytest.raises(StorageUnavailable, match=r"primary|replica") as caught:
                call()
            assert not isinstance(caught.value, OutcomeUnknown)


def test_a_replica_that_lost_its_primary(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver]
) -> None:
    server = start_server("--replica-serve-stale-data", "no")
    driver = open_driver(server.port, timeout=0.5)
    with redis.Redis(port=server.port) as client:
        client.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(StorageUnavailable, match=r"primary|replica"):
        driver.messages.stats(QueueKey("p", "q"))


def test_passwords_and_rights(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    server = start_server("--requirepass", "secret")
    with pytest.raises(StorageUnavailable, match="password") as caught:
        open_driver(server.port)
    with pytest.raises(StorageUnavailable, match="password") as wrong:
        open_driver(server.port, user=":mistaken@")
    assert "mistaken" not in f"{caught.value}{wrong.value}"
    post(open_driver(server.port, user=":secret@"), queue)
    with redis.Redis(port=server.port, password="secret") as admin:
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+ping")
        admin.execute_command(
            "ACL", "SETUSER", "app", "on", ">pw", "~app:*", "+@read", "+@write", "+@scripting", "+@connection", "+time"
        )
        admin.execute_command("ACL", "SETUSER", "most", "on", ">pw", "~*", "+@all", "-zmscore")
    with pytest.raises(StorageUnavailable, match="right"):
        open_driver(server.port, user="reader:pw@")
    with pytest.raises(StorageUnavailable, match="right"):
        open_driver(server.port, user="app:pw@")
    with pytest.raises(StorageUnavailable, match="right"):
        open_driver(server.port, user="most:pw@")
    limited = open_driver(server.port, user="app:pw@", prefix="app")
    assert len(post(limited, queue)) == 1
    assert {"PERSISTENT", "DURABILITY", "AT_LEAST_ONCE"}.isdisjoint(limited.capabilities)


@pytest.mark.parametrize(
    ("settings", "promised"),
    [
        ((), {"AT_LEAST_ONCE"}),
        (("--maxmemory-policy", "allkeys-lru"), {"AT_LEAST_ONCE"}),
        (("--maxmemory", "1gb", "--maxmemory-policy", "volatile-lru"), {"AT_LEAST_ONCE"}),
        (("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"), set()),
        (("--appendonly", "yes", "--appendfsync", "everysec"), {"AT_LEAST_ONCE"}),
        (("--appendonly", "yes", "--appendfsync", "no"), {"AT_LEAST_ONCE", "PERSISTENT"}),
        (("--appendonly", "yes", "--appendfsync", "always"), {"AT_LEAST_ONCE", "PERSISTENT", "DURABILITY"}),
        (
            ("--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "yes"),
            {"AT_LEAST_ONCE", "PERSISTENT"},
        ),
    ],
)
def test_what_is_promised_depends_on_the_server(
    start_server: Callable[..., Server],
    open_driver: Callable[..., RedisDriver],
    settings: tuple[str, ...],
    promised: set[str],
) -> None:
    driver = open_driver(start_server(*settings).port)
    durable = {"AT_LEAST_ONCE", "PERSISTENT", "DURABILITY"}
    assert {str(each) for each in driver.capabilities} & durable == promised
    assert driver.possible_capabilities - driver.capabilities <= {*driver.possible_capabilities} & {
        each for each in driver.possible_capabilities if str(each) in durable
    }


def test_a_replica_attached_takes_the_promise_away(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver]
) -> None:
    primary = start_server("--appendonly", "yes", "--appendfsync", "always")
    start_server("--replicaof", "127.0.0.1", str(primary.port))
    with redis.Redis(port=primary.port) as client:
        deadline = time.monotonic() + 10
        while client.info("replication")["connected_slaves"] == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
    driver = open_driver(primary.port)
    assert {"PERSISTENT", "DURABILITY"}.isdisjoint(driver.capabilities)
    assert driver.health()["connected_slaves"] == 1


def test_health_tells_facts(driver: RedisDriver) -> None:
    health = driver.health()
    assert health["role"] == "master"
    assert health["appendonly"] == "no"
    assert str(health["version"])[0].isdigit()
