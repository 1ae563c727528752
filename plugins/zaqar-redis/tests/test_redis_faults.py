"""Each fault of a server or of the network, and what it comes to: for reads, for changes that may be repeated, and for
those that must happen once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import hiredis
import pytest
import redis

from zaqar_conformance.proxy import Cut, Proxy
from zaqar_conformance.servers import Server, free_port
from zaqar_core.contract import EncodedMessage, QueueKey, Space, StoredMessage, new_id
from zaqar_core.errors import OutcomeUnknown, StorageFull, StorageUnavailable
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import plain_client, wait_until

OpenDriver = Callable[..., RedisDriver]
StartServer = Callable[..., Server]
LOST = (Cut.AFTER_REQUEST, Cut.INSIDE_REPLY)
"""The server did it, and the client cannot know."""
SHORT = 0.2
"""Seconds: a ``timeout`` that has to run out."""
SLACK = 1.0
"""Seconds that a machine under load may add."""

Calls = dict[str, Callable[[], object]]


class Scene:
    """A queue with 20 messages, of which two claims hold 5 each, and two records. Every operation is called once."""

    def __init__(self, driver: RedisDriver) -> None:
        self.driver = driver
        self.queue = QueueKey(new_id(), "queue")
        self.space = Space("queues", self.queue.project)
        self.ids = self.post(20)
        self.claims = [self.claim(), self.claim()]
        self.version = str(driver.records.insert(self.space, "a", b"1", nonce="n"))
        driver.records.insert(self.space, "b", b"1", nonce="n")

    def post(self, count: int = 1) -> list[str]:
        batch = [EncodedMessage(b'"body"', 600)] * count
        return self.driver.messages.post(self.queue, batch, client_id="c")

    def claim(self) -> str:
        return str(self.driver.claims.create(self.queue, ttl=600, grace=0, limit=5).id)

    def state(self) -> tuple[int, int, int, int]:
        """How many messages are active, claimed and delayed; how many records there are."""
        stats = self.driver.messages.stats(self.queue)
        return stats.free, stats.claimed, stats.delayed, self.driver.records.count(self.space)

    def reads(self) -> Calls:
        messages, claims, records = self.driver.messages, self.driver.claims, self.driver.records
        page: dict[str, Any] = {"exclude_client": None, "include_claimed": True, "include_delayed": True}
        return {
            "get": lambda: messages.get(self.queue, self.ids),
            "list": lambda: messages.list(self.queue, marker=None, limit=5, **page),
            "first": lambda: messages.first(self.queue, newest=True),
            "stats": lambda: messages.stats(self.queue),
            "get of a claim": lambda: claims.get(self.queue, self.claims[0]),
            "get of a record": lambda: records.get(self.space, "a"),
            "scan of records": lambda: records.scan(self.space, limit=5),
            "count of records": lambda: records.count(self.space),
            "ping": self.driver.ping,
        }

    def repeatable(self) -> Calls:
        messages, claims = self.driver.messages, self.driver.claims
        one, other = self.claims
        return {
            "update": lambda: claims.update(self.queue, one, ttl=700, grace=0),
            "release of some": lambda: claims.release(self.queue, one, message_ids=self.ids[:1], delay=60),
            "release": lambda: claims.release(self.queue, one),
            "delete": lambda: messages.delete(self.queue, self.ids[10:12], claim_ids=None),
            "delete of claimed ones": lambda: messages.delete(self.queue, self.ids[5:7], claim_ids=[other]),
            "purge": lambda: messages.purge(QueueKey(self.queue.project, "another")),
        }

    AFTER_REPEATABLE = (12, 3, 1, 2)
    """``state`` once all of ``repeatable`` are done, whether once or several times."""

    def once(self) -> Calls:
        records = self.driver.records
        return {
            "post": self.post,
            "claim": self.claim,
            "pop": lambda: self.driver.messages.pop(self.queue, limit=2),
            "insert of a record": lambda: records.insert(self.space, "c", b"1", nonce="n"),
            "replacement of a record": lambda: records.replace(self.space, "a", b"2", version=self.version, nonce="m"),
            "deletion of a record": lambda: records.delete(self.space, "b"),
        }

    def changes(self) -> Calls:
        return {**self.repeatable(), **self.once()}

    def all(self) -> Calls:
        return {**self.reads(), **self.changes()}

    def load_scripts(self) -> None:
        """See to it that the server knows all scripts, so that each operation is one request."""
        for call in Scene(self.driver).all().values():
            call()


def fails(
    name: str, call: Callable[[], object], *, unknown: bool = False, within: float = 0.0, says: str | None = None
) -> None:
    """The call raises ``StorageUnavailable``, ``OutcomeUnknown`` just if that is meant, in time, its cause chained."""
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match=says) as caught:
        call()
    assert (name, caught.type) == (name, OutcomeUnknown if unknown else StorageUnavailable)
    assert isinstance(caught.value.__cause__, hiredis.HiredisError | OSError), name
    assert time.monotonic() - began < within + SLACK, name


def all_fail(calls: Calls, *, within: float, says: str) -> None:
    """All at once ``fails``."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(fails, name, call, within=within, says=says) for name, call in calls.items()]:
            done.result()


