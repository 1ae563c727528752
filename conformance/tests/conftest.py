"""What several modules of tests use: the driver of ``faulty/``, as if installed; a report; mutants, one a test."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zaqar_conformance.check import Check, NotRun, Undecided, Violation
from zaqar_conformance.costs import NOT_COUNTED, Cost
from zaqar_conformance.engine import run
from zaqar_conformance.env import Env
from zaqar_conformance.history import Operation
from zaqar_conformance.judge import claimed_twice, demand
from zaqar_conformance.mutants import all_mutants
from zaqar_conformance.mutants.trial import Trial, try_mutant
from zaqar_conformance.reading import ReportData
from zaqar_conformance.target import find_target


@pytest.fixture(autouse=True)
def path() -> Iterator[None]:
    """What a test puts on the path, such as the distribution of mutants, goes with it."""
    before = sys.path[:]
    yield
    sys.path[:] = before


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(Path(__file__).parent / "faulty")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH")))))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    themes = getattr(metafunc.module, "THEMES", ())
    if themes:
        # Some modules a file: pytest-xdist gives a file to one process.
        names = [mutant.name for mutant in all_mutants() if mutant.theme in themes]
        metafunc.parametrize("trial", names, indirect=True)


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    """One run of the mutant; another if it was not caught, as one in twenty need not be on a busy machine."""
    first = try_mutant(request.param)
    return first if first.right else try_mutant(request.param)


HOSTILE = (
    "</code></script><script>alert('driver')</script><img src=http://127.0.0.1:1/x onerror=alert(1)> & \"it's\" `so`"
)
"""What a driver might say."""


@pytest.fixture(scope="session")
def told() -> ReportData:
    """A report with something of every kind to show: failures with and without history, costs, what is not decided."""
    checks = [
        Check("passes", passes, ("MSG-001",)),
        Check("sees_a_message_claimed_twice", sees_a_message_claimed_twice, ("CLM-019",)),
        Check("sees_what_a_driver_says", sees_what_a_driver_says, ("MSG-013",)),
        Check("waits_for_a_method", waits_for_a_method, ("POP-001",)),
        Check("is_undecided", is_undecided, ("STA-005",)),
        Check("cannot_run", cannot_run, ("MSG-002",)),
        Check("costs_too_much", costs_too_much, ("MSG-003",)),
    ]
    report: ReportData = json.loads(run(find_target("memory"), checks=checks, seed="7").to_json())
    return report


@pytest.fixture
def told_file(told: ReportData, tmp_path: Path) -> Path:
    """The same in a file."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(told), "utf-8")
    return path


def passes(env: Env) -> None:
    """``It`` passes."""
    env.note("measured 1")


def sees_a_message_claimed_twice(env: Env) -> None:
    """It sees a message in two claims: one other call was refused, of one nobody knows."""
    ms = 1_000_000
    claimed = {"ttl": 60.0, "grace": 0.0, "limit": 1}

    def claim(client: str, start: int, end: int, claim_id: str | None) -> Operation:
        result = {"id": claim_id, "messages": ["message-one-id"] if claim_id else []}
        return Operation(client, "claims.create", "q", claimed, start, end, "ok", result)

    posted = {"count": 1, "ttl": 300.0, "delay": 0.0}
    deleted = {"id": "message-one-id", "claim": None}
    demand(
        "CLM-019",
        claimed_twice(
            [
                Operation("producer", "messages.post", "q", posted, 0, 2 * ms, "ok", ["message-one-id"]),
                claim("worker-1", 3 * ms, 9 * ms, "claim-one-id"),
                claim("worker-2", 4 * ms, 8 * ms, "claim-two-id"),
                Operation("worker-3", "messages.delete", "q", deleted, 900 * ms, 902 * ms, "unknown"),
                Operation(
                    "worker-1", "claims.update", "q", {"id": "claim-one-id", "ttl": 9.0}, 901 * ms, 903 * ms, "refused"
                ),
            ]
        ),
    )


def sees_what_a_driver_says(env: Env) -> None:
    """It sees what a driver says."""
    history = [Operation(HOSTILE, "messages.post", "q", {"x": HOSTILE}, 0, 1, "ok", HOSTILE)]
    raise Violation("MSG-013", HOSTILE, history)


def waits_for_a_method(env: Env) -> None:
    """It waits for a method."""
    raise NotImplementedError


def is_undecided(env: Env) -> None:
    """It cannot decide."""
    raise Undecided("1.4 to 1.6")


def cannot_run(env: Env) -> None:
    """It cannot run here."""
    raise NotRun("no strace")


def costs_too_much(env: Env) -> None:
    """It measures what costs too much."""
    for depth, ratio in ((100, 1.0), (1000, 1.2), (100_000, 2.5)):
        sure = depth == 100
        env.costs += [
            Cost("post", "active", depth, 0.2, 1.0, 0.9, 1.1, 1.0),
            Cost("list", "active", depth, 0.1 * ratio, ratio, ratio if sure else ratio - 0.1, ratio + 0.1, 2.0 * ratio),
            Cost("stats", "of every state", depth, 0.1, None if not sure else 1.0, None, None, None),
        ]
    env.note(f"{NOT_COUNTED} (there are none).")
