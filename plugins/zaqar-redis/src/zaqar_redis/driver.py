"""The driver: connects, says what holds for the server as it is set up, closes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Self

from zaqar_core import kit
from zaqar_core.capabilities import Capability
from zaqar_core.contract import Driver
from zaqar_core.errors import IncompatibleStorage
from zaqar_core.uri import Uri
from zaqar_redis import connect, facts, scripts, sweep
from zaqar_redis.claims import RedisClaims
from zaqar_redis.facts import Facts
from zaqar_redis.messages import RedisMessages
from zaqar_redis.options import options_of
from zaqar_redis.queues import Queues
from zaqar_redis.records import RedisRecords
from zaqar_redis.server import Server
from zaqar_redis.units import layout_key

LAYOUT: Final = b"2"
"""The version of the layout of keys. A driver refuses a store of another one."""


class RedisDriver(Driver):
    """Both planes in one database of a Redis or Valkey server, or in a cluster of them."""

    contract = 1
    possible_capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.CLAIMS,
            Capability.DELAY,
            Capability.POP,
            Capability.SUBSCRIPTIONS,
            Capability.ATOMIC_POST,
            Capability.IDEMPOTENT_POST,
            Capability.FIFO,
            Capability.STRICT_MARKERS,
            Capability.CONSISTENT_READS,
            Capability.EXCLUSIVE_CLAIMS,
            Capability.ATOMIC_RECORDS,
            Capability.EXACT_STATS,
            Capability.FLAT_STATS,
            Capability.HIGH_THROUGHPUT,
            Capability.SERVER_CLOCK,
            Capability.AT_LEAST_ONCE,
            Capability.PERSISTENT,
            Capability.DURABILITY,
            Capability.MULTI_PROCESS,
        }
    )

    messages: RedisMessages
    claims: RedisClaims
    records: RedisRecords

    def __init__(self, queues: Queues, capabilities: frozenset[Capability]) -> None:
        self._queues = queues
        self._capabilities = capabilities
        self.messages = RedisMessages(queues)
        self.claims = RedisClaims(queues)
        self.records = RedisRecords(queues)

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        deadline = kit.deadline(connect_timeout)
        options = options_of(uri)
        server = Server(connect.topology(uri, options), timeout=timeout)
        try:
            found = facts.read(server, deadline)
            if not server.clustered:
                facts.ensure_alone(found)
            _ensure_layout(server, options.prefix, deadline)
            server.was_right = True
        except BaseException:
            server.close()
            raise
        return cls(
            Queues(server, options.prefix), cls.possible_capabilities - facts.missing(found, promotes=server.promotes)
        )

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    def ping(self) -> None:
        server, deadline = self._queues.server, self._queues.deadline()
        for each in server.primaries(deadline):
            # A refusal is a sign of life as well, a connection that breaks is none.
            server.optional("PING", on=each, deadline=deadline, breaks=None)

    def health(self) -> Mapping[str, object]:
        first, *others = [each.shown() for each in self.facts()]
        return {"servers": [first, *others]} if others else first

    def gc(self) -> int:
        return sweep.everything(self._queues, self._queues.deadline())

    def close(self) -> None:
        self._queues.server.close()

    def facts(self) -> list[Facts]:
        """How the servers are set up now."""
        return facts.read(self._queues.server, self._queues.deadline())


def _ensure_layout(server: Server, prefix: str, deadline: float) -> None:
    found = server.run(scripts.OPEN, layout_key(prefix), LAYOUT, deadline=deadline)
    if found != LAYOUT:
        raise IncompatibleStorage(
            f"the keys under {prefix!r} have layout version {found.decode('utf-8', 'replace')}, this driver reads "
            f"version {LAYOUT.decode()}; use the version of zaqar-redis that made them, or another prefix"
        )
