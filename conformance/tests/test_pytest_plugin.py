"""The pytest plugin, in host projects that do what they can to be in its way."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("faulty")

HOSTILE = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider
filterwarnings = error
python_files = nothing_here_*.py
python_functions = nothing_*
xfail_strict = true
"""


@pytest.fixture
def host(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makefile(".ini", pytest=HOSTILE)
    return pytester


def test_unasked_it_does_nothing(host: pytest.Pytester) -> None:
    host.makepyfile(
        nothing_here_1="""
        import sys

        def nothing_is_loaded():
            loaded = {name for name in sys.modules if name.startswith(("zaqar_", "rich"))}
            assert loaded == {"zaqar_conformance", "zaqar_conformance.pytest_plugin"}
        """
    )
    result = host.runpytest_subprocess()
    result.assert_outcomes(passed=1)


def test_each_check_is_an_item(host: pytest.Pytester) -> None:
    result = host.runpytest_subprocess("-v", "--zaqar-conformance=memory", "--zaqar-conformance-profile=control")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["zaqar-conformance/memory::*PASSED*"])


def test_items_are_chosen_as_others_are(host: pytest.Pytester) -> None:
    result = host.runpytest_subprocess(
        "--zaqar-conformance=memory", "--collect-only", "-q", "-k", "no_such_check_at_all"
    )
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_with_xdist(host: pytest.Pytester) -> None:
    arguments = ("--zaqar-conformance=memory", "--zaqar-conformance-profile=control")
    alone, shared = host.runpytest_subprocess(*arguments), host.runpytest_subprocess("-n2", *arguments)
    assert shared.ret == 0
    assert shared.parseoutcomes()["passed"] == alone.parseoutcomes()["passed"]


CHECKS = """
import warnings
from zaqar_conformance import engine, checks
from zaqar_conformance.check import Check, Violation

def make(name, number, function):
    function.__doc__ = f"It is {name}."
    return Check(name, function, (number,))

def warns(env):
    warnings.warn("from a client library", DeprecationWarning)

def fails(env):
    raise Violation("MSG-001", "two ids for one message")

def disorders(env):
    raise Violation("MSG-025", "the order")

made = [
    make("warning", "MSG-001", warns),
    make("failing", "MSG-001", fails),
    make("known", "MSG-001", fails),
    make("broken", "MSG-001", lambda env: [][0]),
    make("unfinished", "POP-001", lambda env: env.storage.messages.pop(env.queue(), limit=1)),
    make("undeclared", "MSG-025", disorders),
    make("observed", "MSG-025", lambda env: env.note("measured 1")),
    make("fixed", "MSG-001", lambda env: None),
    make("withdrawn", "MSG-025", disorders),
    make("surpassed", "MSG-025", lambda env: None),
]
engine.all_checks = checks.all_checks = lambda: made

from zaqar_faulty import FaultyTarget

class Target(FaultyTarget):
    query = "fault=unfinished&without=FIFO"
    known_failures = __import__("pathlib").Path(__file__).with_name("known_failures.toml")

class DeadTarget(FaultyTarget):
    tries = 0

    def start(self, workspace):
        self.tries += 1
        raise RuntimeError(f"no such program, try {self.tries}")
"""


def known(*names: str) -> str:
    return "".join(f'[[failure]]\ncheck = "{name}"\nreason = "issue 12"\n' for name in names)


def test_outcomes_in_pytests_words(host: pytest.Pytester) -> None:
    host.makeconftest("import my_target")
    host.makepyfile(my_target=CHECKS)
    Path("known_failures.toml").write_text(known("known", "fixed", "withdrawn", "surpassed"))
    result = host.runpytest_subprocess("-rA", "--zaqar-conformance=my_target:Target", "--zaqar-conformance-seed=4")
    result.assert_outcomes(passed=1, failed=6, xfailed=1, skipped=2, warnings=1)
    result.stdout.fnmatch_lines_random(
        [
            "PASSED zaqar-conformance/faulty::warning",
            "XFAIL zaqar-conformance/faulty::known - issue 12*",
            "FAILED zaqar-conformance/faulty::failing*",
            "FAILED zaqar-conformance/faulty::broken*",
            "FAILED zaqar-conformance/faulty::unfinished*",
            "FAILED zaqar-conformance/faulty::fixed*XPASS(strict)*",
            "FAILED zaqar-conformance/faulty::withdrawn*XPASS(strict)*",
            "FAILED zaqar-conformance/faulty::surpassed*XPASS(strict)*",
            "*unsupported: FIFO is not declared*",
            "*observed: it passed, but is not declared*",
            "*reproduce: zaqar-conformance run --target=my_target:Target --only=failing --seed=4",
        ]
    )


def test_a_known_failure_that_is_about_nothing(host: pytest.Pytester) -> None:
    host.makeconftest("import my_target")
    host.makepyfile(my_target=CHECKS)
    Path("known_failures.toml").write_text(known("gone"))
    result = host.runpytest_subprocess("--zaqar-conformance=my_target:Target")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*gone*no check is or names it*"])


def test_a_depth_that_is_too_small(host: pytest.Pytester) -> None:
    result = host.runpytest_subprocess("--zaqar-conformance=memory", "--zaqar-conformance-depth=100")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--zaqar-conformance-depth: 100 is too few*take 101 at least"])


def test_an_unknown_target(host: pytest.Pytester) -> None:
    result = host.runpytest_subprocess("--zaqar-conformance=fualty")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*did you mean 'faulty'?*"])


def test_a_datastore_that_does_not_start_is_tried_once_and_fails_every_item(host: pytest.Pytester) -> None:
    host.makeconftest("import my_target")
    host.makepyfile(my_target=CHECKS)
    result = host.runpytest_subprocess("--zaqar-conformance=my_target:DeadTarget")
    result.assert_outcomes(failed=10)
    result.stdout.fnmatch_lines(["*CannotRun: the datastore of faulty cannot be used: RuntimeError: *try 1"])
    result.stdout.no_fnmatch_line("*try 2*")


def test_no_secret_is_shown_of_a_datastore_that_cannot_be_used(host: pytest.Pytester) -> None:
    uri = "faulty://u:p%40ss-w0rd@s?fault=tells+at+once"
    result = host.runpytest_subprocess(f"--zaqar-conformance={uri}", "-k", "post_returns or record_delete")
    assert result.parseoutcomes()["failed"] > 1
    result.stdout.fnmatch_lines(
        ["*CannotRun: the datastore of faulty://* cannot be used: BrokenDriver: *ValueError: [*][*][*], *"]
    )
    result.stdout.no_fnmatch_line("*ss-w0rd*")
