"""A client's clock that was ahead for a while: what is given afterwards runs true, and positions do not go back."""

from __future__ import annotations

import time
from collections.abc import Callable

from zaqar_core.contract import EncodedMessage, QueueKey, StoredPage
from zaqar_swift.driver import SwiftDriver

OpenDriver = Callable[..., SwiftDriver]
Post = Callable[..., list[str]]

YEARS = 10 * 365 * 86_400.0


class Clock:
    """What a driver takes for the time: ``ahead`` seconds more than it is."""

    def __init__(self, *drivers: SwiftDriver) -> None:
        self.ahead = 0.0
        for driver in drivers:
            driver._queues.clock.now = self._now  # type: ignore[method-assign]

    def _now(self) -> int:
        return time.time_ns() // 1_000 + int(self.ahead * 1_000_000)


def listed(driver: SwiftDriver, queue: QueueKey, *, delayed: bool = False) -> StoredPage:
    return driver.messages.list(
        queue, marker=None, limit=50, exclude_client=None, include_claimed=False, include_delayed=delayed
    )


def bodies(page: StoredPage) -> list[bytes]:
    return [message.body for message in page.items]


def test_after_a_jump_all_that_is_given_runs_true(open_either: OpenDriver, queue: QueueKey, post: Post) -> None:
    """Lives, delays, leases and releases with a delay; for the client whose clock it was, and for others."""
    driver, other = open_either(), open_either()
    clock, others = Clock(driver), Clock(other)
    clock.ahead = YEARS
    post(driver, body=b"in the wrong year", ttl=1_000.0)
    clock.ahead = 0
    driver.messages.purge(queue)
    post(driver, body=b"claimed", ttl=60.0)
    assert driver.claims.create(queue, ttl=20, grace=0, limit=1).id
    post(driver, body=b"given back", ttl=60.0)
    made = driver.claims.create(queue, ttl=20, grace=0, limit=1)
    driver.claims.release(queue, str(made.id), delay=20)
    post(driver, body=b"brief", ttl=20.0)
    driver.messages.post(queue, [EncodedMessage(b"soon", 60.0, delay=20.0)], client_id="c")
    post(driver, body=b"lasting", ttl=60.0)
    for one in (driver, other):
        assert bodies(listed(one, queue)) == [b"brief", b"lasting"]
        stats = one.messages.stats(queue)
        assert (stats.free, stats.claimed, stats.delayed) == (2, 1, 2)
        assert bodies(listed(one, queue, delayed=True)) == [b"brief", b"lasting", b"given back", b"soon"]
        assert all(message.age < 10 for message in listed(one, queue, delayed=True).items)
    clock.ahead = others.ahead = 21
    for one in (driver, other):
        assert bodies(listed(one, queue)) == [b"claimed", b"lasting", b"given back", b"soon"]
        assert one.messages.stats(queue).free == 4
    clock.ahead = others.ahead = 61
    assert driver.messages.stats(queue).total == other.messages.stats(queue).total == 0


def test_what_is_released_again_after_a_jump_is_delayed_for_as_long_as_was_said(
    open_either: OpenDriver, queue: QueueKey, post: Post
) -> None:
    """Not for as long as its release in the wrong year said."""
    driver = open_either()
    clock = Clock(driver)
    post(driver, ttl=1_000.0)
    clock.ahead = 300
    made = driver.claims.create(queue, ttl=20, grace=0, limit=1)
    driver.claims.release(queue, str(made.id), delay=0.001)
    clock.ahead = 301
    made = driver.claims.create(queue, ttl=20, grace=0, limit=1)
    clock.ahead = 0
    driver.claims.release(queue, str(made.id), delay=20)
    assert driver.messages.stats(queue).delayed == 1
    clock.ahead = 21
    assert driver.messages.stats(queue).free == 1


def test_posts_of_one_driver_are_in_order_over_a_jump(open_either: OpenDriver, queue: QueueKey, post: Post) -> None:
    driver = open_either()
    clock = Clock(driver)
    ids = []
    for ahead in (0, 300, 0, 0, 100, 99, 0):
        clock.ahead = ahead
        ids += post(driver, ttl=1_000.0)
    assert [message.id for message in listed(driver, queue).items] == ids
    claimed = driver.claims.create(queue, ttl=20, grace=0, limit=20)
    assert [message.id for message in claimed.messages] == ids
    driver.claims.release(queue, str(claimed.id), delay=1)
    later = post(driver)
    clock.ahead = 2
    assert [message.id for message in listed(driver, queue).items] == [*later, *ids]
