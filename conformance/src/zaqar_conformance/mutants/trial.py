"""Runs mutants through the checks of the requirements that they break, and says which saw it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from zaqar_conformance.engine import run
from zaqar_conformance.mutants.zoo import find
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.target import find_target

APART = ("CAP-003", "STA-005")
"""What is measured, and so not asked of a control while others work."""


@dataclass(frozen=True)
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


def try_mutant(name: str, seed: str | None = None) -> Trial:
    """Run the mutant, or the control of the zoo, of that name once, through the checks that name what it breaks."""
    mutant = find(name)
    with mutant.applied():
        return _run(name, mutant.requirements, mutant.target(), mutant.checked, seed)


def try_target(name: str, seed: str | None = None) -> Trial:
    """Run an installed target once, through every check but those that measure."""
    from zaqar_conformance.checks import all_checks

    checks = [check for check in all_checks() if not set(APART) & set(check.requirements)]
    return _run(name, (), find_target(name), (), seed, checks)


def try_all(jobs: Sequence[tuple[str, bool]], processes: int) -> Iterator[Trial]:
    """Run each (name, whether it is a target) in one of so many processes; the trials as they end."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(try_target if target else try_mutant, name) for name, target in jobs]
        for done in as_completed(waiting):
            yield done.result()


def _run(name, required, target, only, seed, checks=None) -> Trial:
    began = time.monotonic()
    report = run(target, only=only, seed=seed, checks=checks)
    trial = Trial(name, required)
    ran = 0
    for result in report.checks:
        ran += result.outcome not in (Outcome.NOT_RUN, Outcome.UNSUPPORTED)
        if result.outcome is Outcome.ERROR:
            trial.errors.append(f"{result.name}: {result.message}")
        elif result.outcome in (Outcome.FAILED, Outcome.NOT_IMPLEMENTED):
            seen = [result.requirement] if result.requirement else result.requirements
            for number in seen:
                trial.caught.setdefault(number, []).append(result.name)
            trial.said.append(f"{result.name}: {result.message}")
    return Trial(name, required, trial.caught, trial.errors, trial.said, ran, round(time.monotonic() - began, 2))
