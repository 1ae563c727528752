"""Runs mutants through the checks of the requirements that they break, and says which saw it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from zaqar_conformance.checks import all_checks
from zaqar_conformance.engine import run
from zaqar_conformance.mutants.zoo import find
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.report import CheckResult
from zaqar_conformance.target import find_target

APART = ("CAP-003", "STA-005")
"""What is measured, and so not asked of a control while others work."""


@dataclass
class Trial:
    """One run of a mutant, or of a control.

    ``caught``: the requirements seen broken, each with the checks that saw it. ``errors``: checks that broke
    themselves. ``required``: what had to be seen broken; nothing, of a control.
    """

    name: str
    required: tuple[str, ...]
    caught: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    ran: int = 0
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """A mutant was caught for all that it breaks; a control was found clean."""
        if self.errors or not self.ran:
            return False
        return set(self.required) <= self.caught.keys() if self.required else not self.caught

    @property
    def wrong(self) -> str:
        """What was said instead of what had to be; "" if it is right."""
        if self.right:
            return ""
        others = [f"{check} saw {number}" for number, checks in self.caught.items() for check in checks]
        return "; ".join([*self.errors, *others, *self.said]) or f"nothing was seen by {self.ran} checks"


def try_mutant(name: str, seed: str | None = None, *, briefly: bool = False) -> Trial:
    """Run the mutant, or the control of the zoo, of that name once, through the checks that name what it breaks.

    ``briefly``: only until it is caught.
    """
    mutant = find(name)

    def caught(results: Sequence[CheckResult]) -> bool:
        return bool(mutant.requirements) and _judged(name, mutant.requirements, results).right

    with mutant.applied():
        report = run(mutant.target(), only=mutant.checked, seed=seed, until=caught if briefly else None)
    return _judged(name, mutant.requirements, report.checks)


def try_target(name: str, seed: str | None = None, only: Sequence[str] = ()) -> Trial:
    """Run an installed target once, through every check but those that measure."""
    checks = [check for check in all_checks() if not set(APART) & set(check.requirements)]
    return _judged(name, (), run(find_target(name), only=only, seed=seed, checks=checks).checks)


@dataclass(frozen=True)
class Job:
    """What to run: a mutant, or a control of the zoo; or a target. ``briefly``: see ``try_mutant``."""

    name: str
    target: bool = False
    briefly: bool = False

    def __call__(self) -> Trial:
        return try_target(self.name) if self.target else try_mutant(self.name, briefly=self.briefly)


def try_all(jobs: Sequence[Job], processes: int, seconds: float | None = None) -> Iterator[Trial]:
    """Do the jobs, so many at once, each in a process; the trials as they end, of those that do within ``seconds``."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(job) for job in jobs]
        try:
            for done in as_completed(waiting, seconds):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _judged(name: str, required: tuple[str, ...], results: Sequence[CheckResult]) -> Trial:
    """What the results of a run say of a mutant."""
    trial = Trial(name, required, seconds=sum(result.seconds for result in results))
    trial.ran = sum(result.outcome not in (Outcome.NOT_RUN, Outcome.UNSUPPORTED) for result in results)
    for result in results:
        if result.outcome is Outcome.ERROR:
            trial.errors.append(f"{result.name}: {result.message}")
        elif result.outcome in (Outcome.FAILED, Outcome.NOT_IMPLEMENTED):
            for number in [result.requirement] if result.requirement else result.requirements:
                trial.caught.setdefault(number, []).append(result.name)
            trial.said.append(f"{result.name}: {result.message}")
    return trial
