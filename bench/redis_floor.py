"""How far zaqar-redis is from a script that does nothing: on one server, in one run, turn by turn.

The floor sends the driver's own requests to a script that returns the driver's own replies as constants: the same bytes
both ways, the same encoding and message objects, and no queue. Both are called as the core calls a driver. It does so
by redis-py's client, as one would write it, and by the driver's own use of redis-py's connections, which is faster.
Prints medians, the ratio to each floor, that to the same at the smallest depth, and the server's own time a message;
then round trips, memory, threads, and what the facade adds.

    python bench/redis_floor.py [--uri redis://127.0.0.1:6379/0] [--turns 100] [--depths 100,10000,100000]

Without a URI it starts a server of its own, as the conformance target does. Needs zaqar-conformance.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from zaqar_conformance.proxy import Proxy
from zaqar_core import NewMessage, Storage, connect
from zaqar_core.contract import EncodedMessage, QueueKey, new_id
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.scripts import Script
from zaqar_redis.target import RedisTarget

BODY = {"id": 12345, "kind": "order", "text": "x" * 189, "price": 9.75, "tags": ["a", "b"]}
BYTES = json.dumps(BODY, separators=(",", ":")).encode()
CLIENT = new_id()
DAY = 24 * 3600.0
CYCLE = ("post", "list", "claim", "get", "update", "bulk_delete", "post", "pop")
"""What a turn does, in this order: it leaves as many messages as there were."""
NOISE = 3
"""Turns that do not count: scripts are loaded, caches warmed."""


class Work:
    """The operations of a driver on one queue, each checked."""

    def __init__(self, driver: RedisDriver, queue: QueueKey) -> None:
        self.driver = driver
        self.queue = queue
        self.claimed: tuple[str, list[str]] = ("", [])

    def fill(self, count: int, state: str) -> None:
        """Put so many messages ahead, under live claims if ``state`` is ``claimed``, and some behind them."""
        for start in range(0, count, 1000):
            self.post(min(1000, count - start))
            if state == "claimed":
                self.driver.claims.create(self.queue, ttl=DAY, grace=0, limit=1000)
        self.post(20)

    def post(self, count: int) -> None:
        messages = [EncodedMessage(BYTES, 3600.0) for _ in range(count)]
        assert len(self.driver.messages.post(self.queue, messages, client_id=CLIENT)) == count

    def list(self, count: int) -> None:
        page = self.driver.messages.list(
            self.queue, marker=None, limit=count, exclude_client=None, include_claimed=False, include_delayed=False
        )
        assert len(page.items) == count

    def claim(self, count: int) -> None:
        claim = self.driver.claims.create(self.queue, ttl=300.0, grace=60.0, limit=count)
        assert len(claim.messages) == count
        self.claimed = str(claim.id), [message.id for message in claim.messages]

    def get(self, count: int) -> None:
        assert len(self.driver.messages.get(self.queue, self.claimed[1])) == count

    def update(self, _: int) -> None:
        assert self.driver.claims.update(self.queue, self.claimed[0], ttl=300.0, grace=60.0)

    def bulk_delete(self, _: int) -> None:
        assert not self.driver.messages.delete(self.queue, self.claimed[1], claim_ids=[self.claimed[0]])

    def pop(self, count: int) -> None:
        assert len(self.driver.messages.pop(self.queue, limit=count)) == count

    def stats(self, _: int) -> None:
        assert self.driver.messages.stats(self.queue).total


class Floor:
    """Between the driver and its server: lets scripts pass, records their replies, or has these returned as constants.

    ``mode`` is ``pass``, ``record``, ``client`` or ``connection``; ``size`` tells recordings of one script apart.
    """

    def __init__(self, driver: RedisDriver, uri: str) -> None:
        self.mode = "pass"
        self.size = 0
        self._client = redis.Redis.from_url(uri)
        self._run = driver._queues.server.run
        self._recorded: dict[tuple[str, int], Script] = {}
        driver._queues.server.run = self.run  # type: ignore[method-assign]

    def run(self, script: Script, stem: str, *arguments: Any, deadline: float | None = None) -> Any:
        if self.mode in ("client", "connection"):
            script = self._recorded[script.name, self.size]
        if self.mode == "client":
            return self._client.evalsha(script.sha, 1, stem, *arguments)
        reply = self._run(script, stem, *arguments, deadline=deadline)
        if self.mode == "record":
            text = f"return {_literal(reply)}"
            constant = Script(
                script.name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), script.effect
            )
            self._recorded[script.name, self.size] = constant
            self._run(constant, stem, deadline=deadline)  # which loads it
        return reply


def _literal(value: Any) -> str:
    match value:
        case None:
            return "false"
        case bytes():
            return '"' + "".join(f"\\{byte:03d}" for byte in value) + '"'
        case list():
            return "{" + ",".join(map(_literal, value)) + "}"
        case _:
            return str(value)


Times = dict[str, tuple[list[float], list[float], list[float]]]
"""Of each operation: seconds of the driver and of both floors, by redis-py's client and by its connections."""


