"""On the wire: one round trip an operation, connections for threads, children of forks and scripts that are gone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from zaqar_conformance.proxy import Proxy
from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import StorageClosed, StorageUnavailable
from zaqar_core.kit.slots import Slot
from zaqar_redis.driver import RedisDriver

SPACE = Space("queues", "p")


def message(number: int = 0, **options: Any) -> EncodedMessage:
    return EncodedMessage(b"%d" % number, 60, **options)


def operations(driver: RedisDriver, queue: QueueKey) -> dict[str, Callable[[], object]]:
    """Every operation, on things that are there."""
    messages, claims, records = driver.messages, driver.claims, driver.records
    ids = messages.post(queue, [message(number) for number in range(100)], client_id="c")
    claimed = claims.create(queue, ttl=60, grace=60, limit=20)
    claim, held = str(claimed.id), [each.id for each in claimed.messages]
    version = str(records.insert(SPACE, queue.project, b"1", nonce="n"))
    page: dict[str, Any] = {"marker": None, "limit": 10, "include_claimed": True, "include_delayed": True}
    return {
        "post": lambda: messages.post(queue, [message()], client_id="c"),
        "post 10": lambda: messages.post(queue, [message()] * 10, client_id="c"),
        "post 1000": lambda: messages.post(queue, [message(dedup_id=f"{n}") for n in range(1000)], client_id="c"),
        "post delayed": lambda: messages.post(queue, [message(delay=5)], client_id="c"),
        "get": lambda: messages.get(queue, ids[:1]),
        "bulk get": lambda: messages.get(queue, ids),
        "list": lambda: messages.list(queue, exclude_client=None, **page),
        "list others": lambda: messages.list(queue, exclude_client="x", **page),
        "first": lambda: messages.first(queue, newest=False),
        "newest": lambda: messages.first(queue, newest=True),
        "stats": lambda: messages.stats(queue),
        "claim": lambda: claims.create(queue, ttl=60, grace=3600, limit=10, max_claim_count=1),
        "claim none": lambda: claims.create(QueueKey("no", "such"), ttl=60, grace=0, limit=10),
        "claims.get": lambda: claims.get(queue, claim),
        "update": lambda: claims.update(queue, claim, ttl=60, grace=7200),
        "release some": lambda: claims.release(queue, claim, message_ids=held[:2], delay=5),
        "delete": lambda: messages.delete(queue, held[2:3], claim_ids=[claim]),
        "delete unclaimed": lambda: messages.delete(queue, ids[-1:], claim_ids=None),
        "bulk delete": lambda: messages.delete(queue, held[3:13], claim_ids=[claim]),
        "refused delete": lambda: messages.delete(queue, held[13:], claim_ids=None),
        "release": lambda: claims.release(queue, claim),
        "pop": lambda: messages.pop(queue, limit=10),
        "purge": lambda: messages.purge(queue),
        "record get": lambda: records.get(SPACE, queue.project),
        "record scan": lambda: records.scan(SPACE, limit=10),
        "record count": lambda: records.count(SPACE),
        "record replace": lambda: records.replace(SPACE, queue.project, b"2", version=version, nonce="m"),
        "records delete": lambda: records.delete_all(SPACE, prefix=queue.project),
        "record insert": lambda: records.insert(SPACE, queue.project, b"2", nonce="m"),
        "record delete": lambda: records.delete(SPACE, queue.project),
        "ping": driver.ping,
    }


@pytest.mark.parametrize("protocol", [2, 3])
def test_each_operation_is_one_round_trip(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey, protocol: int
) -> None:
    driver = open_driver(proxy.port, protocol=protocol)
    for call in operations(driver, QueueKey(queue.project, "warm")).values():
        call()
    for name, call in operations(driver, queue).items():
        before = proxy.round_trips
        call()
        assert (name, proxy.round_trips - before) == (name, 1)


def test_twenty_thousand_at_once_are_one_round_trip(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    many = 20_000
    driver = open_driver(proxy.port)
    messages, claims = driver.messages, driver.claims
    for call in operations(driver, QueueKey(queue.project, "warm")).values():
        call()

    def counted(call: Callable[[], Any]) -> Any:
        before = proxy.round_trips
        result = call()
        assert proxy.round_trips - before == 1
        return result

    batch = [message(number) for number in range(many)]
    ids = counted(lambda: messages.post(queue, batch, client_id="c"))
    page: dict[str, Any] = {"marker": None, "exclude_client": None, "include_claimed": True, "include_delayed": False}
    assert [each.id for each in counted(lambda: messages.list(queue, limit=many, **page)).items] == ids
    assert [each.id for each in counted(lambda: messages.get(queue, ids))] == ids
    claim = counted(lambda: claims.create(queue, ttl=60, grace=60, limit=many))
    assert [each.id for each in claim.messages] == ids
    assert len(counted(lambda: messages.list(queue, limit=many, **page)).items) == many
    assert len(counted(lambda: claims.get(queue, claim.id)).messages) == many
    assert counted(lambda: claims.update(queue, claim.id, ttl=120, grace=0))
    counted(lambda: claims.release(queue, claim.id, message_ids=ids[: many // 2]))
    counted(lambda: claims.release(queue, claim.id))
    claim = counted(lambda: claims.create(queue, ttl=60, grace=60, limit=many // 2))
    held = [each.id for each in claim.messages]
    assert held == ids[: many // 2]
    assert counted(lambda: messages.delete(queue, held, claim_ids=[claim.id])) == {}
    assert counted(lambda: messages.stats(queue)).total == many // 2
    counted(lambda: messages.post(queue, batch, client_id="c"))
    counted(lambda: messages.purge(queue))
    counted(lambda: messages.post(queue, batch, client_id="c"))
    assert len(counted(lambda: messages.pop(queue, limit=many))) == many


def test_a_thousand_records_are_deleted_in_a_round_trip(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    driver, space = open_driver(proxy.port), Space("things", queue.project)
    driver.records.delete_all(space)
    for number in range(1_010):
        driver.records.insert(space, f"a{number}", b"1", nonce="n", ttl=60 if number % 2 else None)
    driver.records.insert(space, "b", b"1", nonce="n")
    before = proxy.round_trips
    assert driver.records.delete_all(space, prefix="a") == 1_010
    assert proxy.round_trips - before == 2
    assert [each.key for each in driver.records.scan(space, limit=10)] == ["b"]
    assert driver.records.delete_all(space) == 1
    assert driver.records.delete_all(space) == 0


def test_what_time_has_changed_takes_one_more_for_each_thousand(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    driver = open_driver(proxy.port)
    driver.messages.stats(queue)
    ttl = 0.5
    driver.messages.post(queue, [EncodedMessage(b"1", ttl)] * 2_500, client_id="c")
    time.sleep(ttl)
    before = proxy.round_trips
    assert driver.messages.stats(queue).total == 0
    assert proxy.round_trips - before == 3


def test_delays_that_end_take_one_more_for_each_thousand(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    driver = open_driver(proxy.port)
    driver.messages.pop(queue, limit=1)
    delay = 0.5
    ids = driver.messages.post(queue, [EncodedMessage(b"1", 60, delay)] * 2_500, client_id="c")
    assert driver.messages.stats(queue).delayed == 2_500
    time.sleep(delay)
    before = proxy.round_trips
    assert [each.id for each in driver.messages.pop(queue, limit=10_000)] == ids
    assert proxy.round_trips - before == 3


def test_scripts_come_back_after_a_flush(client: redis.Redis, driver: RedisDriver, queue: QueueKey) -> None:
    for call in operations(driver, queue).values():
        client.script_flush()
        call()


def test_threads_have_a_connection_each(client: redis.Redis, open_driver: Callable[..., RedisDriver]) -> None:
    driver = open_driver(max_connections=3)
    before = client.info("clients")["connected_clients"]
    done = []

    def work() -> None:
        for _ in range(50):
            driver.ping()
        done.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 8
    assert client.info("clients")["connected_clients"] - before <= 2  # one was there


def test_waiting_for_a_connection_ends_in_time(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    driver = open_driver(proxy.port, max_connections=1, timeout=0.3)
    server = driver._queues.server
    [connections] = server.primaries(server.deadline())
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:  # another operation has the only one
        slot = connections._slots.take(time.monotonic() + 10)
        taken.set()
        over.wait(10)
        slot.give_back()

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(10)
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match="max_connections"):
        driver.messages.stats(queue)
    assert 0.3 <= time.monotonic() - began < 1.5
    over.set()
    holder.join()
    assert driver.messages.stats(queue).total == 0


def test_an_idle_connection_that_broke_is_not_used(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    driver = open_driver(proxy.port)
    for _ in range(3):
        proxy.drop_all()
        assert len(driver.messages.post(queue, [message()], client_id="c")) == 1
    assert driver.messages.stats(queue).total == 3


def test_a_closed_driver_has_no_connections(
    client: redis.Redis, open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    driver = open_driver()
    before = client.info("clients")["connected_clients"]
    driver.close()
    driver.close()
    deadline = time.monotonic() + 5
    while client.info("clients")["connected_clients"] != before - 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert client.info("clients")["connected_clients"] == before - 1
    with pytest.raises(StorageClosed):
        driver.ping()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_makes_its_own_connections(driver: RedisDriver, queue: QueueKey) -> None:
    driver.messages.post(queue, [message()], client_id="parent")
    topology: Any = driver._queues.server._topology
    inside = topology._connections
    slots: list[Slot] = []
    while len(slots) < 64:  # as other threads may hold them
        slots.append(inside._slots.take(time.monotonic() + 10))
    [inherited] = inside._idle
    pid = os.fork()
    if not pid:
        try:
            driver.messages.post(queue, [message()], client_id="child")
            [fresh] = inside._idle
            os._exit(0 if fresh is not inherited else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    for slot in slots:
        slot.give_back()
    assert os.waitstatus_to_exitcode(status) == 0
    assert driver.messages.stats(queue).total == 2
