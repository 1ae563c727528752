"""Every outcome, and what it means for requirements, capabilities and the exit code."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from rich.console import Console

from zaqar_conformance.check import (
    Check,
    NotRun,
    Undecided,
    Violation,
    check,
    ensure,
    ensure_equal,
    ensure_raises,
    registered,
)
from zaqar_conformance.checks import all_checks
from zaqar_conformance.engine import NothingMatches, plan, run
from zaqar_conformance.env import Env
from zaqar_conformance.history import Operation
from zaqar_conformance.junit import to_junit
from zaqar_conformance.known_failures import KnownFailuresError
from zaqar_conformance.outcomes import Outcome, writing_order
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_conformance.report import CheckResult, Report, Verdict
from zaqar_conformance.requirements import load
from zaqar_conformance.session import CannotRun
from zaqar_conformance.target import Target, UriTarget, find_target
from zaqar_conformance.terminal import print_failure
from zaqar_core import NewMessage, connect
from zaqar_core.errors import InvalidInput, InvalidMarker, StorageUnavailable

pytestmark = pytest.mark.usefixtures("faulty")

SCHEMA = json.loads(files("zaqar_conformance").joinpath("report.schema.json").read_text("utf-8"))


def make(function: Callable[[Env], None], *requirements: str, destructive: bool = False) -> Check:
    return Check(function.__name__, function, requirements or ("MSG-001",), destructive)


def waits(function: Callable[[Env], None], name: str) -> Check:
    return Check(name, function, ("MSG-001",), waits=True)


def target(query: str = "", **attributes: Any) -> Target:
    base = type(find_target("faulty"))
    made: Target = type("Made", (base,), {"query": query, **attributes})()
    return made


def report_of(*checks: Check, on: Target | None = None, **options: Any) -> Report:
    """Run these checks; whatever the outcome, the reports must be well formed."""
    report = run(on or target(), checks=checks, **options)
    data = json.loads(report.to_json())
    jsonschema.validate(data, SCHEMA, jsonschema.Draft202012Validator)
    cases = ET.fromstring(to_junit(report)).findall(".//testcase")
    assert len(cases) == len(report.checks) + len(report.stale_known_failures)
    return report


def result_of(check: Check, **options: Any) -> CheckResult:
    (result,) = report_of(check, **options).checks
    return result


def verdict(report: Report, name: str) -> Verdict:
    return next(capability.verdict for capability in report.capabilities if capability.name == name)


def outcome_of(report: Report, number: str) -> Outcome:
    return next(requirement.outcome for requirement in report.requirements if requirement.id == number)


# --- checks to run ------------------------------------------------------------------------------------------------


def passes(env: Env) -> None:
    """It passes."""
    env.storage.messages.post(env.queue(), [NewMessage(1)])
    env.note("measured 1")


def violates(env: Env) -> None:
    """It sees a requirement broken."""
    with env.history.call("main", "messages.post", "q", count=1):
        pass
    ensure(False, "MSG-001", "two ids for one message")


def sees_what_cannot_be(env: Env) -> None:
    """It sees two operations that cannot both be right, among many."""
    for number in range(30):
        with env.history.call("main", "messages.pop", "q", limit=number, names=["x" * 500]) as call:
            call.result = [f"id-{number}"]
    history = env.history.operations
    raise Violation("MSG-001", "both at once: id-20", history, history[20:30:5])


def violates_fifo(env: Env) -> None:
    """It sees that an order is not kept."""
    ensure_equal([2, 1], [1, 2], "MSG-025", "the order")


def asks_first(env: Env) -> None:
    """It asks for the first message of a queue."""
    queue = env.queue()
    env.storage.messages.post(queue, [NewMessage(1)])
    env.storage.messages.first(queue)


def pops(env: Env) -> None:
    """It pops."""
    env.storage.messages.pop(env.queue(), limit=1)


def asks_stats(env: Env) -> None:
    """It asks for statistics."""
    env.storage.messages.stats(env.queue())


def breaks(env: Env) -> None:
    """It is wrong itself."""
    json.loads("{")


def is_undecided(env: Env) -> None:
    """It cannot decide."""
    raise Undecided("1.4 to 1.6")


def cannot_run(env: Env) -> None:
    """It cannot run here."""
    raise NotRun("no strace")


def test_a_datastore_of_somebody_elses_is_left_without_the_queues_of_the_checks() -> None:
    def posts_here_and_there(env: Env) -> None:
        """It makes queues."""
        env.storage.messages.post(env.queue(), [NewMessage(1)])
        env.storage.queues.create("of another project", project="")

    uri = "faulty://kept"
    with connect(uri, project="mine") as storage:
        storage.messages.post("kept", [NewMessage(1)])
        (result,) = report_of(make(posts_here_and_there), on=UriTarget(uri)).checks
        assert result.outcome is Outcome.PASSED
        assert [project for project, _ in _spaces("kept")] == ["mine"]
        assert storage.messages.stats("kept").total == 1


def test_a_datastore_of_somebody_elses_is_left_without_the_records_of_the_checks() -> None:
    from zaqar_faulty import FaultyDriver

    one_process = UriTarget("faulty://clean?without=MULTI_PROCESS")
    only = ["REC-00[1-7]", "REC-009", "QUE-*", "POO-*", "CAT-*", "FLA-*", "SUB-*"]
    assert run(one_process, only=only, quick=True).exit_code == 0
    assert run(one_process, only=["one_of_many_writers_of_a_record_wins"]).exit_code == 0
    records = ReferenceRecords(FaultyDriver.states["clean"])
    left = [(space, key) for space, key in FaultyDriver.states["clean"].records if records.get(space, key)]
    assert left == []  # but for what had expired, and was not there to be deleted


def test_what_cannot_be_taken_away_is_said() -> None:
    def makes_what_stays(env: Env) -> None:
        """It makes a queue and a record."""
        env.storage.queues.create(env.queue())
        records, space = env.storage.control.records, env.space("mine")
        assert records is not None
        records.insert(space, "k", b"v", nonce="n")

    (result,) = report_of(make(makes_what_stays), on=UriTarget("faulty://stays?fault=keeps")).checks
    assert result.outcome is Outcome.PASSED
    record, queue = result.notes
    assert record.startswith("left behind: 1 records of the kind 'mine' in the project 'conformance-")
    assert queue.startswith("left behind: 1 queues in the project 'conformance-")


def _spaces(store: str) -> list[tuple[str, str]]:
    """The project and key of each record in a store of the faulty driver."""
    from zaqar_faulty import FaultyDriver

    return [(space.project, key) for space, key in FaultyDriver.states[store].records]


# --- outcomes of one check ------------------------------------------------------------------------------------------


def test_passed() -> None:
    report = report_of(make(passes))
    (result,) = report.checks
    assert (result.outcome, result.notes, result.message) == (Outcome.PASSED, ("measured 1",), "")
    assert report.exit_code == 0
    assert outcome_of(report, "MSG-001") is Outcome.PASSED
    assert outcome_of(report, "MSG-002") is Outcome.NOT_RUN


def test_failed() -> None:
    report = report_of(make(violates), seed="7")
    (result,) = report.checks
    assert (result.outcome, result.requirement) == (Outcome.FAILED, "MSG-001")
    assert [operation.name for operation in result.history] == ["messages.post"]
    assert result.reproduce == "zaqar-conformance run faulty --only=violates --seed=7"
    assert report.exit_code == 1


def test_what_cannot_all_be_right_is_marked_and_shown_first() -> None:
    result = result_of(make(sees_what_cannot_be))
    assert (len(result.history), result.offending) == (30, (20, 25))
    console = Console(width=120, color_system=None, highlight=False)
    with console.capture() as capture:
        print_failure(console, result, load())
    shown = [line for line in capture.get().splitlines() if "messages.pop(" in line]
    assert [int(line[4:6]) for line in shown] == list(range(18, 30))  # from 1
    marked = [line for line in shown if line.startswith("  > ")]
    assert [line[4:6] for line in marked] == ["21", "26"]
    assert "messages.pop(limit=20" in marked[0]
    assert [line.rpartition(": ")[2] for line in marked] == ["[m4]", "[m9]"]
    assert "m4 is id-20\n" in capture.get()
    assert "history (30 operations; all are in the report):" in capture.get()


@pytest.mark.parametrize(
    ("offending", "kept"),
    [
        ([], [*range(1660, 2160)]),
        ([700], [*range(450, 950)]),
        ([3, 2150], [*range(247), *range(1907, 2160)]),
    ],
)
def test_of_a_long_history_the_report_holds_what_tells_most(offending: list[int], kept: list[int]) -> None:
    def sees_much(env: Env) -> None:
        """It sees much."""
        history = [Operation("a", "messages.stats", "q", {"number": n}, n, n + 1, "ok") for n in range(2160)]
        raise Violation("MSG-001", "wrong", history, [history[index] for index in offending])

    report = report_of(make(sees_much))
    (told,) = json.loads(report.to_json())["checks"]
    assert [each["arguments"]["number"] for each in told["history"]] == kept
    assert [kept[place] for place in told["offending"]] == offending
    assert told["history_length"] == 2160
    console = Console(width=120, color_system=None, highlight=False)
    with console.capture() as capture:
        print_failure(console, report.checks[0], load())
    assert "history (2160 operations; 500 are in the report):" in capture.get()


def test_an_error_that_leaves_the_driver_is_its_failure_and_secrets_are_hidden() -> None:
    result = result_of(make(asks_first), on=target("fault=leaks&token=s3cret"))
    assert result.outcome is Outcome.FAILED
    assert "KeyError" in result.message
    assert "s3cret" not in result.message + result.details
    assert "***" in result.message


def test_an_error_of_the_core_that_a_check_does_not_expect_is_a_failure() -> None:
    result = result_of(make(asks_first), on=target("fault=loses"))
    assert (result.outcome, result.message[:24]) == (Outcome.FAILED, "unexpected QueueIsEmpty:")


def test_an_error_of_the_check_itself() -> None:
    report = report_of(make(breaks))
    assert report.checks[0].outcome is Outcome.ERROR
    assert "JSONDecodeError" in report.checks[0].details
    assert report.exit_code == 3


def test_a_failure_weighs_more_than_an_error() -> None:
    assert report_of(make(breaks), make(violates)).exit_code == 1


def test_not_implemented_names_the_method_of_the_contract() -> None:
    report = report_of(make(pops, "POP-001"), on=target("fault=unfinished"))
    assert report.checks[0].outcome is Outcome.NOT_IMPLEMENTED
    assert list(report.missing_methods()) == ["MessageController.pop"]
    assert verdict(report, "POP") is Verdict.FAILED
    assert report.exit_code == 1


def test_a_missing_method_is_missing_where_a_guarantee_is_not_declared_too() -> None:
    report = report_of(make(pops, "POP-004"), on=target("fault=unfinished&without=EXCLUSIVE_CLAIMS"))
    assert list(report.missing_methods()) == ["MessageController.pop"]


def test_records_are_written_before_messages_and_these_before_claims() -> None:
    methods = ["ClaimController.get", "RecordStore.count", "Driver.ping", "MessageController.post", "RecordStore.get"]
    assert sorted(methods, key=writing_order) == [
        "Driver.ping",
        "RecordStore.get",
        "RecordStore.count",
        "MessageController.post",
        "ClaimController.get",
    ]


def test_a_driver_that_cannot_be_opened_yet_is_not_implemented() -> None:
    report = report_of(make(passes), make(pops, "POP-001"), on=target("fault=unopened"))
    assert {method: len(checks) for method, checks in report.missing_methods().items()} == {"Driver.open": 2}


def test_a_method_not_implemented_is_no_hanging_call() -> None:
    report = run(target("fault=unwritten"), only=["close_while_others_work"], checks=all_checks())
    assert [(each.outcome, each.method) for each in report.checks] == [
        (Outcome.NOT_IMPLEMENTED, "MessageController.post")
    ]
    assert report.seconds < 20


def test_a_missing_feature_is_unsupported_and_nothing_runs() -> None:
    report = report_of(make(violates, "POP-001"), on=target("without=POP"))
    assert (report.checks[0].outcome, report.checks[0].message) == (Outcome.UNSUPPORTED, "POP is not declared")
    assert verdict(report, "POP") is Verdict.NOT_DECLARED
    assert report.exit_code == 3, "nothing was run"


def test_a_feature_that_a_requirement_needs() -> None:
    report = report_of(make(violates, "MSG-026"), on=target("without=CLAIMS"))
    assert report.checks[0].message == "CLAIMS is not declared"


def test_a_guarantee_that_is_not_declared_is_observed() -> None:
    report = report_of(make(passes, "MSG-025"), on=target("without=FIFO"))
    assert report.checks[0].outcome is Outcome.OBSERVED
    assert verdict(report, "FIFO") is Verdict.OBSERVED
    assert report.exit_code == 0


def test_a_guarantee_that_is_not_declared_cannot_be_broken() -> None:
    report = report_of(make(violates_fifo, "MSG-025"), make(passes, "MSG-025"), on=target("without=FIFO"))
    assert [result.outcome for result in report.checks] == [Outcome.UNSUPPORTED, Outcome.OBSERVED]
    assert "the order" in report.checks[0].message
    assert verdict(report, "FIFO") is Verdict.NOT_DECLARED
    assert report.exit_code == 0


def test_what_a_check_says_is_broken_counts_and_not_what_else_it_names() -> None:
    result = result_of(make(violates, "MSG-025", "MSG-001"), on=target("without=FIFO"))
    assert (result.outcome, result.requirement) == (Outcome.FAILED, "MSG-001")


def test_a_breach_of_what_binds_every_driver_is_a_failure_whatever_guarantee_the_check_is_about() -> None:
    for number in ("FAI-002", "MSG-001"):

        def sees(env: Env, number: str = number) -> None:
            """It sees broken what it does not name."""
            raise Violation(number, "3 of 8 threads still in a call")

        report = report_of(make(sees, "CLM-018"), on=target("without=EXCLUSIVE_CLAIMS"))
        assert (report.checks[0].outcome, report.checks[0].requirement) == (Outcome.FAILED, number)
        assert outcome_of(report, number) is Outcome.FAILED
        assert verdict(report, "EXCLUSIVE_CLAIMS") is Verdict.NOT_DECLARED
        assert report.exit_code == 1


def test_a_breach_of_a_guarantee_that_a_check_does_not_name_and_the_driver_does_not_declare_is_none() -> None:
    assert result_of(make(violates_fifo), on=target("without=FIFO")).outcome is Outcome.UNSUPPORTED


@pytest.mark.parametrize(("fault", "outcome"), [("leaks", Outcome.FAILED), ("loses", Outcome.UNSUPPORTED)])
@pytest.mark.parametrize("where", ["here", "in a process"])
def test_no_guarantee_excuses_an_error_that_is_not_the_contracts(fault: str, outcome: Outcome, where: str) -> None:
    def asks_first_elsewhere(env: Env) -> None:
        """It asks for the first message of a queue in a worker process."""
        env.processes(1, "zaqar_faulty_work:leak", {})

    asks = make(asks_first if where == "here" else asks_first_elsewhere, "CLM-018")
    assert result_of(asks, on=target(f"fault={fault}&without=EXCLUSIVE_CLAIMS")).outcome is outcome


def test_a_failure_counts_against_what_was_seen_broken_and_decides_nothing_of_what_else_the_check_names() -> None:
    report = report_of(make(violates, "MSG-001", "MSG-025", "POP-001"), make(pops, "POP-001"))
    assert outcome_of(report, "MSG-001") is Outcome.FAILED
    assert outcome_of(report, "MSG-025") is outcome_of(report, "POP-001") is Outcome.NOT_RUN
    assert verdict(report, "FIFO") is verdict(report, "POP") is Verdict.UNPROVEN


def test_a_failure_that_names_no_requirement_counts_against_all_of_the_check() -> None:
    report = report_of(make(asks_first, "MSG-013", "MSG-025"), on=target("fault=leaks"))
    assert outcome_of(report, "MSG-013") is outcome_of(report, "MSG-025") is Outcome.FAILED
    assert verdict(report, "FIFO") is Verdict.FAILED


def test_what_was_seen_broken_is_reported_of_a_part_of_the_checks_too() -> None:
    report = report_of(make(violates, "MSG-025"), only=["MSG-025"])
    assert [(each.id, each.outcome, each.checks) for each in report.requirements] == [
        ("MSG-001", Outcome.FAILED, ("violates",)),
        ("MSG-025", Outcome.NOT_RUN, ("violates",)),
    ]


def test_undecided() -> None:
    report = report_of(make(is_undecided, "MSG-025"))
    assert (report.checks[0].outcome, report.checks[0].message) == (Outcome.UNDECIDED, "1.4 to 1.6")
    assert verdict(report, "FIFO") is Verdict.UNDECIDED
    assert report.exit_code == 3, "nothing was decided"
    assert report_of(make(is_undecided, "MSG-025"), make(passes)).exit_code == 0


def test_not_run_leaves_a_capability_unproven() -> None:
    report = report_of(make(cannot_run, "MSG-025"), make(passes, "MSG-025"))
    assert (report.checks[0].outcome, report.checks[0].message) == (Outcome.NOT_RUN, "no strace")
    assert verdict(report, "FIFO") is Verdict.UNPROVEN
    assert outcome_of(report, "MSG-025") is Outcome.NOT_RUN


def test_a_capability_is_proven_when_all_its_checks_passed() -> None:
    assert verdict(report_of(make(passes, "MSG-025")), "FIFO") is Verdict.PROVEN
    assert verdict(report_of(make(passes, "MSG-025"), make(violates_fifo, "MSG-025")), "FIFO") is Verdict.FAILED


def test_pops_that_may_fail_must_not_all_fail() -> None:
    report = run(target("fault=pops-fail"), only=["pops_that_may_fail_give_nothing_twice"], checks=all_checks())
    (result,) = report.checks
    assert (result.outcome, result.requirement) == (Outcome.FAILED, "POP-001")
    assert "400 pops failed, the last with StorageUnavailable: try again" in result.message


def test_a_hanging_call_is_given_up_and_the_run_goes_on() -> None:
    report = report_of(make(asks_stats), make(passes), on=target("fault=hangs", check_limit=0.3))
    assert [result.outcome for result in report.checks] == [Outcome.FAILED, Outcome.PASSED]
    assert report.checks[0].requirement == "FAI-002"
    assert "in stats" in report.checks[0].details


def test_a_hanging_check_is_the_suites_fault() -> None:
    def hangs(env: Env) -> None:
        """It hangs."""
        env.wait_for(lambda: 1, lambda value: value == 2, "MSG-001", "never", within=3600)

    assert result_of(make(hangs), on=target(check_limit=0.3)).outcome is Outcome.ERROR


def test_threads_left_behind_are_noted() -> None:
    done = threading.Event()

    def leaves(env: Env) -> None:
        """It leaves a thread behind."""
        threading.Thread(target=done.wait, name="forgotten", daemon=True).start()

    result = result_of(make(leaves))
    done.set()
    assert result.notes == ("left 1 threads running: forgotten",)


# --- the datastore ----------------------------------------------------------------------------------------------


def test_a_datastore_that_cannot_be_used_runs_nothing() -> None:
    with pytest.raises(CannotRun, match="install it") as raised:
        run(find_target("faulty-dead"), checks=[make(passes)])
    assert isinstance(raised.value.__cause__, RuntimeError)
    with pytest.raises(CannotRun, match="nobody answers"):
        run(target("fault=unreachable"), checks=[make(passes)])


def test_a_datastore_that_goes_away_is_an_error_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def loses_its_server(env: Env) -> None:
        """It runs while the server dies."""
        from zaqar_faulty import FaultyDriver

        def refuse(*args: object, **options: object) -> None:
            raise StorageUnavailable("connection refused")

        monkeypatch.setattr(FaultyDriver, "open", refuse)
        raise StorageUnavailable("connection lost")

    report = report_of(make(loses_its_server))
    assert report.checks[0].outcome is Outcome.ERROR
    assert "does not answer any more" in report.checks[0].message
    assert report.exit_code == 3


def test_a_destructive_check_gets_a_server_of_its_own() -> None:
    seen = []

    def destroys(env: Env) -> None:
        """It hurts the server."""
        seen.append(env.target)

    shared = target(started=[], stopped=[])
    result = report_of(make(destroys, destructive=True), on=shared).checks[0]
    assert result.outcome is Outcome.PASSED
    assert seen[0] is not shared
    assert shared.started == [shared, seen[0]]  # type: ignore[attr-defined]
    assert shared.stopped == [seen[0], shared]  # type: ignore[attr-defined]


def test_the_secret_of_a_server_of_its_own_is_hidden_too() -> None:
    def tells(env: Env) -> None:
        raise Violation("MSG-001", env.uri)

    class Other(type(target())):  # type: ignore[misc]
        def fresh(self) -> Target:
            return target("token=0wn-s3cret")

    report = report_of(make(tells, destructive=True), on=Other())
    assert "token=***" in report.checks[0].message
    assert "0wn-s3cret" not in report.to_json()


def test_a_datastore_of_somebody_elses_is_never_hurt() -> None:
    report = report_of(make(violates, destructive=True), make(passes), on=UriTarget("faulty://given?token=s3cret"))
    assert [result.outcome for result in report.checks] == [Outcome.NOT_RUN, Outcome.PASSED]
    assert report.target == "faulty://given?token=***"
    assert "s3cret" not in report.to_json()


def test_checks_that_wait_run_at_the_same_time_and_the_others_by_themselves() -> None:
    """Each waits until the other runs too; the one that does not wait sees neither; the report has them in order."""
    together, running = threading.Barrier(2), list[str]()

    def waiting(env: Env) -> None:
        running.append("waiting")
        together.wait(10)
        running.remove("waiting")

    def alone(env: Env) -> None:
        assert not running

    on = target(started=[], stopped=[])
    report = report_of(waits(waiting, "one"), make(alone), waits(waiting, "two"), on=on)
    assert [result.outcome for result in report.checks] == [Outcome.PASSED] * 3
    assert [result.name for result in report.checks] == ["one", "alone", "two"]
    assert len(set(map(id, on.started))) == 3  # type: ignore[attr-defined]  # a datastore for each of the two
    assert len(on.stopped) == 3  # type: ignore[attr-defined]


def test_a_datastore_for_checks_that_wait_that_does_not_start() -> None:
    class Second(type(target())):  # type: ignore[misc]
        error: BaseException = OSError("no room for another")

        def start(self, workspace: Path) -> str:
            if self.first is not self:
                raise self.error
            return str(super().start(workspace))

    on = Second()
    Second.first = on
    with pytest.raises(CannotRun, match="cannot be used: OSError: no room for another"):
        report_of(waits(lambda env: None, "one"), on=on)
    Second.error = SystemExit("a target that ends the process")
    with pytest.raises(SystemExit, match="ends the process"):
        report_of(waits(lambda env: None, "one"), on=on)


def test_at_a_datastore_of_somebody_elses_one_check_runs_at_a_time() -> None:
    running: list[str] = []

    def waiting(env: Env) -> None:
        assert not running
        running.append("waiting")
        time.sleep(0.01)
        running.remove("waiting")

    checks = (waits(waiting, name) for name in ("one", "two", "three"))
    report = report_of(*checks, on=UriTarget("faulty://given"))
    assert [result.outcome for result in report.checks] == [Outcome.PASSED] * 3


def test_an_interruption_keeps_what_was_found_and_stops_the_datastore() -> None:
    class Interrupting:
        def started(self, check: Check) -> None:
            if check.name == "violates":
                raise KeyboardInterrupt

        def finished(self, result: CheckResult) -> None:
            pass

    on = target(stopped=[])
    report = report_of(make(passes), make(violates), on=on, progress=Interrupting())
    assert [result.name for result in report.checks] == ["passes"]
    assert report.interrupted
    assert report.exit_code == 3
    assert on.stopped == [on]  # type: ignore[attr-defined]


# --- known failures -----------------------------------------------------------------------------------------------


def known(folder: Path, text: str, query: str = "") -> Target:
    path = folder / "known_failures.toml"
    path.write_text(text)
    return target(query, known_failures=path)


def test_a_known_failure(tmp_path: Path) -> None:
    on = known(tmp_path, '[[failure]]\nrequirement = "MSG-001"\nreason = "issue 12"\n')
    report = report_of(make(violates), make(passes), on=on)
    assert [result.outcome for result in report.checks] == [Outcome.KNOWN_FAILURE, Outcome.PASSED]
    assert "issue 12" in report.checks[0].message
    assert report.exit_code == 0


@pytest.mark.parametrize(
    ("entry", "said"),
    [('check = "passes"', "nothing of it fails: passed"), ('check = "gone"', "no check is or names it")],
)
def test_a_known_failure_that_is_out_of_date_fails_the_run(tmp_path: Path, entry: str, said: str) -> None:
    report = report_of(make(passes), on=known(tmp_path, f'[[failure]]\n{entry}\nreason = "once"\n'))
    assert said in report.stale_known_failures[0]
    assert report.exit_code == 1


@pytest.mark.parametrize(
    ("checks", "seen"),
    [
        ([make(passes, "MSG-025")], "observed"),
        ([make(violates_fifo, "MSG-025")], "unsupported"),
        ([make(passes, "MSG-025", "MSG-001"), make(violates_fifo, "MSG-025", "MSG-001")], "unsupported, observed"),
    ],
)
def test_a_known_failure_is_out_of_date_once_what_fails_is_not_promised(
    tmp_path: Path, checks: list[Check], seen: str
) -> None:
    on = known(tmp_path, '[[failure]]\nrequirement = "MSG-025"\nreason = "once"\n', query="without=FIFO")
    assert report_of(*checks, on=on).stale_known_failures == (f"MSG-025: once (nothing of it fails: {seen})",)


@pytest.mark.parametrize("open_one", [breaks, is_undecided, cannot_run])
def test_a_known_failure_is_not_out_of_date_while_a_check_of_it_is_open(
    tmp_path: Path, open_one: Callable[[Env], None]
) -> None:
    on = known(tmp_path, '[[failure]]\nrequirement = "MSG-001"\nreason = "issue 12"\n')
    assert report_of(make(passes), make(open_one), on=on).stale_known_failures == ()


def test_a_known_failure_is_not_out_of_date_when_its_check_did_not_run(tmp_path: Path) -> None:
    on = known(tmp_path, '[[failure]]\ncheck = "passes"\nreason = "issue 12"\n')
    report = report_of(make(passes), make(asks_stats, "STA-001"), on=on, only=["STA-*"])
    assert report.exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        '[[failure]]\ncheck = "passes"\n',
        '[[failure]]\ncheck = "passes"\nreason = " "\n',
        '[[failure]]\nreason = "why"\n',
        '[[failures]]\ncheck = "passes"\nreason = "why"\n',
        "[[failure",
    ],
)
def test_a_wrong_file_of_known_failures(tmp_path: Path, text: str) -> None:
    with pytest.raises(KnownFailuresError, match=r"known_failures\.toml"):
        run(known(tmp_path, text), checks=[make(passes)])


# --- what is run ----------------------------------------------------------------------------------------------------


def names(*checks: Check, **options: Any) -> list[str]:
    return [check.name for check in plan(options.pop("on", None) or target(), checks=checks, **options)]


def test_profiles_and_layers() -> None:
    checks = make(passes, "QUE-001"), make(pops, "POP-001"), make(violates, "INP-001")
    assert names(*checks, profile="data") == ["pops"]
    assert names(*checks, profile="control") == ["passes"]
    assert names(*checks) == ["pops", "passes"], "by section; the core's own requirements only on the reference"
    assert names(*checks, on=find_target("memory")) == ["pops", "passes", "violates"]


def test_a_run_may_end_when_enough_was_found() -> None:
    report = report_of(make(violates), make(passes), until=lambda results: results[-1].outcome is Outcome.FAILED)
    assert [result.name for result in report.checks] == ["violates"]


def test_only() -> None:
    checks = make(passes, "MSG-001"), make(violates, "MSG-002"), make(pops, "POP-001")
    assert names(*checks, only=["MSG-002"]) == ["violates"]
    assert names(*checks, only=["pops"]) == ["pops"]
    assert names(*checks, only=["MSG-*"]) == ["passes", "violates"]
    with pytest.raises(NothingMatches, match="did you mean 'POP-001'"):
        names(*checks, only=["POP-0001"])


def test_a_seed_makes_randomised_checks_choose_the_same() -> None:
    seen = []

    def rolls(env: Env) -> None:
        """It rolls dice."""
        seen.append(env.rng.random())

    for seed in ("1", "1", "2", None, None):
        report_of(make(rolls), seed=seed)
    assert seen[0] == seen[1]
    assert len(set(seen)) == 4


def test_depth_is_the_targets_unless_given() -> None:
    seen = []

    def measures(env: Env) -> None:
        """It goes deep."""
        seen.append(env.depth)

    report_of(make(measures))
    report = report_of(make(measures), depth=50)
    assert seen == [1000, 50]
    assert "--depth=50" in report.command


# --- what checks use ------------------------------------------------------------------------------------------------


@pytest.fixture
def env() -> Iterator[Env]:
    made = Env(target(), "faulty://env", seed="1", depth=10)
    yield made
    made.close()


def test_waiting(env: Env) -> None:
    values = iter(range(100))
    assert env.wait_for(lambda: next(values), lambda value: value == 3, "MSG-001", "three") == 3
    with pytest.raises(Exception, match="MSG-001: one: last seen 2"):
        env.see(lambda: 2, lambda value: value == 1, "MSG-001", "one")


def test_threads(env: Env) -> None:
    assert env.threads(3, lambda index: index * 2) == [0, 2, 4]
    with pytest.raises(LookupError):
        env.threads(2, lambda index: [][index])
    with pytest.raises(Exception, match="FAI-002: 1 of 2 threads"):
        env.threads(2, lambda index: time.sleep(3 * index), within=0.5)


def test_threads_take_short_turns(env: Env) -> None:
    usual = sys.getswitchinterval()
    within = env.threads(2, lambda _: sys.getswitchinterval())
    assert max(within) < usual
    assert sys.getswitchinterval() == usual


def test_ensure_raises() -> None:
    def refuse() -> None:
        raise InvalidMarker("no marker")

    assert isinstance(ensure_raises(InvalidInput, "LST-009", "it", refuse), InvalidMarker)
    with pytest.raises(Exception, match="expected InvalidMarker, got the result 1"):
        ensure_raises(InvalidMarker, "LST-009", "it", lambda: 1)
    with pytest.raises(Exception, match="expected StorageUnavailable, got InvalidMarker"):
        ensure_raises(StorageUnavailable, "LST-009", "it", refuse)


def test_a_check_is_registered_once_with_a_docstring_and_a_requirement() -> None:
    def undocumented(env: Env) -> None:
        pass

    with pytest.raises(ValueError, match="docstring"):
        check("MSG-001")(undocumented)
    with pytest.raises(ValueError, match="requirement"):
        check()(passes)
    assert all(each.function is not passes for each in registered())
