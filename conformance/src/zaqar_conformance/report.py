"""What a run found: frozen values, made by the engine, written as JSON for machines (``report.schema.json``)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from zaqar_conformance.costs import Cost
from zaqar_conformance.history import Operation, telling
from zaqar_conformance.outcomes import RAN, Outcome, writing_order
from zaqar_core.terminal import printable_lines

SCHEMA_VERSION = 2
HISTORY_LIMIT = 500
"""How many operations of a history the JSON report holds: those that offend and what is nearest to them, or the last.

``history_length`` says how many there were.
"""


class Verdict(StrEnum):
    """What the run says about a capability."""

    PROVEN = "proven"
    FAILED = "failed"
    UNPROVEN = "declared, unproven"
    """Declared, but something that would prove it did not run."""
    UNDECIDED = "undecided"
    OBSERVED = "observed, not promised"
    """Not declared, but every one of its checks passed."""
    NOT_DECLARED = "not declared"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What became of one check. ``requirement``: the number that was broken. ``history``: the operations that show it.

    ``message``: what was seen, or why it did not run. ``details``: a traceback. ``method``: what is not implemented.
    ``notes``: what the check measured, and what it left behind. ``offending``: where in ``history`` it shows; [] if
    everywhere, or if the check does not say. ``costs``: what it measured of cost against depth.
    """

    name: str
    summary: str
    requirements: tuple[str, ...]
    outcome: Outcome
    seconds: float = 0.0
    message: str = ""
    requirement: str | None = None
    method: str | None = None
    details: str = ""
    notes: tuple[str, ...] = ()
    history: tuple[Operation, ...] = ()
    offending: tuple[int, ...] = ()
    costs: tuple[Cost, ...] = ()
    reproduce: str = ""

    @property
    def blamed(self) -> tuple[str, ...]:
        """What a failure is about: the requirement that was broken, or, where that is not known, all that it names."""
        return (self.requirement,) if self.requirement else self.requirements


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """The outcome of a requirement, and the checks that name it."""

    id: str
    level: str
    layer: str
    capability: str | None
    text: str
    outcome: Outcome
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CapabilityResult:
    """What a capability came to. ``kind``: "feature" or "guarantee"."""

    name: str
    kind: str
    declared: bool
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """The whole of a run. Times: ``started`` as ISO 8601 in UTC, ``seconds`` the run's length. Holds no secret.

    ``quick``: what takes long was left out.
    """

    contract: int
    target: str
    profile: str
    only: tuple[str, ...]
    quick: bool
    seed: str
    depth: int
    command: str
    started: str
    seconds: float
    interrupted: bool
    environment: Mapping[str, Any]
    capabilities: tuple[CapabilityResult, ...]
    requirements: tuple[RequirementResult, ...]
    checks: tuple[CheckResult, ...]
    stale_known_failures: tuple[str, ...]

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How many checks came to each outcome."""
        return dict(Counter(check.outcome for check in self.checks))

    def failures(self) -> list[CheckResult]:
        """The checks that the driver failed, and that the suite did not get through."""
        return [check for check in self.checks if check.outcome in (Outcome.FAILED, Outcome.ERROR)]

    def missing_methods(self) -> dict[str, list[CheckResult]]:
        """What is not implemented: the methods in the order to write them, and the checks that wait for each."""
        missing: dict[str, list[CheckResult]] = {}
        for check in self.checks:
            if check.method is not None:
                missing.setdefault(check.method, []).append(check)
        return dict(sorted(missing.items(), key=lambda item: writing_order(item[0])))

    @property
    def exit_code(self) -> int:
        """0: all that had to pass passed. 1: something failed. 3: an error, an interruption, or nothing was decided."""
        shoulds = {requirement.id for requirement in self.requirements if requirement.level == "SHOULD"}
        broken = [check for check in self.checks if check.outcome in (Outcome.FAILED, Outcome.NOT_IMPLEMENTED)]
        if not all(shoulds.issuperset(check.blamed) for check in broken):
            return 1
        if self.stale_known_failures:
            return 1
        ran = any(check.outcome in RAN for check in self.checks)
        errors = any(check.outcome is Outcome.ERROR for check in self.checks)
        return 3 if errors or self.interrupted or "not stopped" in self.environment or not ran else 0

    def to_json(self) -> str:
        """The report as JSON, as ``report.schema.json`` describes it; safe to show in a terminal."""
        data = {"schema_version": SCHEMA_VERSION, **asdict(self), "exit_code": self.exit_code}
        data["outcomes"] = {outcome.value: self.outcomes.get(outcome, 0) for outcome in Outcome}
        data["missing_methods"] = {
            method: [check.name for check in checks] for method, checks in self.missing_methods().items()
        }
        for check in data["checks"]:
            check["history_length"] = len(check["history"])
            kept = telling(len(check["history"]), check["offending"], HISTORY_LIMIT)
            check["history"] = [check["history"][index] for index in kept]
            offending = set(check["offending"])
            check["offending"] = [place for place, index in enumerate(kept) if index in offending]
        # What is escaped here is still JSON: only strings hold such characters.
        return printable_lines(json.dumps(data, indent=2, ensure_ascii=False, default=str)) + "\n"