def measure(uri: str, work: Work, sizes: list[int], turns: int) -> Times:
    """Every operation of a cycle, by the driver and by the floors, one after the other."""
    floor = Floor(work.driver, uri)
    times: Times = defaultdict(lambda: ([], [], []))
    for turn in range(turns + NOISE):
        for size in sizes:
            floor.size = size
            for name in (*CYCLE, "stats"):
                operation = getattr(work, name)
                floor.mode = "pass" if turn else "record"
                real = _timed(operation, size)
                claimed = work.claimed
                spent = [real]
                for floor.mode in ("client", "connection"):
                    spent.append(_timed(operation, size))
                    work.claimed = claimed
                if turn >= NOISE:
                    for each, value in zip(times[f"{name} {size}"], spent, strict=True):
                        each.append(value)
    floor.mode = "pass"
    return times


def server_time(work: Work, sizes: list[int], turns: int) -> dict[str, float]:
    """The server's own microseconds a message."""
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(turns):
        for size in sizes:
            for name in CYCLE:
                before = _busy(work.driver)
                getattr(work, name)(size)
                spent[f"{name} {size}"].append((_busy(work.driver) - before) / size)
    return {name: statistics.median(each) for name, each in spent.items()}


def _busy(driver: RedisDriver) -> float:
    server, deadline = driver._queues.server, driver._queues.deadline()
    [primary] = server.primaries(deadline)
    text = server.command("INFO", "commandstats", on=primary, deadline=deadline).decode()
    lines = [line for line in text.splitlines() if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))]
    return sum(float(line.partition("usec=")[2].partition(",")[0]) for line in lines)


def _timed(operation: Callable[[int], object], size: int) -> float:
    began = time.perf_counter()
    operation(size)
    return time.perf_counter() - began


# --- what is shown --------------------------------------------------------------------------------------


def show_costs(uri: str, depths: list[int], turns: int) -> None:
    """Against the floor and against the smallest depth, which is measured anew beside each other one."""
    for state in ("active", "claimed"):
        for depth in depths:
            with opened(uri) as driver, opened(uri) as shallow_driver:
                work, shallow = Work(driver, QueueKey("bench", new_id())), Work(shallow_driver, QueueKey("b", new_id()))
                work.fill(depth, state)
                shallow.fill(depths[0], state)
                times = measure(uri, work, [1, 10], turns)
                flat = side_by_side(work, shallow, [1, 10], turns)
                print(f"\n{depth} {state} ahead: ms, times the client's floor, the connection's, {depths[0]} ahead")
                for name, each in times.items():
                    real, client, connection = map(statistics.median, each)
                    ratios = f"{real / client:>8.2f}{real / connection:>8.2f}{flat[name]:>8.2f}"
                    print(f"  {name:<20}{real * 1000:>9.3f}{ratios}")
                work.driver.messages.purge(work.queue)
                shallow.driver.messages.purge(shallow.queue)


