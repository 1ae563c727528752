"""The kill table: how often each mutant was caught, by which checks; and that right drivers were found clean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from rich.console import Console

from zaqar_conformance.mutants.trial import Trial
from zaqar_conformance.terminal import shown

ENOUGH = 0.95
"""The share of its runs in which a mutant has to be caught: 19 of 20. A control has to be clean in each."""


@dataclass
class Row:
    """All trials of one mutant, or of one control."""

    name: str
    defect: str
    requirements: tuple[str, ...]
    trials: list[Trial] = field(default_factory=list)

    @property
    def right(self) -> int:
        """In how many trials a mutant was caught for all that it breaks, or a control was clean."""
        return sum(trial.right for trial in self.trials)

    @property
    def enough(self) -> bool:
        """Whether those are as many as there have to be."""
        return bool(self.trials) and self.right >= len(self.trials) * (ENOUGH if self.requirements else 1)

    @property
    def checks(self) -> list[tuple[str, int]]:
        """The checks that saw broken what the mutant breaks, and in how many trials."""
        seen: Counter[str] = Counter()
        for trial in self.trials:
            seen.update({check for number in self.requirements for check in trial.caught.get(number, ())})
        return seen.most_common()

    @property
    def time(self) -> str:
        """How many seconds a trial took at the median."""
        return f"{median(trial.seconds for trial in self.trials):.1f}" if self.trials else ""

    @property
    def wrong(self) -> str:
        """What one of the trials that did not go as they had to said instead; "" if all did."""
        return next((trial.wrong for trial in self.trials if not trial.right), "")


def print_table(console: Console, rows: Iterable[Row]) -> None:
    """A line a mutant: how often it was caught, at the median in how many seconds, by what. What went wrong, below."""
    for row in rows:
        color, count = "green" if row.enough else "red", f"{row.right} of {len(row.trials)}"
        by = f"by {_by(row)}" if row.checks else ""
        broken = " ".join(row.requirements)
        console.print(f"[{color}]{count:>8}[/] {row.time:>6} s  {row.name} [cyan]{broken}[/] {by}", soft_wrap=True)
    for row in rows:
        if not row.enough:
            kind = "not caught as it has to be" if row.requirements else "not clean"
            console.print(f"[red]{kind}[/] {row.name}: {shown(row.defect)}", soft_wrap=True)
            console.print(f"  seen: {shown(row.wrong[:2000])}", soft_wrap=True)


def markdown(rows: Iterable[Row], when: str, where: str) -> str:
    """The page ``docs/kill-table.md``."""
    rows = list(rows)
    mutants = [row for row in rows if row.requirements]
    lines = [
        "<!-- Made by `nox -s kill_table`. -->",
        "",
        "# Kill table",
        "",
        "Each [mutant](conformance.md#mutants) is a driver, or a core, with one defect. It is caught when checks that",
        "name the requirements it breaks say that they are broken. Controls are right, and must be found so.",
        "",
        f"{when}, {where}.",
        f"Caught in at least 19 of 20 of their runs: {sum(row.enough for row in mutants)} of {len(mutants)} mutants.",
        "",
        "## Mutants",
        "",
        "| mutant | defect | breaks | caught | by |",
        "|---|---|---|---|---|",
    ]
    for row in mutants:
        broken, caught = ", ".join(row.requirements), f"{row.right} of {len(row.trials)}"
        lines.append(f"| {row.name} | {_cell(row.defect)} | {broken} | {caught} | {_by(row)} |")
    lines += ["", "## Controls", "", "| driver | clean |", "|---|---|"]
    lines += [
        f"| {row.name}: {_cell(row.defect)} | {row.right} of {len(row.trials)} |"
        for row in rows
        if not row.requirements
    ]
    return "\n".join([*lines, ""])


def _by(row: Row, most: int = 3) -> str:
    names = [name for name, _ in row.checks]
    rest = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("``", "`")
