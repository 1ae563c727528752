"""What zaqar-swift costs: in requests, beside the least that any driver could send, and as queues grow.

    python bench/swift_cost.py --depths 100,1000 --turns 15

Starts a Swift of its own, all its servers in one process. Bodies are 256 bytes of JSON, there is one client, and the
driver is called as the core calls it. The floor is swiftclient as one would write it, on one connection and one
request after the other: a PUT for each message posted, one listing of as many names as are asked for, a DELETE for
each message deleted. Driver and floor take turns; each ratio is the median of those within a turn.

Needs zaqar-swift[server] and zaqar-conformance.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import swiftclient

from zaqar_conformance.proxy import Proxy
from zaqar_core.contract import EncodedMessage, QueueKey, new_id
from zaqar_core.uri import Uri
from zaqar_swift import server as swift
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.target import coordinator_uri, redis_server, swift_server

BODY = b'{"id":12345,"kind":"order","text":"' + b"x" * 189 + b'","price":9.75,"tags":["a","b"]}'
DAY = 24 * 3600.0
STATES = ("active", "claimed", "delayed")
CYCLE = ("post", "list", "claim", "get", "update", "bulk_delete", "post", "pop", "stats")
"""What a turn does, in this order: it leaves as many messages as there were."""
SIZES = (1, 10)
WARM = 2
"""Turns that do not count."""
LAST_TRIES = 100
BEHIND = 20
"""So many active messages follow those that are ahead."""


class Driver:
    """The operations of the driver on one queue."""

    def __init__(self, driver: SwiftDriver) -> None:
        self._driver = driver
        self._queue = QueueKey("bench", new_id())
        self._claimed: tuple[str, list[str]] = ("", [])

    def fill(self, count: int, state: str) -> None:
        """Put so many messages ahead that are active, claimed or delayed, and some behind them."""
        step = self._driver.limits.max_messages_per_post
        for start in range(0, count, step):
            self.post(min(step, count - start), delay=DAY / 2 if state == "delayed" else 0.0)
            if state == "claimed":
                self._driver.claims.create(self._queue, ttl=DAY, grace=0, limit=step)
        self.post(BEHIND)

    def post(self, count: int, delay: float = 0.0) -> None:
        messages = [EncodedMessage(BODY, DAY, delay)] * count
        assert len(self._driver.messages.post(self._queue, messages, client_id="bench")) == count

    def list(self, count: int) -> None:
        page = self._driver.messages.list(
            self._queue, marker=None, limit=count, exclude_client=None, include_claimed=False, include_delayed=False
        )
        assert len(page.items) == count

    def claim(self, count: int) -> None:
        claim = self._driver.claims.create(self._queue, ttl=300.0, grace=60.0, limit=count)
        assert len(claim.messages) == count
        self._claimed = str(claim.id), [message.id for message in claim.messages]

    def get(self, count: int) -> None:
        assert len(self._driver.messages.get(self._queue, self._claimed[1])) == count

    def update(self, _: int) -> None:
        assert self._driver.claims.update(self._queue, self._claimed[0], ttl=300.0, grace=60.0)

    def bulk_delete(self, _: int) -> None:
        assert not self._driver.messages.delete(self._queue, self._claimed[1], claim_ids=[self._claimed[0]])

    def pop(self, count: int) -> None:
        assert len(self._driver.messages.pop(self._queue, limit=count)) == count

    def stats(self, _: int) -> None:
        assert self._driver.messages.stats(self._queue).total


class Floor:
    """The least that is needed for the same, by swiftclient."""

    def __init__(self, port: int) -> None:
        self._client = swiftclient.Connection(swift.auth_url(port), swift.USER, swift.KEY, retries=0)
        self._container = "floor"
        self._client.put_container(self._container)
        self._names: list[str] = []
        self.post(BEHIND)

    def post(self, count: int) -> None:
        headers = {"X-Delete-After": "86400"}
        for _ in range(count):
            self._names.append(new_id())
            self._client.put_object(self._container, self._names[-1], BODY, headers=headers)

    def list(self, count: int) -> None:
        assert len(self._client.get_container(self._container, limit=count)[1]) == count

    claim = get = update = stats = list

    def bulk_delete(self, count: int) -> None:
        for _ in range(count):
            self._client.delete_object(self._container, self._names.pop())

    def pop(self, count: int) -> None:
        self.list(count)
        self.bulk_delete(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=lambda text: [int(each) for each in text.split(",")], default="100,1000")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--last-tries", action="store_true", help="only measure claims of messages on their last try")
    options = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}, swift {version('swift')}, {options.replicas} replicas, {options.turns} turns")
    with served(options.replicas) as port:
        if options.last_tries:
            show_last_tries(port)
        else:
            show_all(port, options.depths, options.turns)


def show_all(port: int, depths: list[int], turns: int) -> None:
    show_requests(port)
    shallow, *deeper = depths
    with opened(port) as driver:
        show_floor(driver, port, shallow, turns)
        for state in STATES:
            for deep in deeper:
                show_depth(driver, state, shallow, deep, turns)


def show_requests(port: int) -> None:
    """Counted on the wire."""
    title("requests", *(f"of {size}" for size in SIZES))
    counts: dict[str, list[int]] = defaultdict(list)
    with Proxy(port) as proxy, opened(proxy.port) as driver:
        ours = Driver(driver)
        ours.fill(BEHIND, "active")
        for size in SIZES:
            for turn in range(WARM + 1):
                for name in dict.fromkeys(CYCLE):
                    if name == "pop":
                        ours.post(size)
                    before = proxy.round_trips
                    getattr(ours, name)(size)
                    if turn == WARM:
                        counts[name].append(proxy.round_trips - before)
    for name, each in counts.items():
        row(name, *each)


def show_floor(driver: SwiftDriver, port: int, depth: int, turns: int) -> None:
    """Each operation beside the least that is needed for it."""
    title(f"{depth} active ahead", "ms", "floor's ms", "times the floor")
    ours, floor = Driver(driver), Floor(port)
    ours.fill(depth, "active")
    for name, pairs in in_turns(ours, floor, turns).items():
        one, other = zip(*pairs, strict=True)
        row(name, 1000 * statistics.median(one), 1000 * statistics.median(other), ratio(pairs))


def show_depth(driver: SwiftDriver, state: str, shallow: int, deep: int, turns: int) -> None:
    """What a long queue costs beside a short one."""
    title(f"{deep} {state} ahead, beside {shallow}", "ms", "times")
    queues = [Driver(driver), Driver(driver)]
    for queue, depth in zip(queues, (deep, shallow), strict=True):
        queue.fill(depth, state)
    for name, pairs in in_turns(queues[0], queues[1], turns).items():
        row(name, 1000 * statistics.median(one for one, _ in pairs), ratio(pairs))


def show_last_tries(port: int) -> None:
    """Messages that were never claimed, claimed ten at a time, and messages on their last try, claimed one by one."""
    title(f"{LAST_TRIES} messages", "requests a claim", "claims", "ms a claim", "messages a second")
    with tempfile.TemporaryDirectory() as folder, Proxy(port) as proxy:
        redis = redis_server(Path(folder), "--appendonly", "yes")
        redis.start()
        try:
            for name, options in (("alone", {}), ("coordinator", {"coordinator": coordinator_uri(redis.port)})):
                with opened(proxy.port, prefix=f"last-{name}", **options) as driver:
                    for kind, tries in (("fresh", 3), ("on their last try", 1)):
                        row(f"{name}, {kind}", *claimed_in_turn(driver, proxy, tries))
        finally:
            redis.kill()


def claimed_in_turn(driver: SwiftDriver, proxy: Proxy, tries: int) -> tuple[float, int, float, float]:
    """Requests a claim, claims, milliseconds a claim and messages a second of one claimer who takes and deletes all."""
    queue = QueueKey("bench", new_id())
    driver.messages.post(queue, [EncodedMessage(BODY, DAY)] * LAST_TRIES, client_id="bench")
    made = driver.claims.create(queue, ttl=300.0, grace=0, limit=LAST_TRIES)
    driver.claims.release(queue, str(made.id))
    before, claims, spent, began = proxy.round_trips, 0, 0.0, time.perf_counter()
    requests = 0
    while True:
        seconds, before = time.perf_counter(), proxy.round_trips
        made = driver.claims.create(queue, ttl=300.0, grace=0, limit=10, max_claim_count=1 + tries)
        if made.id is None:
            break
        spent, requests, claims = (
            spent + time.perf_counter() - seconds,
            requests + proxy.round_trips - before,
            claims + 1,
        )
        driver.messages.delete(queue, [message.id for message in made.messages], claim_ids=[made.id])
    return requests / claims, claims, 1000 * spent / claims, LAST_TRIES / (time.perf_counter() - began)


def in_turns(one: object, other: object, turns: int) -> dict[str, list[tuple[float, float]]]:
    """Of each operation, for each turn: seconds of both sides, of which each comes first every other time."""
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for turn in range(WARM + turns):
        for size in SIZES:
            for name in CYCLE:
                sides = (one, other) if turn % 2 else (other, one)
                spent = {side: seconds(getattr(side, name), size) for side in sides}
                if turn >= WARM:
                    times[f"{name} {size}"].append((spent[one], spent[other]))
    return times


def seconds(operation: Callable[[int], object], size: int) -> float:
    began = time.perf_counter()
    operation(size)
    return time.perf_counter() - began


def ratio(pairs: list[tuple[float, float]]) -> float:
    return statistics.median(one / other for one, other in pairs)


@contextmanager
def served(replicas: int) -> Iterator[int]:
    """The port of a fresh Swift."""
    with tempfile.TemporaryDirectory() as folder:
        server = swift_server(Path(folder) / "swift", replicas=replicas)
        server.start()
        try:
            yield server.port
        finally:
            server.kill()


@contextmanager
def opened(port: int, **options: object) -> Iterator[SwiftDriver]:
    driver = SwiftDriver.open(Uri.parse(swift.uri(port), options), connect_timeout=10, timeout=60)
    try:
        yield driver
    finally:
        driver.close()


def title(text: str, *columns: str) -> None:
    print(f"\n{text:<32}" + "".join(f"{column:>18}" for column in columns))


def row(name: str, *values: float) -> None:
    print(f"  {name:<30}" + "".join(f"{value:>18.4g}" for value in values), flush=True)


if __name__ == "__main__":
    main()