def side_by_side(work: Work, shallow: Work, sizes: list[int], turns: int) -> dict[str, float]:
    """How many times as much an operation costs the deep queue as the shallow one, medians of neighbours."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for turn in range(turns):
        for size in sizes:
            for name in (*CYCLE, "stats"):
                sides = [work, shallow] if turn % 2 else [shallow, work]
                spent = {side is work: _timed(getattr(side, name), size) for side in sides}
                ratios[f"{name} {size}"].append(spent[True] / spent[False])
    return {name: statistics.median(each) for name, each in ratios.items()}


def show_server_time(uri: str, turns: int) -> None:
    print("\nserver's own microseconds a message")
    with opened(uri) as driver:
        work = Work(driver, QueueKey("bench", new_id()))
        work.fill(10_000, "active")
        for name, value in server_time(work, [10, 100, 1000, 10_000], turns).items():
            print(f"  {name:<20}{value:>9.2f}")
        driver.messages.purge(work.queue)


def show_round_trips(port: int) -> None:
    print("\nround trips")
    with Proxy(port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}/0") as driver:
        work = Work(driver, QueueKey("bench", new_id()))
        work.fill(100, "active")
        for _ in range(2):
            trips = {}
            for name in (*CYCLE, "stats"):
                before = proxy.round_trips
                getattr(work, name)(10)
                trips[name] = proxy.round_trips - before
        print("  " + ", ".join(f"{name} {count}" for name, count in trips.items()))
        driver.messages.purge(work.queue)


def show_memory(uri: str, count: int) -> None:
    """Of bodies of 256 bytes, posted by one client."""
    print(f"\nmemory of {count} messages of {len(BYTES)} bytes, bytes each (times the body)")
    for state in ("active", "claimed"):
        for at_once in (10, 1000) if state == "claimed" else (1000,):
            with opened(uri) as driver:
                work = Work(driver, QueueKey("bench", new_id()))
                before = _memory(driver)
                for _ in range(0, count, 1000):
                    work.post(1000)
                    for _ in range(0, 1000 if state == "claimed" else 0, at_once):
                        work.claim(at_once)
                each = (_memory(driver) - before) / count
                label = state if state == "active" else f"{state} {at_once} at once"
                print(f"  {label:<24}{each:>7.0f}{each / len(BYTES):>7.2f}")
                driver.messages.purge(work.queue)
                time.sleep(1)  # the server frees in the background


def _memory(driver: RedisDriver) -> int:
    used: Any = driver.health()["used_memory"]
    return int(used)


def show_threads(uri: str, seconds: float) -> None:
    """A post, a claim and a deletion of 10, by one thread and by eight on one driver, turn by turn."""
    ratios = []
    with opened(uri) as driver:
        for _ in range(5):
            one, eight = (_rate(driver, threads, seconds) for threads in (1, 8))
            ratios.append(eight / one)
    low, high = min(ratios), max(ratios)
    print(f"\n8 threads on one driver, times one: {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})")


def _rate(driver: RedisDriver, threads: int, seconds: float) -> float:
    done = [0] * threads
    until = time.monotonic() + seconds

    def run(index: int) -> None:
        work = Work(driver, QueueKey("bench", new_id()))
        while time.monotonic() < until:
            for name in ("post", "claim", "bulk_delete"):
                getattr(work, name)(10)
            done[index] += 1

    workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / seconds


def show_facade(uri: str, turns: int) -> None:
    """What ``Storage`` adds to the driver: validation, JSON, models."""
    print("\nthe facade, times the driver")
    with opened(uri) as driver, connect(uri, project="bench", metadata_ttl=60) as storage:
        work, queue = Work(driver, QueueKey("bench", new_id())), new_id()
        ratios: dict[str, list[float]] = defaultdict(list)
        for _ in range(turns):
            for name, facade in _facade(storage, queue).items():
                real = _timed(getattr(work, name), 10)
                ratios[name].append(_timed(facade, 10) / real)
        for name, each in ratios.items():
            print(f"  {name + ' 10':<20}{statistics.median(each):>9.2f}")


def _facade(storage: Storage, queue: str) -> dict[str, Callable[[int], object]]:
    held: list[Any] = []

    def claim(count: int) -> None:
        held.append(storage.claims.create(queue, ttl=300, grace=60, limit=count))

    def delete(_: int) -> None:
        [made] = held
        storage.messages.bulk_delete(queue, [message.id for message in made.messages], claim_ids=[made.id])

    return {
        "post": lambda count: storage.messages.post(queue, [NewMessage(BODY, ttl=3600) for _ in range(count)]),
        "list": lambda count: storage.messages.list(queue, limit=count),
        "claim": claim,
        "bulk_delete": delete,
    }


@contextmanager
def opened(uri: str) -> Iterator[RedisDriver]:
    driver = RedisDriver.open(Uri.parse(uri), connect_timeout=10, timeout=60)
    try:
        yield driver
    finally:
        driver.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--uri")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--depths", default="100,10000,100000")
    arguments = parser.parse_args()
    assert len(BYTES) == 256
    with tempfile.TemporaryDirectory() as folder:
        target = RedisTarget()
        uri = arguments.uri or target.start(Path(folder))
        try:
            with opened(uri) as driver:
                print(f"{driver.health()['server']} {driver.health()['version']}, medians of {arguments.turns} turns")
            show_costs(uri, list(map(int, arguments.depths.split(","))), arguments.turns)
            show_server_time(uri, max(3, arguments.turns // 20))
            show_round_trips(int(uri.rpartition(":")[2].partition("/")[0]))
            show_memory(uri, 100_000)
            show_threads(uri, 1.0)
            show_facade(uri, arguments.turns)
        finally:
            target.stop()


if __name__ == "__main__":
    main()
