"""Unix sockets, databases, TLS, Sentinels, clusters."""

from __future__ import annotations

import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis.crc import key_slot

from zaqar_conformance.proxy import Cut, Proxy
from zaqar_conformance.servers import Server
from zaqar_core.capabilities import Capability
from zaqar_core.contract import EncodedMessage, QueueKey, new_id
from zaqar_core.errors import InvalidUri, OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import RedisClusterTarget, RedisSentinelTarget, plain_client
from zaqar_redis.units import queue_stem


def opened(uri: str, *, timeout: float = 10, connect_timeout: float = 10, **options: object) -> RedisDriver:
    return RedisDriver.open(Uri.parse(uri, options), connect_timeout=connect_timeout, timeout=timeout)


def post(driver: RedisDriver, queue: QueueKey, count: int = 1) -> list[str]:
    return driver.messages.post(queue, [EncodedMessage(b"1", 600)] * count, client_id="c")


# --- one server -------------------------------------------------------------------------------------------


def test_a_unix_socket(start_server: Callable[..., Server], queue: QueueKey) -> None:
    with tempfile.TemporaryDirectory(prefix="zr-") as folder:  # pytest's are too long for a socket
        path = f"{folder}/a socket"
        start_server("--unixsocket", path)
        uri = f"redis+unix://{path.replace(' ', '%20')}"
        with closing(opened(uri)) as driver, closing(opened(uri, database=3)) as other:
            post(driver, queue)
            assert driver.messages.stats(queue).total == 1
            assert other.messages.stats(queue).total == 0
        with pytest.raises(StorageUnavailable, match="no socket"):
            opened(f"redis+unix://{folder}/no%20socket")


