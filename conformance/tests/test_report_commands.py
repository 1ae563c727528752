"""The commands that read reports: what they print and write, and their exit codes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zaqar_conformance import cli
from zaqar_conformance.matrix import capability_table, matrix_markdown
from zaqar_conformance.pages import report_page
from zaqar_conformance.reading import ReportData, read

Save = Callable[..., Path]


@pytest.fixture
def save(told: ReportData, tmp_path: Path) -> Save:
    """Writes the report with changed outcomes of requirements, verdicts on capabilities, and members of its own."""

    def write(
        name: str, outcomes: dict[str, str | None], verdicts: dict[str, str] | None = None, **members: Any
    ) -> Path:
        report = {**copy.deepcopy(told), **members}
        kept = [each for each in report["requirements"] if outcomes.get(each["id"], "") is not None]
        report["requirements"] = [{**each, "outcome": outcomes.get(each["id"], "passed")} for each in kept]
        for each in report["capabilities"]:
            each["verdict"] = (verdicts or {}).get(each["name"], "proven")
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(report), "utf-8")
        return path

    return write


def diff(old: Path, new: Path) -> int:
    return cli.main(["diff", str(old), str(new)])


# --- diff ---------------------------------------------------------------------------------------------------------


def test_equal_reports_are_no_regression(save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(save("old", {}), save("new", {})) == 0
    assert capsys.readouterr().out == "nothing changed\nno regression\n"


@pytest.mark.parametrize("outcome", ["failed", "error", "not implemented"])
@pytest.mark.parametrize("before", ["passed", "known failure", "undecided", "not run", "unsupported", "observed"])
def test_a_requirement_that_is_newly_broken_is_a_regression(
    save: Save, capsys: pytest.CaptureFixture[str], before: str, outcome: str
) -> None:
    assert diff(save("old", {"MSG-001": before}), save("new", {"MSG-001": outcome})) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(f"newly failing (1)\n  MSG-001 {before} → {outcome} ")
    assert printed.endswith("\nregression\n")


@pytest.mark.parametrize("verdict", ["failed", "not declared", "observed, not promised"])
def test_a_capability_lost_is_a_regression(save: Save, capsys: pytest.CaptureFixture[str], verdict: str) -> None:
    assert diff(save("old", {}), save("new", {}, {"FIFO": verdict})) == 1
    assert capsys.readouterr().out.startswith(f"capabilities lost (1)\n  FIFO proven → {verdict}\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"MSG-001": "failed"}, {}, "fixed (1)\n  MSG-001 failed → passed "),
        ({}, {"MSG-001": "not run"}, "no longer proven (1)\n  MSG-001 passed → not run "),
        ({"MSG-001": None}, {"MSG-001": "failed"}, "requirements added (1)\n  MSG-001 failed "),
        ({}, {"MSG-001": None}, "requirements gone (1)\n  MSG-001 passed "),
        ({"MSG-001": "failed"}, {"MSG-001": "error"}, "nothing changed"),
    ],
)
def test_other_changes_are_listed_and_are_no_regression(
    save: Save, capsys: pytest.CaptureFixture[str], old: dict[str, str | None], new: dict[str, str | None], said: str
) -> None:
    assert diff(save("old", old), save("new", new)) == 0
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("failed", "proven", "capabilities gained (1)\n  FIFO failed → proven\n"),
        ("proven", "declared, unproven", "no longer proven (1)\n  FIFO proven → declared, unproven\n"),
    ],
)
def test_so_are_those_of_capabilities(
    save: Save, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    assert diff(save("old", {}, {"FIFO": old}), save("new", {}, {"FIFO": new})) == 0
    assert capsys.readouterr().out.startswith(said)


def test_what_runs_were_narrowed_to_is_said(save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(save("old", {}, target="redis"), save("new", {}, only=["CLM-*"])) == 0
    printed = capsys.readouterr().out
    assert "note target: redis → memory" in printed
    assert "note only: everything → CLM-*" in printed


# --- reports that cannot be used ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "is no report of zaqar-conformance; name a report.json of `run --report`"),
        ("{}", "is no report of zaqar-conformance"),
        ('{"schema_version": 99}', "has schema_version 99; this zaqar-conformance reads 1 to 2"),
        ('{"schema_version": 2}', "is no report: $ "),
        ('{"schema_version": 1, "checks": [1]}', "is no report: $"),
    ],
)
@pytest.mark.parametrize("command", ["html", "matrix", "badge", "diff"])
def test_unusable_input_is_2_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, text: str, said: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(text, "utf-8")
    assert cli.main([command, *[str(path)] * (2 if command == "diff" else 1)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"zaqar-conformance: {path} {said}")
    assert printed.out == ""


def test_so_is_what_cannot_be_read_or_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["badge", str(tmp_path / "none.json")]) == 2
    assert "none.json cannot be read: No such file or directory" in capsys.readouterr().err
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert cli.main(["badge", str(tmp_path / "binary.json")]) == 2
    assert "binary.json is no JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("member", "said"), [({"interrupted": True}, "was interrupted"), ({"checks": []}, "ran nothing")]
)
def test_a_run_that_says_nothing_is_not_compared(
    save: Save, capsys: pytest.CaptureFixture[str], member: dict[str, Any], said: str
) -> None:
    assert diff(save("old", {}), save("new", {}, **member)) == 2
    assert said in capsys.readouterr().err


def test_a_report_of_the_first_schema_is_read(told: ReportData, tmp_path: Path) -> None:
    old = copy.deepcopy(told) | {"schema_version": 1}
    del old["quick"]
    for check in old["checks"]:
        del check["offending"], check["costs"]
    (tmp_path / "old.json").write_text(json.dumps(old), "utf-8")
    found = read(tmp_path / "old.json")
    assert found["quick"] is False
    assert found["checks"][0]["costs"] == found["checks"][0]["offending"] == []
    assert "memory" in report_page(found)


# --- html, matrix, badge ------------------------------------------------------------------------------------------


def test_a_page_is_written_again_from_the_json(told: ReportData, told_file: Path) -> None:
    assert cli.main(["html", str(told_file)]) == 0
    assert told_file.with_name("report.html").read_text("utf-8") == report_page(told)


def test_a_matrix_has_a_column_for_each_report(save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = save("one", {"MSG-001": "failed", "MSG-002": None}, {"FIFO": "failed"}, target="red|is<")
    two = save("two", {})
    html, markdown = tmp_path / "matrix.html", tmp_path / "matrix.md"
    assert cli.main(["matrix", str(one), str(two), "--html", str(html), "--markdown", str(markdown)]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["matrix", str(one), str(two)]) == 0
    printed = capsys.readouterr().out
    assert printed == markdown.read_text("utf-8")
    assert "| capability | red\\|is&lt; | memory |\n|---|---|---|\n" in printed
    assert "| `FIFO` | failed | proven |\n" in printed
    assert "| MSG-001 | failed | passed | " in printed
    assert "| MSG-002 |  | passed | " in printed
    numbers = [line.split(" | ")[0] for line in printed.splitlines() if line.startswith("| MSG-")]
    assert numbers == sorted(numbers)
    assert "red|is&lt;" in html.read_text("utf-8")


def test_one_target_twice_is_told_apart_by_time(told: ReportData) -> None:
    later = {**told, "started": "2030-01-01T00:00:00+00:00"}
    head = capability_table([told, later]).splitlines()[0]
    assert head == f"| capability | memory {told['started']} | memory 2030-01-01T00:00:00+00:00 |"
    assert matrix_markdown([told]).startswith("# Conformance\n\n| capability | memory |\n")


def test_a_badge_is_printed_or_written(told_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["badge", str(told_file)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("<svg ")
    assert cli.main(["badge", str(told_file), "--out", str(tmp_path / "badge.svg")]) == 0
    assert (tmp_path / "badge.svg").read_text("utf-8") == printed


def test_a_file_that_cannot_be_written_is_2(told_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["badge", str(told_file), "--out", str(told_file / "badge.svg")]) == 2
    assert "badge.svg cannot be written (Not a directory); name another file" in capsys.readouterr().err