def break_next(driver: RedisDriver, proxy: Proxy, cut: Cut) -> None:
    """Have the next operation's connection cut: one that is there, not a new one while it is being made."""
    driver.ping()
    proxy.cut(cut)


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def protocol(request: pytest.FixtureRequest) -> int:
    return int(request.param)


# --- the connection ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", list(Cut))
def test_a_cut_connection(proxy: Proxy, open_driver: OpenDriver, protocol: int, cut: Cut) -> None:
    scene = Scene(open_driver(proxy.port, protocol=protocol))
    scene.load_scripts()
    for call in (*scene.reads().values(), *scene.repeatable().values()):
        break_next(scene.driver, proxy, cut)
        call()
        assert proxy.cuts_left == 0
    assert scene.state() == scene.AFTER_REPEATABLE
    for name, call in scene.once().items():
        break_next(scene.driver, proxy, cut)
        fails(name, call, unknown=True)
        assert proxy.cuts_left == 0
    # One message posted, five claimed, two popped; one record inserted, one deleted.
    assert scene.state() == ((6, 8, 1, 2) if cut in LOST else scene.AFTER_REPEATABLE)
    record, other = (scene.driver.records.get(scene.space, key) for key in "ac")
    assert record is not None
    assert (record.value, other is not None) == ((b"2", True) if cut in LOST else (b"1", False))


def test_a_connection_cut_while_idle(proxy: Proxy, open_driver: OpenDriver, protocol: int) -> None:
    scene = Scene(open_driver(proxy.port, protocol=protocol))
    for call in scene.all().values():
        proxy.drop_all()
        call()
    assert scene.state() == (6, 8, 1, 2)


def test_a_reply_that_trickles_ends_in_time(proxy: Proxy, open_driver: OpenDriver, protocol: int) -> None:
    """The time-out is the whole operation's: not each part's of a reply, not each step's of connecting."""
    patient, queue = open_driver(), QueueKey(new_id(), "q")
    ids = patient.messages.post(queue, [EncodedMessage(bytes(2**20), 600)] * 4, client_id="c")
    assert len(patient.messages.get(queue, ids)) == 4
    driver = open_driver(proxy.port, protocol=protocol, timeout=SHORT)
    proxy.delay(SHORT * 0.75)
    fails("get", lambda: driver.messages.get(queue, ids), within=SHORT)
    fails("ping", driver.ping, within=SHORT)  # on a connection to be made, with a greeting first


def test_a_change_that_was_sent_once_may_have_happened_whatever_comes_of_later_tries(
    proxy: Proxy, open_driver: OpenDriver
) -> None:
    scene = Scene(open_driver(proxy.port, timeout=SHORT))
    scene.load_scripts()
    for kind, unknown in ((scene.reads, False), (scene.repeatable, True)):
        for name, call in kind().items():
            break_next(scene.driver, proxy, Cut.AFTER_REQUEST)
            proxy.cut(Cut.BEFORE_REQUEST, 1_000)
            fails(name, call, unknown=unknown, within=SHORT)
            proxy.forget_cuts()


