"""``zaqar-conformance mutants``: run the zoo, print the kill table."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console
from rich.progress import track

from zaqar_conformance.arguments import positive, positive_float
from zaqar_conformance.files import demand_writable, write
from zaqar_conformance.mutants.table import Row, markdown, print_table
from zaqar_conformance.mutants.trial import Job, try_all
from zaqar_conformance.mutants.zoo import Mutant, all_mutants, controls
from zaqar_conformance.target import find_target, target_names
from zaqar_conformance.terminal import shown


class NoSuchMutant(ValueError):
    """A name on the command line is of no mutant, control, requirement or target."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach a parser the arguments of the command."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="mutants, requirements, or both, with * as in file names"
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--repeat", type=positive, default=1, metavar="N", help="run each so many times")
    parser.add_argument(
        "--jobs", type=positive, default=os.cpu_count() or 1, metavar="N", help="in so many processes at once"
    )
    parser.add_argument(
        "--control",
        action="append",
        metavar="TARGET",
        help="an installed target that has to be found clean; may be repeated (without names: memory)",
    )
    parser.add_argument("--minutes", type=positive_float, metavar="N", help="begin nothing more after so long")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")


def run_command(console: Console, arguments: argparse.Namespace) -> int:
    """Run the command; its exit code. Raises ``NoSuchMutant``, ``UnknownTarget``, ``CannotWrite``."""
    chosen = choose(arguments.names)
    if arguments.list:
        for mutant in chosen:
            console.print(f"{mutant.name} [cyan]{' '.join(mutant.requirements)}[/] {mutant.defect}", soft_wrap=True)
        return 0
    targets = arguments.control if arguments.control is not None else ([] if arguments.names else ["memory"])
    for name in targets:
        find_target(name)
    if arguments.markdown:
        demand_writable(arguments.markdown)  # now, not when all has been run
    rows = {each.name: Row(each.name, each.defect, each.requirements) for each in chosen}
    rows |= {name: Row(name, "the target of that name, in every check but those that measure", ()) for name in targets}
    # The longest first, and each once before any twice; which checks see a mutant has been seen then.
    jobs = [
        Job(name, target=name in targets, briefly=number > 0)
        for number in range(arguments.repeat)
        for name in [*targets, *(each.name for each in chosen)]
    ]
    began = datetime.now(UTC)
    trials = try_all(jobs, arguments.jobs, arguments.minutes and 60 * arguments.minutes)
    try:
        for done, trial in enumerate(track(trials, "running", len(jobs), console=console, transient=True), start=1):
            rows[trial.name].trials.append(trial)
            if not trial.right:
                number = len(rows[trial.name].trials)
                said = shown(trial.wrong[:500])
                console.print(f"[red]{trial.name}[/] went wrong in run {number}: {said}", soft_wrap=True)
            if not console.is_terminal and done % len(rows) == 0:
                console.print(f"{done} of {len(jobs)} runs, {(datetime.now(UTC) - began).total_seconds():.0f} s")
    except TimeoutError:
        console.print(f"{arguments.minutes:g} minutes are over; what has not run by now counts for nothing")
    print_table(console, list(rows.values()))
    seconds = (datetime.now(UTC) - began).total_seconds()
    mutants = [row for row in rows.values() if row.requirements]
    caught = sum(row.enough for row in mutants)
    clean = sum(row.enough for row in rows.values()) - caught
    said = f"{caught} of {len(mutants)} mutants caught, {clean} of {len(rows) - len(mutants)} controls clean"
    console.print(f"{said}, {seconds:.0f} s")
    if arguments.markdown:
        where = f"Python {platform.python_version()}, {os.cpu_count()} processors, {seconds / 60:.0f} minutes"
        write(arguments.markdown, markdown(rows.values(), f"{began:%d %B %Y}", where))
    return 0 if all(row.enough for row in rows.values()) else 1


def choose(names: Sequence[str]) -> list[Mutant]:
    """The mutants and controls of these names, and the mutants that break these requirements; all if none is named."""
    everything = [*all_mutants(), *controls()]
    for name in names:
        if not any(_named(each, name) for each in everything):
            hint = f"--control {name} runs a target" if name in target_names() else "--list shows what there is"
            raise NoSuchMutant(f"{name!r} is no mutant, and no requirement that one breaks; {hint}")
    return [each for each in everything if not names or any(_named(each, name) for name in names)]


def _named(mutant: Mutant, pattern: str) -> bool:
    return any(fnmatchcase(each, pattern) for each in (mutant.name, *mutant.requirements))
