"""An exception before any bytecode of any operation loses no slot or connection, and no call reads another's reply."""

from __future__ import annotations

import gc
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from zaqar_conformance.bytecodes import interrupt
from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import Server
from zaqar_core.contract import EncodedMessage, QueueKey, Space, new_id
from zaqar_core.errors import StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import RedisClusterTarget, RedisSentinelTarget
from zaqar_redis.topology import Cluster, OneServer, Sentinels

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

STEPS: Final = 120
"""Interruptions of an operation, evenly spread; each operation begins with another bytecode."""


def opened(uri: str, **options: object) -> RedisDriver:
    """With one connection, so that the next call needs the very one, or its place."""
    return RedisDriver.open(Uri.parse(uri, {"max_connections": 1, **options}), connect_timeout=10, timeout=5)


class Scene:
    """A driver, something to work on, and something to read that no operation changes."""

    def __init__(self, driver: RedisDriver) -> None:
        self.driver = driver
        self.queue, self.space = QueueKey(new_id(), "worked on"), Space("queues", new_id())
        self.known = QueueKey(new_id(), "read")
        self.ids = driver.messages.post(self.known, [EncodedMessage(b"%d" % n, 600) for n in range(2)], client_id="c")

    def prepare(self) -> dict[str, Callable[[], object]]:
        """Every operation, on things that are there."""
        messages, claims, records, queue = self.driver.messages, self.driver.claims, self.driver.records, self.queue
        ids = messages.post(queue, [EncodedMessage(b"1", 600)] * 6, client_id="c")
        claim = str(claims.create(queue, ttl=60, grace=0, limit=3).id)
        page: dict[str, Any] = {"marker": None, "limit": 10, "include_claimed": True, "include_delayed": True}
        return {
            "post": lambda: messages.post(queue, [EncodedMessage(b"1", 600, 1, {"a": "b"}, "d")], client_id="c"),
            "get": lambda: messages.get(queue, ids),
            "list": lambda: messages.list(queue, exclude_client=None, **page),
            "list of others": lambda: messages.list(queue, exclude_client="c", **page),
            "first": lambda: messages.first(queue, newest=False),
            "delete": lambda: messages.delete(queue, ids[:1], claim_ids=None),
            "pop": lambda: messages.pop(queue, limit=1),
            "stats": lambda: messages.stats(queue),
            "purge": lambda: messages.purge(QueueKey(queue.project, "another")),
            "claim": lambda: claims.create(queue, ttl=60, grace=0, limit=1, max_claim_count=3),
            "get of a claim": lambda: claims.get(queue, claim),
            "update": lambda: claims.update(queue, claim, ttl=60, grace=0),
            "release": lambda: claims.release(queue, claim, message_ids=ids[:1], delay=1),
            "insert": lambda: records.insert(self.space, "a", b"1", nonce="n", ttl=60),
            "get of a record": lambda: records.get(self.space, "a"),
            "replace": lambda: records.replace(self.space, "a", b"2", version="v", nonce="n"),
            "deletion of a record": lambda: records.delete(self.space, "a"),
            "scan": lambda: records.scan(self.space, limit=1),
            "count": lambda: records.count(self.space),
            "deletion of all records": lambda: records.delete_all(self.space),
            "ping": self.driver.ping,
            "health": self.driver.health,
        }

    def ensure_usable(self) -> None:
        """The next calls work, and read their own replies."""
        for number, message_id in enumerate(self.ids):
            [message] = self.driver.messages.get(self.known, [message_id])
            assert (message.id, message.body) == (message_id, b"%d" % number)


def open_sockets() -> int:
    found = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(str(each).startswith("socket:") for each in found)


def interrupted(scene: Scene, call: Callable[[], object], *, first: int, step: int) -> int:
    """Interrupt ``call`` at one bytecode after the other, and see each time that the driver is usable."""
    seen: list[int | BaseException] = []

    def work() -> None:
        at = first
        try:
            while interrupt(call, at):
                scene.ensure_usable()
                at += step
            seen.append(at)
        except BaseException as error:
            error.add_note(f"after an interruption before bytecode {at}")
            seen.append(error)

    # In a thread: an exception while another is handled leaves that one to the thread, and with it what it refers to.
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(seen[0], BaseException):
        raise seen[0]
    return seen[0]


