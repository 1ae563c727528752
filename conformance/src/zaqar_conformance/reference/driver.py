"""The lifecycle of the reference driver. URI: ``memory://name``; the same name, in one process, is the same store."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_conformance.reference.state import State, milliseconds
from zaqar_core.capabilities import Capability
from zaqar_core.contract import Driver
from zaqar_core.errors import InvalidOption, InvalidUri, StorageUnavailable
from zaqar_core.uri import Uri, read_options

_stores: dict[str, State] = {}
_stores_lock = threading.Lock()


@dataclass(frozen=True)
class ReferenceOptions:
    """``create``: false refuses to open a store that is not there yet. ``without``: capabilities not to declare."""

    create: bool = True
    without: str = ""


class ReferenceDriver(Driver):
    """Every promise that a single process without a disk, looking at every message each time, can keep."""

    contract: ClassVar[int] = 1
    possible_capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability) - {
        Capability.FLAT_STATS,
        Capability.HIGH_THROUGHPUT,
        Capability.PERSISTENT,
        Capability.DURABILITY,
        Capability.FAILOVER_SAFE,
        Capability.MULTI_PROCESS,
    }

    state_class: ClassVar[type[State]] = State
    """What it is made of; mutants put another class into one of these four places."""
    messages_class: ClassVar[type[ReferenceMessages]] = ReferenceMessages
    claims_class: ClassVar[type[ReferenceClaims]] = ReferenceClaims
    records_class: ClassVar[type[ReferenceRecords]] = ReferenceRecords

    without: frozenset[Capability] = frozenset()

    def __init__(self, state: State) -> None:
        self.state = state
        self.messages = self.messages_class(state)
        self.claims = self.claims_class(state)
        self.records = self.records_class(state)

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        options = read_options(ReferenceOptions, uri)
        if uri.path not in ("", "/") or not uri.hosts:
            raise InvalidUri(f"{uri} is no store in memory; write memory://name")
        with _stores_lock:
            if uri.hosts not in _stores and not options.create:
                raise StorageUnavailable(
                    f"no store {uri.hosts!r} in this process; open it with create=true first"
                ) from (KeyError(uri.hosts))
            driver = cls(_stores.setdefault(uri.hosts, cls.state_class()))
        driver.without = undeclared(options.without)
        return driver

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.possible_capabilities - self.without

    def ping(self) -> None:
        """It is in this process: alive if anything is."""

    def health(self) -> Mapping[str, object]:
        return {"stores": len(_stores)}

    def close(self) -> None:
        """Nothing to let go of; the store stays for others in the process."""


def forget(store: str) -> None:
    """Let a store go, with all that it holds."""
    with _stores_lock:
        _stores.pop(store, None)


def set_ahead(store: str, seconds: float) -> None:
    """Move the clock of a store."""
    _stores[store].ahead = milliseconds(seconds)


def undeclared(names: str) -> frozenset[Capability]:
    """The capabilities that the option ``without`` names. Raises ``InvalidOption``."""
    return frozenset(map(_capability, filter(None, names.split(","))))


def _capability(name: str) -> Capability:
    if name not in Capability.__members__:
        raise InvalidOption(
            f"option without={name!r} is no capability; write its name, such as POP, several with commas"
        )
    return Capability[name]
