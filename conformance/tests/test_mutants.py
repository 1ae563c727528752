"""The zoo is complete, and its command tells the caught from those that were not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zaqar_conformance.cli import main
from zaqar_conformance.mutants import all_mutants, controls, zoo
from zaqar_conformance.mutants.table import Row, markdown
from zaqar_conformance.mutants.trial import Job, Trial, try_mutant, try_target
from zaqar_conformance.requirements import load

TESTED = Path(__file__).parent.glob("test_mutants_*.py")


def test_every_requirement_that_a_driver_must_keep_is_broken_by_a_mutant() -> None:
    broken = {number for mutant in all_mutants() for number in mutant.requirements}
    bound = {each.id for each in load().requirements.values() if each.layer == "driver" and each.level == "MUST"}
    assert bound - broken == set(zoo.WITHOUT), "write a mutant, or say in WITHOUT why none can break it"
    assert all(zoo.WITHOUT.values())


def test_what_mutants_break_are_requirements() -> None:
    numbers = load().requirements.keys()
    assert {number for mutant in [*all_mutants(), *controls()] for number in mutant.checked} <= numbers


def test_every_mutant_has_a_test() -> None:
    tested = "".join(path.read_text("utf-8") for path in TESTED)
    assert [mutant.name for mutant in all_mutants() if f'"{mutant.theme}"' not in tested] == []


def test_a_mutant_says_what_it_does() -> None:
    def undocumented() -> list[zoo.Change]:
        return []

    def nan_is_a_number() -> list[zoo.Change]:
        """Its name is another's."""
        return []

    for function in (undocumented, nan_is_a_number):
        with pytest.raises(ValueError, match="a name of its own, a docstring"):
            zoo.core_mutant("MSG-001")(function)


# --- trials -------------------------------------------------------------------------------------------------------


def of(name: str, *required: str, caught: tuple[str, ...] = (), errors: tuple[str, ...] = (), ran: int = 1) -> Trial:
    return Trial(name, required, {number: ["a_check"] for number in caught}, list(errors), [], ran)


@pytest.mark.parametrize(
    ("trial", "right"),
    [
        (of("m", "MSG-001", caught=("MSG-001",)), True),
        (of("m", "MSG-001", caught=("MSG-001", "MSG-002")), True),
        (of("m", "MSG-001", caught=("MSG-002",)), False),
        (of("m", "MSG-001", "MSG-002", caught=("MSG-002",)), False),
        (of("m", "MSG-001", caught=("MSG-001",), errors=("broke",)), False),
        (of("m", "MSG-001"), False),
        (of("c"), True),
        (of("c", ran=0), False),
        (of("c", caught=("MSG-001",)), False),
    ],
)
def test_when_a_trial_is_right(trial: Trial, right: bool) -> None:
    assert trial.right is right


def test_a_brief_trial_ends_when_the_mutant_is_caught() -> None:
    whole, brief = try_mutant("pop-takes-claimed"), try_mutant("pop-takes-claimed", briefly=True)
    assert brief.right
    assert brief.ran < whole.ran


def test_a_control_is_tried() -> None:
    trial = try_target("memory", only=["MSG-001"])
    assert (trial.right, trial.ran) == (True, 2)


def test_what_is_changed_in_the_core_is_changed_back() -> None:
    assert try_mutant("nan-is-a-number").right
    assert try_target("memory", only=["INP-004"]).right


def test_a_mutant_is_caught_as_often_as_it_has_to_be() -> None:
    caught, missed = of("m", "MSG-001", caught=("MSG-001",)), of("m", "MSG-001")
    assert Row("m", "a defect", ("MSG-001",), [caught] * 19 + [missed]).enough
    row = Row("m", "a defect", ("MSG-001",), [caught] * 18 + [missed] * 2)
    assert not row.enough
    assert row.checks == [("a_check", 18)]
    control = Row("c", "right", (), [of("c")] * 19 + [of("c", caught=("MSG-001",))])
    assert not control.enough


def test_the_page() -> None:
    rows = [
        Row("m", "``a|b`` < c", ("MSG-001",), [of("m", "MSG-001", caught=("MSG-001",))]),
        Row("c", "right", (), [of("c")]),
    ]
    page = markdown(rows, "today", "here")
    assert "| m | `a\\|b` &lt; c | MSG-001 | 1 of 1 | a_check |" in page
    assert "| c: right | 1 of 1 |" in page


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "table.md"
    assert (
        main(["mutants", "ids-come-from-a-set", "POP-003", "--jobs", "2", "--repeat", "2", "--markdown", str(page)])
        == 0
    )
    said = capsys.readouterr().out
    assert "2 of 2" in said
    assert "2 of 2 mutants caught" in said
    assert page.read_text("utf-8").count("| 2 of 2 |") == 2


def test_a_survivor_fails_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def see_nothing(jobs: list[Job], processes: int, seconds: float | None) -> list[Trial]:
        return [of(job.name, "POP-003", caught=("POP-001",)) for job in jobs]

    monkeypatch.setattr("zaqar_conformance.mutants.command.try_all", see_nothing)
    assert main(["mutants", "pop-takes-claimed"]) == 1
    said = capsys.readouterr().out
    assert "not caught as it has to be pop-takes-claimed" in said
    assert "a_check saw POP-001" in said


def test_what_is_not_run_in_time_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def take_too_long(jobs: list[Job], processes: int, seconds: float | None) -> Iterator[Trial]:
        assert (len(jobs), seconds) == (4, 30.0)
        yield of("pop-takes-claimed", "POP-003", caught=("POP-003",))
        raise TimeoutError

    monkeypatch.setattr("zaqar_conformance.mutants.command.try_all", take_too_long)
    chosen = ["mutants", "pop-takes-claimed", "pop-takes-the-newest", "--repeat", "2", "--minutes", "0.5"]
    assert main(chosen) == 1
    said = capsys.readouterr().out
    assert "1 of 1" in said
    assert "0 of 0" in said


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "POP-*", "--list"]) == 0
    said = capsys.readouterr().out
    assert "pop-takes-claimed POP-003 `" in said.replace("``", "`")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["no-such-mutant"], "--list"), (["memory"], "--control memory"), (["POP-003", "--control", "memry"], "memory")],
)
def test_a_wrong_name_is_refused(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", *arguments]) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--jobs", "--repeat", "--minutes"])
@pytest.mark.parametrize("number", ["0", "-1", "nan", "many"])
def test_a_number_that_means_nothing_is_refused(option: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["mutants", "pop-takes-claimed", f"{option}={number}"])
    assert raised.value.code == 2
    assert f"{number!r} is no" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("zaqar_conformance.mutants.command.try_all", None)
    page = tmp_path / "nowhere" / "x.md"
    assert main(["mutants", "pop-takes-claimed", "--markdown", str(page)]) == 2
    assert f"{page} cannot be written (No such file or directory); name another" in capsys.readouterr().err
