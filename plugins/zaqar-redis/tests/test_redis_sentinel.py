"""Sentinels: the primary is found, and found again when another server has become it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from zaqar_conformance.servers import Server, redis_program
from zaqar_core.capabilities import Capability
from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import InvalidUri, OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import RedisSentinelTarget, plain_client, sentinel_server, wait_until


def opened(uri: str, *, timeout: float = 10, connect_timeout: float = 10) -> RedisDriver:
    return RedisDriver.open(Uri.parse(uri), connect_timeout=connect_timeout, timeout=timeout)


def post(driver: RedisDriver, queue: QueueKey, count: int = 1) -> list[str]:
    return driver.messages.post(queue, [EncodedMessage(b"1", 600)] * count, client_id="c")


def release(driver: RedisDriver, queue: QueueKey, claim: str) -> bool:
    driver.claims.release(queue, claim)
    return True


def has_all(primary: dict[str, Any]) -> bool:
    return bool(primary["slave0"]["offset"] == primary["master_repl_offset"])


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[RedisSentinelTarget]:
    target = RedisSentinelTarget()
    try:
        yield target
    finally:
        target.stop()


def test_a_promoted_replica_is_found_in_the_midst_of_work(
    sentinel: RedisSentinelTarget, tmp_path: Path, queue: QueueKey
) -> None:
    with closing(opened(sentinel.start(tmp_path), timeout=20)) as driver:
        assert {Capability.PERSISTENT, Capability.DURABILITY}.isdisjoint(driver.capabilities)
        post(driver, queue, 10)
        claim = driver.claims.create(queue, ttl=60, grace=0, limit=5)
        with closing(plain_client(sentinel._primary())) as primary:
            wait_until(lambda: has_all(primary.info("replication")), "the replica has everything")
        seen: list[Exception] = []
        posted = [0]
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    posted[0] += len(post(driver, queue))
                except StorageUnavailable as error:
                    seen.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        sentinel.fail_over()
        assert driver.claims.update(queue, str(claim.id), ttl=90, grace=0)
        before = posted[0]
        time.sleep(0.3)
        stop.set()
        worker.join()
        assert posted[0] > before
        assert len(seen) <= 2  # whose reply was lost; the rest waited for the promotion
        assert all(isinstance(error, OutcomeUnknown) for error in seen)
        ids = [message.id for message in claim.messages]
        assert driver.messages.delete(queue, ids, claim_ids=[str(claim.id)]) == {}


def test_sentinels_that_know_nothing_or_are_gone(sentinel: RedisSentinelTarget, tmp_path: Path) -> None:
    uri = sentinel.start(tmp_path)
    with pytest.raises(InvalidUri, match=r"no primary 'other'.*SENTINEL MASTERS"):
        opened(uri.replace("/main/", "/other/"))
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"the Sentinel 127\.0\.0\.1:.*cannot be reached"):
        opened(sentinel.unreachable_uri(), connect_timeout=1)
    assert time.monotonic() - began < 2
    [host] = [uri.partition("://")[2].partition("/")[0]]
    gone = sentinel.unreachable_uri().partition("://")[2].partition("/")[0]
    with closing(opened(f"redis+sentinel://{gone},{host}/main/0")) as driver:
        driver.ping()


def test_sentinels_that_forget_the_primary_are_no_wrong_uri_later(
    start_server: Callable[..., Server], tmp_path: Path, queue: QueueKey
) -> None:
    primary = start_server()
    sentinel = sentinel_server(redis_program(), tmp_path / "sentinel", primary.port)
    sentinel.start()
    try:
        with closing(opened(f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0", timeout=0.5)) as driver:
            with closing(plain_client(sentinel.port)) as client:
                client.execute_command("SENTINEL REMOVE", "main")
            primary.restart()
            for call in (lambda: post(driver, queue), driver.ping, driver.health, driver.gc):
                with pytest.raises(StorageUnavailable, match="know no primary") as caught:
                    call()
                assert caught.type is StorageUnavailable
    finally:
        sentinel.kill()


def test_sentinels_that_ask_for_a_password(start_server: Callable[..., Server], tmp_path: Path) -> None:
    primary = start_server("--appendonly", "yes", "--appendfsync", "always")
    sentinel = sentinel_server(redis_program(), tmp_path / "sentinel", primary.port)
    sentinel.start()
    try:
        with closing(plain_client(sentinel.port)) as client:
            client.execute_command("ACL", "SETUSER", "asker", "on", ">right", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "off")
        uri = f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0?sentinel_username=asker&sentinel_password="
        for wrong in (f"{uri}mistaken", f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0"):
            began = time.monotonic()
            with pytest.raises(StorageUnavailable, match="sentinel_password") as caught:
                opened(wrong)
            assert "mistaken" not in str(caught.value)
            assert time.monotonic() - began < 5  # trying again would not help
        with closing(opened(f"{uri}right")) as driver:
            # There may be a replica that is only away just now.
            assert {Capability.PERSISTENT, Capability.DURABILITY}.isdisjoint(driver.capabilities)
    finally:
        sentinel.kill()


def test_what_is_no_sentinel(server: Server) -> None:
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"no Sentinel.*unknown command"):
        opened(f"redis+sentinel://127.0.0.1:{server.port}/main/0")
    assert time.monotonic() - began < 5


def test_a_failover_in_the_middle_of_a_claim(sentinel: RedisSentinelTarget, tmp_path: Path, queue: QueueKey) -> None:
    """The primary dies with every kind of operation under way: what must happen once is unknown, the rest is done."""
    with closing(opened(sentinel.start(tmp_path), timeout=20)) as driver:
        messages, claims, space = driver.messages, driver.claims, Space("queues", queue.project)
        ids = post(driver, queue, 20)
        one, other = (str(claims.create(queue, ttl=600, grace=0, limit=5).id) for _ in range(2))
        messages.pop(queue, limit=1)
        once: dict[str, Callable[[], object]] = {
            "claim": lambda: claims.create(queue, ttl=600, grace=0, limit=5),
            "post": lambda: post(driver, queue),
            "pop": lambda: messages.pop(queue, limit=1),
            "insert of a record": lambda: driver.records.insert(space, "k", b"", nonce="n"),
        }
        rest: dict[str, Callable[[], object]] = {
            "stats": lambda: messages.stats(queue).total > 0,
            "get of a claim": lambda: claims.get(queue, one) is not None,
            "update": lambda: claims.update(queue, one, ttl=700, grace=0),
            "delete": lambda: messages.delete(queue, ids[:2], claim_ids=[one]) == {},
            "release": lambda: release(driver, queue, other),
        }
        calls = once | rest
        [victim] = (server for server in sentinel.started() if server.port == sentinel._primary())
        with closing(plain_client(victim.port)) as primary, ThreadPoolExecutor(len(calls)) as pool:
            primary.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")  # requests reach it and stay there
            wait_until(lambda: has_all(primary.info("replication")), "the replica has everything")
            under_way: dict[str, Future[object]] = {name: pool.submit(call) for name, call in calls.items()}
            wait_until(lambda: primary.info("clients")["blocked_clients"] >= len(calls), "requests have come")
            victim.kill()
            for name in once:
                with pytest.raises(OutcomeUnknown):
                    under_way[name].result()
            assert [under_way[name].result() for name in rest] == [True] * len(rest)
        stats = messages.stats(queue)
        assert (stats.free, stats.claimed, stats.delayed) == (14, 3, 0)
        assert driver.records.count(space) == 0
        for call in calls.values():  # and all of it works
            call()
        with closing(plain_client(sentinel._primary())) as promoted:
            assert promoted.info("errorstats")["errorstat_NOSCRIPT"]["count"] > 0
