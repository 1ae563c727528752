"""One deadline for each call: names, addresses, connections, logins and all requests together."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import Server, free_port
from zaqar_core import kit
from zaqar_core.contract import QueueKey, Space, new_id
from zaqar_core.errors import StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_swift.coordinator import Coordinator
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.server import uri

OpenDriver = Callable[..., SwiftDriver]
StartServer = Callable[..., Server]
Post = Callable[..., list[str]]

NAME = "queues.internal"
LOOK_UP = socket.getaddrinfo


@pytest.fixture
def silent() -> Iterator[list[tuple[str, int]]]:
    """Addresses that take no connection and refuse none: their backlogs are full."""
    port = free_port()
    hosts = [f"127.0.0.{number}" for number in (2, 3, 4, 5)]
    sockets = []
    for host in hosts:
        listener = socket.socket()
        listener.bind((host, port))
        listener.listen(0)
        sockets.append(listener)
        for _ in range(3):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex((host, port))
            sockets.append(client)
    yield [(host, port) for host in hosts]
    for each in sockets:
        each.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: list[tuple[str, int]]) -> None:
    def look_up(host: Any, *arguments: Any, **named: Any) -> Any:
        if host == NAME:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        return LOOK_UP(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def named(port: int, login: str | None = None) -> str:
    return (login or uri(port)).replace("127.0.0.1", NAME)


def ends_within(seconds: float, call: Callable[[], object]) -> None:
    """Generously: what is wrong takes a multiple of it, or for ever."""
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        call()
    assert time.monotonic() - began < seconds


def test_a_name_of_several_silent_addresses_takes_one_timeout(
    silent: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, silent)
    port = silent[0][1]
    ends_within(2, lambda: SwiftDriver.open(Uri.parse(named(port)), connect_timeout=0.5, timeout=5))
    with closing(Coordinator(f"redis://{NAME}:{port}/0", "p")) as coordinator:
        ends_within(2, lambda: coordinator.identity(time.monotonic() + 0.5))


def test_the_address_that_answers_is_found(
    server: Server, monkeypatch: pytest.MonkeyPatch, silent: list[tuple[str, int]]
) -> None:
    resolve_to(monkeypatch, [silent[0], ("127.0.0.1", server.port)])
    with closing(SwiftDriver.open(Uri.parse(named(server.port)), connect_timeout=5, timeout=5)) as driver:
        driver.ping()


def test_a_name_that_is_looked_up_for_ever_takes_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def look_up(host: Any, *arguments: Any, **named: Any) -> Any:
        if host == NAME:
            over.wait()
        return LOOK_UP(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        ends_within(2, lambda: SwiftDriver.open(Uri.parse(named(1)), connect_timeout=0.5, timeout=5))
        with closing(Coordinator(f"redis://{NAME}/0", "p")) as coordinator:
            ends_within(2, lambda: coordinator.identity(time.monotonic() + 0.5))
    finally:
        over.set()


def test_a_deadline_that_the_core_has_set_counts(
    proxy: Proxy, open_driver: OpenDriver, queue: QueueKey, post: Post
) -> None:
    """Not the driver's timeout, and for requests that its threads send side by side too."""
    driver = open_driver(through=proxy, timeout=60)
    post(driver, 2)
    proxy.delay(3)
    with kit.time_limit(0.5):
        ends_within(2.5, lambda: post(driver, 3))
    with kit.time_limit(0.5):
        ends_within(2.5, lambda: driver.claims.create(queue, ttl=60, grace=0, limit=2))
    proxy.delay(0)


def test_after_a_timeout_no_connection_of_before_is_used(
    start_server: StartServer, open_driver: OpenDriver, post: Post
) -> None:
    """If one is dead without a word, so are the others: they cost one timeout, not one each."""
    server = start_server()
    driver = open_driver(server.port)
    post(driver, 16)
    assert len(driver._store._process._idle) > 1
    driver._store.timeout = 1.0
    server.pause()
    with pytest.raises(StorageUnavailable):
        driver.ping()
    assert not driver._store._process._idle
    server.resume()


def test_dead_connections_to_the_coordinator_cost_one_timeout(redis: Server) -> None:
    with Proxy(redis.port) as proxy, closing(Coordinator(f"redis://127.0.0.1:{proxy.port}/0", "p")) as coordinator:
        taken = [coordinator._connect(time.monotonic() + 5) for _ in range(8)]
        coordinator._idle.extend(taken)
        proxy.delay(1.5)
        ends_within(1.5, lambda: coordinator.identity(time.monotonic() + 0.5))
        assert not coordinator._idle
        proxy.delay(0)
        coordinator._idle.extend(coordinator._connect(time.monotonic() + 5) for _ in range(8))
        proxy.drop_all()
        coordinator.identity(time.monotonic() + 5)


def test_records_are_deleted_together(proxy: Proxy, open_driver: OpenDriver) -> None:
    """One listing, and the deletions side by side; others' records stay."""
    driver = open_driver(through=proxy)
    space, other = Space("subscriptions", new_id()), Space("subscriptions", new_id())
    for key in ("a/1", "a/2", "a/3", "b/1"):
        driver.records.insert(space, key, b"1", nonce="n")
    driver.records.insert(space, "a/4", b"1", nonce="n", ttl=0.001)
    driver.records.insert(other, "a/1", b"1", nonce="n")
    while driver.records.get(space, "a/4"):
        pass
    before = proxy.round_trips
    assert driver.records.delete_all(space, prefix="a/") == 3
    assert proxy.round_trips - before == 1 + 4
    assert [record.key for record in driver.records.scan(space, limit=10)] == ["b/1"]
    assert driver.records.count(other) == 1
    assert driver.records.delete_all(space, prefix="x") == 0
