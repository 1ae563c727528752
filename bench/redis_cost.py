"""What zaqar-redis costs: beside a script that does nothing, beside OpenStack Zaqar's driver, and as queues grow.

    python -m venv peer && peer/bin/pip install zaqar==23.0.1
    python bench/redis_cost.py --peer peer/bin/python

Starts servers of its own as they come, without files (``--appendonly``: with an append-only file, not synced), by the
program that the conformance target would take. Bodies are 256 bytes of JSON, there is one client, and drivers are
called as the core calls them. What is compared is on one server and takes turns; each ratio is the median of those
within a turn. In the end it says which of the project's aims were missed, and fails if any was.

- The floor sends the driver's own requests to a script that returns the driver's own replies as constants: the same
  bytes both ways, the same encoding and message objects, and no queue. It does so by redis-py's client, as one would
  write it, and by the driver's own connections, which is faster.
- The peer runs in a process of its own, redis_peer.py, which measures itself. It reads every claimed message on its
  way, so that a step is left out of further turns once it has taken ten seconds. Without ``--peer`` the rest is
  measured.

Needs zaqar-redis and zaqar-conformance.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import redis

from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import redis_program
from zaqar_core import NewMessage, Storage, connect
from zaqar_core.contract import EncodedMessage, QueueKey, new_id
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.scripts import Script
from zaqar_redis.target import redis_server

BODY = {"id": 12345, "kind": "order", "text": "x" * 189, "price": 9.75, "tags": ["a", "b"]}
BYTES = json.dumps(BODY, separators=(",", ":")).encode()
CLIENT = new_id()
DAY = 24 * 3600.0
SHALLOW = 100
CYCLE = ("post", "list", "claim", "get", "update", "bulk_delete", "post", "pop", "stats")
"""What a turn does, in this order: it leaves as many messages as there were."""
ROUNDS = 3
"""How often a side does all steps in its turn."""
NOISE = 3
"""Turns that do not count: scripts are loaded, caches warmed."""
BEHIND = 20
"""So many active messages follow those that are ahead."""
SHORT = 5.0
"""Seconds: the life of what is to expire; a queue is filled in that time."""

FLOOR_AIM = 1.6
MESSAGE_AIM = 8.0
"""Microseconds of the server."""
DEPTH_AIM = 1.3
THREADS_AIM = 0.9
MEMORY_AIMS = {"active": 2.5, "claimed": 3.0}
"""Times the body."""

Operation = tuple[Any, ...]
"""Its name and arguments."""
Step = tuple[str, Sequence[Operation]]
"""A label, and operations whose times are added up."""
STEPS: Sequence[Step] = [
    ("post 1", [("post", 1)]),
    ("post 10", [("post", 10)]),
    ("list 10", [("list", 10)]),
    ("claim 10 + bulk_delete 10", [("claim", 10), ("bulk_delete", 10)]),
    ("post 10", [("post", 10)]),
    ("pop 10", [("pop", 10)]),
    ("stats", [("stats", 0)]),
]
"""What is compared with the peer, in this order."""
PEER_AIMS = {"post 1": 2.0, "post 10": 3.0, "list 10": 10.0, "claim 10 + bulk_delete 10": 10.0, "pop 10": 15.0}
PEER_AIM_BEHIND_CLAIMS = 300.0
"""Of a claim and its deletion, with 100 000 claimed ahead."""
PEER_STATS_AIM = 100.0
USES = 3000
"""Claims made and finished before statistics are asked for."""
PATIENCE = 10.0
"""Seconds after which a step is left out of further turns."""


# --- the two sides --------------------------------------------------------------------------------------


class Side(Protocol):
    """A driver on one queue."""

    def run(self, *operations: Operation) -> list[float]:
        """Do one after the other, and check each. Returns the seconds each took."""


class Ours:
    """The operations of the driver on one queue."""

    def __init__(self, driver: RedisDriver) -> None:
        self.driver = driver
        self.queue = QueueKey("bench", new_id())
        self.claimed: tuple[str, list[str]] = ("", [])

    def run(self, *operations: Operation) -> list[float]:
        spent = []
        for name, *arguments in operations:
            operation: Callable[..., object] = getattr(self, name)
            began = time.perf_counter()
            operation(*arguments)
            spent.append(time.perf_counter() - began)
        return spent

    def fill(self, count: int, state: str) -> None:
        """Put so many messages ahead that are active, claimed, expired or delayed, and some behind them."""
        until = time.monotonic() + SHORT
        ttl, delay = (SHORT if state == "expired" else DAY), (DAY / 2 if state == "delayed" else 0.0)
        for start in range(0, count, 1000):
            self.post(min(1000, count - start), ttl, delay)
            if state == "claimed":
                self.driver.claims.create(self.queue, ttl=DAY, grace=0, limit=1000)
        self.post(BEHIND)
        if state == "expired":
            time.sleep(max(0.0, until - time.monotonic()) + SHORT)
            assert self.driver.messages.stats(self.queue).total == BEHIND

    def post(self, count: int, ttl: float = 3600.0, delay: float = 0.0) -> None:
        messages = [EncodedMessage(BYTES, ttl, delay) for _ in range(count)]
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

    def get(self, _: int) -> None:
        assert len(self.driver.messages.get(self.queue, self.claimed[1])) == len(self.claimed[1])

    def update(self, _: int) -> None:
        assert self.driver.claims.update(self.queue, self.claimed[0], ttl=300.0, grace=60.0)

    def bulk_delete(self, _: int) -> None:
        assert not self.driver.messages.delete(self.queue, self.claimed[1], claim_ids=[self.claimed[0]])

    def pop(self, count: int) -> None:
        assert len(self.driver.messages.pop(self.queue, limit=count)) == count

    def stats(self, _: int) -> None:
        assert self.driver.messages.stats(self.queue).total


class Peer:
    """The same operations of the peer, in a process of its own that measures them."""

    def __init__(self, python: str, port: int) -> None:
        command = [python, str(Path(__file__).with_name("redis_peer.py")), str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run(("begin", new_id(), BODY))

    def run(self, *operations: Operation) -> list[float]:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(operations), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            sys.exit("the peer ended; see above, and: pip install zaqar==23.0.1")
        spent: list[float] = json.loads(line)
        return spent

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)


@contextmanager
def served(arguments: argparse.Namespace) -> Iterator[int]:
    """The port of a fresh server."""
    settings = ("--appendonly", "yes", "--appendfsync", "no") if arguments.appendonly else ()
    with tempfile.TemporaryDirectory() as folder:
        server = redis_server(redis_program(), Path(folder) / "server", *settings)
        server.start()
        try:
            yield server.port
        finally:
            server.kill()


@contextmanager
def opened(port: int) -> Iterator[RedisDriver]:
    driver = RedisDriver.open(Uri.parse(f"redis://127.0.0.1:{port}/0"), connect_timeout=10, timeout=60)
    try:
        yield driver
    finally:
        driver.close()


@contextmanager
def peered(python: str, port: int) -> Iterator[Peer]:
    peer = Peer(python, port)
    try:
        yield peer
    finally:
        peer.close()


# --- beside the floor -----------------------------------------------------------------------------------


class Floor:
    """Between the driver and its server: lets scripts pass, records their replies, or has these returned as constants.

    ``mode`` is ``pass``, ``record``, ``client`` or ``connection``; ``size`` tells recordings of one script apart.
    """

    def __init__(self, driver: RedisDriver, port: int) -> None:
        self.mode = "pass"
        self.size = 0
        self._client = redis.Redis(host="127.0.0.1", port=port)
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
            sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            constant = Script(script.name, text, sha, script.effect)
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


def show_floor(arguments: argparse.Namespace, report: Report) -> None:
    for state in ("active", "claimed"):
        for depth in arguments.depths:
            report.title(f"{depth} {state} ahead", "ms", "times the floor", "by connections")
            with served(arguments) as port, opened(port) as driver:
                ours = Ours(driver)
                ours.fill(depth, state)
                for name, rows in beside_floor(ours, port, arguments.turns).items():
                    real, client, connection = zip(*rows, strict=True)
                    report.row(name, statistics.median(real) * 1000, ratio(real, client), ratio(real, connection))
                    report.aim(f"{name}, {depth} {state} ahead, times the floor", ratio(real, client), most=FLOOR_AIM)


def beside_floor(ours: Ours, port: int, turns: int) -> dict[str, list[tuple[float, ...]]]:
    """Of each operation, for each turn: seconds of the driver, of the floor by redis-py's client, by connections."""
    floor = Floor(ours.driver, port)
    times: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for turn in range(turns + NOISE):
        for floor.size in (1, 10):
            for name in CYCLE:
                floor.mode = "pass" if turn else "record"
                spent = ours.run((name, floor.size))
                claimed = ours.claimed
                for floor.mode in ("client", "connection"):
                    spent += ours.run((name, floor.size))
                    ours.claimed = claimed
                if turn >= NOISE:
                    times[f"{name} {floor.size}"].append(tuple(spent))
    floor.mode = "pass"
    return times


