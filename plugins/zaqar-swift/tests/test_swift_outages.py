"""Servers that are away, killed or behind: nothing acknowledged is lost, and what is unknown is called so."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import swiftclient.client as swift

from zaqar_conformance.servers import Server
from zaqar_core.contract import EncodedMessage, QueueKey, Space, StoredClaim, StoredMessage, new_id
from zaqar_core.errors import OutcomeUnknown, StorageClosed, StorageUnavailable
from zaqar_swift import queues, sweep
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.target import control

OpenDriver = Callable[..., SwiftDriver]
StartServer = Callable[..., Server]
Post = Callable[..., list[str]]
Shown = Callable[[SwiftDriver], list[str]]


def test_with_two_of_three_replicas_gone_reads_go_on_and_writes_are_unknown(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    server = start_server(replicas=3)
    driver = open_driver(server.port, timeout=3)
    ids = post(driver, 3)
    for number in (0, 1):
        control(server.port, f"fail/{number}")
    assert shown(driver) == ids
    assert [message.id for message in driver.messages.get(queue, ids)] == ids
    with pytest.raises(OutcomeUnknown, match="503"):
        post(driver)
    with pytest.raises(OutcomeUnknown, match="503"):
        driver.messages.delete(queue, ids[:1], claim_ids=None)
    for number in (0, 1):
        control(server.port, f"heal/{number}")
    assert driver.messages.delete(queue, ids[:1], claim_ids=None) == {}
    control(server.port, "update")
    left = shown(driver)
    assert left[:2] == ids[1:]
    assert len(left) <= 3, "the post that was not acknowledged may be there, once"


def test_a_listing_that_is_late_hides_and_shows_for_a_while_and_loses_nothing(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """A replica was away for posts and deletions, and is back before it was told of them."""
    server = start_server(replicas=3)
    driver = open_driver(server.port)
    old = post(driver, 2)
    control(server.port, "fail/0")
    new = post(driver, 4)
    assert driver.messages.delete(queue, old, claim_ids=None) == {}
    control(server.port, "heal/0")
    seen = {tuple(shown(driver)) for _ in range(40)}
    assert seen - {tuple(new)}, "no listing is late"
    assert all(set(each) <= {*old, *new} for each in seen)
    claim = driver.claims.create(queue, ttl=0.5, grace=0, limit=10)
    assert {message.id for message in claim.messages} <= {*old, *new}
    assert [message.id for message in driver.messages.get(queue, new)] == new, "an id finds what a listing lacks"
    time.sleep(0.6)  # until the claim has ended
    assert driver.messages.delete(queue, new[:1], claim_ids=None) == {}
    assert driver.messages.delete(queue, old, claim_ids=None) == {}, "to delete again does no harm"
    control(server.port, "update")
    assert {tuple(shown(driver)) for _ in range(20)} == {tuple(new[1:])}


def test_what_a_late_listing_shows_is_popped_no_second_time(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown
) -> None:
    """Whoever pops a message has deleted it, which works once."""
    server = start_server(replicas=3)
    driver = open_driver(server.port)
    ids = post(driver, 6)
    control(server.port, "fail/0")
    assert [message.id for message in pop_all(driver, queue, 6)] == ids
    control(server.port, "heal/0")
    assert any(shown(driver) for _ in range(40)), "no listing is late"
    assert [message for _ in range(10) for message in driver.messages.pop(queue, limit=6)] == []


def pop_all(driver: SwiftDriver, queue: QueueKey, count: int) -> list[StoredMessage]:
    """As many as there are, though a listing may lack some."""
    popped: list[StoredMessage] = []
    deadline = time.monotonic() + 20
    while len(popped) < count:
        assert time.monotonic() < deadline
        popped += driver.messages.pop(queue, limit=count)
    return sorted(popped, key=lambda message: message.id)


def test_a_claim_counts_though_a_listing_lacks_its_message(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a claim that has ended says, of a longer life above all, ``gc`` keeps as long as the message is there."""
    monkeypatch.setattr(sweep, "OVER_AFTER", 0)
    server = start_server(replicas=3)
    driver = open_driver(server.port)
    first = post(driver)  # makes the container
    assert driver.messages.delete(queue, first, claim_ids=None) == {}
    control(server.port, "fail/0")
    [some_id] = post(driver)
    control(server.port, "heal/0")
    claims: set[str] = set()
    deadline = time.monotonic() + 20
    while some_id not in claims:
        assert time.monotonic() < deadline
        claims |= {message.id for message in driver.claims.create(queue, ttl=0.1, grace=3000, limit=10).messages}
    time.sleep(0.2)  # until the claim has ended
    for _ in range(12):  # some of these read the listing that lacks the message
        driver.gc()
    control(server.port, "update")
    [message] = driver.messages.get(queue, [some_id])
    assert message.ttl > 2000
    assert message.claim_count >= 1


