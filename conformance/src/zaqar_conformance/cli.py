"""The command line: ``zaqar-conformance run``, ``list`` and ``init``; ``report_commands`` has the others."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from io import TextIOWrapper
from itertools import count
from pathlib import Path

from rich.console import Console

from zaqar_conformance.arguments import positive
from zaqar_conformance.check import Check
from zaqar_conformance.checks import all_checks
from zaqar_conformance.costs import deep_enough
from zaqar_conformance.engine import NothingMatches, plan, run
from zaqar_conformance.files import CannotWrite, write
from zaqar_conformance.interruptions import guarded
from zaqar_conformance.junit import to_junit
from zaqar_conformance.known_failures import KnownFailuresError
from zaqar_conformance.mutants import command as mutants
from zaqar_conformance.pages import report_page
from zaqar_conformance.reading import UnusableReport
from zaqar_conformance.report import Report
from zaqar_conformance.report_commands import add_report_commands
from zaqar_conformance.requirements import load, markdown
from zaqar_conformance.scaffold import ScaffoldError, create
from zaqar_conformance.session import CannotRun
from zaqar_conformance.target import BrokenTarget, Target, UnknownTarget, find_target, target_names
from zaqar_conformance.terminal import TerminalProgress, print_report, shown
from zaqar_core import ZaqarError
from zaqar_core.errors import InvalidUri
from zaqar_core.terminal import printable_lines

_EXIT_CODES = """\
exit codes:
  0  all that had to pass passed (what is undecided or not run is reported, and its capability is not proven)
  1  something failed or is not implemented, or an entry of known_failures.toml is out of date
  2  wrong usage
  3  an error of the suite or its environment, a datastore that does not start or stop, an interruption, or nothing
     was run or decided
"""


class NoReport(Exception):
    """The directory of ``--report`` cannot be made; the cause is chained."""


_USAGE = (
    UnknownTarget,
    NothingMatches,
    KnownFailuresError,
    InvalidUri,
    NoReport,
    ScaffoldError,
    UnusableReport,
    CannotWrite,
    mutants.NoSuchMutant,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with these arguments (those of the process if None); returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    effort = getattr(arguments, "effort", None)
    if effort not in (None, "soak") and arguments.minutes:
        parser.error("--minutes is how long --effort soak lasts; name both, or neither")
    if effort == "soak" and not arguments.minutes:
        parser.error("--effort soak needs --minutes: how long it begins new rounds")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    console = _Console(highlight=False)
    try:
        command: int = arguments.command(console, arguments)
        return command
    except CannotRun as error:
        _say(error.details)
        _complain(str(error))
        return 3
    except BrokenTarget as error:
        if error.__cause__ is not None and not isinstance(error.__cause__, ZaqarError):
            _say("".join(traceback.format_exception(error.__cause__)))
        _complain(str(error))
        return 3
    except KeyboardInterrupt:
        _complain("interrupted")
        return 3
    except _USAGE as error:
        _complain(str(error))
        return 2


class _Console(Console):
    """A console whose reader may go away: what is still to be done (the report) is done all the same."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        with Path(os.devnull).open("w") as nothing, suppress(OSError, ValueError):
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def _complain(text: str) -> None:
    _say(f"zaqar-conformance: {text}\n")