def show_server_time(arguments: argparse.Namespace, report: Report) -> None:
    """With what the server spends on reading requests and writing replies."""
    report.title("the server's processor time", "us a message")
    spent: dict[str, list[float]] = defaultdict(list)
    with served(arguments) as port, opened(port) as driver, redis.Redis(port=port) as client:
        ours = Ours(driver)
        ours.fill(10_000, "active")
        asking = statistics.median(-_busy(client) + _busy(client) for _ in range(100))
        for _ in range(max(5, arguments.turns // 5)):
            for size in (100, 1000, 10_000):
                for name in CYCLE[:-1]:
                    before = _busy(client)
                    ours.run((name, size))
                    spent[f"{name} {size}"].append((_busy(client) - before - asking) / size)
    for name, each in spent.items():
        report.row(name, statistics.median(each))
        report.aim(f"{name}, us of the server a message", statistics.median(each), most=MESSAGE_AIM)


def _busy(client: redis.Redis) -> float:
    """The microseconds for which the server has had a processor."""
    used: Any = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"]) * 1_000_000


# --- beside the peer ------------------------------------------------------------------------------------


def show_peer(arguments: argparse.Namespace, report: Report) -> None:
    for state in ("active", "claimed"):
        for depth in arguments.depths:
            report.title(f"{depth} {state} ahead", "ms", "peer's ms", "times ours", "turns")
            with served(arguments) as port, opened(port) as driver, peered(arguments.peer, port) as peer:
                ours = Ours(driver)
                for side in (ours, peer):
                    side.run(("fill", depth, state))
                for name, rows in in_turns(peer, ours, STEPS, arguments.turns).items():
                    theirs, mine = zip(*rows, strict=True)
                    medians = statistics.median(mine) * 1000, statistics.median(theirs) * 1000
                    report.row(name, *medians, ratio(theirs, mine), len(rows))
                    aim = PEER_AIMS.get(name)
                    if name.startswith("claim") and (state, depth) == ("claimed", 100_000):
                        aim = PEER_AIM_BEHIND_CLAIMS
                    if aim is not None:
                        report.aim(f"{name}, {depth} {state} ahead, peer's times ours", ratio(theirs, mine), least=aim)
    report.title(f"after {USES} claims", "ms", "peer's ms", "times ours")
    with served(arguments) as port, opened(port) as driver, peered(arguments.peer, port) as peer:
        ours = Ours(driver)
        for side in (ours, peer):
            side.run(("post", BEHIND), *[(name, 1) for name in ("post", "claim", "bulk_delete")] * USES)
        [rows] = in_turns(peer, ours, STEPS[-1:], arguments.turns).values()
        theirs, mine = zip(*rows, strict=True)
        report.row("stats", statistics.median(mine) * 1000, statistics.median(theirs) * 1000, ratio(theirs, mine))
        report.aim("stats after use, peer's times ours", ratio(theirs, mine), least=PEER_STATS_AIM)


def in_turns(one: Side, other: Side, steps: Sequence[Step], turns: int) -> dict[str, list[tuple[float, float]]]:
    """Of each step, for each turn: seconds of both sides, of which each comes first every other time."""
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    spent: dict[str, float] = defaultdict(float)
    for turn in range(turns):
        wanted = [step for step in steps if spent[step[0]] < PATIENCE]
        seconds = {side: _turn(side, wanted) for side in ([one, other] if turn % 2 else [other, one])}
        for (name, _), *pair in zip(wanted, seconds[one], seconds[other], strict=True):
            spent[name] += ROUNDS * sum(pair)
            times[name].append((pair[0], pair[1]))
    return times


def _turn(side: Side, steps: Sequence[Step]) -> list[float]:
    """All steps, some times over. The first time does not count: the side was idle, and its caches are cold."""
    each = iter(side.run(*(operation for _, operations in ROUNDS * list(steps) for operation in operations)))
    rounds = [[sum(next(each) for _ in operations) for _, operations in steps] for _ in range(ROUNDS)]
    return [statistics.mean(step) for step in zip(*rounds[1:], strict=True)]


# --- the rest -------------------------------------------------------------------------------------------


def show_depth(arguments: argparse.Namespace, report: Report) -> None:
    """What the deepest queue costs beside a shallow one of the same state."""
    deepest = max(arguments.depths)
    steps = [(f"{name} {size}", [(name, size)]) for size in (1, 10) for name in CYCLE]
    columns = {}
    for state in ("active", "claimed", "expired", "delayed"):
        with served(arguments) as port, opened(port) as driver, opened(port) as other:
            deep, shallow = Ours(driver), Ours(other)
            deep.fill(deepest, state)
            shallow.fill(SHALLOW, state)
            columns[state] = {
                name: ratio(*zip(*rows, strict=True))
                for name, rows in in_turns(deep, shallow, steps, arguments.turns).items()
            }
    report.title(f"{deepest} ahead, times the cost with {SHALLOW}", *columns)
    for name in columns["active"]:
        report.row(name, *(column[name] for column in columns.values()))
        for state, column in columns.items():
            report.aim(f"{name}, {deepest} {state} ahead, times the cost with {SHALLOW}", column[name], most=DEPTH_AIM)


def show_round_trips(arguments: argparse.Namespace, report: Report) -> None:
    """Counted on the wire."""
    report.title("round trips", "ours", *(["peer's"] if arguments.peer else []))
    with served(arguments) as port, Proxy(port) as proxy, opened(proxy.port) as driver:
        counts = [_round_trips(proxy, Ours(driver))]
        if arguments.peer:
            with peered(arguments.peer, proxy.port) as peer:
                counts.append(_round_trips(proxy, peer))
    for name, operations in dict(STEPS).items():
        report.row(name, *(each[name] for each in counts))
        report.aim(f"round trips, {name}", counts[0][name], most=len(operations))


def _round_trips(proxy: Proxy, side: Side) -> dict[str, int]:
    side.run(("fill", SHALLOW, "active"))
    counts = {}
    for _ in range(2):  # the first time scripts are loaded
        for name, operations in STEPS:
            before = proxy.round_trips
            side.run(*operations)
            counts[name] = proxy.round_trips - before
    return counts


def show_memory(arguments: argparse.Namespace, report: Report) -> None:
    count = 100_000
    report.title(f"memory of {count} messages of {len(BYTES)} bytes", "bytes each", "times the body")
    for state, at_once in (("active", 1000), ("claimed", 10), ("claimed", 1000)):
        with served(arguments) as port, opened(port) as driver:
            ours = Ours(driver)
            before = _memory(driver)
            for _ in range(0, count, 1000):
                ours.post(1000)
                for _ in range(0, 1000 if state == "claimed" else 0, at_once):
                    ours.claim(at_once)
            each = (_memory(driver) - before) / count
        name = state if state == "active" else f"{state} {at_once} at once"
        report.row(name, each, each / len(BYTES))
        report.aim(f"memory, {name}, times the body", each / len(BYTES), most=MEMORY_AIMS[state])


def _memory(driver: RedisDriver) -> int:
    used: Any = driver.health()["used_memory"]
    return int(used)


def show_threads(arguments: argparse.Namespace, report: Report) -> None:
    """A post, a claim and a deletion of 10, by one thread and by eight on one driver, turn by turn."""
    with served(arguments) as port, opened(port) as driver:
        ratios = []
        for _ in range(7):
            one, eight = (_rate(driver, threads, 1.0) for threads in (1, 8))
            ratios.append(eight / one)
    report.title("8 threads on one driver, times one", "median", "lowest", "highest")
    report.row("post 10, claim 10, bulk_delete 10", statistics.median(ratios), min(ratios), max(ratios))
    report.aim("8 threads, times one", statistics.median(ratios), least=THREADS_AIM)


def _rate(driver: RedisDriver, threads: int, seconds: float) -> float:
    done = [0] * threads
    until = time.monotonic() + seconds

    def run(index: int) -> None:
        ours = Ours(driver)
        while time.monotonic() < until:
            ours.run(("post", 10), ("claim", 10), ("bulk_delete", 10))
            done[index] += 1

    workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / seconds


def show_facade(arguments: argparse.Namespace, report: Report) -> None:
    """What ``Storage`` adds to the driver: validation, JSON, models."""
    report.title("the facade", "us more", "times the driver")
    with served(arguments) as port, opened(port) as driver, connect(f"redis://127.0.0.1:{port}/0") as storage:
        facade = Facade(driver, storage)
        names = ("post", "list", "claim", "bulk_delete")
        steps = [(f"{name} {size}", [(name, size)]) for size in (1, 10) for name in names]
        for name, rows in in_turns(facade, Ours(driver), steps, arguments.turns).items():
            with_it, without = zip(*rows, strict=True)
            more = statistics.median(one - other for one, other in rows) * 1_000_000
            report.row(name, more, ratio(with_it, without))


class Facade(Ours):
    """Some of the operations as an application does them."""

    def __init__(self, driver: RedisDriver, storage: Storage) -> None:
        super().__init__(driver)
        self._storage = storage
        self._name = new_id()

    def post(self, count: int, ttl: float = 3600.0, delay: float = 0.0) -> None:
        self._storage.messages.post(self._name, [NewMessage(BODY, ttl=ttl, delay=delay) for _ in range(count)])

    def list(self, count: int) -> None:
        assert len(self._storage.messages.list(self._name, limit=count).items) == count

    def claim(self, count: int) -> None:
        claim = self._storage.claims.create(self._name, ttl=300, grace=60, limit=count)
        assert len(claim.messages) == count
        self.claimed = str(claim.id), [message.id for message in claim.messages]

    def bulk_delete(self, _: int) -> None:
        claim, ids = self.claimed
        assert not self._storage.messages.bulk_delete(self._name, ids, claim_ids=[claim])


# --- what is shown --------------------------------------------------------------------------------------


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """How many times as much as the other, as a rule."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


class Report:
    """Prints tables, and remembers what missed its aim."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def title(self, title: str, *columns: str) -> None:
        print(f"\n{title:<48}" + "".join(f"{column:>16}" for column in columns))

    def row(self, name: str, *values: float) -> None:
        print(f"  {name:<46}" + "".join(f"{_shown(value):>16}" for value in values), flush=True)

    def aim(self, name: str, value: float, *, most: float | None = None, least: float | None = None) -> None:
        if most is not None and value > most:
            self.missed.append(f"{name}: {value:.2f}, at most {most:g}")
        if least is not None and value < least:
            self.missed.append(f"{name}: {value:.2f}, at least {least:g}")


def _shown(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


PARTS = {
    "floor": show_floor,
    "server": show_server_time,
    "peer": show_peer,
    "depth": show_depth,
    "trips": show_round_trips,
    "memory": show_memory,
    "threads": show_threads,
    "facade": show_facade,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", help="the Python that has zaqar==23.0.1")
    parser.add_argument("--appendonly", action="store_true", help="servers keep an append-only file")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument(
        "--depths", type=lambda text: [int(each) for each in text.split(",")], default="100,10000,100000"
    )
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    arguments = parser.parse_args()
    assert len(BYTES) == 256
    with served(arguments) as port, opened(port) as driver:
        facts = driver.health()
    settings = "appendonly yes, appendfsync no" if arguments.appendonly else "appendonly no"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {facts['server']} {facts['version']}, {settings}, {arguments.turns} turns")
    report = Report()
    for name in arguments.parts:
        if name == "peer" and not arguments.peer:
            print("\nwithout the peer; to measure it: python -m venv peer && peer/bin/pip install zaqar==23.0.1,")
            print("and then --peer peer/bin/python")
        else:
            PARTS[name](arguments, report)
    print("\naims missed: " + ("none" if not report.missed else ""))
    for line in report.missed:
        print(f"  {line}")
    sys.exit(bool(report.missed))


if __name__ == "__main__":
    main()
