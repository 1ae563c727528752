"""Connecting ends in time, whatever it is that does not answer; what is raised is an error of the core, exactly."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from zaqar_conformance.servers import Server, redis_program
from zaqar_core import kit
from zaqar_core.contract import EncodedMessage, QueueKey, new_id
from zaqar_core.errors import InvalidUri, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import sentinel_server

SHORT: Final = 0.4
"""Seconds: a time-out that has to run out."""
SLACK: Final = 1.0
"""Seconds that a machine under load may add."""
URIS: Final = [
    *("redis://HOST/0", "redis://HOST/1", "redis://:password@HOST/0", "redis://user:password@HOST/0?protocol=3"),
    *("redis://HOST?protocol=3", "rediss://HOST/0", "redis+sentinel://HOST,HOST/main/0", "redis+cluster://HOST,HOST"),
    *("rediss+sentinel://HOST/main", "rediss+cluster://HOST"),
]


@pytest.fixture
def unanswered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names that end in ``.test`` are looked up for as long as the test lasts."""
    over = threading.Event()
    true: Callable[..., Any] = socket.getaddrinfo

    def lookup(host: str, *arguments: Any, **options: Any) -> Any:
        if host.endswith(".test"):
            over.wait(60)
        return true("127.0.0.1" if host.endswith(".test") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    yield
    over.set()


@pytest.fixture
def mute() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def fails_in_time(uri: str) -> str:
    began = time.monotonic()
    with pytest.raises(StorageUnavailable) as caught:
        RedisDriver.open(Uri.parse(uri), connect_timeout=SHORT, timeout=60)
    assert time.monotonic() - began < SHORT + SLACK
    assert caught.type is StorageUnavailable
    assert caught.value.__cause__ is not None
    return str(caught.value)


@pytest.mark.usefixtures("unanswered")
@pytest.mark.parametrize("uri", URIS)
def test_a_name_server_that_does_not_answer(uri: str) -> None:
    assert "looked up in time" in fails_in_time(uri.replace("HOST", f"{new_id()}.test"))


@pytest.mark.parametrize("uri", URIS)
def test_a_server_that_does_not_answer(mute: str, uri: str) -> None:
    fails_in_time(uri.replace("HOST", mute))


@pytest.mark.parametrize("uri", ["redis://HOST", "redis+sentinel://HOST/main", "redis+cluster://HOST"])
def test_a_name_that_is_unknown(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    def lookup(host: str, *_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert "not known" in fails_in_time(uri.replace("HOST", "nowhere.test"))


def test_a_server_that_speaks_another_protocol() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(2):
                client, _ = listener.accept()
                with client:
                    client.recv(1_000)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        for query in ("", "?protocol=3"):
            said = fails_in_time(f"redis://127.0.0.1:{listener.getsockname()[1]}/0{query}")
            assert "does not speak the protocol" in said
        thread.join()


def test_the_deadline_of_the_core_is_kept(server: Server, mute: str) -> None:
    """Not a timeout for each call: what is left of the one that the core set."""
    began = time.monotonic()
    with kit.time_limit(SHORT), pytest.raises(StorageUnavailable):
        RedisDriver.open(Uri.parse(f"redis://{mute}/0"), connect_timeout=60, timeout=60)
    assert time.monotonic() - began < SHORT + SLACK
    driver = RedisDriver.open(Uri.parse(f"redis://127.0.0.1:{server.port}/0"), connect_timeout=10, timeout=60)
    server.pause()
    try:
        for call in (driver.ping, driver.health, driver.gc, lambda: driver.messages.stats(QueueKey("p", "q"))):
            began = time.monotonic()
            with kit.time_limit(SHORT), pytest.raises(StorageUnavailable) as caught:
                call()
            assert caught.type is StorageUnavailable
            assert time.monotonic() - began < SHORT + SLACK
    finally:
        server.resume()
        driver.close()


@pytest.mark.parametrize(
    "host", ["a b", "a%20b", "a/b", "a..b", "a" * 64, ".".join(["a" * 60] * 5), "bü" * 40, "*", "1.2.3.4.5", "-:6379:1"]
)
def test_hosts_that_are_none(host: str) -> None:
    for scheme in ("redis", "rediss", "redis+sentinel", "redis+cluster"):
        with pytest.raises(InvalidUri):
            RedisDriver.open(Uri.parse(f"{scheme}://{host}/main"), connect_timeout=1, timeout=1)


def test_a_listing_of_others_messages_behind_very_many_own_ends_in_time_and_goes_on(
    start_server: Callable[..., Server], queue: QueueKey
) -> None:
    server = start_server()
    with closing(opened(server.port, timeout=60)) as driver:
        for _ in range(12):
            driver.messages.post(queue, [EncodedMessage(b"1", 600)] * 10_000, client_id="me")
        [other] = driver.messages.post(queue, [EncodedMessage(b"1", 600)], client_id="other")
    marker, pages, seen = None, 0, []
    with closing(opened(server.port, timeout=0.2)) as driver:
        more = True
        while more:
            page = driver.messages.list(
                queue, marker=marker, limit=10, exclude_client="me", include_claimed=False, include_delayed=False
            )
            assert page.marker != marker
            marker, more = page.marker, page.more
            pages += 1
            seen += [each.id for each in page.items]
    assert seen == [other]
    assert pages > 1


def opened(port: int, *, timeout: float) -> RedisDriver:
    return RedisDriver.open(Uri.parse(f"redis://127.0.0.1:{port}/0"), connect_timeout=10, timeout=timeout)


def test_the_sentinel_that_answered_last_is_asked_first(
    start_server: Callable[..., Server], mute: str, tmp_path: Path
) -> None:
    primary = start_server()
    sentinel = sentinel_server(redis_program(), tmp_path / "sentinel", primary.port)
    sentinel.start()
    try:
        uri = Uri.parse(f"redis+sentinel://{mute},127.0.0.1:{sentinel.port}/main/0")
        with closing(RedisDriver.open(uri, connect_timeout=4 * SHORT, timeout=4 * SHORT)) as driver:
            for _ in range(3):
                [connections] = driver._queues.server.primaries(0)
                connections.forget()
                began = time.monotonic()
                driver.ping()
                assert time.monotonic() - began < SHORT  # a third of the time is what the mute one would be given
    finally:
        sentinel.kill()
