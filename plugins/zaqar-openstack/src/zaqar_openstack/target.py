"""OpenStack Zaqar's Redis driver as a target of the conformance suite. Nothing else here needs zaqar-conformance.

Its own settings would make a run take days: a server that is not there is waited for ten times, a second longer each
time twice over. Three tries show the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from zaqar_conformance.servers import Server, free_port
from zaqar_conformance.target import ServerTarget, TargetError

ENVIRONMENT: Final = "ZAQAR_REDIS_SERVER"
"""The environment variable that names the server program to use."""
_PROGRAMS: Final = ("redis-server", "valkey-server")


class OpenStackRedisTarget(ServerTarget):
    """One server, which appends each change to a file; queues are registered in an SQLite file beside it."""

    name = "openstack-redis"
    scheme = "openstack+redis"
    depth = 9_000  # Enough to show how steeply its cost grows; with 100 000 one listing takes 13 s.
    options: ClassVar[str] = "max_reconnect_attempts=3&reconnect_sleep=0.1"

    def start(self, workspace: Path) -> str:
        if not self.servers:
            self.servers = [_server(workspace / "redis")]
            self.control = f"sqlite:///{workspace}/control.db"
        [server] = self.servers
        server.start()
        return self._uri(server.port)

    def unreachable_uri(self) -> str:
        return self._uri(free_port())

    def _uri(self, port: int) -> str:
        return f"openstack+redis://127.0.0.1:{port}/0?{self.options}"


class OpenStackRedisSmallTarget(OpenStackRedisTarget):
    """The same with small posts, so that what comes after one of thousands is seen too."""

    name = "openstack-redis-small"
    options = f"{OpenStackRedisTarget.options}&max_messages_per_post=1000"


def _server(folder: Path) -> Server:
    program = os.environ.get(ENVIRONMENT) or next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise TargetError(
            f"no Redis server was found; install redis-server or valkey-server so that it is on the PATH, "
            f"or name one in {ENVIRONMENT}"
        )

    def command(port: int) -> Sequence[str]:
        settings = ("--save", "", "--appendonly", "yes", "--appendfsync", "no")
        return [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *settings]

    return Server(command, folder, _answers)


def _answers(port: int) -> bool:
    with closing(redis.Redis(host="127.0.0.1", port=port, socket_timeout=2, retry=Retry(NoBackoff(), 0))) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
