"""A real server's clock that jumps ahead, is seen there, and is corrected: what is given afterwards runs true."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import ValkeyClockTarget

TEN_YEARS = 10 * 365 * 86_400
SHORT = 0.4
"""Seconds of a ttl, a delay or a lease that ends within a test."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyClockTarget]:
    one = ValkeyClockTarget()
    one.start(tmp_path_factory.mktemp("clock"))
    yield one
    one.stop()


@pytest.fixture
def driver(target: ValkeyClockTarget, tmp_path: Path) -> Iterator[RedisDriver]:
    with closing(RedisDriver.open(Uri.parse(target.start(tmp_path)), connect_timeout=10, timeout=10)) as one:
        yield one
    target.move_clock(0)


def post(driver: RedisDriver, queue: QueueKey, body: bytes, **options: Any) -> str:
    [message_id] = driver.messages.post(queue, [EncodedMessage(body, **{"ttl": 600.0, **options})], client_id="c")
    return message_id


def bodies(driver: RedisDriver, queue: QueueKey, marker: str | None = None) -> tuple[list[bytes], str]:
    page = driver.messages.list(
        queue, marker=marker, limit=100, exclude_client=None, include_claimed=True, include_delayed=True
    )
    return [each.body for each in page.items], page.marker


def test_what_is_given_after_the_correction_runs_true(
    target: ValkeyClockTarget, driver: RedisDriver, queue: QueueKey
) -> None:
    long_lived = post(driver, queue, b"long", ttl=2 * TEN_YEARS)
    post(driver, queue, b"expired", ttl=600)
    target.move_clock(TEN_YEARS)
    post(driver, queue, b"posted in the wrong year")
    marker = bodies(driver, queue)[1]
    target.move_clock(0)
    assert bodies(driver, queue)[0] == [b"long", b"posted in the wrong year"]  # what the clock expired is gone
    driver.messages.delete(queue, [long_lived], claim_ids=None)
    claim = driver.claims.create(queue, ttl=SHORT, grace=0, limit=1)
    post(driver, queue, b"brief", ttl=SHORT)
    post(driver, queue, b"soon", delay=SHORT)
    post(driver, queue, b"later")
    assert bodies(driver, queue, marker)[0] == [b"brief", b"later", b"soon"]  # all behind it
    stats = driver.messages.stats(queue)
    assert (stats.free, stats.claimed, stats.delayed) == (2, 1, 1)
    time.sleep(SHORT + 0.1)
    assert bodies(driver, queue, marker)[0] == [b"later", b"soon"]
    assert driver.claims.get(queue, str(claim.id)) is None
    stats = driver.messages.stats(queue)
    assert (stats.free, stats.claimed, stats.delayed) == (3, 0, 0)
    assert all(message.age >= 0 for message in driver.messages.get(queue, [long_lived]))


def test_ttls_and_leases_of_before_are_judged_by_the_true_time(
    target: ValkeyClockTarget, driver: RedisDriver, queue: QueueKey
) -> None:
    """An hour ahead for a moment takes no hour of what outlives it."""
    post(driver, queue, b"message", ttl=7_200)
    claim = str(driver.claims.create(queue, ttl=5_000, grace=0, limit=1).id)
    target.move_clock(3_600)
    post(driver, queue, b"another")
    target.move_clock(0)
    post(driver, queue, b"a third")
    target.move_clock(4_000)
    assert driver.claims.get(queue, claim) is not None
    target.move_clock(5_001)
    assert driver.claims.get(queue, claim) is None
    assert driver.messages.stats(queue).total == 1
    target.move_clock(7_201)
    assert driver.messages.stats(queue).total == 0


def test_dedup_ids_are_kept_for_their_time(target: ValkeyClockTarget, driver: RedisDriver, queue: QueueKey) -> None:
    post(driver, queue, b"1")
    target.move_clock(TEN_YEARS)
    post(driver, queue, b"2")
    target.move_clock(0)
    first = post(driver, queue, b"3", dedup_id="d")
    assert post(driver, queue, b"3", dedup_id="d") == first
    target.move_clock(301)
    assert post(driver, queue, b"3", dedup_id="d") != first


def test_records_expire_by_the_true_time(target: ValkeyClockTarget, driver: RedisDriver, queue: QueueKey) -> None:
    space = Space("things", queue.project)
    driver.records.insert(space, "gone", b"1", nonce="n", ttl=60)
    target.move_clock(TEN_YEARS)
    assert driver.records.get(space, "gone") is None
    target.move_clock(0)
    assert driver.records.get(space, "gone") is None
    assert driver.records.insert(space, "brief", b"1", nonce="n", ttl=SHORT)
    assert driver.records.get(space, "brief")
    time.sleep(SHORT + 0.1)
    assert driver.records.get(space, "brief") is None


def test_positions_stay_ahead_while_the_queue_lies_idle(
    target: ValkeyClockTarget, driver: RedisDriver, queue: QueueKey
) -> None:
    """The clock of an empty queue is forgotten after a day, but not while a marker may be ahead of the true time."""
    target.move_clock(TEN_YEARS)
    post(driver, queue, b"1", ttl=60)
    marker = bodies(driver, queue)[1]
    target.move_clock(0)
    driver.messages.purge(queue)
    assert bodies(driver, queue) == ([], "0-")
    target.move_clock(3 * 86_400)
    post(driver, queue, b"2")
    assert bodies(driver, queue, marker)[0] == [b"2"]