def bytecodes(call: Callable[[], object]) -> int:
    """Roughly how many ``call`` has."""
    number = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal number
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        number += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return number


def interrupt_everywhere(
    scene: Scene, call: Callable[[], object], *, first: int = 1, sockets_of_others: bool = False
) -> None:
    """At ``STEPS`` bytecodes; then no more sockets are open than before, unless others in this process have some."""
    call()
    scene.ensure_usable()
    gc.collect()
    sockets, count = open_sockets(), bytecodes(call)
    step = max(1, count // STEPS)
    assert interrupted(scene, call, first=1 + first % step, step=step) > 50
    gc.collect()
    assert sockets_of_others or open_sockets() <= sockets


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # pytest's keeps exceptions, and with them sockets


OPERATIONS: Final = (
    *("post", "get", "list", "list of others", "first", "delete", "pop", "stats", "purge"),
    *("claim", "get of a claim", "update", "release"),
    *("insert", "get of a record", "replace", "deletion of a record", "scan", "count", "deletion of all records"),
    *("ping", "health"),
)


@pytest.mark.parametrize(("number", "name"), list(enumerate(OPERATIONS)))
def test_an_interrupted_operation(server: Server, number: int, name: str) -> None:
    with closing(opened(f"redis://127.0.0.1:{server.port}/0")) as driver:
        scene = Scene(driver)
        interrupt_everywhere(scene, scene.prepare()[name], first=number)


def reconnecting(driver: RedisDriver) -> Callable[[], object]:
    """An operation that finds its servers, and connects to them, first."""

    def call() -> None:
        topology = driver._queues.server._topology
        if isinstance(topology, Cluster):
            topology._slots = ()
        else:
            assert isinstance(topology, OneServer | Sentinels)
            topology._connections.forget()
        for pool in topology._pools.values() if isinstance(topology, Cluster) else ():
            pool.forget()
        driver.messages.stats(QueueKey("p", "q"))

    return call


@pytest.mark.parametrize("options", ["?protocol=2", "?protocol=3", "15"])
def test_an_interrupted_attempt_to_connect(server: Server, options: str) -> None:
    with closing(opened(f"redis://localhost:{server.port}/{options}")) as driver:
        interrupt_everywhere(Scene(driver), reconnecting(driver))


def test_an_interrupted_attempt_to_connect_with_tls(server: Server, outside: ssl.SSLContext, ca_file: str) -> None:
    with (
        Proxy(server.port, tls=outside) as proxy,
        closing(opened(f"rediss://localhost:{proxy.port}/0", tls_ca=ca_file)) as driver,
    ):
        interrupt_everywhere(Scene(driver), reconnecting(driver), sockets_of_others=True)


@pytest.mark.parametrize("kind", [RedisSentinelTarget, RedisClusterTarget])
def test_an_interrupted_search_for_servers(
    kind: type[RedisSentinelTarget | RedisClusterTarget], tmp_path: Path
) -> None:
    target = kind()
    try:
        with closing(opened(target.start(tmp_path))) as driver:
            interrupt_everywhere(Scene(driver), reconnecting(driver))
    finally:
        target.stop()


@pytest.mark.parametrize("limit", [1, 2])
def test_a_call_in_the_middle_of_a_call(server: Server, limit: int) -> None:
    """As a signal handler or a finalizer makes it: it works, or says immediately that it cannot."""
    with closing(opened(f"redis://127.0.0.1:{server.port}/0", max_connections=limit)) as driver:
        scene = Scene(driver)
        operation = scene.prepare()["stats"]
        worked, refused, seconds = [], [], []

        def inside() -> None:
            began = time.monotonic()
            try:
                scene.ensure_usable()
                worked.append(1)
            except StorageUnavailable as error:
                refused.append(str(error))
            seconds.append(time.monotonic() - began)

        for at in range(1, bytecodes(operation), 5):
            call_at(operation, inside, at)
            scene.ensure_usable()
        assert len(worked) > 10
        assert bool(refused) is (limit == 1)
        assert all("interrupted" in said for said in refused)
        assert max(seconds) < 1


def call_at(call: Callable[[], object], inside: Callable[[], object], at: int) -> None:
    """Run ``call``, and ``inside`` before its bytecode number ``at``."""
    left = at

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal left
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            left -= 1
            if left == 0:
                inside()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
