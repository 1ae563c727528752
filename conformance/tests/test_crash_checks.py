"""What the checks of death, of loss of power and of fork say of mutants, and that right drivers pass."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from zaqar_conformance.checks import _tracing, all_checks, forking
from zaqar_conformance.engine import run
from zaqar_conformance.mutants.zoo import find
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.report import CheckResult, Report, Verdict
from zaqar_conformance.target import Target, find_target
from zaqar_core import Capability


def target(mutant: str = "file-is-right", without: str = "", **attributes: Any) -> Target:
    """A driver of the zoo, as a rule the right one."""
    base = type(find(mutant).target())
    made: Target = type("Made", (base,), {"without": without, **attributes})()
    return made


def report_of(names: Sequence[str], on: Target) -> Report:
    return run(on, only=names, seed="1", checks=all_checks())


def result_of(name: str, on: Target) -> CheckResult:
    (result,) = report_of([name], on).checks
    return result


def can_trace() -> bool:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with _tracing.traced([process.pid], Path("/dev/null")):
            return True
    except _tracing.Untraceable:
        return False
    finally:
        process.kill()
        process.wait()


# --- death --------------------------------------------------------------------------------------------------------

KILLED = "killed_clients_lose_nothing"
VANISHED = "vanished_clients_lose_nothing"
DEAD = "acknowledged_work_survives_the_death_of_the_datastore"
PROMOTED = "acknowledged_work_survives_the_promotion_of_a_replica"


@pytest.mark.parametrize(
    ("number", "capability"),
    [
        ("FAI-005", None),  # AT_LEAST_ONCE has other checks too
        ("FAI-006", Capability.PERSISTENT),
        ("FAI-007", Capability.DURABILITY),
        ("FAI-008", Capability.FAILOVER_SAFE),
        ("FAI-010", None),  # and so has MULTI_PROCESS
    ],
)
def test_a_right_driver_passes(number: str, capability: Capability | None) -> None:
    report = report_of([number], target())
    assert {result.name: result.message for result in report.checks if result.outcome is not Outcome.PASSED} == {}
    verdicts = {each.name: each.verdict for each in report.capabilities}
    assert capability is None or verdicts[capability] is Verdict.PROVEN


@pytest.mark.parametrize(
    ("mutant", "check", "seen"),
    [
        ("claims-take-away", KILLED, "is lost"),
        ("claims-take-away", VANISHED, "is lost"),
        ("posts-are-buffered", KILLED, "is lost"),
        ("closing-drops-what-is-held", VANISHED, "is lost"),
        ("posts-are-buffered", DEAD, "is lost|posted again"),
        ("batches-die-in-the-middle", DEAD, "expected all or none"),
        ("claims-are-in-memory", DEAD, "was acknowledged and is not over"),
        ("deletions-are-lazy", DEAD, "had removed it"),
        ("replace-is-delete-and-insert", DEAD, "absent"),
        ("retries-post-twice", DEAD, "more than once"),
    ],
)
def test_what_is_said_of_a_driver_that_breaks_when_its_clients_die(mutant: str, check: str, seen: str) -> None:
    for _ in range(3):  # whether a kill falls into the gap is a matter of chance
        result = result_of(check, find(mutant).target())
        if result.outcome is Outcome.FAILED:
            break
    assert (result.outcome, result.requirement) == (Outcome.FAILED, "FAI-006" if check == DEAD else "FAI-005")
    assert re.search(seen, result.message)
    assert result.history


@pytest.mark.parametrize(("check", "number"), [(DEAD, "FAI-006"), (PROMOTED, "FAI-008")])
def test_a_server_that_dies(check: str, number: str) -> None:
    server: dict[str, Any] = {"embedded": False, "replicated": True}
    right = result_of(check, target(**server))
    assert (right.outcome, right.message, right.notes) == (Outcome.PASSED, "", ())
    wrong = result_of(check, target(**server, loses=3))
    assert (wrong.outcome, wrong.requirement) == (Outcome.FAILED, number), wrong.message + wrong.details
    assert "is lost" in wrong.message


def test_a_server_without_a_replica_is_not_promoted() -> None:
    assert result_of(PROMOTED, target(embedded=False)).outcome is Outcome.NOT_RUN


def test_one_process_at_a_time_is_killed_where_no_more_may_work() -> None:
    report = report_of([KILLED, DEAD], target(without="MULTI_PROCESS"))
    assert [result.outcome for result in report.checks] == [Outcome.PASSED, Outcome.PASSED]
    assert "does not declare MULTI_PROCESS" in report.checks[0].notes[0]


def test_drivers_without_features() -> None:
    report = report_of([KILLED, VANISHED, DEAD], target(without="CLAIMS,POP,DELAY,IDEMPOTENT_POST,ATOMIC_POST"))
    assert {result.outcome for result in report.checks} == {Outcome.PASSED}


def test_what_the_reference_does_not_promise() -> None:
    report = report_of(["DLQ-004", "FAI-005", "FAI-006", "FAI-007", "FAI-008", "FAI-010"], find_target("memory"))
    outcomes = {result.name: result.outcome for result in report.checks}
    assert outcomes[VANISHED] is Outcome.PASSED
    assert outcomes[DEAD] is Outcome.UNSUPPORTED
    verdicts = {each.name: each.verdict for each in report.capabilities}
    assert verdicts[Capability.AT_LEAST_ONCE] is Verdict.PROVEN
    assert verdicts[Capability.PERSISTENT] is Verdict.NOT_DECLARED
    assert verdicts[Capability.DURABILITY] is Verdict.NOT_DECLARED
    assert verdicts[Capability.MULTI_PROCESS] is Verdict.NOT_DECLARED
    assert verdicts[Capability.FAILOVER_SAFE] is Verdict.NOT_DECLARED


# --- fork ---------------------------------------------------------------------------------------------------------

FORKED = "parent_and_child_go_on_after_a_fork"


def test_a_driver_whose_forks_make_sessions_of_their_own() -> None:
    assert result_of(FORKED, target("sessions-are-made-after-a-fork")).outcome is Outcome.PASSED


def test_a_driver_that_keeps_its_connection_over_a_fork() -> None:
    result = result_of(FORKED, target("forks-share-a-session"))
    assert (result.outcome, result.requirement) == (Outcome.FAILED, "FAI-010")
    assert "out of turn" in result.message


def test_a_child_that_inherits_a_lock_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "LIMIT", 1)
    result = result_of(FORKED, target("forks-inherit-a-lock-that-is-held"))
    assert (result.outcome, result.requirement) == (Outcome.FAILED, "FAI-010")
    assert "was not done after 1 s" in result.message
    assert "__enter__" in result.message, "where it hangs"


# --- loss of power ------------------------------------------------------------------------------------------------

ON_DISK = "acknowledged_work_is_on_disk_before_the_reply"


def test_a_driver_that_does_not_synchronise() -> None:
    if not can_trace():
        pytest.skip("strace is missing, or not permitted")
    result = result_of(ON_DISK, target("nothing-is-synchronised"))
    assert (result.outcome, result.requirement) == (Outcome.FAILED, "FAI-007")
    assert "messages.post returned before" in result.message
    assert "store.new" in result.message
    for mutant in ("file-is-right", "writes-may-be-synchronous-themselves"):
        right = result_of(ON_DISK, target(mutant))
        assert (right.outcome, right.message) == (Outcome.PASSED, "")
        assert "14 calls" in right.notes[0]


def test_a_server_is_traced_with_its_client() -> None:
    if not can_trace():
        pytest.skip("strace is missing, or not permitted")
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert "14 calls" in result_of(ON_DISK, target(embedded=False, pids=[server.pid])).notes[0]
        assert server.poll() is None
    finally:
        server.kill()
        server.wait()


def test_settings_with_a_gap() -> None:
    result = result_of(ON_DISK, target(durability_gaps=lambda *_: ["it writes once a second"]))
    assert (result.outcome, result.requirement) == (Outcome.FAILED, "FAI-007")
    assert "once a second" in result.message


@pytest.mark.parametrize("script", [None, "echo 'attach: Operation not permitted' >&2; exit 1"])
def test_where_nothing_can_be_traced_the_settings_decide(
    script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is not None:
        program = tmp_path / "strace"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    found = str(tmp_path / "strace") if script else None
    monkeypatch.setattr(shutil, "which", lambda name: found)
    result = result_of(ON_DISK, target())
    assert result.outcome is Outcome.PASSED
    assert result.notes[0].startswith("by the settings alone: strace")
    assert ("not permitted" in result.notes[0]) is bool(script)


def test_a_server_that_names_no_process_is_not_traced() -> None:
    assert "names no process" in result_of(ON_DISK, target(embedded=False)).notes[0]


def test_who_lets_go_of_what_is_traced_hurts_nothing(tmp_path: Path) -> None:
    if not can_trace():
        pytest.skip("strace is missing, or not permitted")
    process = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(0.01)"])
    try:
        with _tracing.traced([process.pid], tmp_path / "trace"):
            pass
        time.sleep(0.05)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


BEGIN = '7 access("/mark/begin/0", F_OK) = -1 ENOENT (No such file or directory)'
END = '7 access("/mark/end/0", F_OK) = -1 ENOENT (No such file or directory)'
WRITE = '8 pwrite64(5</data/log>, "abc"..., 3, 0) = 3'


@pytest.mark.parametrize(
    ("lines", "safe"),
    [
        ([], False),
        ([WRITE], False),
        ([WRITE, "8 fdatasync(5</data/log>) = 0"], True),
        ([WRITE, "8 fsync(6</data/other>) = 0"], False),
        (["8 fsync(5</data/log>) = 0", WRITE], True),  # what it wrote to through memory
        ([WRITE, "8 fsync(5</data/log>) = -1 EIO (Input/output error)"], False),
        (
            [WRITE, "8 fdatasync(5</data/log> <unfinished ...>", "9 getpid() = 9", "8 <... fdatasync resumed>) = 0"],
            True,
        ),
        ([WRITE, "8 fdatasync(5</data/log> <unfinished ...>", "9 getpid() = 9"], False),
        ([WRITE, "8 syncfs(4</data>) = 0"], True),
        ([WRITE, "8 sync() = 0"], True),
        (["8 msync(0x7f00, 4096, MS_SYNC) = 0"], True),
        (["8 msync(0x7f00, 4096, MS_ASYNC) = 0"], False),
        (['8 pwritev2(5</data/log>, [{iov_base="a"..., iov_len=1}], 1, 0, RWF_DSYNC) = 1'], True),
        (['8 openat(AT_FDCWD</>, "log", O_RDWR|O_DSYNC) = 5</data/log>', WRITE], True),
        (["8 io_uring_enter(9<anon_inode:[io_uring]>, 1, 1, 0, NULL, 8) = 1"], True),
        (['8 write(3<pipe:[99]>, "a"..., 1) = 1', "8 fsync(3<pipe:[99]>) = -1 EINVAL"], False),
    ],
)
def test_what_a_trace_shows(lines: list[str], safe: bool) -> None:
    before = ["8 fdatasync(5</data/log>) = 0", "+++ exited with 0 +++"]
    after = [WRITE, "8 fdatasync(5</data/log>) = 0"]
    assert _tracing.windows([*before, BEGIN, *lines, END, *after], "mark")[0].safe is safe


def test_a_file_that_was_open_for_synchronous_writes_before() -> None:
    assert _tracing.windows([BEGIN, WRITE, END], "mark", ["/data/log"])[0].safe


def test_an_unfinished_write_is_seen_before_a_synchronisation_by_another_thread() -> None:
    lines = [
        '8 write(5</data/log>, "a"..., 1 <unfinished ...>',
        "9 fsync(5</data/log>) = 0",
        "8 <... write resumed>) = 1",
    ]
    assert _tracing.windows([BEGIN, *lines, END], "mark")[0].written == {"/data/log"}
