"""Faults of server and network, each with the error that it ends in, and nothing done twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from zaqar_conformance.proxy import Cut, Proxy
from zaqar_conformance.servers import Server, free_port
from zaqar_core.contract import EncodedMessage, QueueKey, Space
from zaqar_core.errors import OutcomeUnknown, StorageFull, StorageUnavailable
from zaqar_redis.driver import RedisDriver

SPACE = Space("queues", "p")
LOST = (Cut.AFTER_REQUEST, Cut.INSIDE_REPLY)


def message(**options: Any) -> EncodedMessage:
    return EncodedMessage(b'"body"', 60, **options)


def post(driver: RedisDriver, queue: QueueKey, count: int = 1) -> list[str]:
    return driver.messages.post(queue, [message()] * count, client_id="c")


def fill(driver: RedisDriver, queue: QueueKey, batch: list[EncodedMessage]) -> None:
    while True:
        driver.messages.post(queue, batch, client_id="c")


def claim(driver: RedisDriver, queue: QueueKey, limit: int = 10) -> str:
    return str(driver.claims.create(queue, ttl=60, grace=0, limit=limit).id)


@pytest.mark.parametrize("cut", list(Cut))
def test_a_cut_connection_never_doubles_and_never_hides_a_post(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey, cut: Cut
) -> None:
    driver = open_driver(proxy.port)
    post(driver, queue)
    proxy.cut(cut)
    with pytest.raises(OutcomeUnknown) as caught:
        post(driver, queue)
    assert isinstance(caught.value.__cause__, redis.RedisError)
    assert driver.messages.stats(queue).total == (2 if cut in LOST else 1)


@pytest.mark.parametrize("cut", list(Cut))
def test_a_cut_connection_claims_and_pops_once(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey, cut: Cut
) -> None:
    driver = open_driver(proxy.port)
    driver.messages.pop(queue, limit=1)
    claim(driver, queue)  # now the server knows the scripts
    post(driver, queue, 10)
    proxy.cut(cut)
    with pytest.raises(OutcomeUnknown):
        claim(driver, queue, 3)
    stats = driver.messages.stats(queue)
    assert (stats.free, stats.claimed) == ((7, 3) if cut in LOST else (10, 0))
    proxy.cut(cut)
    with pytest.raises(OutcomeUnknown):
        driver.messages.pop(queue, limit=3)
    assert driver.messages.stats(queue).free == stats.free - (3 if cut in LOST else 0)


@pytest.mark.parametrize("cut", list(Cut))
def test_what_can_be_repeated_survives_a_cut(
    proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey, cut: Cut
) -> None:
    driver = open_driver(proxy.port)
    ids = post(driver, queue, 10)
    one, other = claim(driver, queue, 4), claim(driver, queue, 4)
    driver.records.insert(SPACE, queue.project, b"1", nonce="n")
    page: dict[str, Any] = {"exclude_client": None, "include_claimed": False, "include_delayed": False}
    calls: list[tuple[Callable[[], object], object]] = [
        (lambda: driver.messages.stats(queue).total, 10),
        (lambda: len(driver.messages.get(queue, ids)), 10),
        (lambda: len(driver.messages.list(queue, marker=None, limit=5, **page).items), 2),
        (lambda: driver.messages.first(queue, newest=True) is None, False),
        (lambda: len(getattr(driver.claims.get(queue, one), "messages", ())), 4),
        (lambda: driver.claims.update(queue, one, ttl=50, grace=0), True),
        (lambda: driver.claims.release(queue, one), None),
        (lambda: driver.claims.release(queue, other, message_ids=ids[4:6]), None),
        (lambda: driver.messages.delete(queue, ids[6:8], claim_ids=[other]), {}),
        (lambda: driver.records.count(Space("queues", queue.project)), 0),
        (lambda: getattr(driver.records.get(SPACE, queue.project), "value", None), b"1"),
        (driver.ping, None),
    ]
    for call, expected in calls:
        proxy.cut(cut)
        assert call() == expected
        assert proxy.cuts_left == 0
    stats = driver.messages.stats(queue)
    assert (stats.free, stats.claimed) == (8, 0)


@pytest.mark.parametrize("cut", list(Cut))
def test_records_change_once(proxy: Proxy, open_driver: Callable[..., RedisDriver], queue: QueueKey, cut: Cut) -> None:
    driver, space = open_driver(proxy.port), Space("queues", queue.project)
    driver.records.insert(space, "other", b"", nonce="n")
    proxy.cut(cut)
    with pytest.raises(OutcomeUnknown):
        driver.records.insert(space, "k", b"1", nonce="mine")
    found = driver.records.get(space, "k")
    assert (found is not None) == (cut in LOST)
    assert found is None or found.nonce == "mine"


def test_a_server_that_is_gone_is_unavailable_and_found_again(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    server = start_server("--appendonly", "yes")
    driver = open_driver(server.port, timeout=2)
    post(driver, queue)
    server.kill()
    for call in (driver.ping, lambda: post(driver, queue), lambda: driver.messages.stats(queue)):
        began = time.monotonic()
        with pytest.raises(StorageUnavailable) as caught:
            call()
        assert not isinstance(caught.value, OutcomeUnknown)
        assert caught.value.__cause__ is not None
        assert time.monotonic() - began < 1
    server.start()
    post(driver, queue)
    assert driver.messages.stats(queue).total == 2


def test_a_change_that_was_sent_once_may_have_happened_whatever_comes_of_later_tries(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    server = start_server()
    with Proxy(server.port) as proxy:
        driver = open_driver(proxy.port, timeout=1)
        ids = post(driver, queue, 2)
        held = claim(driver, queue)
        calls: list[Callable[[], object]] = [
            lambda: driver.messages.delete(queue, ids[:1], claim_ids=[held]),
            lambda: driver.claims.update(queue, held, ttl=90, grace=0),
            lambda: driver.claims.release(queue, held),
            lambda: driver.messages.purge(queue),
        ]
        for call in calls:
            call()  # now the server knows the script
            ids[:] = post(driver, queue, 2)
            held = claim(driver, queue)
            proxy.cut(Cut.AFTER_REQUEST, 1)
            proxy.cut(Cut.BEFORE_REQUEST, 1_000)
            with pytest.raises(OutcomeUnknown):
                call()
            with pytest.raises(StorageUnavailable) as caught:
                driver.messages.stats(queue)
            assert not isinstance(caught.value, OutcomeUnknown)
            proxy.forget_cuts()
        driver.ping()
        server.pause()
        with pytest.raises(OutcomeUnknown):
            driver.messages.delete(queue, ids, claim_ids=None)
        server.kill()


def test_nothing_there(open_driver: Callable[..., RedisDriver]) -> None:
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        open_driver(free_port())


def test_a_paused_server_is_unavailable_in_time(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    server = start_server()
    driver = open_driver(server.port, timeout=0.4)
    post(driver, queue)
    server.pause()
    for kind, call in (
        (OutcomeUnknown, lambda: post(driver, queue)),
        (StorageUnavailable, lambda: driver.messages.stats(queue)),
        (StorageUnavailable, lambda: open_driver(server.port, connect_timeout=0.4)),
    ):
        began = time.monotonic()
        with pytest.raises(kind):
            call()
        assert time.monotonic() - began < 1
    server.resume()
    assert driver.messages.stats(queue).total in (1, 2)


def test_a_full_server_refuses_posts_and_lets_consumers_go_on(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    server = start_server("--maxmemory", "8mb")
    driver = open_driver(server.port)
    batch = [EncodedMessage(b"x" * 10_000, 600)] * 20
    waiting = QueueKey(queue.project, "waiting")
    driver.messages.post(waiting, [EncodedMessage(b"1", 60, 0.1)], client_id="c")
    with pytest.raises(StorageFull, match="maxmemory"):
        fill(driver, queue, batch)
    time.sleep(0.1)
    total = driver.messages.stats(queue).total
    assert total % 20 == 0
    assert driver.messages.stats(waiting).free == 1
    held = driver.claims.create(queue, ttl=60, grace=3600, limit=10)
    assert driver.claims.update(queue, str(held.id), ttl=90, grace=7200)
    ids = [each.id for each in held.messages]
    driver.claims.release(queue, str(held.id), message_ids=ids[:2], delay=1)
    assert driver.messages.delete(queue, ids[2:5], claim_ids=[str(held.id)]) == {}
    driver.claims.release(queue, str(held.id))
    assert len(driver.messages.pop(queue, limit=60)) == 60
    assert len(open_driver(server.port).messages.post(queue, batch, client_id="c")) == 20


def test_a_replica_is_read_only(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    primary = start_server()
    replica = start_server("--replicaof", "127.0.0.1", str(primary.port))
    with pytest.raises(StorageUnavailable, match="primary"):
        open_driver(replica.port)
    with redis.Redis(port=replica.port) as client:
        client.replicaof("NO", "ONE")
        driver = open_driver(replica.port)
        post(driver, queue)
        client.replicaof("127.0.0.1", str(primary.port))
        for call in (lambda: post(driver, queue), lambda: claim(driver, queue)):
            with pytest.raises(StorageUnavailable, match=r"primary|replica") as caught:
                call()
            assert not isinstance(caught.value, OutcomeUnknown)


def test_a_replica_that_lost_its_primary(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver]
) -> None:
    server = start_server("--replica-serve-stale-data", "no")
    driver = open_driver(server.port, timeout=0.5)
    with redis.Redis(port=server.port) as client:
        client.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(StorageUnavailable, match=r"primary|replica"):
        driver.messages.stats(QueueKey("p", "q"))


def test_a_busy_server_is_waited_for(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    server = start_server("--lua-time-limit", "10")
    driver, impatient = open_driver(server.port), open_driver(server.port, timeout=0.3)
    post(driver, queue)

    def keep_busy() -> None:
        with redis.Redis(port=server.port, socket_timeout=10) as other, pytest.raises(redis.RedisError):
            other.eval("while true do end", 0)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    time.sleep(0.2)
    with pytest.raises(StorageUnavailable, match="SCRIPT KILL"):
        impatient.messages.stats(queue)
    killer = threading.Timer(0.2, lambda: redis.Redis(port=server.port).script_kill())
    killer.start()
    assert len(post(driver, queue)) == 1
    busy.join()
    killer.join()
    assert driver.messages.stats(queue).total == 2


def test_a_server_that_loads_its_data_is_waited_for(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    server = start_server("--appendonly", "yes", "--appendfsync", "no", "--key-load-delay", "2000")
    driver = open_driver(server.port, timeout=20)
    for number in range(300):
        post(driver, QueueKey(queue.project, f"q{number}"))
    server.kill()
    restart = threading.Thread(target=server.start)
    restart.start()
    seen = set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert driver.messages.stats(QueueKey(queue.project, "q299")).total == 1
            break
        except StorageUnavailable as error:
            seen.add(str(error)[:20])
            time.sleep(0.01)
    else:
        pytest.fail(f"never came back: {seen}")
    restart.join()


def test_passwords_and_rights(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver], queue: QueueKey
) -> None:
    server = start_server("--requirepass", "secret")
    with pytest.raises(StorageUnavailable, match="password") as caught:
        open_driver(server.port)
    with pytest.raises(StorageUnavailable, match="password") as wrong:
        open_driver(server.port, user=":mistaken@")
    assert "mistaken" not in f"{caught.value}{wrong.value}"
    post(open_driver(server.port, user=":secret@"), queue)
    with redis.Redis(port=server.port, password="secret") as admin:
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+ping")
        admin.execute_command(
            "ACL", "SETUSER", "app", "on", ">pw", "~app:*", "+@read", "+@write", "+@scripting", "+@connection", "+time"
        )
        admin.execute_command("ACL", "SETUSER", "most", "on", ">pw", "~*", "+@all", "-zmscore")
    with pytest.raises(StorageUnavailable, match="right"):
        open_driver(server.port, user="reader:pw@")
    with pytest.raises(StorageUnavailable, match="right"):
        open_driver(server.port, user="app:pw@")
    with pytest.raises(StorageUnavailable, match="right"):
        open_driver(server.port, user="most:pw@")
    limited = open_driver(server.port, user="app:pw@", prefix="app")
    assert len(post(limited, queue)) == 1
    assert {"PERSISTENT", "DURABILITY", "AT_LEAST_ONCE"}.isdisjoint(limited.capabilities)


@pytest.mark.parametrize(
    ("settings", "promised"),
    [
        ((), {"AT_LEAST_ONCE"}),
        (("--maxmemory-policy", "allkeys-lru"), {"AT_LEAST_ONCE"}),
        (("--maxmemory", "1gb", "--maxmemory-policy", "volatile-lru"), {"AT_LEAST_ONCE"}),
        (("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"), set()),
        (("--appendonly", "yes", "--appendfsync", "everysec"), {"AT_LEAST_ONCE"}),
        (("--appendonly", "yes", "--appendfsync", "no"), {"AT_LEAST_ONCE", "PERSISTENT"}),
        (("--appendonly", "yes", "--appendfsync", "always"), {"AT_LEAST_ONCE", "PERSISTENT", "DURABILITY"}),
        (
            ("--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "yes"),
            {"AT_LEAST_ONCE", "PERSISTENT"},
        ),
    ],
)
def test_what_is_promised_depends_on_the_server(
    start_server: Callable[..., Server],
    open_driver: Callable[..., RedisDriver],
    settings: tuple[str, ...],
    promised: set[str],
) -> None:
    driver = open_driver(start_server(*settings).port)
    durable = {"AT_LEAST_ONCE", "PERSISTENT", "DURABILITY"}
    assert {str(each) for each in driver.capabilities} & durable == promised
    assert driver.possible_capabilities - driver.capabilities <= {*driver.possible_capabilities} & {
        each for each in driver.possible_capabilities if str(each) in durable
    }


def test_a_replica_attached_takes_the_promise_away(
    start_server: Callable[..., Server], open_driver: Callable[..., RedisDriver]
) -> None:
    primary = start_server("--appendonly", "yes", "--appendfsync", "always")
    start_server("--replicaof", "127.0.0.1", str(primary.port))
    with redis.Redis(port=primary.port) as client:
        deadline = time.monotonic() + 10
        while client.info("replication")["connected_slaves"] == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
    driver = open_driver(primary.port)
    assert {"PERSISTENT", "DURABILITY"}.isdisjoint(driver.capabilities)
    assert driver.health()["connected_slaves"] == 1


def test_health_tells_facts(driver: RedisDriver) -> None:
    health = driver.health()
    assert health["role"] == "master"
    assert health["appendonly"] == "no"
    assert str(health["version"])[0].isdigit()
