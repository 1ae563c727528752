"""Time: settled in steps; positions never go back, and ttls, delays and leases run true when the clock is set back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
import redis

from zaqar_conformance.proxy import Proxy
from zaqar_core.contract import EncodedMessage, QueueKey, Space, StoredPage
from zaqar_core.errors import InvalidDuration
from zaqar_redis.driver import RedisDriver
from zaqar_redis.units import queue_stem

MINUTE = 60 * 1_000_000


def listed(driver: RedisDriver, queue: QueueKey, marker: str | None = None, **options: Any) -> StoredPage:
    wanted = {"limit": 100, "exclude_client": None, "include_claimed": False, "include_delayed": False, **options}
    return driver.messages.list(queue, marker=marker, **wanted)


def post(driver: RedisDriver, queue: QueueKey, count: int = 1, **options: Any) -> list[str]:
    messages = [EncodedMessage(b"1", **{"ttl": 600.0, **options}) for _ in range(count)]
    return driver.messages.post(queue, messages, client_id="c")


def put_clock_ahead(client: redis.Redis, queue: QueueKey, microseconds: int) -> None:
    """As if the server's clock had been set back by so much since the last call."""
    seconds, rest = client.time()
    ahead = seconds * 1_000_000 + rest + microseconds
    client.set(f"{queue_stem('zaqar', queue)}:clock", b"".join(map(msgpack.packb, (ahead, ahead, 0, 0))))


def clock(client: redis.Redis, queue: QueueKey) -> list[int]:
    """What is stored of it: the last position, the moment seen, the offset, the moment due."""
    unpacker = msgpack.Unpacker()
    stored: Any = client.get(f"{queue_stem('zaqar', queue)}:clock")
    unpacker.feed(stored)
    return list(unpacker)


def test_order_stands_though_the_clock_goes_back(client: redis.Redis, driver: RedisDriver, queue: QueueKey) -> None:
    ids = post(driver, queue, 3)
    put_clock_ahead(client, queue, MINUTE)
    ids += post(driver, queue, 3)
    page = listed(driver, queue)
    more = [*post(driver, queue, 2), *post(driver, queue, 1)]
    assert [each.id for each in listed(driver, queue, page.marker).items] == more
    assert [each.id for each in listed(driver, queue).items] == [*ids, *more]
    claim = driver.claims.create(queue, ttl=60, grace=0, limit=100)
    assert [each.id for each in claim.messages] == [*ids, *more]


