"""Mutants that declare what they do not keep, or say wrong things of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.driver import ReferenceDriver
from zaqar_core.capabilities import Capability
from zaqar_core.contract import ClaimController
from zaqar_core.limits import Limits


@mutant("CAP-001")
class ClaimsAreDeclaredAndMissing(ReferenceDriver):
    """``CLAIMS`` is declared, and there is no controller for it."""

    claims: ClaimController | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if name != "claims":
            super().__setattr__(name, value)


@mutant("CAP-001")
class MoreIsDeclaredThanPossible(ReferenceDriver):
    """A connection declares what the driver's class says that none can have."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities | {Capability.DURABILITY}


@mutant("CAP-001")
class CapabilitiesComeAndGo(ReferenceDriver):
    """What is declared depends on what the server holds at that moment."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        holds = any(space.kind == "queues" for space, _ in self.state.records)
        return super().capabilities - ({Capability.POP} if holds else set())


@mutant("CAP-003", depth=4_000)
class ThroughputIsBoasted(ReferenceDriver):
    """``HIGH_THROUGHPUT`` is declared by a driver that looks at every message each time."""

    possible_capabilities: ClassVar[frozenset[Capability]] = ReferenceDriver.possible_capabilities | {
        Capability.HIGH_THROUGHPUT
    }


@mutant("STA-005", depth=4_000)
class FlatStatsAreBoasted(ReferenceDriver):
    """``FLAT_STATS`` is declared by a driver that counts every message each time."""

    possible_capabilities: ClassVar[frozenset[Capability]] = ReferenceDriver.possible_capabilities | {
        Capability.FLAT_STATS
    }


@mutant("CAP-004")
class HealthIsNoJson(ReferenceDriver):
    """``health`` gives values that JSON does not know."""

    def health(self) -> Mapping[str, object]:
        return {"seen": {1, 2}, "load": float("nan")}


@mutant("CAP-004")
class LimitsAreWiderThanTheFacades(ReferenceDriver):
    """A driver's limits allow more than the facade does."""

    limits = Limits(max_body_bytes=1 << 40)


@mutant("CAP-004")
class PingFailsAtTimes(ReferenceDriver):
    """``ping`` answers once and then raises: it closes what it asked through."""

    def ping(self) -> None:
        if vars(self).setdefault("pinged", 0):
            raise ValueError("I/O operation on closed connection")
        vars(self)["pinged"] = 1
