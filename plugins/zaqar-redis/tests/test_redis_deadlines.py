"""Connecting ends in time, whatever it is that does not answer; what is raised is an error of the core, exactly."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from zaqar_conformance.servers import Server
from zaqar_core import kit
from zaqar_core.contract import QueueKey, new_id
from zaqar_core.errors import InvalidUri, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver

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
