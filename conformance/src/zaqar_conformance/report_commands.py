"""The commands that read reports: ``html``, ``matrix``, ``diff`` and ``badge``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from zaqar_conformance.difference import Change, Difference, difference
from zaqar_conformance.files import write
from zaqar_conformance.matrix import matrix_markdown
from zaqar_conformance.pages import badge, matrix_page, report_page
from zaqar_conformance.reading import UnusableReport, read
from zaqar_conformance.terminal import shown

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_DIFF_EXIT_CODES = """\
exit codes:
  0  nothing that held is broken now (what is not proven any more is listed)
  1  a regression: a requirement fails that did not, or a capability that was proven fails or is not declared any more
  2  a report that cannot be used: unreadable, of an interrupted run, or of one that ran nothing
"""


def add_report_commands(commands: Commands) -> None:
    """Add them to the command line."""
    html = commands.add_parser("html", help="write a report's page again, from its JSON")
    html.add_argument("report", type=Path, metavar="report.json")
    html.add_argument(
        "--out", type=Path, metavar="FILE", help="where to; beside the report, as report.html, if not given"
    )
    html.set_defaults(command=_html)

    matrix = commands.add_parser(
        "matrix",
        help="several reports side by side",
        description="Capabilities and requirements against targets: Markdown, printed if no file is named.",
    )
    matrix.add_argument("reports", type=Path, nargs="+", metavar="report.json")
    matrix.add_argument("--html", type=Path, metavar="FILE", help="write a page for people")
    matrix.add_argument("--markdown", type=Path, metavar="FILE", help="write Markdown")
    matrix.set_defaults(command=_matrix)

    diff = commands.add_parser(
        "diff",
        help="what changed from one report to another",
        epilog=_DIFF_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    diff.add_argument("old", type=Path, metavar="OLD")
    diff.add_argument("new", type=Path, metavar="NEW")
    diff.set_defaults(command=_diff)

    badge_parser = commands.add_parser("badge", help="the verdict of a report as a small SVG")
    badge_parser.add_argument("report", type=Path, metavar="report.json")
    badge_parser.add_argument("--out", type=Path, metavar="FILE", help="where to; the standard output if not given")
    badge_parser.set_defaults(command=_badge)


def _html(console: Console, arguments: argparse.Namespace) -> int:
    write(arguments.out or arguments.report.with_name("report.html"), report_page(read(arguments.report)))
    return 0


def _matrix(console: Console, arguments: argparse.Namespace) -> int:
    reports = [read(path) for path in arguments.reports]
    if arguments.html:
        write(arguments.html, matrix_page(reports))
    if arguments.markdown:
        write(arguments.markdown, matrix_markdown(reports))
    if not arguments.html and not arguments.markdown:
        sys.stdout.write(matrix_markdown(reports))
    return 0


def _badge(console: Console, arguments: argparse.Namespace) -> int:
    svg = badge(read(arguments.report))
    if arguments.out:
        write(arguments.out, svg)
    else:
        sys.stdout.write(svg)
    return 0


def _diff(console: Console, arguments: argparse.Namespace) -> int:
    reports = [read(path) for path in (arguments.old, arguments.new)]
    for path, report in zip((arguments.old, arguments.new), reports, strict=True):
        if report["interrupted"]:
            raise UnusableReport(f"{path} is of a run that was interrupted; run {report['command']}")
        if not report["checks"]:
            raise UnusableReport(f"{path} is of a run that ran nothing; run {report['command']}")
    old, new = reports
    for name in ("contract", "target", "profile", "quick", "only"):
        if old[name] != new[name]:
            console.print(f"[yellow]note[/] {name}: {_value(old[name])} → {_value(new[name])}")
    found = difference(old, new)
    _print_difference(console, found)
    return 1 if found.is_regression else 0


def _value(value: object) -> str:
    return shown((", ".join(value) or "everything") if isinstance(value, list) else str(value))


def _print_difference(console: Console, found: Difference) -> None:
    """The worst last."""
    parts: list[tuple[str, str, tuple[Change, ...]]] = [
        ("cyan", "requirements gone", found.removed),
        ("cyan", "requirements added", found.added),
        ("green", "capabilities gained", found.gained),
        ("green", "fixed", found.fixed),
        ("yellow", "no longer proven", (*found.unproven, *found.weaker)),
        ("red", "capabilities lost", found.lost),
        ("red", "newly failing", found.failing),
    ]
    for color, title, changes in parts:
        if changes:
            console.print(f"[{color}]{title}[/] ({len(changes)})")
        for each in changes:
            change = " → ".join(filter(None, (each.old, each.new)))
            console.print(shown(f"  {each.name} {change} {each.text}".rstrip()), soft_wrap=True)
    if not any(changes for _, _, changes in parts):
        console.print("nothing changed")
    console.print("[red]regression[/]" if found.is_regression else "[green]no regression[/]")
