"""Several reports side by side: capabilities and requirements against targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zaqar_conformance.reading import ReportData
from zaqar_core.terminal import printable


@dataclass(frozen=True, slots=True)
class Row:
    """One capability or requirement, and what each report says of it; "" where it says nothing."""

    name: str
    text: str
    cells: tuple[str, ...]


def capability_rows(reports: Sequence[ReportData]) -> list[Row]:
    """The verdicts, in the order of the vocabulary."""
    kinds = {each["name"]: each["kind"] for report in reports for each in report["capabilities"]}
    verdicts = [{each["name"]: each["verdict"] for each in report["capabilities"]} for report in reports]
    return [Row(name, kind, tuple(each.get(name, "") for each in verdicts)) for name, kind in kinds.items()]


def requirement_rows(reports: Sequence[ReportData]) -> list[Row]:
    """The outcomes, in the order of the contract as far as the reports have it."""
    texts = {each["id"]: each["text"] for report in reports for each in report["requirements"]}
    outcomes = [{each["id"]: each["outcome"] for each in report["requirements"]} for report in reports]
    prefixes = list(dict.fromkeys(number[:3] for number in texts))
    numbers = sorted(texts, key=lambda number: (prefixes.index(number[:3]), number))
    return [Row(number, texts[number], tuple(each.get(number, "") for each in outcomes)) for number in numbers]


def column_names(reports: Sequence[ReportData]) -> list[str]:
    """The targets; where one is there twice, with the time it was run at."""
    names = [report["target"] for report in reports]
    return [
        name if names.count(name) == 1 else f"{name} {report['started']}"
        for name, report in zip(names, reports, strict=True)
    ]


def counts(report: ReportData) -> str:
    """How many checks came to each outcome, the best first."""
    return ", ".join(f"{count} {outcome}" for outcome, count in reversed(report["outcomes"].items()) if count)


def capability_table(reports: Sequence[ReportData]) -> str:
    """Markdown: a row for each capability, a column for each report, and what the checks came to."""
    rows = [(f"`{row.name}`", *row.cells) for row in capability_rows(reports)]
    return _table(["capability", *column_names(reports)], [*rows, ("checks", *(counts(each) for each in reports))])


def requirement_table(reports: Sequence[ReportData]) -> str:
    """Markdown: a row for each requirement, a column for each report."""
    rows = [(row.name, *row.cells, row.text) for row in requirement_rows(reports)]
    return _table(["requirement", *column_names(reports), "text"], rows)


def matrix_markdown(reports: Sequence[ReportData]) -> str:
    """Both tables, as a page."""
    return f"# Conformance\n\n{capability_table(reports)}\n## Requirements\n\n{requirement_table(reports)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_line(head), "|---" * len(head) + "|", *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Text that cannot end its cell, its row, or the table."""
    return printable(" ".join(text.replace("|", "\\|").replace("<", "&lt;").split()))
