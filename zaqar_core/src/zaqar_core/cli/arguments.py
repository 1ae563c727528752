"""The parser: options that every command takes, and how values are read from text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from zaqar_core.cli.exits import Exit, exit_table
from zaqar_core.cli.lines import read_json
from zaqar_core.cli.session import Session
from zaqar_core.terminal import printable

Run = Callable[[Session], int]

_ID = re.compile(r"-(?=[\w-]*[A-Z0-9_])[\w-]{15,}\Z", re.ASCII)
_MARK = "\0"  # no argument of a process has one
_ADDRESS = re.compile(r"(://).*", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Complains in one line, and without the secrets of a URI."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        # Where a URI with an unescaped password ends is unknown, so all of the rest is hidden.
        shown = _ADDRESS.sub(r"\1***", message).replace(_MARK, "")
        said = printable(" ".join(shown.split()))
        self.exit(Exit.USAGE, f"zaqar: error: {said}; see {self.prog} --help\n")


class Commands:
    """Nouns or verbs below a parser."""

    def __init__(self, parser: Parser, metavar: str) -> None:
        self._places: argparse._SubParsersAction[Parser] = parser.add_subparsers(metavar=metavar)
        parser.set_defaults(run=lambda session: session.output.usage(parser.format_help()))

    def group(self, name: str, help: str) -> Commands:
        """A noun, which has verbs."""
        return Commands(self._add(name, help, None), "COMMAND")

    def command(self, name: str, run: Run, help: str, more: str = "") -> Parser:
        """A verb; its arguments are added to what is returned."""
        parser = self._add(name, help, more)
        parser.set_defaults(run=run)
        return parser

    def _add(self, name: str, help: str, more: str | None) -> Parser:
        about = f"{help[0].upper()}{help[1:]}."
        epilog = "Options of every command, and exit codes: zaqar --help"
        parser = self._places.add_parser(
            name, help=help, description=about + (f"\n\n{more}" if more else ""), epilog=epilog
        )
        add_common(parser, shown=False)
        return parser


def new_parser(version: str) -> Parser:
    """The parser, without commands."""
    parser = Parser(
        prog="zaqar",
        description="Look after message queues on any storage that a driver is installed for.",
        epilog=(
            "With --json every result is one JSON document a line (NDJSON), and nothing else is on standard output.\n"
            f"\n{exit_table()}"
        ),
    )
    parser.add_argument("--version", action="version", version=version)
    add_common(parser, shown=True)
    parser.set_defaults(
        uri=None, control=None, project=None, client_id=None, timeout=None, codec=None, json=False, debug=False
    )
    return parser


def add_common(parser: Parser, *, shown: bool) -> None:
    """The options that stand before or after the command; absent ones leave no trace."""
    options = parser.add_argument_group("options of every command, before it or after it") if shown else parser

    def add(*names: str, help: str, **settings: Any) -> None:
        options.add_argument(*names, default=argparse.SUPPRESS, help=help if shown else argparse.SUPPRESS, **settings)

    add("--uri", metavar="URI", help="the storage (ZAQAR_URI, which is better for passwords: ps does not show it)")
    add("--control", metavar="URI", help="the storage of queues' metadata, pools and flavors (ZAQAR_CONTROL_URI)")
    add("--project", metavar="NAME", help="the tenant (ZAQAR_PROJECT)")
    add("--client-id", metavar="ID", help="who posts (ZAQAR_CLIENT_ID; random otherwise)")
    add("--timeout", type=duration, metavar="SECONDS", help="to connect, and for each call (5 and 10 otherwise)")
    add("--codec", action="append", metavar="NAME", help="a codec of the bodies, in order; may be repeated")
    add("--json", action="store_true", help="write JSON, one document a line")
    add("--debug", action="store_true", help="show the traceback of an error")


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Read the arguments. An id may start with a dash; argparse would take it for an option."""
    end = argv.index("--") if "--" in argv else len(argv)
    marked = [_MARK + word if at < end and _ID.match(word) else word for at, word in enumerate(argv)]
    found = parser.parse_args(marked)
    for name, value in vars(found).items():
        if isinstance(value, str):
            setattr(found, name, value.removeprefix(_MARK))
        elif isinstance(value, list):
            setattr(found, name, [one.removeprefix(_MARK) if isinstance(one, str) else one for one in value])
    return found


def duration(text: str) -> float:
    """An argument that is a number of seconds; the library says which are allowed."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds; write 300 for 5 minutes, 0.5 for half a second"
        ) from None


def json_object(text: str) -> dict[str, Any]:
    """An argument that is a JSON object."""
    try:
        value = read_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('no JSON object; write \'{"name": "value"}\'')
    return value


def pair(text: str) -> tuple[str, str]:
    """An argument such as ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError("write NAME=VALUE")
    return name, value


def add_queue(parser: Parser) -> None:
    """The queue that a command is about."""
    parser.add_argument("queue", metavar="QUEUE", help="the queue's name")


def add_yes(parser: Parser) -> None:
    """Not to be asked; needed where there is no terminal."""
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal to ask at")


def add_page(parser: Parser, limit: int | None = None) -> None:
    """How much of a listing to show."""
    shown = "all" if limit is None else str(limit)
    parser.add_argument("--limit", type=int, default=limit, metavar="N", help=f"show at most N items ({shown})")
    parser.add_argument("--marker", metavar="MARKER", help="go on from where a listing ended")
