"""The command ``zaqar``: queues, messages and drivers from a shell. Exit codes: ``zaqar_core.cli.exits``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version

from zaqar_core.cli import control, drivers, messages, posting, queues, storage, subscriptions
from zaqar_core.cli.arguments import Commands, Parser, new_parser, parse
from zaqar_core.cli.exits import CommandError, Exit, exit_of
from zaqar_core.cli.output import Output
from zaqar_core.cli.session import Session
from zaqar_core.contract import CONTRACT
from zaqar_core.errors import ZaqarError
from zaqar_core.hiding import said


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process if None); returns the exit code."""
    arguments = parse(command_parser(), sys.argv[1:] if argv is None else argv)
    output = Output(as_json=arguments.json)
    try:
        try:
            with output.logs(debug=arguments.debug), ExitStack() as stack:
                code: Exit = arguments.run(Session(arguments, output, stack))
        except ZaqarError as error:
            code = exit_of(error)
            output.error(error, debug=arguments.debug)
        output.flush()
    except BrokenPipeError:
        output.abandon()
        return Exit.BROKEN_PIPE
    except OSError as error:
        output.abandon()
        output.error(CommandError(f"standard input or output failed: {error}", Exit.STREAMS), debug=arguments.debug)
        return Exit.STREAMS
    except KeyboardInterrupt:
        output.abandon()
        return Exit.INTERRUPTED
    except Exception as error:
        text = f"{type(error).__name__}: {said(error)}; this is a defect: report it with what --debug shows"
        output.error(CommandError(text, Exit.DEFECT) if not arguments.debug else error, debug=arguments.debug)
        return Exit.DEFECT
    return code


def command_parser() -> Parser:
    """The parser with all commands."""
    parser = new_parser(f"zaqar (zaqar-core) {version('zaqar-core')}, contract {CONTRACT}")
    commands = Commands(parser, "COMMAND")
    drivers.add(commands)
    storage.add(commands)
    queue = commands.group("queue", "queues, and the messages in them")
    queues.add(queue)
    posting.add(queue)
    messages.add(queue, commands.group("message", "single messages by id"))
    subscriptions.add(commands.group("subscription", "who wants to be told about a queue's messages"))
    control.add(
        commands.group("pool", "the storages among which queues are spread"),
        commands.group("flavor", "kinds of pools"),
        commands.group("catalogue", "which pool holds which queue"),
    )
    return parser
