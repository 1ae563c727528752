"""Which server has a key, and where to look when it turns out not to: one server, Sentinels, a cluster."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from binascii import crc_hqx
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import hiredis

from zaqar_core.errors import InvalidUri, OutcomeUnknown, StorageUnavailable
from zaqar_redis.connections import Connections
from zaqar_redis.errors import Broken, Later, NoCluster, NotConnected, NotThisServer
from zaqar_redis.options import Address
from zaqar_redis.wire import Connection, packed

Make = Callable[[Address, float], Connection]
"""Connects by a deadline, and raises ``connections.FAILURES``."""
_SLOTS: Final = 16_384
_WHICH_SLOTS: Final = packed(("CLUSTER", "SLOTS"))
_LEAST_SHARE: Final = 0.05
"""Seconds for which each of several servers is asked at least, should the time not end before."""


class Topology(ABC):
    """Knows the servers. Threads share it, and so does the child of a fork: it has no lock."""

    declares_keys = False
    """Whether the servers have to be told all keys of a script."""
    promotes = False
    """Whether another server, which may lack what was acknowledged, takes over when one is gone."""

    @abstractmethod
    def connections(self, key: str, deadline: float) -> Connections:
        """To the server that has this key."""

    @abstractmethod
    def primaries(self, deadline: float) -> Sequence[Connections]:
        """To each of the servers that hold keys."""

    def changed(self, error: NotConnected | NotThisServer) -> bool:
        """Whether there may be another server to try, after this error of the one that was asked."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection. Twice is once."""


class OneServer(Topology):
    """A server that has everything."""

    def __init__(self, make: Make, address: Address, *, limit: int) -> None:
        self._connections = Connections(partial(make, address), str(address), limit=limit)

    def connections(self, key: str, deadline: float) -> Connections:
        return self._connections

    def primaries(self, deadline: float) -> Sequence[Connections]:
        return [self._connections]

    def close(self) -> None:
        self._connections.close()


class Sentinels(Topology):
    """The server that Sentinels say is the primary, asked whenever a connection is made.

    ``ask`` connects to a Sentinel. ``probe``: a key that need not exist, to see whether a server takes writes.
    """

    promotes = True

    def __init__(
        self, make: Make, ask: Make, sentinels: Sequence[Address], service: str, *, limit: int, probe: str
    ) -> None:
        self._make = make
        self._sentinels = [Connections(partial(ask, each), f"the Sentinel {each}", limit=limit) for each in sentinels]
        self._answered: Sequence[Connections] = ()
        """The Sentinel that knew it last time."""
        self._service = service
        self._probe = probe
        self._connections = Connections(self._connect, f"the primary {service!r}", limit=limit)

    def connections(self, key: str, deadline: float) -> Connections:
        return self._connections

    def primaries(self, deadline: float) -> Sequence[Connections]:
        return [self._connections]

    def changed(self, error: NotConnected | NotThisServer) -> bool:
        self._connections.forget()
        return True

    def close(self) -> None:
        for each in [*self._sentinels, self._connections]:
            each.close()

    def _connect(self, deadline: float) -> Connection:
        """To the primary as it is now."""
        connection = self._make(self._primary(deadline), deadline)
        try:
            self._ensure_primary(connection, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def _primary(self, deadline: float) -> Address:
        request = packed(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service))
        failures: list[StorageUnavailable] = []
        known = list(dict.fromkeys([*self._answered, *self._sentinels]))
        for left, sentinel in zip(range(len(known), 0, -1), known, strict=True):
            try:
                found: Any = sentinel.execute(request, _share(deadline, left + 1))
            except StorageUnavailable as error:
                failures.append(error)
                continue
            finally:
                sentinel.forget()  # it is seldom asked
            if found is not None:
                try:
                    host, port = found
                    address = Address(host.decode(), int(port))
                except (ValueError, TypeError, AttributeError) as error:
                    raise StorageUnavailable(f"{sentinel.where} gave an answer that no Sentinel gives") from error
                self._answered = [sentinel]
                return address
        if not failures:
            raise InvalidUri(
                f"the Sentinels know no primary {self._service!r}; write a name that SENTINEL MASTERS lists"
            )
        passing = any(isinstance(each, Later | Broken | NotConnected | OutcomeUnknown) for each in failures)
        raise (NotConnected if passing else StorageUnavailable)(
            f"no Sentinel says which server is the primary {self._service!r}; check the URI, and the options "
            f"sentinel_username and sentinel_password. Nothing was done. The last one: {failures[-1]}"
        ) from failures[-1]

    def _ensure_primary(self, connection: Connection, deadline: float) -> None:
        """What Sentinels say may be out of date. Raises ``connections.FAILURES``."""
        try:
            role = connection.ask("ROLE", deadline=deadline)
        except hiredis.ReplyError:  # a managed server may know no ROLE: then a write that does nothing tells
            try:
                connection.ask("UNLINK", self._probe, deadline=deadline)
            except hiredis.ReplyError as error:
                if str(error).startswith(("READONLY", "MASTERDOWN", "LOADING")):
                    raise
            return
        if isinstance(role, list) and role[:1] != [b"master"]:
            raise hiredis.ReplyError("READONLY it is a replica by now")


