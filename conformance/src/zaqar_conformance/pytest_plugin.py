"""``pytest --zaqar-conformance TARGET``: each check as a test item. Installed but unasked it does nothing.

The items hang below ``zaqar-conformance/TARGET``; ``-k`` chooses among them. What cannot pass or fail (unsupported, not
run, undecided) is skipped with its reason; a known failure is an expected one, and a failure once it does
not fail any more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from zaqar_conformance.check import Check
    from zaqar_conformance.known_failures import KnownFailure
    from zaqar_conformance.report import CheckResult
    from zaqar_conformance.session import CannotRun, Session

_SUITE = pytest.StashKey["Suite"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("zaqar-conformance", "Zaqar storage conformance")
    group.addoption(
        "--zaqar-conformance",
        metavar="TARGET",
        help="check a backend: the name of an installed target, a URI, or package.module:Class",
    )
    group.addoption(
        "--zaqar-conformance-profile",
        choices=("data", "control", "full"),
        default="full",
        help="what to check of it (full)",
    )
    group.addoption("--zaqar-conformance-seed", metavar="N", help="make randomised checks choose as with this seed")
    group.addoption("--zaqar-conformance-depth", type=_depth, metavar="N", help="how many messages 'many ahead' is")


def _depth(text: str) -> int:
    from zaqar_conformance.costs import deep_enough

    try:
        return deep_enough(int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


@pytest.hookimpl(tryfirst=True)  # so that what others select and sort includes these items
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("zaqar_conformance") is not None:
        suite = config.stash[_SUITE] = Suite(config)
        items.extend(suite.items(session))


def pytest_unconfigure(config: pytest.Config) -> None:
    suite = config.stash.get(_SUITE, None)
    if suite is not None:
        suite.close()


class Suite:
    """The checks of one target in this process, and the running target once a check needs it."""

    def __init__(self, config: pytest.Config) -> None:
        from zaqar_conformance import known_failures
        from zaqar_conformance.checks import all_checks
        from zaqar_conformance.engine import plan
        from zaqar_conformance.scoring import stale
        from zaqar_conformance.target import TargetError, find_target
        from zaqar_core import ZaqarError

        text = config.getoption("zaqar_conformance")
        path = ":" in text and "://" not in text
        try:
            self.target = find_target(None, text) if path else find_target(text)
            self.known = known_failures.load(self.target.known_failures)
        except (TargetError, known_failures.KnownFailuresError, ZaqarError) as error:
            raise pytest.UsageError(f"--zaqar-conformance: {error}") from error
        self.checks = plan(self.target, profile=config.getoption("zaqar_conformance_profile"))
        unmatched = stale(self.known, all_checks(), [])
        if unmatched:
            raise pytest.UsageError(f"{self.target.known_failures}: {'; '.join(unmatched)}")
        self._seed = config.getoption("zaqar_conformance_seed")
        self._depth = config.getoption("zaqar_conformance_depth")
        self._arguments = [f"--target={text}"] if path else []
        self._session: Session | None = None
        self._broken: CannotRun | None = None

    def items(self, session: pytest.Session) -> Iterator[pytest.Item]:
        """One item for each check, below one collector."""
        name = f"zaqar-conformance/{self.target.name}"
        parent = _Target.from_parent(session, name=name, nodeid=name)
        for check in self.checks:
            yield CheckItem.from_parent(parent, name=check.name, check=check, suite=self)

    def run(self, check: Check) -> CheckResult:
        """Run one check, on the target that the first one starts. Raises ``CannotRun``, the same for each."""
        from zaqar_conformance.session import CannotRun, Session

        if self._broken is not None:
            raise self._broken
        if self._session is None:
            session = Session(
                self.target, seed=self._seed, depth=self._depth, known=self.known, arguments=self._arguments
            )
            try:
                self._session = session.__enter__()
            except CannotRun as error:
                self._broken = error
                raise
        return self._session.run_check(check)

    def expected_to_fail(self, check: Check) -> KnownFailure | None:
        """The known failure that is about this check alone, so that the check makes it out of date by not failing."""
        for entry in self.known:
            if entry.covers(check) and sum(entry.covers(other) for other in self.checks) == 1:
                return entry
        return None

    def close(self) -> None:
        """Stop the target. Raises ``RuntimeError`` if it does not."""
        session, self._session = self._session, None
        if session is not None:
            session.__exit__(None, None, None)
            if "not stopped" in session.environment:
                raise RuntimeError(f"the target did not stop:\n{session.environment['not stopped']['traceback']}")


class _Target(pytest.Collector):
    """What the items hang below; they are made without collecting."""

    def collect(self) -> Iterable[pytest.Item]:
        return ()


class CheckItem(pytest.Item):
    """One check as a test."""

    def __init__(self, *, check: Check, suite: Suite, **node: Any) -> None:
        super().__init__(**node)
        self._check = check
        self._suite = suite
        # Whatever the host makes of warnings is about its own code.
        self.add_marker(pytest.mark.filterwarnings("default"))

    def runtest(self) -> None:
        from zaqar_conformance.outcomes import Outcome
        from zaqar_conformance.scoring import NOT_FAILING
        from zaqar_core.terminal import printable_lines

        result = self._suite.run(self._check)
        for note in result.notes:
            self.add_report_section("call", "conformance notes", printable_lines(note))
        # Plain values: these go from one process to another under xdist, and into pytest's own JUnit file.
        self.user_properties.append(("requirements", " ".join(result.requirements)))
        self.user_properties.append(("outcome", result.outcome.value))
        if result.outcome is Outcome.KNOWN_FAILURE:
            pytest.xfail(printable_lines(result.message))
        if result.outcome in (Outcome.FAILED, Outcome.NOT_IMPLEMENTED, Outcome.ERROR):
            raise CheckFailed(result)
        entry = self._suite.expected_to_fail(self._check)
        if entry is not None and result.outcome in NOT_FAILING:
            pytest.fail(f"[XPASS(strict)] take it out of {self._suite.target.known_failures}: {entry}", pytrace=False)
        if result.outcome is not Outcome.PASSED:
            reason = f"{result.outcome}: {result.message or 'it passed, but is not declared'}"
            pytest.skip(printable_lines(reason))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from zaqar_conformance.session import CannotRun
        from zaqar_core.terminal import printable_lines

        if isinstance(excinfo.value, CheckFailed):
            return str(excinfo.value)
        if isinstance(excinfo.value, CannotRun):
            return printable_lines(
                f"{excinfo.value.details}CannotRun: {excinfo.value}"
            )  # what it is chained to may hold secrets
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        assert self.parent is not None
        return self.parent.nodeid, None, self.name


class CheckFailed(Exception):
    """A check failed; the text says all that the command line would."""

    def __init__(self, result: CheckResult) -> None:
        from rich.console import Console

        from zaqar_conformance.requirements import load
        from zaqar_conformance.terminal import print_failure

        console = Console(width=120, color_system=None, highlight=False)
        with console.capture() as capture:
            print_failure(console, result, load())
        super().__init__(capture.get())