def test_a_holder_is_known_though_a_listing_lacks_its_claim(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, post: Post
) -> None:
    server = start_server("--spares", "1", replicas=3)
    driver = open_driver(server.port)
    ids = post(driver, 12)
    control(server.port, "fail/0")
    claims: dict[str, str] = {}
    deadline = time.monotonic() + 20
    while len(claims) < 12:
        assert time.monotonic() < deadline
        claim = driver.claims.create(queue, ttl=60, grace=0, limit=1)
        claims |= {message.id: str(claim.id) for message in claim.messages}
    control(server.port, "heal/0")
    for some_id in ids[:8]:
        assert driver.messages.delete(queue, [some_id], claim_ids=[claims[some_id]]) == {}
    for some_id in ids[8:10]:
        assert driver.claims.update(queue, claims[some_id], ttl=60, grace=0)
    for some_id in ids[10:]:
        driver.claims.release(queue, claims[some_id])
    control(server.port, "update")
    assert [message.id for message in driver.claims.create(queue, ttl=60, grace=0, limit=12).messages] == ids[10:]


def test_servers_killed_under_posts_and_deletions_lose_and_bring_back_nothing(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, shown: Shown
) -> None:
    """``kill -9``, three times, while threads post and delete; then every answer that was given still holds."""
    server = start_server()
    driver = open_driver(server.port, timeout=5)
    over = threading.Event()

    def work() -> tuple[set[str], set[str], int, int]:
        there: set[str] = set()
        deleted: set[str] = set()
        unknown_posts = unknown_deletions = 0
        while not over.is_set():
            try:
                there |= set(driver.messages.post(queue, [EncodedMessage(b"1", 3600.0)], client_id="c"))
            except OutcomeUnknown:
                unknown_posts += 1
            except StorageUnavailable:
                time.sleep(0.05)
            if there and random.random() < 0.4:
                some_id = there.pop()
                try:
                    assert driver.messages.delete(queue, [some_id], claim_ids=None) == {}
                    deleted.add(some_id)
                except OutcomeUnknown:
                    unknown_deletions += 1
                except StorageUnavailable:
                    there.add(some_id)
                    time.sleep(0.05)
        return there, deleted, unknown_posts, unknown_deletions

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work) for _ in range(4)]
        for _ in range(3):
            time.sleep(0.7)
            server.kill()
            server.start()
        time.sleep(0.7)
        over.set()
        results = [each.result() for each in working]
    there = {some_id for result in results for some_id in result[0]}
    deleted = {some_id for result in results for some_id in result[1]}
    assert there
    assert deleted
    control(server.port, "update")
    found = everything(driver, queue)
    assert there <= found
    assert not deleted & found
    assert len(found - there) <= sum(result[2] + result[3] for result in results)


def everything(driver: SwiftDriver, queue: QueueKey) -> set[str]:
    found: set[str] = set()
    marker, more = None, True
    while more:
        page = driver.messages.list(
            queue, marker=marker, limit=100, exclude_client=None, include_claimed=True, include_delayed=True
        )
        found |= {message.id for message in page.items}
        marker, more = page.marker, page.more
    return found


def test_connections_that_a_restart_broke_cost_no_post(
    start_server: StartServer, open_driver: OpenDriver, post: Post, shown: Shown
) -> None:
    server = start_server()
    driver = open_driver(server.port)
    ids = post(driver, 8)
    server.restart()
    ids += post(driver, 8)
    assert shown(driver) == ids


