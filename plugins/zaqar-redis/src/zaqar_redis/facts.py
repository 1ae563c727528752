"""How the server is set up, and which guarantees it cannot keep that way."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from zaqar_core.capabilities import Capability
from zaqar_core.errors import IncompatibleStorage, InvalidUri
from zaqar_redis.connections import Connections
from zaqar_redis.server import Server

OLDEST: Final = (6, 2)
_VERSION: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_EVICTING: Final = "allkeys-"
"""Policies that throw away keys without a ttl when memory is short: messages, that is."""
_WRITES_BEFORE_IT_ANSWERS: Final = ("always", "no")
"""Of ``appendfsync``. With everysec the server answers before it writes while an fsync of its own is under way."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What INFO and CONFIG GET say; empty where the server knows no such command, or the user may not ask."""

    info: Mapping[str, str]
    config: Mapping[str, str]

    @property
    def kind(self) -> str:
        """``redis``, ``valkey`` or the like."""
        return self.info.get("server_name", "redis")

    @property
    def version(self) -> str:
        """The server's own version; of Valkey not that of Redis that it is compatible with."""
        return self.info.get(f"{self.kind}_version", "") or self.info.get("redis_version", "")

    @property
    def evicts(self) -> bool | None:
        """Whether messages may be thrown away for want of memory; None if that is unknown."""
        if "maxmemory_policy" not in self.info:
            return None
        return self.info["maxmemory_policy"].startswith(_EVICTING) and self.info.get("maxmemory") != "0"

    @property
    def alone(self) -> bool:
        """Whether there is no replica that could be promoted without what the primary has acknowledged."""
        return self.info.get("role") == "master" and self.info.get("connected_slaves") == "0"

    def shown(self) -> dict[str, object]:
        """For an operator."""
        numbers = ("used_memory", "maxmemory", "connected_slaves", "connected_clients")
        texts = ("role", "maxmemory_policy", "aof_last_write_status", "rdb_last_bgsave_status")
        return {
            "server": self.kind,
            "version": self.version,
            **{name: int(self.info[name]) for name in numbers if _NUMBER.fullmatch(self.info.get(name, ""))},
            **{name: self.info[name] for name in texts if name in self.info},
            **{name: self.config[name] for name in ("appendonly", "appendfsync") if name in self.config},
        }


def read(server: Server, deadline: float) -> list[Facts]:
    """Of each server that holds keys. Raises ``IncompatibleStorage`` if one is too old."""
    return [_read(server, each, deadline) for each in server.primaries(deadline)]


def ensure_alone(servers: Sequence[Facts]) -> None:
    """Raises ``InvalidUri`` for a node of a cluster, which would take keys for others than its own."""
    if any(facts.info.get("cluster_enabled") == "1" for facts in servers):
        raise InvalidUri("the server is a node of a cluster; write redis+cluster:// or rediss+cluster://")


def _read(server: Server, on: Connections, deadline: float) -> Facts:
    facts = Facts(_read_info(server, on, deadline), _read_config(server, on, deadline))
    known = facts.info.get("redis_version", "")  # of Valkey that of Redis that it is compatible with
    found = _VERSION.match(known)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        raise IncompatibleStorage(f"the server is Redis {known}; this driver needs 6.2 or later, or Valkey")
    return facts


def missing(servers: Sequence[Facts], *, promotes: bool) -> frozenset[Capability]:
    """The guarantees that servers set up like this cannot keep. ``promotes``: whether another may take over."""
    lost = {Capability.PERSISTENT, Capability.DURABILITY} if promotes else set[Capability]()
    return frozenset(lost.union(*map(_missing, servers)))


def _missing(facts: Facts) -> set[Capability]:
    lost = set()
    keeps = facts.evicts is False
    if not keeps:
        lost.add(Capability.AT_LEAST_ONCE)
    logged = facts.config.get("appendonly") == "yes" and keeps and facts.alone
    if not logged or facts.config.get("appendfsync") not in _WRITES_BEFORE_IT_ANSWERS:
        lost.add(Capability.PERSISTENT)
    if not logged or durability_gaps(facts):
        lost.add(Capability.DURABILITY)
    return lost


def durability_gaps(facts: Facts) -> list[str]:
    """The settings with which a loss of power loses what was acknowledged."""
    wanted = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
    return [
        f"{name} is {facts.config.get(name, 'unknown')}, not {value}"
        for name, value in wanted.items()
        if facts.config.get(name) != value
    ]


def _read_info(server: Server, on: Connections, deadline: float) -> dict[str, str]:
    reply = server.optional("INFO", on=on, deadline=deadline)
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else ""
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}


def _read_config(server: Server, on: Connections, deadline: float) -> dict[str, str]:
    # One pattern for the three that matter: Redis 6.2 takes no list.
    reply = server.optional("CONFIG", "GET", "*append*", on=on, deadline=deadline)
    if isinstance(reply, list):
        reply = dict(zip(reply[::2], reply[1::2], strict=False))
    if not isinstance(reply, dict):
        return {}
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in reply.items()
        if isinstance(name, bytes) and isinstance(value, bytes)
    }