def test_ttls_delays_and_leases_run_true_after_the_clock_was_set_back(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    ids = post(driver, queue, 1)
    put_clock_ahead(client, queue, 10 * 365 * 24 * 60 * MINUTE)
    assert driver.claims.create(queue, ttl=0.4, grace=0, limit=1).messages
    post(driver, queue, 1, ttl=0.4)
    later = post(driver, queue, 1, delay=0.4)
    stats = driver.messages.stats(queue)
    assert (stats.free, stats.claimed, stats.delayed) == (1, 1, 1)
    time.sleep(0.5)
    stats = driver.messages.stats(queue)
    assert (stats.free, stats.claimed, stats.delayed) == (2, 0, 0)
    assert [each.id for each in listed(driver, queue).items] == [*ids, *later]


def test_a_marker_stands_though_the_clock_goes_back_while_nothing_but_reads_sees_it(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    post(driver, queue, 3)
    put_clock_ahead(client, queue, MINUTE)
    marker = listed(driver, queue).marker
    assert clock(client, queue)[2] == pytest.approx(MINUTE, abs=MINUTE / 10)
    for _ in range(2):
        later = post(driver, queue, 1)
        page = listed(driver, queue, marker)
        assert [each.id for each in page.items] == later
        marker = page.marker


def test_the_clock_is_kept_for_as_long_as_positions_are_ahead(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    day, key = 24 * 3600, f"{queue_stem('zaqar', queue)}:clock"
    post(driver, queue)
    assert 0 < client.ttl(key) <= day
    put_clock_ahead(client, queue, 100 * day * 1_000_000)
    post(driver, queue)
    assert 100 * day < client.ttl(key) <= 101 * day


def test_a_clock_that_is_gone_is_made_anew_behind_all_messages(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    """A server that evicts keys with a ttl takes it."""
    put_clock_ahead(client, queue, MINUTE)
    ids = post(driver, queue, 2)
    client.delete(f"{queue_stem('zaqar', queue)}:clock")
    marker = listed(driver, queue).marker
    ids += post(driver, queue, 1)
    assert [each.id for each in listed(driver, queue).items] == ids
    assert [each.id for each in listed(driver, queue, marker).items] == ids[2:]


def test_delayed_messages_stand_at_the_moment_they_become_active(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    delayed = post(driver, queue, 2, delay=0.4)
    put_clock_ahead(client, queue, MINUTE)
    active = post(driver, queue, 1)
    all_of_them: dict[str, Any] = {"include_delayed": True, "limit": 2}
    first = listed(driver, queue, **all_of_them)
    assert ([each.id for each in first.items], first.more) == ([*active, delayed[0]], True)
    second = listed(driver, queue, first.marker, **all_of_them)
    assert ([each.id for each in second.items], second.more) == ([delayed[1]], False)
    marker = listed(driver, queue).marker
    time.sleep(0.5)
    assert [each.id for each in listed(driver, queue, marker).items] == delayed


def test_the_marker_of_hidden_messages_does_not_run_into_the_future(driver: RedisDriver, queue: QueueKey) -> None:
    others: dict[str, Any] = {"exclude_client": "c", "include_delayed": True}
    post(driver, queue, 300)
    post(driver, queue, 1_500, delay=60)
    page = listed(driver, queue, **others)
    assert (list(page.items), page.more) == ([], False)
    later = driver.messages.post(queue, [EncodedMessage(b"1", 60)], client_id="other")
    assert [each.id for each in listed(driver, queue, page.marker, **others).items] == later


def test_a_release_whose_delay_outlasts_a_message_releases_nothing(driver: RedisDriver, queue: QueueKey) -> None:
    post(driver, queue, 2, ttl=600)
    post(driver, queue, 1, ttl=60)
    claim = driver.claims.create(queue, ttl=30, grace=70, limit=10)
    for delay in (100, 100.5, 1_000):  # the claim lets the third live for 100 seconds
        with pytest.raises(InvalidDuration, match="nothing was released"):
            driver.claims.release(queue, str(claim.id), delay=delay)
    assert driver.messages.stats(queue).claimed == 3
    driver.claims.release(queue, str(claim.id), delay=99)
    assert driver.messages.stats(queue).delayed == 3


def test_the_last_messages_of_a_large_batch_outlive_their_delay(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    """Each message has a position of its own, a microsecond behind the one before."""
    ids = post(driver, queue, 5_000, delay=59.999, ttl=60)
    stem = queue_stem("zaqar", queue)
    expiry: Any = client.zscore(f"{stem}:expiry", ids[-1])
    assert expiry - client.zscore(f"{stem}:delayed", ids[-1]) == 1_000


def test_a_claim_is_never_younger_than_new(client: redis.Redis, driver: RedisDriver, queue: QueueKey) -> None:
    post(driver, queue)
    claim = str(driver.claims.create(queue, ttl=60, grace=0, limit=1).id)
    key = f"{queue_stem('zaqar', queue)}:claims"
    facts: Any = client.hget(key, claim)
    count, began, *rest = facts.split(b":")
    client.hset(key, claim, b":".join([count, b"%d" % (int(began) + MINUTE), *rest]))  # as if the clock had gone back
    found = driver.claims.get(queue, claim)
    assert found is not None
    assert found.age == 0


def test_a_delay_that_was_seen_to_be_over_stays_over(client: redis.Redis, driver: RedisDriver, queue: QueueKey) -> None:
    [first] = post(driver, queue, 1, delay=0.1)
    time.sleep(0.15)
    page = listed(driver, queue)
    assert [each.id for each in page.items] == [first]
    assert clock(client, queue)[0] >= int(page.marker.partition("-")[0])
    [second] = post(driver, queue, 1)
    assert [each.id for each in listed(driver, queue, page.marker).items] == [second]


def test_positions_of_a_large_post_do_not_delay_it(driver: RedisDriver, queue: QueueKey) -> None:
    ids = post(driver, queue, 10_000)
    assert driver.messages.stats(queue).free == 10_000
    assert driver.messages.stats(queue).delayed == 0
    later = post(driver, queue, 1)
    page = listed(driver, queue, limit=10_000)
    assert [each.id for each in page.items] == ids
    assert [each.id for each in listed(driver, queue, page.marker).items] == later


def test_what_time_changed_is_settled_in_steps_of_a_thousand(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    driver = open_driver(proxy.port)
    post(driver, queue, 2_500, ttl=0.001)
    last = post(driver, queue, 1, ttl=600)
    before = proxy.round_trips
    assert [each.id for each in listed(driver, queue).items] == last
    assert proxy.round_trips - before in (1, 2, 3)  # the posts have settled a part
    ids = post(driver, queue, 2_500)
    claims = [driver.claims.create(queue, ttl=0.3, grace=0, limit=600) for _ in range(5)]
    time.sleep(0.4)
    before = proxy.round_trips
    assert driver.messages.stats(queue).free == 2_501
    assert proxy.round_trips - before == 3
    assert driver.claims.get(queue, str(claims[0].id)) is None
    assert [each.id for each in listed(driver, queue, limit=3_000).items] == [*last, *ids]


def test_a_claim_larger_than_a_step_ends_in_steps(driver: RedisDriver, queue: QueueKey) -> None:
    ids = post(driver, queue, 3_300)
    claim = driver.claims.create(queue, ttl=2, grace=0, limit=10_000)
    assert not driver.messages.delete(queue, ids[::7], claim_ids=[str(claim.id)])
    time.sleep(2.1)
    left = [message_id for number, message_id in enumerate(ids) if number % 7]
    assert [each.id for each in listed(driver, queue, limit=10_000).items] == left


def test_posts_alone_keep_a_queue_from_growing(client: redis.Redis, driver: RedisDriver, queue: QueueKey) -> None:
    for _ in range(20):
        post(driver, queue, 1_000, ttl=0.001)
    assert client.zcard(f"{queue_stem('zaqar', queue)}:expiry") <= 2_000


def test_dedup_ids_are_forgotten_in_passing(client: redis.Redis, driver: RedisDriver, queue: QueueKey) -> None:
    stem = queue_stem("zaqar", queue)
    messages = [EncodedMessage(b"1", 60, dedup_id=f"d{number}") for number in range(10)]
    ids = driver.messages.post(queue, messages, client_id="c")
    assert driver.messages.post(queue, messages[:2], client_id="c") == ids[:2]
    client.zadd(f"{stem}:dedup-ends", {f"d{number}": 1 for number in range(10)})  # as if 300 s had passed
    [again] = driver.messages.post(queue, messages[:1], client_id="c")
    assert again not in ids
    assert client.zcard(f"{stem}:dedup-ends") == client.hlen(f"{stem}:dedup") == 9
    driver.messages.post(queue, [EncodedMessage(b"1", 60, dedup_id=f"e{number}") for number in range(9)], client_id="c")
    assert client.zcard(f"{stem}:dedup-ends") == client.hlen(f"{stem}:dedup") == 10


def test_listing_of_others_passes_thousands_in_bounded_calls(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    driver = open_driver(proxy.port)
    driver.messages.post(queue, [EncodedMessage(b"1", 60)] * 5_000, client_id="me")
    [other] = driver.messages.post(queue, [EncodedMessage(b"1", 60)], client_id="you")
    before = proxy.round_trips
    page = listed(driver, queue, exclude_client="me")
    assert ([each.id for each in page.items], page.more) == ([other], False)
    assert proxy.round_trips - before == 5
    assert not listed(driver, queue, page.marker, exclude_client="me").items


def test_many_records_end_at_once(driver: RedisDriver, queue: QueueKey) -> None:
    space = Space("things", queue.project)
    for number in range(1_200):
        driver.records.insert(space, f"k{number}", b"", nonce="n", ttl=0.3 if number else None)
    deadline = time.monotonic() + 10
    while driver.records.count(space) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [record.key for record in driver.records.scan(space, limit=10)] == ["k0"]
