"""How many requests each operation is. docs/swift.md states them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zaqar_conformance.proxy import Proxy
from zaqar_core.contract import EncodedMessage, QueueKey, Space, new_id
from zaqar_swift.driver import SwiftDriver

OpenDriver = Callable[..., SwiftDriver]
Post = Callable[..., list[str]]


@pytest.fixture
def counted(proxy: Proxy, open_driver: OpenDriver) -> SwiftDriver:
    return open_driver(through=proxy)


def test_of_messages_and_claims(counted: SwiftDriver, proxy: Proxy, queue: QueueKey, post: Post) -> None:
    """Small bodies are in the listing, so that no message is fetched separately."""
    driver = counted
    post(driver)  # makes the container

    def cost(work: Callable[[], object]) -> int:
        before = proxy.round_trips
        work()
        return proxy.round_trips - before

    def claim() -> str:
        made = driver.claims.create(queue, ttl=60, grace=0, limit=10)
        assert len(made.messages) == 10
        assert made.id is not None
        return made.id

    def listing(marker: str | None) -> str:
        page = driver.messages.list(
            queue, marker=marker, limit=10, exclude_client=None, include_claimed=False, include_delayed=False
        )
        assert len(page.items) == 10
        return page.marker

    ids: list[str] = []
    assert cost(lambda: ids.extend(post(driver))) == 1
    assert cost(lambda: ids.extend(post(driver, 50))) == 50
    markers: list[str] = []
    assert cost(lambda: markers.append(listing(None))) == 1
    assert cost(lambda: listing(markers[0])) == 2
    assert cost(lambda: driver.messages.get(queue, ids[:1])) == 2
    assert cost(lambda: driver.messages.get(queue, ids[:10])) == 2
    assert cost(lambda: driver.messages.stats(queue)) == 1
    assert cost(lambda: driver.messages.first(queue, newest=False)) == 1
    assert cost(lambda: driver.messages.first(queue, newest=True)) == 2
    assert cost(lambda: driver.messages.delete(queue, ids[-1:], claim_ids=None)) == 2
    claims: list[str] = []
    assert cost(lambda: claims.append(claim())) == 4
    assert cost(lambda: claims.append(claim())) == 3, "the claim before was filled: there is no look beforehand"
    assert cost(lambda: driver.claims.get(queue, claims[0])) == 2
    assert cost(lambda: driver.claims.update(queue, claims[0], ttl=60, grace=0)) == 3
    held = driver.claims.get(queue, claims[0])
    assert held is not None
    some = [message.id for message in held.messages]
    assert cost(lambda: driver.messages.delete(queue, some[:1], claim_ids=[claims[0]])) == 2
    assert cost(lambda: driver.messages.delete(queue, some[1:], claim_ids=[claims[0]])) == 1 + 9 + 1
    assert cost(lambda: driver.claims.release(queue, claims[1])) == 2
    assert cost(lambda: driver.messages.pop(queue, limit=10)) == 3 + 10 + 1
    driver.messages.purge(queue)
    assert driver.claims.create(queue, ttl=60, grace=0, limit=10).id is None
    assert cost(lambda: driver.claims.create(queue, ttl=60, grace=0, limit=10)) == 1


@pytest.mark.parametrize(("coordinated", "requests"), [(False, 3), (True, 2)])
def test_of_messages_on_their_last_try(
    proxy: Proxy,
    open_driver: OpenDriver,
    open_with: OpenDriver,
    queue: QueueKey,
    post: Post,
    coordinated: bool,
    requests: int,
) -> None:
    """Each is a claim of its own, and as many requests as any other where one follows the other."""
    driver = (open_with if coordinated else open_driver)(through=proxy)
    ids = post(driver, 4)
    made = driver.claims.create(queue, ttl=60, grace=0, limit=4)
    driver.claims.release(queue, str(made.id))
    costs = []
    for some_id in ids:
        before = proxy.round_trips
        made = driver.claims.create(queue, ttl=60, grace=0, limit=4, max_claim_count=2)
        costs.append(proxy.round_trips - before)
        assert [message.id for message in made.messages] == [some_id]
    assert costs[1:] == [requests] * 3


def test_of_large_bodies(counted: SwiftDriver, proxy: Proxy, queue: QueueKey, post: Post) -> None:
    """What does not fit into a listing is fetched, one request a message, in parallel."""
    post(counted, 5, body=b"x" * 10_000)
    before = proxy.round_trips
    claim = counted.claims.create(queue, ttl=60, grace=0, limit=5)
    assert [len(message.body) for message in claim.messages] == [10_000] * 5
    assert proxy.round_trips - before == 4 + 5


def test_contents_may_be_kept_out_of_listings(
    proxy: Proxy, open_driver: OpenDriver, queue: QueueKey, post: Post
) -> None:
    """Then all of them are data, which a cluster may encrypt, and each message is a request more."""
    driver = open_driver(through=proxy, inline_bytes=0)
    post(driver, 2, body=b'"secret"')
    place = driver._queues.place(queue)
    for row in driver._store.page(place.container, place.prefix, driver._store.deadline()):
        assert row.content_type.startswith("zaqar-data/")
    before = proxy.round_trips
    page = driver.messages.list(
        queue, marker=None, limit=10, exclude_client=None, include_claimed=False, include_delayed=False
    )
    assert [message.body for message in page.items] == [b'"secret"'] * 2
    assert proxy.round_trips - before == 1 + 2
    space = Space("queues", new_id())
    driver.records.insert(space, "key", b"secret", nonce="n")
    assert [record.value for record in driver.records.scan(space, limit=10)] == [b"secret"]


def test_of_records(counted: SwiftDriver, proxy: Proxy) -> None:
    space, records = Space("queues", new_id()), counted.records
    costs = []
    before = proxy.round_trips
    version = records.insert(space, "key", b"1", nonce="n")
    costs.append(proxy.round_trips - before)
    assert version is not None
    for work in (
        lambda: records.get(space, "key"),
        lambda: records.scan(space, limit=10),
        lambda: records.count(space),
        lambda: records.replace(space, "key", b"2", version=version, nonce="n"),
        lambda: records.delete(space, "key"),
    ):
        before = proxy.round_trips
        assert work()
        costs.append(proxy.round_trips - before)
    assert costs == [2, 1, 1, 1, 2, 2]


def test_a_post_of_many_is_as_many_requests_in_parallel(counted: SwiftDriver, proxy: Proxy, queue: QueueKey) -> None:
    before = proxy.round_trips
    counted.messages.post(queue, [EncodedMessage(b"1", 60.0)] * 20, client_id="c")
    assert 20 <= proxy.round_trips - before <= 20 + 2 * 20  # each may have met a container that was not there yet