class Cluster(Topology):
    """Servers that share the slots of keys; ``seeds`` are those that are asked first."""

    declares_keys = True

    def __init__(self, make: Make, seeds: Sequence[Address], *, limit: int) -> None:
        self._make = make
        self._seeds = seeds
        self._limit = limit
        self._pools: dict[Address, Connections] = {}
        self._slots: Sequence[Address | None] = ()
        self._answered: Sequence[Address] = ()
        self._closed = False

    def connections(self, key: str, deadline: float) -> Connections:
        address = (self._slots or self._learn(deadline))[slot_of(key)]
        if address is None:
            self._slots = ()
            raise NotConnected("the cluster has no server for this queue's slot; check it with CLUSTER NODES")
        return self._pool(address)

    def primaries(self, deadline: float) -> Sequence[Connections]:
        slots = self._learn(deadline)
        return [self._pool(address) for address in dict.fromkeys(slots) if address is not None]

    def changed(self, error: NotConnected | NotThisServer) -> bool:
        self._slots = ()
        return True

    def close(self) -> None:
        self._closed = True
        for pool in list(self._pools.values()):
            pool.close()

    def _pool(self, address: Address) -> Connections:
        pool = self._pools.get(address)
        if pool is None:
            fresh = Connections(partial(self._make, address), str(address), limit=self._limit)
            pool = self._pools.setdefault(address, fresh)
        if self._closed:
            pool.close()
        return pool

    def _forget_others(self, slots: Sequence[Address | None]) -> None:
        """Drop the connections to servers that have no slots. Operations under way end with the one that they have."""
        wanted = {*slots, *self._seeds, *self._answered}
        for address, pool in list(self._pools.items()):
            if address not in wanted:
                self._pools.pop(address, None)
                pool.forget()

    def _learn(self, deadline: float) -> Sequence[Address | None]:
        """Ask one server after the other which has which slots, the one that knew it last time first."""
        known = list(dict.fromkeys([*self._answered, *self._pools, *self._seeds]))
        failure: StorageUnavailable | None = None
        try:
            for left, address in zip(range(len(known), 0, -1), known, strict=True):
                try:
                    reply = self._pool(address).execute(_WHICH_SLOTS, _share(deadline, left))
                    self._slots = _slots_of(reply, address)
                except NoCluster as error:
                    raise InvalidUri(str(error)) from error
                except StorageUnavailable as error:
                    failure = error
                    continue
                self._answered = [address]
                self._forget_others(self._slots)
                return self._slots
            raise NotConnected(f"no server of the cluster answers, the last one: {failure}") from failure
        finally:
            del failure  # or it would hold itself, by its traceback and this frame


def slot_of(key: str) -> int:
    """Of the key's hash tag, which all keys of this driver have."""
    tag = key.partition("{")[2].partition("}")[0] or key
    return crc_hqx(tag.encode(), 0) % _SLOTS


def _share(deadline: float, parts: int) -> float:
    """The end of the first of ``parts`` equal parts of the time left."""
    now = time.monotonic()
    return min(deadline, now + max(_LEAST_SHARE, (deadline - now) / parts))


def _slots_of(reply: Any, asked: Address) -> list[Address | None]:
    slots: list[Address | None] = [None] * _SLOTS
    try:
        for first, last, (host, port, *_), *_ in reply:
            address = Address(host.decode() if host else asked.host, int(port))
            slots[first : last + 1] = [address] * (last + 1 - first)
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageUnavailable(f"{asked} gave an answer to CLUSTER SLOTS that no Redis gives") from error
    return slots[:_SLOTS]