def test_a_change_that_was_sent_once_may_have_happened_though_the_server_has_lost_the_script(
    start_server: StartServer, open_driver: OpenDriver
) -> None:
    server = start_server()
    with Proxy(server.port) as proxy, plain_client(server.port) as client:
        scene = Scene(open_driver(proxy.port))
        scene.load_scripts()
        for name, call in scene.repeatable().items():
            client.script_flush()
            client.replicaof("127.0.0.1", str(free_port()))
            break_next(scene.driver, proxy, Cut.AFTER_REQUEST)
            fails(name, call, unknown=True)  # sent; then NOSCRIPT; then READONLY
            client.replicaof("NO", "ONE")


class History:
    """What a client was told of its posts, and which bodies its claims and pops gave it."""

    def __init__(self, driver: RedisDriver, queue: QueueKey) -> None:
        self.driver = driver
        self.queue = queue
        self.acknowledged: list[bytes] = []
        self.unknown: list[bytes] = []
        self.taken: list[bytes] = []
        self.doubtful = 0
        """How many messages went, at most, to claims and pops whose reply was lost."""

    def work(self, first: int) -> None:
        for number in range(first, first + 100):
            self.post([b"%d-%d" % (number, index) for index in range(3)])
            self.take(self.pop if number % 2 else self.claim)

    def post(self, bodies: list[bytes]) -> None:
        told = self.acknowledged
        try:
            self.driver.messages.post(self.queue, [EncodedMessage(body, 600) for body in bodies], client_id="c")
        except OutcomeUnknown:
            told = self.unknown
        except StorageUnavailable:
            return
        told += bodies

    def take(self, how: Callable[[], Iterable[StoredMessage]]) -> None:
        try:
            self.taken += [message.body for message in how()]
        except OutcomeUnknown:
            self.doubtful += 2
        except StorageUnavailable:
            pass

    def pop(self) -> Iterable[StoredMessage]:
        return self.driver.messages.pop(self.queue, limit=2)

    def claim(self) -> Iterable[StoredMessage]:
        return self.driver.claims.create(self.queue, ttl=600, grace=0, limit=2).messages


@contextmanager
def random_cuts(proxy: Proxy) -> Iterator[None]:
    """Connections break now and then, anywhere, until the context is left."""
    rng, stop = random.Random(4), threading.Event()

    def cut() -> None:
        seen = 0
        while not stop.wait(0.001):
            if proxy.round_trips > seen + 10:  # enough to connect anew and to work
                seen = proxy.round_trips
                proxy.cut(rng.choice(list(Cut)))

    cutter = threading.Thread(target=cut)
    cutter.start()
    yield
    stop.set()
    cutter.join()
    proxy.forget_cuts()


def test_random_cuts_double_nothing_and_lose_nothing(proxy: Proxy, open_driver: OpenDriver, protocol: int) -> None:
    """A post is there once if it was acknowledged, at most once if that is unknown, else not; none is taken twice."""
    driver, queue = open_driver(proxy.port, protocol=protocol), QueueKey(new_id(), "q")
    clients = [History(driver, queue) for _ in range(4)]
    with random_cuts(proxy), ThreadPoolExecutor(len(clients)) as pool:
        for done in [pool.submit(each.work, 1_000 * index) for index, each in enumerate(clients)]:
            done.result()
    shown: dict[str, Any] = {"exclude_client": None, "include_claimed": False, "include_delayed": False}
    left = [each.body for each in driver.messages.list(queue, marker=None, limit=10_000, **shown).items]
    seen = [body for each in clients for body in each.taken] + left
    acknowledged = {body for each in clients for body in each.acknowledged}
    unknown = {body for each in clients for body in each.unknown}
    assert len(acknowledged) > 100
    assert len(unknown) > 20
    assert len(set(seen)) == len(seen)
    assert set(seen) <= acknowledged | unknown
    assert set(seen) & unknown  # some happened
    assert len(acknowledged - set(seen)) <= sum(each.doubtful for each in clients)


# --- the server -------------------------------------------------------------------------------------------


def test_a_server_that_is_gone(start_server: StartServer, open_driver: OpenDriver, protocol: int) -> None:
    server = start_server("--appendonly", "yes")
    scene = Scene(open_driver(server.port, protocol=protocol))
    before = scene.state()
    server.kill()
    for name, call in scene.all().items():
        fails(name, call, says="cannot be reached")
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        open_driver(server.port)
    server.start()
    assert scene.state() == before


