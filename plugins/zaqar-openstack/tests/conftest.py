"""These tests need OpenStack Zaqar: ``nox -s 'conformance(openstack-redis)'`` installs it and runs them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from zaqar_core import connect
from zaqar_core.contract import QueueKey, new_id

if TYPE_CHECKING:
    from zaqar_openstack.driver import OpenStackDriver

collect_ignore_glob = [] if find_spec("zaqar") else ["test_*.py"]


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server's, for all tests."""
    from zaqar_openstack.target import OpenStackRedisTarget

    target = OpenStackRedisTarget()
    yield target.start(tmp_path_factory.mktemp("server"))
    target.stop()


@pytest.fixture
def driver(uri: str) -> Iterator[OpenStackDriver]:
    from zaqar_openstack.driver import OpenStackDriver

    with connect(uri) as storage:
        assert isinstance(storage.driver, OpenStackDriver)
        yield storage.driver


@pytest.fixture
def queue() -> QueueKey:
    return QueueKey(f"project-{new_id()}", "queue")