def test_the_expirer_beside_claims_takes_only_what_is_over(
    start_server: StartServer,
    open_driver: OpenDriver,
    queue: QueueKey,
    post: Post,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the hour for which Swift keeps what has ended: it is removed as soon as it may be."""
    monkeypatch.setattr(queues, "MARGIN", 1)
    server = start_server()
    driver = open_driver(server.port)
    over = threading.Event()
    passes: list[float] = []
    """The moments at which a pass began that has ended."""

    def expire() -> None:
        while not over.is_set():
            began = time.time()
            control(server.port, "expire")
            passes.append(began)

    def claimed(ttl: float) -> tuple[StoredClaim, list[str], float]:
        """A claim, its messages, and when the life is over with which they were posted."""
        while True:
            ids = post(driver, 3, ttl=ttl)
            life_ends = time.time() + ttl
            claim = driver.claims.create(queue, ttl=600, grace=60, limit=3)
            if [message.id for message in claim.messages] == ids:
                return claim, ids, life_ends
            driver.messages.purge(queue)  # too slow for such a life
            ttl *= 2

    with ThreadPoolExecutor(1) as pool:
        expiring = pool.submit(expire)
        try:
            claim, held, life_ends = claimed(2)
            post(driver, 3, ttl=1)
            lasting = post(driver, 1, ttl=600)
            deadline = life_ends + 60
            removed = max(life_ends, time.time() + 1) + 3  # with the margin of a second, and Swift's second for each
            while not passes or passes[-1] < removed:
                assert time.time() < deadline
                over.wait(0.1)
            place = driver._queues.place(queue)
            rows = driver._store.page(place.container, place.prefix + "m/", driver._store.deadline())
            assert [row.name.removeprefix(place.prefix + "m/") for row in rows] == [*held, *lasting]
            assert [message.id for message in driver.messages.get(queue, held)] == held
            assert driver.messages.delete(queue, held[:1], claim_ids=[claim.id or ""]) == {}
            driver.claims.release(queue, claim.id or "")
            assert shown(driver) == [*held[1:], *lasting]
        finally:
            over.set()
        expiring.result()


def test_many_first_posts_at_once_are_all_there(
    start_server: StartServer, open_driver: OpenDriver, shown: Shown
) -> None:
    """None finds a container, in two drivers that know nothing of each other's making one."""
    server = start_server()
    drivers = [open_driver(server.port, containers=2) for _ in range(2)]
    places = [QueueKey(new_id(), "queue") for _ in range(12)]
    gate = threading.Barrier(len(places))

    def first(number: int) -> list[str]:
        gate.wait()
        messages = [EncodedMessage(b"1", 600.0)] * 3
        return drivers[number % 2].messages.post(places[number], messages, client_id="c")

    with ThreadPoolExecutor(len(places)) as pool:
        posted = list(pool.map(first, range(len(places))))
    for queue, ids in zip(places, posted, strict=True):
        assert [message.id for message in drivers[0].messages.get(queue, ids)] == ids
        assert drivers[0].messages.stats(queue).total == 3


def test_a_container_that_is_there_a_moment_after_it_was_made_costs_its_first_post_nothing(
    start_server: StartServer,
    open_driver: OpenDriver,
    queue: QueueKey,
    post: Post,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of many replicas, those that are asked may not have it yet, or a proxy remembers that it was not there."""
    server = start_server()
    driver = open_driver(server.port)
    make = swift.put_container
    timers: list[threading.Timer] = []

    def late(url: str, token: str, container: str, **options: object) -> None:
        make(url, token, container)
        swift.delete_container(url, token, container)
        timers.append(threading.Timer(0.5, make, (url, token, container)))
        timers[-1].start()

    monkeypatch.setattr(swift, "put_container", late)
    ids = post(driver)
    for timer in timers:
        timer.join()
    assert len(timers) == 1, "it was not made again and again"
    assert shown(driver) == ids


def test_a_login_that_fails_after_an_unanswered_write_leaves_it_unknown(
    start_server: StartServer, open_driver: OpenDriver
) -> None:
    """The write would be sent again with another token, which is not to be had: it may have been done all the same."""
    server = start_server()
    driver = open_driver(server.port, timeout=8)
    access = driver._store._access
    server.pause()
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(driver.records.insert, Space("queues", "p"), "key", b"1", nonce="n")
        time.sleep(0.5)  # it is waiting for its answer
        access.refused(access.grant(driver._store.deadline()), driver._store.deadline())
        server.kill()
        assert type(outcome.exception()) is OutcomeUnknown


def test_what_is_under_way_when_the_storage_is_closed_ends_and_is_not_called_undone(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey
) -> None:
    server = start_server()
    watching = open_driver(server.port)
    for pause in (0.0, 0.01, 0.02, 0.04, 0.08):
        driver = open_driver(server.port, connections=2)
        before = len(everything(watching, queue))
        with ThreadPoolExecutor(1) as pool:
            messages = [EncodedMessage(b"1", 600.0)] * 20
            outcome = pool.submit(driver.messages.post, queue, messages, client_id="c")
            time.sleep(pause)
            driver.close()
            error = outcome.exception()
        if len(everything(watching, queue)) > before:
            assert error is None or type(error) is OutcomeUnknown
        else:
            assert type(error) in {StorageClosed, OutcomeUnknown}