def test_a_server_that_was_restarted(start_server: StartServer, open_driver: OpenDriver, protocol: int) -> None:
    server = start_server("--appendonly", "yes", "--appendfsync", "no")
    scene = Scene(open_driver(server.port, protocol=protocol))
    scene.load_scripts()
    for call in scene.all().values():
        server.kill()
        server.start()  # it has lost the scripts and the connections
        call()
    assert scene.state() == (6, 8, 1, 2)


def test_a_server_that_is_paused(start_server: StartServer, open_driver: OpenDriver, protocol: int) -> None:
    server = start_server()
    scene = Scene(open_driver(server.port, protocol=protocol, timeout=SHORT))
    scene.load_scripts()
    for kind, unknown in ((scene.reads, False), (scene.changes, True)):
        for name, call in kind().items():
            scene.driver.ping()
            server.pause()
            fails(name, call, unknown=unknown, within=SHORT)  # sent, and not answered
            server.resume()
    wait_until(lambda: scene.state() == (6, 8, 1, 2), "what was sent is done, once")
    server.pause()
    fails("post", scene.post, unknown=True, within=SHORT)
    fails("post", scene.post, within=SHORT, says="cannot be reached")  # a new connection is not even greeted
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        open_driver(server.port, connect_timeout=SHORT)


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """Another client's script runs, and the server answers BUSY."""

    def run() -> None:
        with plain_client(server.port) as client, pytest.raises(redis.RedisError):
            client.eval("while true do end", 0)

    def says_busy() -> bool:
        with plain_client(server.port) as client:
            try:
                return not client.ping()
            except redis.RedisError as error:
                return "BUSY" in str(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(says_busy, "the server is busy")
        yield
    finally:
        with plain_client(server.port) as client:
            client.script_kill()
        thread.join()


def test_a_server_kept_busy_by_a_script(start_server: StartServer, open_driver: OpenDriver, protocol: int) -> None:
    server = start_server("--lua-time-limit", "10")
    scene = Scene(open_driver(server.port, protocol=protocol, timeout=1))
    patient = Scene(open_driver(server.port, protocol=protocol))
    before = scene.state()
    ended: list[str] = []

    def wait_for(name: str, call: Callable[[], object]) -> None:
        call()
        ended.append(name)

    calls = patient.reads() | patient.once()
    waiting = [threading.Thread(target=wait_for, args=each) for each in calls.items()]
    with busy(server):
        for thread in waiting:
            thread.start()
        all_fail(scene.all(), within=1, says="SCRIPT KILL")
        assert not ended
    for thread in waiting:
        thread.join()
    assert sorted(ended) == sorted(calls)
    assert scene.state() == before


def test_a_server_that_loads_its_data(start_server: StartServer, open_driver: OpenDriver) -> None:
    # It sleeps a moment for each command, and answers LOADING once every thousand.
    server = start_server("--appendonly", "yes", "--appendfsync", "no", "--key-load-delay", "1")
    scene = Scene(open_driver(server.port, timeout=1))
    before = scene.state()
    with plain_client(server.port) as client:
        client.eval("for n = 1, 60000 do redis.call('SET', 'filler-' .. n, n) end", 0)
    server.kill()
    with ThreadPoolExecutor(1) as pool:
        restart = pool.submit(server.start)
        wait_until(lambda: is_loading(server), "the server loads")
        refused: list[str] = []
        with ThreadPoolExecutor(len(scene.all())) as callers:
            for name, call in scene.all().items():
                callers.submit(refusal, call).add_done_callback(
                    lambda done, name=name: refused.append(f"{name}: {done.result()}")  # type: ignore[misc]
                )
        assert is_loading(server)
        assert len(refused) == len(scene.all())
        # Only who sent it too late to see the server's next refusal cannot know.
        assert all("LOADING" in each or "in time" in each or "cannot be reached" in each for each in refused)
        assert any("LOADING" in each for each in refused)
        patient = open_driver(server.port, connect_timeout=30)  # it waits
        assert patient.messages.stats(scene.queue).total == 20
        assert scene.state() == before
        restart.result()


def refusal(call: Callable[[], object]) -> StorageUnavailable:
    with pytest.raises(StorageUnavailable) as caught:
        call()
    assert ("LOADING" in str(caught.value)) <= (not isinstance(caught.value, OutcomeUnknown))
    return caught.value


def is_loading(server: Server) -> bool:
    with plain_client(server.port) as client:
        try:
            return bool(client.info("persistence")["loading"])
        except redis.RedisError:
            return False


def test_a_server_that_is_full(start_server: StartServer, open_driver: OpenDriver, protocol: int) -> None:
    server = start_server()
    scene = Scene(open_driver(server.port, protocol=protocol))
    with plain_client(server.port) as client:
        client.config_set("maxmemory", 1)
    once = scene.once()
    for name in ("post", "insert of a record", "replacement of a record"):
        with pytest.raises(StorageFull, match="maxmemory"):
            once.pop(name)()
    for call in (*scene.reads().values(), *scene.repeatable().values(), *once.values()):
        call()
    assert scene.state() == (5, 8, 1, 1)
    open_driver(server.port).ping()


def test_a_full_server_still_works_in_what_time_changed(start_server: StartServer, open_driver: OpenDriver) -> None:
    """A message that a claim keeps alive beyond its ttl, a claim that lapses: neither wedges those who consume."""
    server = start_server()
    driver, queue = open_driver(server.port), QueueKey(new_id(), "q")
    [kept, _] = driver.messages.post(queue, [EncodedMessage(b"1", 0.2), EncodedMessage(b"2", 600)], client_id="c")
    claim = driver.claims.create(queue, ttl=600, grace=0, limit=1)
    short = driver.claims.create(queue, ttl=0.3, grace=0, limit=1)
    with plain_client(server.port) as client:
        client.config_set("maxmemory", 1)
    wait_until(lambda: driver.messages.stats(queue).free == 1, "the short claim has lapsed")
    assert driver.claims.get(queue, str(short.id)) is None
    assert driver.messages.delete(queue, [kept], claim_ids=[str(claim.id)]) == {}
    assert len(driver.messages.pop(queue, limit=5)) == 1


def test_a_server_that_became_a_read_only_replica(
    start_server: StartServer, open_driver: OpenDriver, protocol: int
) -> None:
    server = start_server()
    scene = Scene(open_driver(server.port, protocol=protocol))
    before = scene.state()
    with plain_client(server.port) as client:
        client.replicaof("127.0.0.1", str(free_port()))
        for call in scene.reads().values():
            call()  # answered with what the replica has
        for name, call in scene.changes().items():
            fails(name, call, says="read-only replica")
        with pytest.raises(StorageUnavailable, match="read-only replica"):
            open_driver(server.port)
        client.replicaof("NO", "ONE")
    assert scene.state() == before


def test_a_server_that_may_not_write(start_server: StartServer, open_driver: OpenDriver, protocol: int) -> None:
    server = start_server()
    scene = Scene(open_driver(server.port, protocol=protocol))
    before = scene.state()
    with plain_client(server.port) as client:

        def refuses(says: str) -> None:
            for name, call in scene.reads().items():
                if name != "ping":
                    call()
            for name, call in scene.changes().items():
                fails(name, call, says=says)

        client.config_set("min-replicas-to-write", 1)
        refuses("NOREPLICAS")
        client.config_set("min-replicas-to-write", 0)
        (server.folder / "dump.rdb").mkdir()  # in the place of the file that is to be written
        client.config_set("save", "3600 1")
        client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "the server cannot save")
        refuses("MISCONF")
        fails("ping", scene.driver.ping, says="MISCONF")  # as the server has it
        client.config_set("stop-writes-on-bgsave-error", "no")
    assert scene.state() == before


def test_scripts_that_were_flushed(start_server: StartServer, open_driver: OpenDriver, protocol: int) -> None:
    server = start_server()
    scene = Scene(open_driver(server.port, protocol=protocol))
    with plain_client(server.port) as client:
        for call in scene.all().values():
            client.script_flush()
            call()
    assert scene.state() == (6, 8, 1, 2)
