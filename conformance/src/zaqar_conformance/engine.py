"""Runs the checks that a profile asks for against a target, and reports."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from queue import SimpleQueue
from typing import Protocol

from zaqar_conformance import known_failures
from zaqar_conformance.check import Check
from zaqar_conformance.checks import all_checks
from zaqar_conformance.interruptions import interruptible
from zaqar_conformance.report import CheckResult, Report
from zaqar_conformance.requirements import Profile, Requirement, load
from zaqar_conformance.scoring import capability_results, requirement_results, stale
from zaqar_conformance.session import Session
from zaqar_conformance.target import Target

_PATIENCE = 10.0
"""Seconds that lanes get to end their checks when a run ends early."""


class Progress(Protocol):
    """Is told how a run goes on."""

    def started(self, check: Check) -> None:
        """A check begins; called in any thread."""

    def finished(self, result: CheckResult) -> None:
        """A check has ended."""


class NothingMatches(ValueError):
    """What ``only`` names is neither a check nor a requirement that runs here."""


def run(
    target: Target,
    *,
    profile: Profile = "full",
    only: Sequence[str] = (),
    seed: str | None = None,
    depth: int | None = None,
    quick: bool = False,
    progress: Progress | None = None,
    checks: Iterable[Check] | None = None,
    arguments: Sequence[str] = (),
    until: Callable[[Sequence[CheckResult]], bool] | None = None,
) -> Report:
    """Run the checks of ``profile``, or those that ``only`` names, and report.

    ``quick``: leave out what takes long.
    ``seed``: text that makes randomised checks choose the same; a fresh one if None. ``arguments``: those of the
    command line that name the target, for the report. ``until``: asked after each check whether what was found is
    enough; the rest is not run then. An interruption (``KeyboardInterrupt``) ends the run, not the
    report. Raises ``NothingMatches``, ``CannotRun``, ``KnownFailuresError``.
    """
    everything = all_checks() if checks is None else list(checks)
    chosen = plan(target, profile=profile, only=only, checks=everything)
    known = known_failures.load(target.known_failures)
    started, begin = datetime.now(UTC), time.monotonic()
    results: list[CheckResult] = []
    interrupted = False
    with Session(target, seed=seed, depth=depth, quick=quick, known=known, arguments=arguments) as session:
        # What was registered at a datastore of somebody else's is told from who did what, so that one runs at a time.
        together = [check for check in chosen if check.waits and target.disposable]
        try:
            with (
                interruptible(),
                closing(_perform(session, chosen, together, target.at_once, progress)) as performed,
            ):
                for result in performed:
                    results.append(result)
                    if progress:
                        progress.finished(result)
                    if until and until(results):
                        break
        except KeyboardInterrupt:
            interrupted = True
    order = {check.name: place for place, check in enumerate(chosen)}
    results.sort(key=lambda result: order[result.name])
    contract = load()
    return Report(
        contract=contract.version,
        target=target.name,
        profile=profile,
        only=tuple(only),
        quick=quick,
        seed=session.seed,
        depth=session.depth,
        command=session.command(
            f"--profile={profile}", *(f"--only={each}" for each in only), *(["--effort=quick"] if quick else [])
        ),
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begin, 3),
        interrupted=interrupted,
        environment=session.environment,
        capabilities=capability_results(contract, session.capabilities, plan(target, checks=everything), results),
        requirements=requirement_results(
            [each for each in contract.requirements.values() if _applies(each, target, profile)], chosen, results, only
        ),
        checks=tuple(results),
        stale_known_failures=tuple(stale(known, everything, results)),
    )


def _perform(
    session: Session, chosen: Sequence[Check], together: Sequence[Check], lanes: int, progress: Progress | None
) -> Generator[CheckResult]:
    """Run those ``together`` in so many lanes, and then the others one after the other."""
    yield from _in_lanes(session, together, lanes, progress)
    for check in chosen:
        if check not in together:
            if progress:
                progress.started(check)
            yield session.run_check(check)


def _in_lanes(
    session: Session, checks: Sequence[Check], lanes: int, progress: Progress | None
) -> Generator[CheckResult]:
    """Run some at the same time: a lane has a datastore of its own, and what it runs does so one after the other."""
    done: SimpleQueue[CheckResult | BaseException] = SimpleQueue()
    over = threading.Event()

    def run_lane(mine: Sequence[Check]) -> None:
        try:
            with session.lane() as run_check:
                for check in mine:
                    if over.is_set():
                        return
                    if progress:
                        progress.started(check)
                    done.put(run_check(check))
        except BaseException as error:  # whatever it is: without it the run would wait for ever
            done.put(error)

    threads = [
        threading.Thread(target=run_lane, args=(checks[lane::lanes],), name=f"lane {lane}", daemon=True)
        for lane in range(min(lanes, len(checks)))
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in checks:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        over.set()
        # After an interruption some are still in a check. The session stops their datastores; the report waits no more.
        deadline = time.monotonic() + _PATIENCE
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))


def plan(
    target: Target, *, profile: Profile = "full", only: Sequence[str] = (), checks: Iterable[Check] | None = None
) -> list[Check]:
    """The checks to run, by section of the contract, in the order of definition.

    ``only``: names of checks and numbers of requirements, with ``*`` as in file names (``CLM-*``). Raises
    ``NothingMatches`` where one of them names nothing.
    """
    contract = load()
    requirements = contract.requirements
    order = [section.prefix for section in contract.sections]
    everything = all_checks() if checks is None else list(checks)
    chosen = [
        check
        for check in everything
        if any(
            _applies(requirements[number], target, profile) for number in check.requirements if number in requirements
        )
    ]
    for pattern in only:
        if not any(_named(check, pattern) for check in chosen):
            names = {name for check in chosen for name in (check.name, *check.requirements)}
            close = difflib.get_close_matches(pattern, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "see zaqar-conformance list"
            raise NothingMatches(f"--only {pattern} names no check that runs on {target.name} ({profile}); {hint}")
    if only:
        chosen = [check for check in chosen if any(_named(check, pattern) for pattern in only)]
    return sorted(chosen, key=lambda check: order.index(check.requirements[0][:3]))


def _applies(requirement: Requirement, target: Target, profile: Profile) -> bool:
    return profile in ("full", requirement.profile) and (requirement.layer == "driver" or target.reference)


def _named(check: Check, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (check.name, *check.requirements))
