"""Worker processes: they start together, report, hang, die and are killed, and nothing of them stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from zaqar_conformance.check import Violation
from zaqar_conformance.env import Env
from zaqar_conformance.outcomes import Outcome, WorkerFailed, judge
from zaqar_conformance.target import UriTarget
from zaqar_core.contract import new_id

pytestmark = pytest.mark.usefixtures("faulty")


@pytest.fixture
def env(request: pytest.FixtureRequest) -> Iterator[Env]:
    uri = f"faulty://{new_id().lower()}{getattr(request, 'param', '')}"
    made = Env(UriTarget(uri), uri, seed="1", depth=10)
    yield made
    made.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_gets_its_own_arguments_and_dice_and_what_it_recorded_is_kept(env: Env) -> None:
    results = env.processes(3, "zaqar_faulty_work:work", [{"text": text} for text in ("ä", "b\n", "c")])
    assert [result["text"] for result in results] == ["ä", "b\n", "c"]
    assert {result["project"] for result in results} == {env.project}
    assert len({result["random"] for result in results}) == 3
    assert sorted(operation.client for operation in env.history.operations) == ["process-0", "process-1", "process-2"]
    again = env.processes(3, "zaqar_faulty_work:work", {"text": "d"})
    assert [result["random"] for result in again] == [result["random"] for result in results]


def test_a_violation_seen_in_a_worker(env: Env) -> None:
    with pytest.raises(Violation, match="MSG-001: in worker process 1: seen in a worker") as raised:
        env.processes(2, "zaqar_faulty_work:violate", {})
    assert [each.arguments["count"] for each in raised.value.history] == [0, 1, 2]
    assert [each.arguments["count"] for each in raised.value.offending] == [1]


@pytest.mark.parametrize(
    ("env", "work", "outcome", "seen"),
    [
        ("", "break_check", Outcome.ERROR, "a mistake in the suite"),
        ("", "breed", Outcome.ERROR, "a worker process starts no workers"),
        ("", "die", Outcome.ERROR, "died with code 7\nlast words"),
        ("", "no_such_function", Outcome.ERROR, "no_such_function"),
        ("?fault=leaks", "leak", Outcome.FAILED, "KeyError"),
        ("?fault=unfinished", "lack", Outcome.NOT_IMPLEMENTED, "MessageController.pop"),
    ],
    indirect=["env"],
)
def test_an_error_in_a_worker_is_judged_there(env: Env, work: str, outcome: Outcome, seen: str) -> None:
    with pytest.raises(WorkerFailed) as raised:
        env.processes(1, f"zaqar_faulty_work:{work}", {})
    judgement = judge(raised.value)
    assert judgement.outcome is outcome
    assert seen in judgement.message


def test_one_that_hangs_is_killed_and_shows_where(env: Env) -> None:
    with pytest.raises(Violation, match="FAI-002") as raised:
        env.processes(1, "zaqar_faulty_work:hang", {}, within=1.5)
    assert "in hang" in raised.value.seen


def test_a_child_is_listened_to_and_killed(env: Env) -> None:
    with env.child("zaqar_faulty_work:say_forever") as child:
        lines = child.lines()
        assert [next(lines) for _ in range(3)] == [0, 1, 2]
        assert alive(child.pid)
        child.kill()
        assert not alive(child.pid)
        rest = list(lines)
    assert rest == list(range(3, 3 + len(rest))), "what it said before it was killed is kept"


def test_a_child_that_ends_says_what_it_returned(env: Env) -> None:
    with env.child("zaqar_faulty_work:say", count=3) as child:
        assert list(child.lines()) == [0, 1, 2]
        assert child.result(time.monotonic() + 10).value == 3


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("forks", [False, True], ids=["", "another_holds_its_pipes"])
def test_a_worker_dies_with_its_parent(paused: bool, forks: bool) -> None:
    program = (
        "from zaqar_conformance.processes import ChildProcess; import os, time\n"
        "settings = {'uri': 'faulty://a', 'project': 'p'}\n"
        "child = ChildProcess('zaqar_faulty_work:hang', settings, '', {}, 0); child.start(); child.go(3600)\n"
        f"other = os.fork() if {forks} else 0\n"
        f"print(child.pid, other, flush=True) if other or not {forks} else None; time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-W", "ignore", "-c", program], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid, other = map(int, parent.stdout.readline().split())
        assert alive(pid)
        if paused:
            os.killpg(pid, signal.SIGSTOP)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 10
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        died = not alive(pid)
        if other:
            os.kill(other, signal.SIGKILL)
    assert died


def test_arguments_of_other_kinds_than_json_are_refused(env: Env) -> None:
    unfit: dict[str, Any] = {"text": object()}
    with pytest.raises(TypeError):
        env.processes(1, "zaqar_faulty_work:work", unfit)
