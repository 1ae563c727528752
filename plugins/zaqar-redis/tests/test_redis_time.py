"""Time: settled in steps, order and moments that stand although the server's clock goes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import redis

from zaqar_conformance.proxy import Proxy
from zaqar_core.contract import EncodedMessage, QueueKey, Space, StoredPage
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
    """As if the server's clock had been set back since the last post."""
    key = f"{queue_stem('zaqar', queue)}:clock"
    seconds, rest = client.time()
    client.set(key, msgpack.packb(seconds * 1_000_000 + rest + microseconds) + msgpack.packb(0))


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


def test_time_stands_still_until_the_clock_has_caught_up(
    client: redis.Redis, driver: RedisDriver, queue: QueueKey
) -> None:
    put_clock_ahead(client, queue, 400_000)
    post(driver, queue, 1, ttl=0.2)
    time.sleep(0.3)
    assert driver.messages.stats(queue).total == 1
    time.sleep(0.4)
    assert driver.messages.stats(queue).total == 0


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
    position = int(page.marker.partition("-")[0])
    clock: Any = client.get(f"{queue_stem('zaqar', queue)}:clock")
    unpacker = msgpack.Unpacker()
    unpacker.feed(clock)
    assert unpacker.unpack() >= position
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