def _say(text: str) -> None:
    sys.stderr.write(printable_lines(text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zaqar-conformance",
        description="Proves that a storage backend keeps the Zaqar storage contract.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"zaqar-conformance {version('zaqar-conformance')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run_parser = commands.add_parser(
        "run",
        help="check a backend",
        description="Check a driver on the datastore that TARGET starts, or on the one at a URI, which is never hurt.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_target(run_parser)
    run_parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="run just the checks of this name or requirement (LST-007, 'CLM-*'); may be repeated",
    )
    run_parser.add_argument(
        "--effort",
        choices=("quick", "default", "soak"),
        default="default",
        help="quick: leave out what takes long; soak: again and again for --minutes, or until something fails",
    )
    run_parser.add_argument("--minutes", type=positive, metavar="N", help="how long --effort soak begins new rounds")
    run_parser.add_argument("--seed", metavar="N", help="make randomised checks choose as in the run that printed N")
    run_parser.add_argument(
        "--depth",
        type=_depth,
        metavar="N",
        help="how many messages 'many ahead' is; with fewer than the target's own number no cost is proven",
    )
    run_parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write report.html, report.json and junit.xml there"
    )
    run_parser.set_defaults(command=_run)

    list_parser = commands.add_parser("list", help="show the requirements and the checks that prove them")
    _add_target(list_parser)
    list_parser.add_argument("--markdown", action="store_true", help="print the contract as a page")
    list_parser.set_defaults(command=_list)

    init_parser = commands.add_parser(
        "init",
        help="begin a driver of your own",
        description="Write the distribution zaqar-NAME, whose driver is complete but for its methods.",
    )
    init_parser.add_argument("name", metavar="NAME", help="what the datastore is called, such as postgres")
    init_parser.add_argument("--scheme", help="of the driver's URIs (default: NAME)")
    init_parser.add_argument("--directory", type=Path, metavar="DIR", help="where to put it (default: here)")
    init_parser.set_defaults(command=_init)
    add_report_commands(commands)

    mutants_parser = commands.add_parser(
        "mutants",
        help="try the suite itself on wrong drivers",
        description="Run wrong drivers through the checks that name what they break, and print which caught them.",
        epilog="exit code 1: a mutant was not caught by such a check in 19 of 20 runs, or a right driver was not clean",
    )
    mutants.add_arguments(mutants_parser)
    mutants_parser.set_defaults(command=mutants.run_command)
    return parser


def _add_target(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(target_names()) or "none"
    parser.add_argument("target_name", nargs="?", metavar="TARGET", help=f"a URI, or one of the installed: {names}")
    parser.add_argument("--target", metavar="package.module:Class", help="a target that is not installed by name")
    parser.add_argument(
        "--profile",
        choices=("data", "control", "full"),
        default="full",
        help="data: messages and claims; control: queues and records; full: all (default)",
    )


def _run(console: Console, arguments: argparse.Namespace) -> int:
    target = _target(arguments)
    checks = plan(target, profile=arguments.profile, only=arguments.only)
    if arguments.report:
        _make(arguments.report)  # now, not when all has been run
    with guarded():
        soak = arguments.effort == "soak"
        report = _soak(console, arguments, checks) if soak else _run_once(console, arguments, checks)
        # Before anything is printed: printing may fail, block, or be interrupted.
        written = not arguments.report or _write(arguments.report, report)
    print_report(console, report)
    if arguments.report:
        console.print(f"for people: [bold]{shown(str(arguments.report / 'report.html'))}[/]", soft_wrap=True)
    if "not stopped" in report.environment:
        _say(report.environment["not stopped"]["traceback"])
        error = report.environment["not stopped"]["error"]
        _complain(f"the datastore of {report.target} did not stop: {error}")
    return report.exit_code or (0 if written else 3)


def _run_once(console: Console, arguments: argparse.Namespace, checks: list[Check]) -> Report:
    with TerminalProgress(console, checks) as progress:
        return run(
            _target(arguments),
            profile=arguments.profile,
            only=arguments.only,
            seed=arguments.seed,
            depth=arguments.depth,
            quick=arguments.effort == "quick",
            progress=progress,
            arguments=[f"--target={arguments.target}"] if arguments.target else [],
        )


def _soak(console: Console, arguments: argparse.Namespace, checks: list[Check]) -> Report:
    """Rounds with a seed each, until the time is over, one fails, or somebody interrupts; the last one's report."""
    over = time.monotonic() + 60 * arguments.minutes
    report: Report | None = None
    for number in count(1):
        try:
            report = _run_once(console, arguments, checks)
        except KeyboardInterrupt:  # between two rounds
            if report is None:
                raise
            return replace(report, interrupted=True)
        arguments.seed = None  # only the first round is asked for
        found = ", ".join(f"{amount} {outcome}" for outcome, amount in report.outcomes.items() if amount)
        console.print(f"[bold]round {number}[/] (seed {shown(report.seed)}, {report.seconds:.0f} s): {found}")
        if report.exit_code or report.interrupted or time.monotonic() >= over:
            break
    assert report is not None
    return report


def _list(console: Console, arguments: argparse.Namespace) -> int:
    contract = load()
    if arguments.markdown:
        sys.stdout.write(markdown(contract))
        return 0
    checks = all_checks()
    if arguments.target_name or arguments.target:
        checks = plan(_target(arguments), profile=arguments.profile)
    for section in contract.sections:
        if arguments.profile not in ("full", section.profile):
            continue
        console.print(f"\n[bold]{section.title}[/]")
        for requirement in section.requirements:
            capability = f" [cyan]{requirement.capability}[/]" if requirement.capability else ""
            console.print(f"{requirement.id}{capability} {requirement.text}", soft_wrap=True)
            for check in checks:
                if requirement.id in check.requirements:
                    console.print(f"    [green]{check.name}[/]: {check.summary}", soft_wrap=True)
    return 0


def _init(console: Console, arguments: argparse.Namespace) -> int:
    folder = create(arguments.name, scheme=arguments.scheme, directory=arguments.directory)
    text = f"""{folder} is there. Next, in an environment of its own:

  cd {shlex.quote(str(folder))}
  pip install -e .
  zaqar-conformance run {arguments.name}

It lists the methods in the order to write them. The guide is docs/writing-a-driver.md of the Zaqar storage SDK."""
    console.print(text, markup=False, soft_wrap=True)
    return 0


def _target(arguments: argparse.Namespace) -> Target:
    if arguments.target and arguments.target_name:
        raise UnknownTarget("give either a target's name or --target, not both")
    return find_target(arguments.target_name, arguments.target)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NoReport(f"--report {directory} cannot be made ({error.strerror}); name another directory") from error


def _write(directory: Path, report: Report) -> bool:
    """Write what can be written, ``report.json`` first; False if some of it could not be, which was said."""
    files: list[tuple[str, Callable[[], str]]] = [
        ("report.json", report.to_json),
        ("report.html", lambda: report_page(json.loads(report.to_json()))),
        ("junit.xml", lambda: to_junit(report)),
    ]
    complete = True
    for name, render in files:
        try:
            write(directory / name, render())
        except CannotWrite as error:
            _complain(str(error))
            complete = False
        except Exception:  # an error of one page must not lose the others
            _say(traceback.format_exc())
            _complain(f"{name} could not be made, which is an error in zaqar-conformance; the traceback is above")
            complete = False
    return complete


def _depth(text: str) -> int:
    try:
        return deep_enough(positive(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
