"""Whatever the client libraries raise, what leaves the driver is an error of the contract; and it shows no secret."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import monotonic

import pytest
import requests
import swiftclient.client as swift
import urllib3.exceptions as urllib
from swiftclient.exceptions import ClientException

from zaqar_conformance.servers import Server
from zaqar_core import Capability, errors
from zaqar_core.contract import QueueKey, Space
from zaqar_core.errors import IncompatibleStorage, InvalidOption, StorageError, StorageUnavailable
from zaqar_swift import packing
from zaqar_swift.coordinator import Coordinator
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.names import record_name
from zaqar_swift.target import coordinator_uri

OpenDriver = Callable[..., SwiftDriver]
StartRedis = Callable[..., Server]
Post = Callable[..., list[str]]

PUBLIC = {kind for kind in vars(errors).values() if isinstance(kind, type)}
SENDERS = ("get_container", "get_object", "put_object", "put_container", "post_object", "delete_object", "head_account")


@pytest.mark.parametrize(
    "raised",
    [
        *(ClientException("no", http_status=status) for status in (400, 401, 403, 404, 409, 412, 429, 498, 500, 503)),
        requests.ConnectionError("no"),
        requests.exceptions.InvalidURL("no"),
        urllib.LocationParseError("no"),
        UnicodeError("no"),
        OSError("no"),
        KeyError("name"),
        TypeError("no"),
        OverflowError("no"),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'http_status', '')}".strip(),
)
def test_no_error_of_a_library_or_of_the_drivers_own_leaves_it(
    open_driver: OpenDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    driver = open_driver(timeout=0.2)
    space = Space("queues", queue.project)
    calls: list[Callable[[], object]] = [
        driver.ping,
        driver.health,
        driver.gc,
        lambda: post(driver),
        lambda: post(driver, 2),
        lambda: driver.messages.stats(queue),
        lambda: driver.messages.purge(queue),
        lambda: driver.messages.pop(queue, limit=1),
        lambda: driver.claims.create(queue, ttl=60, grace=0, limit=1),
        lambda: driver.records.get(space, "key"),
        lambda: driver.records.insert(space, "key", b"1", nonce="n"),
        lambda: driver.records.delete_all(space),
    ]

    def fail(*_: object, **__: object) -> None:
        raise raised

    for name in SENDERS:
        monkeypatch.setattr(swift, name, fail)
    for number, call in enumerate(calls):
        try:
            call()
        except StorageError as error:
            assert type(error) in PUBLIC, number  # noqa: PT017 - that nothing else is raised is what is shown


def test_a_record_that_others_damaged_is_named(open_driver: OpenDriver, queue: QueueKey) -> None:
    driver = open_driver()
    records = driver.records
    space = Space("queues", queue.project)
    assert records.insert(space, "key", b"1", nonce="n")
    name = record_name(space, "key")
    cut_short = packing._pack(b"", b"\0", packing.INLINE)
    driver._store.put(records._container, name, cut_short, driver._store.deadline())
    for read in (lambda: records.get(space, "key"), lambda: records.scan(space, limit=5)):
        with pytest.raises(IncompatibleStorage, match=name):
            read()
    driver.gc()


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """The port of a server that answers whatever it is sent with this."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    wire, _ = listener.accept()
                except OSError:
                    return
                with wire:
                    while wire.recv(4_096):
                        wire.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_coordinator_that_repeats_the_password_is_not_quoted() -> None:
    """As a server does that knows no AUTH."""
    with (
        answering(b"-ERR unknown command 'AUTH', with args beginning with: 'hush-9b1d'\r\n") as port,
        closing(Coordinator(f"redis://:hush-9b1d@127.0.0.1:{port}/0", "p")) as coordinator,
        pytest.raises(StorageUnavailable) as caught,
    ):
        coordinator.identity(monotonic() + 10)
    assert "AUTH" in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hush-9b1d" not in f"{error}{error!r}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("reply", [b":7\r\n", b"*1\r\n:1\r\n", b"$1\r\nx\r\n", b"*-1\r\n", b"HTTP/1.1 400\r\n\r\n"])
def test_what_does_not_answer_as_a_redis_does_is_said_to(reply: bytes) -> None:
    with answering(reply) as port, closing(Coordinator(f"redis://127.0.0.1:{port}/0", "p")) as coordinator:
        for call in (
            lambda: coordinator.read(["a"], monotonic() + 10),
            lambda: coordinator.swap({}, monotonic() + 10),
            lambda: coordinator.ping(monotonic() + 10),
        ):
            with pytest.raises(StorageError) as caught:
                call()
            assert type(caught.value) in PUBLIC


@pytest.mark.parametrize("address", ["redis://h/" + "9" * 5_000, "redis://a b/0", f"redis://{'x' * 70}.de/0"])
def test_what_can_be_no_coordinator_is_refused(address: str) -> None:
    with pytest.raises(InvalidOption, match="coordinator"):
        Coordinator(address, "p")


def test_without_info_a_coordinator_promises_less(start_redis: StartRedis, open_with: OpenDriver) -> None:
    """As where a managed Redis forbids it."""
    rights = "on >secret ~zaqar-swift:* +get +set +del +mget +eval"
    port = start_redis("--user", "claims", *rights.split()).port
    driver = open_with(coordinator=coordinator_uri(port).replace("127.0.0.1", "claims:secret@127.0.0.1"))
    assert Capability.EXCLUSIVE_CLAIMS not in driver.capabilities
    assert "INFO is refused" in str(driver.health())
