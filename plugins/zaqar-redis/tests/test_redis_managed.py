"""Servers of providers and behind proxies: commands that they do not know or forbid cost promises, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, Self

import hiredis
import pytest

from zaqar_conformance.servers import Server, redis_program
from zaqar_core.capabilities import Capability
from zaqar_core.contract import EncodedMessage, QueueKey
from zaqar_core.errors import StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.options import Address
from zaqar_redis.target import plain_client, sentinel_server, wait_until
from zaqar_redis.topology import Sentinels
from zaqar_redis.wire import Connection, Login, connect

CLOSE = ""
"""Instead of words: close the connection."""


class RefusingProxy:
    """A proxy before a server, on a port of loopback. ``commands``: those that it answers with the error ``words``."""

    def __init__(self, server: int, commands: Iterable[str] = (), words: str = CLOSE) -> None:
        self._server = server
        self._commands = frozenset(commands)
        self._words = words
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._links: list[_Link] = []
        self.port: int = self._listener.getsockname()[1]
        self.refused: list[str] = []
        self.replies: dict[str, bytes] = {}
        """What it answers to commands itself."""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for link in self._links:
            link.close()

    def lose_connections(self) -> None:
        """As when a firewall forgets them: what comes on those that there are is swallowed, and they stay open."""
        for link in self._links:
            link.lost = True

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._links.append(_Link(self, client, socket.create_connection(("127.0.0.1", self._server))))

    def answer(self, request: list[bytes]) -> bytes | None:
        """The answer to give; None to pass the request on, nothing to close the connection."""
        name = request[0].upper().decode()
        if name not in self._commands:
            return self.replies.get(name)
        self.refused.append(name)
        return f"-{self._words.replace('COMMAND', name)}\r\n".encode() if self._words != CLOSE else b""


class _Link:
    def __init__(self, proxy: RefusingProxy, client: socket.socket, server: socket.socket) -> None:
        self.lost = False
        self._proxy = proxy
        self._client = client
        self._server = server
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        for each in (self._client, self._server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        requests: Any = hiredis.Reader()
        with self._client, self._server, suppress(OSError):
            while data := self._client.recv(65_536):
                if self.lost:
                    continue
                requests.feed(data)
                while request := requests.gets():
                    answer = self._proxy.answer(request)
                    if answer is None:
                        self._server.sendall(_packed(request))
                        answer = self._reply()
                    if not answer:
                        return
                    self._client.sendall(answer)

    def _reply(self) -> bytes:
        """Of the server, one and whole."""
        nothing = object()
        replies, raw = hiredis.Reader(notEnoughData=nothing), b""
        while data := self._server.recv(65_536):
            raw += data
            replies.feed(data)
            if replies.gets() is not nothing:
                return raw
        return b""


def _packed(request: Any) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(request))
    return packed


OpenDriver = Callable[..., RedisDriver]
StartServer = Callable[..., Server]
OF_SETTINGS: Final = {Capability.AT_LEAST_ONCE, Capability.PERSISTENT, Capability.DURABILITY}
WORDS: Final = [
    "ERR unknown command 'COMMAND', with args beginning with: ",
    "ERR unknown command `COMMAND`",
    "NOPERM this user has no permissions to run the 'COMMAND' command",
    "NOPERM User queues has no permissions to run the 'COMMAND' command or its subcommand",
    "ERR Command is not available: 'COMMAND'. See the documentation",
    "ERR unsupported command 'COMMAND'",
    "ERR command COMMAND not support for normal user",
    "unsupported command 'COMMAND'",
    "ERR Unknown subcommand or wrong number of arguments for 'GET'. Try COMMAND HELP.",
    "DENIED by policy",
]


def use(driver: RedisDriver, queue: QueueKey) -> None:
    driver.ping()
    driver.health()
    driver.gc()
    [message_id] = driver.messages.post(queue, [EncodedMessage(b"1", 600)], client_id="c")
    assert [each.id for each in driver.messages.pop(queue, limit=1)] == [message_id]


@pytest.mark.parametrize("words", WORDS)
def test_commands_forbidden_in_any_words(
    start_server: StartServer, open_driver: OpenDriver, queue: QueueKey, words: str
) -> None:
    server = start_server("--appendonly", "yes", "--appendfsync", "always")
    with RefusingProxy(server.port, ["CONFIG", "INFO", "PING", "SCAN", "EVALSHA"], words) as proxy:
        driver = open_driver(proxy.port)
        use(driver, queue)
        assert OF_SETTINGS.isdisjoint(driver.capabilities)
        assert set(proxy.refused) == {"CONFIG", "INFO", "PING", "SCAN", "EVALSHA"}
        before = proxy.refused.count("EVALSHA")
        driver.messages.stats(queue)
        assert proxy.refused.count("EVALSHA") == before  # once was enough


@pytest.mark.parametrize("command", ["CONFIG", "INFO", "SCAN"])
def test_a_proxy_that_breaks_the_connection_instead(
    server: Server, open_driver: OpenDriver, queue: QueueKey, command: str
) -> None:
    with RefusingProxy(server.port, [command], CLOSE) as proxy:
        began = time.monotonic()
        driver = open_driver(proxy.port)
        use(driver, queue)
        assert time.monotonic() - began < 4  # of 5 to connect and 10 to use it
        assert (Capability.AT_LEAST_ONCE in driver.capabilities) is (command != "INFO")
        assert Capability.DURABILITY not in driver.capabilities


def test_a_connection_that_breaks_is_no_sign_of_life(start_server: StartServer, open_driver: OpenDriver) -> None:
    server = start_server("--requirepass", "secret")
    with RefusingProxy(server.port, ["PING"], CLOSE) as proxy:
        driver = open_driver(proxy.port, user=":secret@", timeout=0.5)
        with pytest.raises(StorageUnavailable, match="broke"):
            driver.ping()


def test_config_alone_forbidden(start_server: StartServer, open_driver: OpenDriver) -> None:
    server = start_server("--appendonly", "yes", "--appendfsync", "always", "--rename-command", "CONFIG", "")
    capabilities = open_driver(server.port).capabilities
    assert OF_SETTINGS & capabilities == {Capability.AT_LEAST_ONCE}


@pytest.mark.parametrize("version", ["unstable", "7", "255.255.255", "7.0-rc1", ""])
def test_an_odd_version(server: Server, open_driver: OpenDriver, version: str) -> None:
    with RefusingProxy(server.port) as proxy:
        text = f"redis_version:{version}\r\nused_memory:a lot\r\nrole:master\r\n"
        proxy.replies["INFO"] = f"${len(text)}\r\n{text}\r\n".encode()
        assert open_driver(proxy.port).health()["version"] == version


@pytest.mark.parametrize("command", ["INFO", "CONFIG", "SCAN"])
@pytest.mark.parametrize("reply", [b"+OK\r\n", b":1\r\n", b"*0\r\n", b"*1\r\n$1\r\na\r\n", b"$-1\r\n", b"*-1\r\n"])
def test_an_answer_that_no_server_gives(
    server: Server, open_driver: OpenDriver, queue: QueueKey, command: str, reply: bytes
) -> None:
    with RefusingProxy(server.port) as proxy:
        proxy.replies[command] = reply
        use(open_driver(proxy.port), queue)


def test_a_primary_without_role_behind_sentinels(start_server: StartServer, tmp_path: Path, queue: QueueKey) -> None:
    primary = start_server("--rename-command", "ROLE", "")
    replica = start_server("--rename-command", "ROLE", "", "--replicaof", "127.0.0.1", str(primary.port))
    sentinel = sentinel_server(redis_program(), tmp_path / "sentinel", primary.port)
    sentinel.start()
    try:
        uri = Uri.parse(f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0")
        with closing(RedisDriver.open(uri, connect_timeout=10, timeout=10)) as driver:
            use(driver, queue)
            topology = driver._queues.server._topology
            assert isinstance(topology, Sentinels)
            with closing(plain_client(replica.port)) as client:
                wait_until(lambda: client.info("replication")["master_link_status"] == "up", "it is a replica")
            with closing(to(replica)) as connection, pytest.raises(hiredis.ReplyError, match="READONLY"):
                topology._ensure_primary(connection, time.monotonic() + 10)
    finally:
        sentinel.kill()


def to(server: Server) -> Connection:
    return connect(Address("127.0.0.1", server.port), time.monotonic() + 10, login=Login(), tls=None)


def test_dead_idle_connections_cost_one_timeout(server: Server, open_driver: OpenDriver, queue: QueueKey) -> None:
    with RefusingProxy(server.port) as proxy:
        driver = open_driver(proxy.port, timeout=0.5)
        connections = driver._queues.server._topology.connections("", 0)
        with ThreadPoolExecutor(8) as pool:
            while len(connections._idle) < 8:
                list(pool.map(lambda _: driver.messages.stats(queue), range(100)))
        proxy.lose_connections()
        with pytest.raises(StorageUnavailable):
            driver.messages.stats(queue)
        for _ in range(8):
            driver.messages.stats(queue)
