"""Who holds what, where nothing is atomic: claims are objects, and the latest one that took a message is right."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from zaqar_core.contract import QueueKey, Refusal
from zaqar_core.errors import StorageUnavailable
from zaqar_swift import choosing
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.names import CLAIMS, MESSAGES, new_claim_id
from zaqar_swift.packing import ClaimObject, Entry
from zaqar_swift.queues import MARGIN

OpenDriver = Callable[..., SwiftDriver]
Post = Callable[..., list[str]]
Shown = Callable[[SwiftDriver], list[str]]


def objects(driver: SwiftDriver, queue: QueueKey, kind: str) -> list[str]:
    """The names of the queue's claims or messages, as Swift lists them."""
    place = driver._queues.place(queue)
    prefix = place.prefix + kind
    rows = driver._store.page(place.container, prefix, driver._store.deadline())
    return [row.name.removeprefix(prefix) for row in rows]


def write(driver: SwiftDriver, queue: QueueKey, claim_id: str, claim: ClaimObject) -> None:
    driver._queues.write_claim(driver._queues.place(queue), claim_id, claim, driver._store.deadline())


def test_of_two_claims_that_took_one_message_all_agree_whose_it_is(
    driver: SwiftDriver, queue: QueueKey, post: Post
) -> None:
    """As after a listing that showed neither the other: all clients agree that one holds it and the other does not."""
    [some_id] = post(driver)
    now = driver._queues.clock.now()
    one, other = sorted(new_claim_id(now) for _ in range(2))
    for claim_id in (one, other):
        entry = Entry(some_id, 1, now + 60_000_000, now // 1_000_000 + 600)
        write(driver, queue, claim_id, ClaimObject(now, 60_000_000, now + 60_000_000, False, (entry,)))
    assert driver.claims.get(queue, one) is None
    held = driver.claims.get(queue, other)
    assert held is not None
    assert [message.id for message in held.messages] == [some_id]
    assert driver.messages.delete(queue, [some_id], claim_ids=[one]) == {some_id: Refusal.CLAIM_DOES_NOT_EXIST}
    driver.claims.release(queue, one)
    assert driver.claims.get(queue, other) is not None
    assert driver.messages.delete(queue, [some_id], claim_ids=[other]) == {}


def test_a_claimer_that_died_while_choosing_is_waited_for_and_then_forgotten(
    driver: SwiftDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "DEAD_AFTER", 0.5)
    [some_id] = post(driver)
    now = driver._queues.clock.now()
    dead = new_claim_id(now)
    write(driver, queue, dead, ClaimObject(now, 1, 0, True, ()))
    begin = time.monotonic()
    claim = driver.claims.create(queue, ttl=60, grace=0, limit=1)
    assert time.monotonic() - begin > 0.5
    assert [message.id for message in claim.messages] == [some_id]
    assert objects(driver, queue, CLAIMS) == [claim.id]


def test_a_claim_that_began_later_takes_its_word_back(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    """While a claimer with a lower id chooses, nothing is taken; afterwards the rest is."""
    first, second = post(driver, 2)
    now = driver._queues.clock.now()
    lower = "-" + new_claim_id(now)[1:]
    write(driver, queue, lower, ClaimObject(now, 1, 0, True, ()))
    taken: list[str] = []

    def claim() -> None:
        taken.extend(message.id for message in driver.claims.create(queue, ttl=60, grace=0, limit=2).messages)

    thread = threading.Thread(target=claim)
    thread.start()
    entry = Entry(first, 1, now + 60_000_000, now // 1_000_000 + 600)
    write(driver, queue, lower, ClaimObject(now, 60_000_000, now + 60_000_000, False, (entry,)))
    thread.join()
    assert taken == [second]
    assert set(objects(driver, queue, MESSAGES)) == {first, second}


def test_a_claim_leaves_nothing_once_its_messages_are_deleted(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    """At once or one by one."""
    for together in (True, False):
        ids = post(driver, 3)
        claim = driver.claims.create(queue, ttl=60, grace=0, limit=3)
        for some in [ids] if together else [[some_id] for some_id in ids]:
            assert claim.id is not None
            assert driver.messages.delete(queue, some, claim_ids=[claim.id]) == {}
        assert objects(driver, queue, CLAIMS) == objects(driver, queue, MESSAGES) == []


def test_swift_keeps_a_claimed_message_for_as_long_as_its_claim_asks(
    driver: SwiftDriver, queue: QueueKey, post: Post
) -> None:
    """Beyond the margin that every message gets, it is told so; a later, shorter claim takes nothing back."""
    [some_id] = post(driver, ttl=60.0)
    place = driver._queues.place(queue)

    def kept_until() -> int:
        import swiftclient.client as swift

        def head(url: str, token: str, http: object) -> int:
            headers = swift.head_object(url, token, place.container, place.prefix + MESSAGES + some_id, http_conn=http)
            return int(headers["x-delete-at"])

        return driver._store._until(driver._store.deadline(), head)

    begin = time.time()
    assert begin + 59 < kept_until() - MARGIN < begin + 70
    claim = driver.claims.create(queue, ttl=MARGIN * 3, grace=60, limit=1)
    assert claim.id is not None
    assert kept_until() > begin + MARGIN * 3 + 60
    long = kept_until()
    driver.claims.release(queue, claim.id)
    again = driver.claims.create(queue, ttl=1, grace=0, limit=1)
    assert [message.claim_count for message in again.messages] == [2]
    assert [message.ttl > MARGIN * 3 for message in again.messages] == [True]
    assert kept_until() == long


def test_what_claims_said_is_not_lost_with_them(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    """A message claimed often, by claims released since, still knows how often; the old ones need not stay."""
    post(driver)
    for times in range(1, 5):
        claim = driver.claims.create(queue, ttl=60, grace=0, limit=1)
        assert [message.claim_count for message in claim.messages] == [times]
        assert claim.id is not None
        driver.claims.release(queue, claim.id)


def test_claims_that_later_ones_repeat_are_cleaned_away_in_passing(
    driver: SwiftDriver, queue: QueueKey, post: Post
) -> None:
    post(driver)
    for _ in range(4):
        claim = driver.claims.create(queue, ttl=60, grace=0, limit=1)
        assert claim.id is not None
        driver.claims.release(queue, claim.id)
    assert len(objects(driver, queue, CLAIMS)) <= 2


def test_many_threads_of_one_driver_share_out_the_messages(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    ids = post(driver, 12)
    taken: list[str] = []

    def work() -> None:
        while messages := driver.claims.create(queue, ttl=600, grace=0, limit=2).messages:
            taken.extend(message.id for message in messages)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == ids


def test_a_claim_renewed_and_released_in_part_at_once_is_both(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    """Each writes the whole claim, and neither what the other one has just changed."""
    for _ in range(5):
        ids = post(driver, 2)
        claim = driver.claims.create(queue, ttl=60, grace=0, limit=2)
        assert claim.id is not None
        changes: list[Callable[[], object]] = [
            partial(driver.claims.update, queue, claim.id, ttl=5000, grace=0),
            partial(driver.claims.release, queue, claim.id, message_ids=ids[:1]),
        ]
        threads = [threading.Thread(target=change) for change in changes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        held = driver.claims.get(queue, claim.id)
        assert held is not None
        assert [message.id for message in held.messages] == ids[1:]
        assert held.ttl == 5000
        driver.messages.purge(queue)


def test_a_purge_leaves_the_claims_that_began_meanwhile(
    driver: SwiftDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(driver)
    later: list[str] = []
    deleted = driver._store.delete

    def delete(container: str, name: str, deadline: float) -> bool:
        if not later:
            later.append("")
            later[:] = post(driver)
            claim = driver.claims.create(queue, ttl=60, grace=0, limit=10)
            assert set(later) <= {message.id for message in claim.messages}
        return deleted(container, name, deadline)

    monkeypatch.setattr(driver._store, "delete", delete)
    driver.messages.purge(queue)
    [message] = driver.messages.get(queue, later)
    assert message.claim_id is not None


def test_a_claim_whose_bodies_cannot_be_read_takes_nothing(
    driver: SwiftDriver, queue: QueueKey, post: Post, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = post(driver, 2, body=b"x" * 10_000)

    def get(*_: object, **__: object) -> None:
        raise StorageUnavailable("the server is paused")

    with monkeypatch.context() as patched:
        patched.setattr(driver._store, "get", get)
        with pytest.raises(StorageUnavailable):
            driver.claims.create(queue, ttl=60, grace=0, limit=2)
    assert shown(driver) == ids
