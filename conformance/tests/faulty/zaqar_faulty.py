"""A driver with faults to choose in its URI, as installed as any other, and targets for it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from zaqar_conformance.reference import ReferenceDriver
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_conformance.reference.state import State
from zaqar_conformance.target import Target
from zaqar_core import Capability, QueueStats
from zaqar_core.contract import EncodedMessage, QueueKey, Space, StoredMessage, new_id
from zaqar_core.errors import StorageUnavailable
from zaqar_core.uri import Uri, read_options


@dataclass(frozen=True)
class Options:
    fault: str = ""
    without: str = ""
    token: str = ""


class FaultyMessages(ReferenceMessages):
    def __init__(self, state: State, fault: str) -> None:
        super().__init__(state)
        self.fault = fault

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        if self.fault == "unwritten":
            raise NotImplementedError
        return super().post(queue, messages, client_id=client_id)

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        if self.fault == "leaks":
            raise KeyError("a client's exception, with the token s3cret")
        if self.fault.startswith("tells "):
            raise KeyError(self.fault)
        if self.fault == "loses":
            return None
        return super().first(queue, newest=newest)

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        if self.fault == "unfinished":
            return self._later()
        if self.fault == "pops-fail":
            raise StorageUnavailable("try again")
        return super().pop(queue, limit=limit)

    def _later(self) -> Sequence[StoredMessage]:
        raise NotImplementedError

    def stats(self, queue: QueueKey) -> QueueStats:
        if self.fault == "hangs":
            time.sleep(3600)
        return super().stats(queue)


class KeepingRecords(ReferenceRecords):
    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        return True


class FaultyDriver(ReferenceDriver):
    states: ClassVar[dict[str, State]] = {}
    options: Options
    said: Mapping[str, Any]

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        options = read_options(Options, uri)
        if options.fault == "unopened":
            raise NotImplementedError
        told = f"{uri.password}, {uri.authority} and {options.token}"
        if options.fault == "tells at once":
            raise ValueError(told)
        if options.fault == "unreachable":
            raise StorageUnavailable("nobody answers")
        state = cls.states.setdefault(uri.hosts, State())
        driver = cls(state)
        driver.options = options
        tells = options.fault == "tells"
        driver.said = {told: [told, {"who": told}]} if tells else {}
        driver.messages = FaultyMessages(state, f"tells {told}" if tells else options.fault)
        if options.fault == "keeps":
            driver.records = KeepingRecords(state)
        return driver

    def health(self) -> dict[str, Any]:
        return {**super().health(), **self.said}

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.possible_capabilities - {Capability[name] for name in self.options.without.split(",") if name}


class FaultyTarget(Target):
    name = "faulty"
    scheme = "faulty"
    embedded = True
    depth = 1000
    query = ""
    started: ClassVar[list[Target]] = []
    stopped: ClassVar[list[Target]] = []

    def __init__(self) -> None:
        self._uri = f"faulty://{new_id().lower()}?{self.query}".rstrip("?")

    def start(self, workspace: Path) -> str:
        assert not list(workspace.iterdir())
        self.started.append(self)
        return self._uri

    def stop(self) -> None:
        self.stopped.append(self)


class DeadTarget(FaultyTarget):
    name = "faulty-dead"

    def start(self, workspace: Path) -> str:
        raise RuntimeError("no such program: faultyd; install it")


class DeafTarget(FaultyTarget):
    name = "faulty-deaf"

    def stop(self) -> None:
        raise RuntimeError("faultyd is deaf")


class DeafAndDeadTarget(DeafTarget):
    def start(self, workspace: Path) -> str:
        raise RuntimeError("faultyd died; look at its log")


class NoTarget:
    """A class that is no target."""
