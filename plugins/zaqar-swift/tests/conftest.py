"""A real Swift, drivers on it, and proxies in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import Server
from zaqar_core.contract import EncodedMessage, QueueKey, new_id
from zaqar_core.uri import Uri
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.server import uri
from zaqar_swift.target import coordinator_uri, redis_server, swift_server

OpenDriver = Callable[..., SwiftDriver]
StartServer = Callable[..., Server]
StartRedis = Callable[..., Server]
Post = Callable[..., list[str]]
Shown = Callable[[SwiftDriver], list[str]]

collect_ignore = [] if find_spec("keystone") else ["test_swift_keystone.py"]  # which ``nox -s keystone`` runs


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One replica, for all tests that do not hurt it."""
    one = swift_server(tmp_path_factory.mktemp("swift"))
    one.start()
    yield one
    one.kill()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts a cluster of the test's own, with settings such as ``"--token-life", "1"``."""
    with ExitStack() as stack:

        def start(*settings: str, replicas: int = 1) -> Server:
            one = swift_server(tmp_path / new_id(), *settings, replicas=replicas)
            stack.callback(one.kill)
            one.start()
            return one

        yield start


@pytest.fixture
def open_driver(server: Server) -> Iterator[OpenDriver]:
    """Opens a driver, on the server of all tests unless a port is given, and closes it after the test.

    ``through``: a proxy that its requests go through, the one for the token and all others.
    """
    with ExitStack() as stack:

        def open_one(
            port: int = 0, *, timeout: float = 20, through: Proxy | None = None, **options: object
        ) -> SwiftDriver:
            where = through.port if through else port or server.port
            driver = SwiftDriver.open(Uri.parse(uri(where), options), connect_timeout=20, timeout=timeout)
            stack.callback(driver.close)
            return driver

        yield open_one


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as one:
        yield one


@pytest.fixture
def driver(open_driver: OpenDriver) -> SwiftDriver:
    return open_driver()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A coordinator for all tests that do not hurt it."""
    one = redis_server(tmp_path_factory.mktemp("redis"), "--appendonly", "yes", "--appendfsync", "no")
    one.start()
    yield one
    one.kill()


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    """Starts one of the test's own."""
    with ExitStack() as stack:

        def start(*settings: str) -> Server:
            lasting = ("--appendonly", "yes", "--appendfsync", "no")
            one = redis_server(tmp_path / new_id(), *lasting, *settings, highest=55_535)  # as nodes of clusters need
            stack.callback(one.kill)
            one.start()
            return one

        yield start


@pytest.fixture
def prefix() -> str:
    """Of a store of the test's own."""
    return f"c{new_id()}"


@pytest.fixture
def open_with(open_driver: OpenDriver, redis: Server, prefix: str) -> OpenDriver:
    """Opens a driver on the test's store, with the coordinator of all tests unless another port is given."""

    def open_one(port: int = 0, **options: Any) -> SwiftDriver:
        options = {"prefix": prefix, "coordinator": coordinator_uri(port or redis.port), **options}
        return open_driver(**options)

    return open_one


@pytest.fixture(params=["alone", "coordinated"])
def open_either(request: pytest.FixtureRequest, open_driver: OpenDriver, open_with: OpenDriver) -> OpenDriver:
    """Opens a driver without a coordinator, and in a second run of the test one with a coordinator."""
    return open_with if request.param == "coordinated" else open_driver


@pytest.fixture
def queue() -> QueueKey:
    return QueueKey(f"project-{new_id()}", "queue")


@pytest.fixture
def post(queue: QueueKey) -> Post:
    """Posts messages to the test's queue; their ids."""

    def post_some(driver: SwiftDriver, count: int = 1, *, ttl: float = 600.0, body: bytes = b"1") -> list[str]:
        return driver.messages.post(queue, [EncodedMessage(body, ttl)] * count, client_id="client")

    return post_some


@pytest.fixture
def shown(queue: QueueKey) -> Shown:
    """The ids of the active messages of the test's queue, as far as one page goes."""

    def show(driver: SwiftDriver) -> list[str]:
        page = driver.messages.list(
            queue, marker=None, limit=100, exclude_client=None, include_claimed=False, include_delayed=False
        )
        return [message.id for message in page.items]

    return show
