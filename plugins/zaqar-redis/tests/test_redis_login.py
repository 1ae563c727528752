"""A connection that is refused, or a login that is, is no answer to the command that the connection was made for."""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

import zaqar_core
from zaqar_conformance.servers import Server, redis_program
from zaqar_core.contract import EncodedMessage, QueueKey
from zaqar_core.errors import OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import plain_client, redis_server

OpenDriver = Callable[..., RedisDriver]
StartServer = Callable[..., Server]
PASSWORD: Final = "hunter2-" + "x" * 200
"""Longer than what servers repeat of it."""


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("user", [f":{PASSWORD}@", f"bob:{PASSWORD}@", f"{PASSWORD}@", ":hunter2@"])
def test_a_server_that_repeats_the_password(
    start_server: StartServer, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = start_server("--rename-command", "AUTH", "")
    with pytest.raises(StorageUnavailable, match=r"unknown command .AUTH") as caught:
        RedisDriver.open(Uri.parse(f"redis://{user}127.0.0.1:{server.port}/0"), connect_timeout=2, timeout=2)
    assert "hunt" not in shown(caught.value) + caplog.text


@pytest.mark.parametrize(
    "words",
    [
        "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `hunter2-xx",
        "ERR Syntax error in HELLO option 'hunter2'",
        f"WRONGPASS {PASSWORD} is no password",
        "hunter2",
    ],
)
@pytest.mark.parametrize("query", ["", "?protocol=3"])
def test_a_proxy_that_repeats_the_password(words: str, query: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, deny(listener, f"-{words}\r\n".encode()):
        uri = f"redis://:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/0{query}"
        with pytest.raises(StorageUnavailable) as caught:
            RedisDriver.open(Uri.parse(uri), connect_timeout=2, timeout=2)
    assert "hunt" not in shown(caught.value)
    assert str(caught.value).startswith("the server")


def test_a_server_that_repeats_the_password_after_opening(
    start_server: StartServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = start_server("--requirepass", "hunter2")
    storage = zaqar_core.connect(f"redis://:hunter2@127.0.0.1:{server.port}/", timeout=1)
    assert storage.is_alive()
    with without_auth(server, tmp_path / "other"):
        for call in (lambda: storage.messages.stats("q"), storage.gc, storage.health):
            with pytest.raises(StorageUnavailable) as caught:
                call()
            assert "hunt" not in shown(caught.value)
        assert not storage.is_alive()
    assert "hunt" not in caplog.text
    storage.close()


@contextmanager
def without_auth(server: Server, folder: Path) -> Iterator[None]:
    """Another server, which knows no AUTH, on the port of the first."""
    server.kill()
    other = redis_server(redis_program(), folder, "--rename-command", "AUTH", "")
    other.port = server.port
    other.start()
    try:
        yield
    finally:
        other.kill()


def test_a_sentinel_that_repeats_the_password(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable) as caught:
        RedisDriver.open(
            Uri.parse(f"redis+sentinel://127.0.0.1:{server.port}/main", {"sentinel_password": "hunter2"}),
            connect_timeout=2,
            timeout=2,
        )
    assert "hunt" not in shown(caught.value)


class Crowd:
    """Takes all connections that a server has."""

    def __init__(self, port: int, password: str = "") -> None:
        self._port = port
        self._first = f"AUTH {password}\r\n".encode() if password else b"PING\r\n"
        self._sockets: list[socket.socket] = []

    def fill(self) -> None:
        """Others lose their connections, and get no new ones."""
        with suppress(OSError):
            self._enter()
            self._sockets[0].sendall(b"CLIENT KILL TYPE normal SKIPME yes\r\n")
            self._sockets[0].recv(100)
            while self._enter():
                pass

    def _enter(self) -> bool:
        one = socket.create_connection(("127.0.0.1", self._port))
        one.sendall(self._first)
        if one.recv(100).startswith(b"-"):
            one.close()
            return False
        self._sockets.append(one)
        return True

    def leave(self) -> None:
        for each in self._sockets:
            each.close()


@pytest.mark.parametrize("password", ["", "secret"])
def test_a_server_that_takes_no_more_connections(
    start_server: StartServer,
    open_driver: OpenDriver,
    queue: QueueKey,
    password: str,
    request: pytest.FixtureRequest,
) -> None:
    server = start_server("--maxclients", "12", *(["--requirepass", password] if password else []))
    user = f":{password}@" if password else ""
    driver = open_driver(server.port, user=user, timeout=2)
    crowd = Crowd(server.port, password)
    request.addfinalizer(crowd.leave)
    crowd.fill()
    messages, claims, space = driver.messages, driver.claims, QueueKey("p", "q")
    calls: list[Callable[[], object]] = [
        *(driver.ping, driver.health, driver.gc, lambda: messages.stats(space), lambda: messages.pop(queue, limit=1)),
        lambda: messages.post(queue, [EncodedMessage(b"1", 60)], client_id="c"),
        lambda: claims.create(queue, ttl=60, grace=60, limit=1),
        lambda: open_driver(server.port, user=user, connect_timeout=2),
    ]
    for call in calls:
        with pytest.raises(StorageUnavailable, match=r"maxclients.*Nothing was done") as caught:
            call()
        assert not isinstance(caught.value, OutcomeUnknown)
    crowd.leave()
    deadline = time.monotonic() + 10
    while True:
        try:
            driver.ping()
            break
        except StorageUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert driver._queues.server._knows_digests
    assert driver.health()["version"]
    assert messages.stats(queue).total == 0


def test_protected_mode(open_driver: OpenDriver, queue: QueueKey) -> None:
    """The words of a Redis in protected mode, which needs another machine to be seen: an error, and then the end."""
    words = b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener, deny(listener, words):
        port = listener.getsockname()[1]
        with pytest.raises(StorageUnavailable, match=r"protected mode, which lets.*Nothing was done") as caught:
            open_driver(port)
        assert not isinstance(caught.value, OutcomeUnknown)


@contextmanager
def deny(listener: socket.socket, words: bytes) -> Iterator[None]:
    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.sendall(words)
                    client.shutdown(socket.SHUT_WR)
                    client.recv(1_000)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_login_that_is_refused_for_a_while_changes_nothing(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey
) -> None:
    server = start_server("--appendonly", "yes", "--appendfsync", "always")
    with plain_client(server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "queues", "on", ">right", "~*", "+@all")
        driver = open_driver(server.port, user="queues:right@", timeout=2)
        capabilities = driver.capabilities
        admin.execute_command("ACL", "SETUSER", "queues", "resetpass", ">other")
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for call in (driver.ping, driver.health, driver.gc, lambda: driver.messages.stats(queue)):
            with pytest.raises(StorageUnavailable, match="does not take this user and password"):
                call()
        admin.execute_command("ACL", "SETUSER", "queues", "resetpass", ">right")
        driver.ping()
        driver.messages.stats(queue)
        assert driver._queues.server._knows_digests
        assert driver.health()["version"]
        assert open_driver(server.port, user="queues:right@").capabilities == capabilities


def test_a_right_to_keys_that_is_missing_for_a_while_changes_nothing(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey
) -> None:
    server = start_server()
    with plain_client(server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "queues", "on", ">pw", "~*", "+@all")
        driver = open_driver(server.port, user="queues:pw@", timeout=2)
        admin.execute_command("ACL", "SETUSER", "queues", "resetkeys")
        with pytest.raises(StorageUnavailable, match="right"):
            driver.messages.stats(queue)
        admin.execute_command("ACL", "SETUSER", "queues", "~*")
        driver.messages.stats(queue)
        assert driver._queues.server._knows_digests


def test_what_is_said_of_a_read_that_was_not_answered(server: Server, open_driver: OpenDriver) -> None:
    driver = open_driver(timeout=0.3)
    driver.messages.stats(QueueKey("p", "q"))
    server.pause()
    try:
        with pytest.raises(StorageUnavailable) as caught:
            driver.messages.stats(QueueKey("p", "q"))
    finally:
        server.resume()
    assert not isinstance(caught.value, OutcomeUnknown)
    assert str(caught.value).endswith("did not answer in time. Nothing was changed; try again")
