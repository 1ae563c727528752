"""What a person sees: progress while the checks run, and then what was found and what to do about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from types import TracebackType
from typing import Self

from rich import markup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from zaqar_conformance.check import Check
from zaqar_conformance.history import telling
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.pages.timeline import timeline, words
from zaqar_conformance.report import HISTORY_LIMIT, CheckResult, Report, Verdict
from zaqar_conformance.requirements import Contract, load
from zaqar_conformance.scoring import advice
from zaqar_conformance.verdict import start
from zaqar_core.terminal import printable_lines

COLORS = {
    Outcome.ERROR: "magenta",
    Outcome.FAILED: "red",
    Outcome.NOT_IMPLEMENTED: "red",
    Outcome.KNOWN_FAILURE: "yellow",
    Outcome.UNDECIDED: "yellow",
    Outcome.NOT_RUN: "dim",
    Outcome.UNSUPPORTED: "dim",
    Outcome.OBSERVED: "cyan",
    Outcome.PASSED: "green",
}
_HISTORY_LINES = 12
_OWN_SECTION = {"RecordStore": "REC", "MessageController": "MSG", "ClaimController": "CLM"}
"""The section of the contract that is about a class."""


class TerminalProgress:
    """A bar with the time elapsed on a terminal; elsewhere a line for each section as it ends. For ``engine.run``."""

    def __init__(self, console: Console, checks: list[Check]) -> None:
        self._console = console
        self._titles = {section.prefix: section.title for section in load().sections}
        self._left = Counter(_section(check.requirements) for check in checks)
        self._seen: dict[str, Counter[Outcome]] = defaultdict(Counter)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=len(checks))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, check: Check) -> None:
        self._bar.update(self._task, description=check.name)

    def finished(self, result: CheckResult) -> None:
        self._bar.advance(self._task)
        if result.outcome in (Outcome.FAILED, Outcome.ERROR):
            self._console.print(f"{_colored(result.outcome)} {result.name}")
        section = _section(result.requirements)
        self._seen[section][result.outcome] += 1
        self._left[section] -= 1
        if self._left[section] == 0:
            self._console.print(f"{self._titles[section]}: {_summary(self._seen[section])}")


def shown(text: str) -> str:
    """Text from anywhere as it may be printed with markup: it styles nothing and does not steer the terminal."""
    return markup.escape(printable_lines(text))


def print_report(console: Console, report: Report) -> None:
    """The whole of what was found, the worst last but for the summary."""
    contract = load(report.contract)
    console.print(_outcome_table(report, contract))
    capabilities = _capability_table(report, contract)
    if capabilities.row_count:
        console.print(capabilities)
    _print_notes(console, report)
    _print_missing(console, report)
    begin = start([result.requirement for result in report.checks if result.outcome is Outcome.FAILED])
    if begin:
        console.print(f"\n[bold]{begin}[/]")
    for result in report.failures():
        print_failure(console, result, contract)
    for entry in report.stale_known_failures:
        console.print(f"[red]out of date[/] in known_failures: {shown(entry)}; take the entry out")
    if report.interrupted:
        console.print("[magenta]interrupted[/]: what follows is of the checks until then")
    counts = _summary(Counter(report.outcomes)) or "nothing was run"
    console.print(
        f"\n{shown(report.target)}, contract {report.contract}, profile {report.profile}: {counts}", soft_wrap=True
    )
    console.print(f"{report.seconds:.1f} s; again: [bold]{shown(report.command)}[/]", soft_wrap=True)


def print_failure(console: Console, result: CheckResult, contract: Contract) -> None:
    """What one check saw, the requirement it broke, what to do, and how to see it again."""
    console.rule(f"{_colored(result.outcome)} {result.name}", align="left")
    console.print(f"  checks that: {shown(result.summary)}", soft_wrap=True)
    for number in result.blamed:
        requirement = contract.requirements.get(number)
        text = requirement.text if requirement else "(no such requirement)"
        console.print(f"  [bold]{number}[/] {shown(text)}", soft_wrap=True)
    console.print(f"  seen: {shown(result.message)}", soft_wrap=True)
    if result.history:
        total, kept = len(result.history), min(len(result.history), HISTORY_LIMIT)
        console.print(f"  history ({total} operations; {'all' if kept == total else kept} are in the report):")
        console.print(shown("\n".join(_telling_lines(result))), soft_wrap=True)
    if result.details:
        console.print(shown(result.details.rstrip()), soft_wrap=True)
    console.print(f"  to do: {advice(result.outcome, result.requirement, contract)}", soft_wrap=True)
    console.print(f"  reproduce: [bold]{shown(result.reproduce)}[/]", soft_wrap=True)


def _outcome_table(report: Report, contract: Contract) -> Table:
    outcomes = [outcome for outcome in reversed(Outcome) if outcome in report.outcomes]
    table = Table("Section", *(outcome.value for outcome in outcomes), title="Checks")
    for column in table.columns[1:]:
        column.justify = "right"
    for section in contract.sections:
        results = [result for result in report.checks if _section(result.requirements) == section.prefix]
        counts = Counter(result.outcome for result in results)
        if counts:
            cells = (f"[{COLORS[outcome]}]{counts[outcome]}[/]" if counts[outcome] else "" for outcome in outcomes)
            table.add_row(section.title, *cells)
    return table


def _capability_table(report: Report, contract: Contract) -> Table:
    """All of them, or, if a part of the checks was asked for, those that these are about."""
    numbers = {number for result in report.checks for number in result.requirements}
    asked = {each.capability for each in contract.requirements.values() if each.id in numbers or not report.only}
    colors = {Verdict.PROVEN: "green", Verdict.FAILED: "red", Verdict.OBSERVED: "cyan", Verdict.NOT_DECLARED: "dim"}
    table = Table("Capability", "Kind", "Verdict", title="Capabilities")
    for capability in report.capabilities:
        if capability.name not in asked:
            continue
        color = colors.get(capability.verdict, "yellow")
        table.add_row(capability.name, capability.kind, f"[{color}]{capability.verdict}[/]")
    return table


def _print_notes(console: Console, report: Report) -> None:
    """Why something is not proven, and what was measured."""
    telling = (Outcome.UNDECIDED, Outcome.NOT_RUN, Outcome.KNOWN_FAILURE)
    for result in report.checks:
        if result.outcome in telling:
            console.print(f"{_colored(result.outcome)} {result.name}: {shown(result.message)}", soft_wrap=True)
        for note in result.notes:
            console.print(f"[dim]note[/] {result.name}: {shown(note)}", soft_wrap=True)


def _print_missing(console: Console, report: Report) -> None:
    missing = report.missing_methods()
    if missing:
        console.print("\n[bold]Not implemented[/], in the order to write them:")
    for method, results in missing.items():
        waiting = "1 check waits" if len(results) == 1 else f"{len(results)} checks wait"
        own = _OWN_SECTION.get(method.partition(".")[0])  # those of others need more methods
        first = next((result for result in results if _section(result.requirements) == own), results[0])
        console.print(f"  {method} ({waiting} for it; next: {shown(first.reproduce)})", soft_wrap=True)


def _telling_lines(result: CheckResult) -> Iterator[str]:
    """The operations that cannot all be right, marked, and what is nearest to them; with short names, as on the page.

    What a call gave is what proves a fault, so that it is not cut for the sake of long arguments.
    """
    told = telling(len(result.history), result.offending, _HISTORY_LINES)
    all_offending = set(result.offending)
    offending = [place for place, index in enumerate(told) if index in all_offending]
    drawn = timeline([asdict(result.history[index]) for index in told], offending, len(result.history))
    for index, row in zip(told, drawn.rows if drawn else (), strict=True):
        gave = row.result if row.outcome == "ok" else row.outcome
        sign, call = ">" if row.offending else " ", _cut(row.call, 120)
        yield f"  {sign} {index + 1}. {row.client} {row.start} {call} took {row.length}: {_cut(gave or 'done', 300)}"
    named = words(result.message)
    for short, long in drawn.names if drawn else ():
        if long in named:
            yield f"    {short} is {long}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _section(requirements: tuple[str, ...]) -> str:
    return requirements[0][:3]


def _colored(outcome: Outcome) -> str:
    return f"[{COLORS[outcome]}]{outcome}[/]"


def _summary(counts: Counter[Outcome]) -> str:
    return ", ".join(f"[{COLORS[outcome]}]{counts[outcome]} {outcome}[/]" for outcome in Outcome if counts[outcome])
