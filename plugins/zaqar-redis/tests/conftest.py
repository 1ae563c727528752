"""A real server, drivers and plain clients on it, and proxies in front of it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import trustme

from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import Server, redis_program
from zaqar_core.contract import QueueKey, new_id
from zaqar_core.uri import Uri
from zaqar_redis.driver import RedisDriver
from zaqar_redis.target import redis_server

OpenDriver = Callable[..., RedisDriver]
StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that keeps nothing, for all tests that do not hurt it."""
    one = redis_server(redis_program(), tmp_path_factory.mktemp("redis"))
    one.start()
    yield one
    one.kill()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts a server of the test's own, with settings such as ``"--maxmemory", "10mb"``."""
    with ExitStack() as stack:

        def start(*settings: str) -> Server:
            one = redis_server(redis_program(), tmp_path / f"redis-{new_id()}", *settings)
            stack.callback(one.kill)
            one.start()
            return one

        yield start


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis(host="127.0.0.1", port=server.port) as one:
        yield one


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as one:
        yield one


@pytest.fixture
def open_driver(server: Server) -> Iterator[OpenDriver]:
    """Opens a driver, on the server of all tests unless a port is given, and closes it after the test."""
    with ExitStack() as stack:

        def open_one(
            port: int = 0, *, user: str = "", timeout: float = 10, connect_timeout: float = 5, **options: object
        ) -> RedisDriver:
            uri = Uri.parse(f"redis://{user}127.0.0.1:{port or server.port}/0", options)
            driver = RedisDriver.open(uri, connect_timeout=connect_timeout, timeout=timeout)
            stack.callback(driver.close)
            return driver

        yield open_one


@pytest.fixture
def driver(open_driver: OpenDriver) -> RedisDriver:
    return open_driver()


@pytest.fixture
def queue() -> QueueKey:
    return QueueKey(f"project-{new_id()}", "queue")


@pytest.fixture(scope="session")
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
