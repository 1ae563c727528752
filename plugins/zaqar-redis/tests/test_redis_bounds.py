"""However much has piled up, one call keeps the server busy with a bounded part of it, by the server's own account."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from zaqar_conformance.servers import Server
from zaqar_core.contract import EncodedMessage, QueueKey, Space, new_id
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import plain_client, wait_until
from zaqar_redis.units import queue_stem, space_stem

DEPTH = 100_000
STEP = 1_000
"""Of how many messages or records time may change the state in one call."""
CHANGES = ("ZREM", "HDEL", "ZADD")

OpenDriver = Callable[..., RedisDriver]
StartServer = Callable[..., Server]


class Watched:
    """What scripts did, as MONITOR shows it."""

    def __init__(self) -> None:
        self.scripts = 0
        self.commands: Counter[str] = Counter()
        self.most = 0
        """The most members that one script removed from a key, or put into it."""
        self._of_this_script: Counter[tuple[str, str]] = Counter()

    def see(self, from_script: bool, name: str, key: str, *arguments: str) -> None:
        if not from_script:
            self.scripts += name in ("EVALSHA", "EVAL")
            self._of_this_script.clear()
            return
        self.commands[name] += 1
        if name in CHANGES:
            self._of_this_script[name, key] += len(arguments) // (2 if name == "ZADD" else 1)
            self.most = max(self.most, self._of_this_script[name, key])


@contextmanager
def watch(server: Server) -> Iterator[Watched]:
    watched, ready, end = Watched(), threading.Event(), new_id()

    def listen() -> None:
        with closing(plain_client(server.port)) as client, client.monitor() as monitor:
            ready.set()
            for each in monitor.listen():
                name, *arguments = each["command"].split(" ")
                if end in arguments:
                    return
                watched.see(each["client_type"] == "lua", name.upper(), *arguments or [""])

    listener = threading.Thread(target=listen)
    listener.start()
    assert ready.wait(10)
    yield watched
    with closing(plain_client(server.port)) as client:
        client.echo(end)
    listener.join()


def fill(driver: RedisDriver) -> QueueKey:
    queue = QueueKey(new_id(), "deep")
    for _ in range(0, DEPTH, 5_000):
        driver.messages.post(queue, [EncodedMessage(b'"body"', 600)] * 5_000, client_id="c")
    return queue


def let_time_pass(server: Server, stem: str, key: str) -> None:
    """All that this sorted set keeps moments of is over."""
    with closing(plain_client(server.port)) as client:
        client.zunionstore(f"{stem}:{key}", {f"{stem}:{key}": 0})
        client.delete(f"{stem}:clock")  # which knows when the next change is due


def test_gc_of_expired_messages(start_server: StartServer, open_driver: OpenDriver) -> None:
    server = start_server()
    driver = open_driver(server.port, timeout=120)
    stem = queue_stem("zaqar", fill(driver))
    let_time_pass(server, stem, "expiry")
    with watch(server) as watched:
        assert driver.gc() == DEPTH
    assert 0 < watched.most <= STEP
    assert watched.scripts >= DEPTH / STEP
    with closing(plain_client(server.port)) as client:
        assert client.keys(f"{stem}:*") == [f"{stem}:clock".encode()]


def test_gc_of_expired_records(start_server: StartServer, open_driver: OpenDriver) -> None:
    server = start_server()
    driver, space = open_driver(server.port, timeout=120), Space("queues", new_id())
    driver.records.insert(space, "0", b"value", nonce="n", ttl=600)
    stem = space_stem("zaqar", space)
    copy = """
        local version, value = redis.call('HGET', KEYS[1], 0), redis.call('HGET', KEYS[2], 0)
        local ends = redis.call('ZSCORE', KEYS[4], 0)
        for n = ARGV[1], ARGV[2] do
            redis.call('HSET', KEYS[1], n, version)
            redis.call('HSET', KEYS[2], n, value)
            redis.call('ZADD', KEYS[3], 0, n)
            redis.call('ZADD', KEYS[4], ends, n)
        end
    """
    keys = [f"{stem}:{name}" for name in ("versions", "values", "names", "ends")]
    with closing(plain_client(server.port)) as client:
        for first in range(0, DEPTH, 10_000):
            client.eval(copy, 4, *keys, first, first + 9_999)
    assert driver.records.count(space) == DEPTH
    let_time_pass(server, stem, "ends")
    with watch(server) as watched:
        assert driver.gc() == DEPTH
    assert 0 < watched.most <= STEP
    with closing(plain_client(server.port)) as client:
        assert client.keys(f"{stem}:*") == []


def test_claims_that_lapse_together(start_server: StartServer, open_driver: OpenDriver) -> None:
    server = start_server()
    driver = open_driver(server.port, timeout=120)
    queue = fill(driver)
    for _ in range(10):
        assert len(driver.claims.create(queue, ttl=600, grace=0, limit=DEPTH // 10).messages) == DEPTH // 10
    let_time_pass(server, queue_stem("zaqar", queue), "ends")
    with watch(server) as watched:
        stats = driver.messages.stats(queue)
    assert (stats.free, stats.claimed) == (DEPTH, 0)
    assert 0 < watched.most <= STEP
    assert watched.scripts >= DEPTH / STEP


def test_purge(start_server: StartServer, open_driver: OpenDriver) -> None:
    server = start_server()
    driver = open_driver(server.port)
    queue = fill(driver)
    driver.claims.create(queue, ttl=600, grace=0, limit=1_000)
    with watch(server) as watched:
        driver.messages.purge(queue)
    assert watched.commands == {"GET": 1, "TIME": 1, "UNLINK": 1}  # which leaves large keys to another thread
    with closing(plain_client(server.port)) as client:
        wait_until(lambda: client.info("memory")["lazyfree_pending_objects"] == 0, "the memory is free")
        assert client.info("memory")["lazyfreed_objects"] >= 5
    assert driver.messages.stats(queue).total == 0