def test_databases_are_stores_of_their_own(server: Server, queue: QueueKey) -> None:
    uri = f"redis://127.0.0.1:{server.port}"
    with closing(opened(f"{uri}/0")) as one, closing(opened(f"{uri}/5")) as other:
        post(one, queue)
        post(other, queue, 2)
        assert (one.messages.stats(queue).total, other.messages.stats(queue).total) == (1, 2)
    with pytest.raises(StorageUnavailable, match="DB index"):
        opened(f"{uri}/16")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def outside(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_tls(server: Server, queue: QueueKey, outside: ssl.SSLContext, ca_file: str) -> None:
    with Proxy(server.port, tls=outside) as proxy:
        uri = f"rediss://localhost:{proxy.port}/0"
        with closing(opened(uri, tls_ca=ca_file)) as driver:
            before = proxy.round_trips
            for count in range(1, 6):
                post(driver, queue)
                assert driver.messages.stats(queue).total == count
            assert proxy.round_trips - before <= 12  # two scripts that were not there before
            proxy.drop_all()
            post(driver, queue)
            proxy.cut(Cut.AFTER_REQUEST)
            with pytest.raises(OutcomeUnknown):
                post(driver, queue)
            assert driver.messages.stats(queue).total == 7
        with closing(opened(uri, tls_verify=False)) as driver:
            assert driver.messages.stats(queue).total == 7


def test_tls_is_refused_without_trust(server: Server, outside: ssl.SSLContext, ca_file: str) -> None:
    with Proxy(server.port, tls=outside) as proxy:
        with pytest.raises(StorageUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            opened(f"rediss://localhost:{proxy.port}/0")
        with pytest.raises(StorageUnavailable, match=r"127\.0\.0\.1"):
            opened(f"rediss://127.0.0.1:{proxy.port}/0", tls_ca=ca_file)
        with pytest.raises(StorageUnavailable):
            opened(f"redis://localhost:{proxy.port}/0", connect_timeout=1)


def test_a_client_certificate(
    server: Server, queue: QueueKey, authority: trustme.CA, outside: ssl.SSLContext, ca_file: str, tmp_path: Path
) -> None:
    outside.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(outside)
    mine = authority.issue_cert("client@example.org")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    files: dict[str, Any] = {
        "tls_ca": ca_file,
        "tls_cert": str(tmp_path / "cert.pem"),
        "tls_key": str(tmp_path / "key.pem"),
    }
    with Proxy(server.port, tls=outside) as proxy:
        with closing(opened(f"rediss://localhost:{proxy.port}/0", **files)) as driver:
            post(driver, queue)
        with pytest.raises(StorageUnavailable):
            opened(f"rediss://localhost:{proxy.port}/0", tls_ca=ca_file)


# --- Sentinels --------------------------------------------------------------------------------------------


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[RedisSentinelTarget]:
    target = RedisSentinelTarget()
    try:
        yield target
    finally:
        target.stop()


def test_a_promoted_replica_is_found_in_the_midst_of_work(
    sentinel: RedisSentinelTarget, tmp_path: Path, queue: QueueKey
) -> None:
    with closing(opened(sentinel.start(tmp_path), timeout=20)) as driver:
        assert {Capability.PERSISTENT, Capability.DURABILITY}.isdisjoint(driver.capabilities)
        post(driver, queue, 10)
        claim = driver.claims.create(queue, ttl=60, grace=0, limit=5)
        time.sleep(0.5)  # the replica has it
        seen: list[Exception] = []
        posted = [0]
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    posted[0] += len(post(driver, queue))
                except StorageUnavailable as error:
                    seen.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        sentinel.fail_over()
        assert driver.claims.update(queue, str(claim.id), ttl=90, grace=0)
        before = posted[0]
        time.sleep(0.3)
        stop.set()
        worker.join()
        assert posted[0] > before
        assert len(seen) <= 2  # whose reply was lost; the rest waited for the promotion
        assert all(isinstance(error, OutcomeUnknown) for error in seen)
        ids = [message.id for message in claim.messages]
        assert driver.messages.delete(queue, ids, claim_ids=[str(claim.id)]) == {}


def test_sentinels_that_know_nothing_or_are_gone(sentinel: RedisSentinelTarget, tmp_path: Path) -> None:
    uri = sentinel.start(tmp_path)
    for wrong in (uri.replace("/main/", "/other/"), sentinel.unreachable_uri()):
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            opened(wrong, connect_timeout=1)
        assert time.monotonic() - began < 2
    [host] = [uri.partition("://")[2].partition("/")[0]]
    gone = sentinel.unreachable_uri().partition("://")[2].partition("/")[0]
    with closing(opened(f"redis+sentinel://{gone},{host}/main/0")) as driver:
        driver.ping()


# --- clusters ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisClusterTarget]:
    target = RedisClusterTarget()
    target.start(tmp_path_factory.mktemp("cluster"))
    yield target
    target.stop()


@pytest.fixture
def clustered(cluster: RedisClusterTarget, tmp_path: Path) -> Iterator[RedisDriver]:
    with closing(opened(cluster.start(tmp_path), timeout=5)) as driver:
        yield driver


def owner_of(cluster: RedisClusterTarget, slot: int) -> Any:
    for server in cluster.started():
        client = plain_client(server.port)
        if slot in slots_of(client):
            return client, client.execute_command("CLUSTER", "MYID"), server.port
        client.close()
    raise AssertionError(f"nobody has slot {slot}")


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


def test_the_target_knows_which_queues_of_a_cluster_lie_on_one_server(
    cluster: RedisClusterTarget, clustered: RedisDriver
) -> None:
    queues = [QueueKey(new_id(), "q") for _ in range(12)]
    places = []
    for queue in queues:
        clustered.messages.post(queue, [EncodedMessage(b"1", 600)], client_id="c")
        places.append(owner_of(cluster, key_slot(queue_stem("zaqar", queue).encode()))[2])
    for one, its_place in zip(queues, places, strict=True):
        for other, place in zip(queues, places, strict=True):
            assert cluster.on_one_server(one, other) is (place == its_place)


def test_a_slot_that_moves_is_followed_and_nothing_is_split(
    cluster: RedisClusterTarget, clustered: RedisDriver, queue: QueueKey
) -> None:
    ids = post(clustered, queue, 20)
    claim = clustered.claims.create(queue, ttl=600, grace=0, limit=5)
    slot = key_slot(queue_stem("zaqar", queue).encode())
    source, source_id, _ = owner_of(cluster, slot)
    target, target_id, target_port = owner_of(cluster, (slot + 6_000) % 16_384)
    try:
        target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        keys = source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        source.execute_command("MIGRATE", "127.0.0.1", target_port, keys[0], 0, 5_000)
        with pytest.raises(StorageUnavailable, match="slot"):
            post(clustered, queue)  # neither has all of it
        for key in keys[1:]:
            source.execute_command("MIGRATE", "127.0.0.1", target_port, key, 0, 5_000)
        for server in cluster.started():
            with closing(plain_client(server.port)) as client:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        assert clustered.messages.stats(queue).total == 20
        assert clustered.messages.delete(queue, ids[:5], claim_ids=[str(claim.id)]) == {}
        post(clustered, queue)
        assert clustered.messages.stats(queue).free == 16
    finally:
        source.close()
        target.close()


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


def test_one_server_of_a_cluster_is_not_enough(cluster: RedisClusterTarget, tmp_path: Path) -> None:
    cluster.start(tmp_path)
    for server in cluster.started():
        with pytest.raises(InvalidUri, match=r"redis\+cluster"):
            opened(f"redis://127.0.0.1:{server.port}/0")


def test_one_server_is_no_cluster(server: Server) -> None:
    with pytest.raises(InvalidUri, match="redis://"):
        opened(f"redis+cluster://127.0.0.1:{server.port}", connect_timeout=1)
