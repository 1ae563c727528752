"""The one place that writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import io
import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from zaqar_core.cli.exits import CommandError, Exit
from zaqar_core.cli.text import Column, compact, fields, in_command_words, table
from zaqar_core.errors import InvalidInput
from zaqar_core.hiding import Secrets, said
from zaqar_core.terminal import printable, printable_lines
from zaqar_core.uri import Uri

_PATIENCE = 1.0  # seconds before work is long
_TICK = 0.2  # seconds between two signs of progress

Item = Mapping[str, Any]


class Output:
    """Results for people, or with ``as_json`` one JSON document a line."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out: TextIO = sys.stdout or io.StringIO()  # None where it is closed
        self._err: TextIO = sys.stderr or io.StringIO()
        self._ascii = not (self._out.encoding or "").lower().startswith("utf")
        self._began = self._told = time.monotonic()
        self._progress = ""
        self._secrets = Secrets()
        for stream in (self._out, self._err):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:  # what the terminal's encoding lacks must not end the program
                reconfigure(errors="backslashreplace")

    def rows(self, columns: Sequence[Column], items: Iterable[Item], nothing: str) -> int:
        """A table, or a line of JSON for each as it comes; how many there were. ``nothing``: said if none."""
        count = 0
        if self.as_json:
            for item in items:
                self._json(item)
                count += 1
        else:
            listed = list(items)
            count = len(listed)
            if listed:
                self._lines(table(columns, listed, self._width()))
        if not count:
            self.note(nothing)
        return count

    def one(self, columns: Sequence[Column], item: Item) -> None:
        """One thing in full."""
        if self.as_json:
            self._json(item)
        else:
            self._lines(fields(columns, item))

    def done(self, text: str, item: Item) -> None:
        """What was done: a sentence, or the same as JSON."""
        if self.as_json:
            self._json(item)
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """A line for people, as a result."""
        self._lines([text])

    def documents(self, items: Iterable[Item]) -> None:
        """Lines of JSON, sent off at once; nothing for people."""
        if self.as_json:
            for item in items:
                self._json(item)
            self.flush()

    def usage(self, text: str) -> Exit:
        """The help, for who gave no command."""
        self._err.write(printable_lines(text))
        return Exit.USAGE

    def note(self, text: str) -> None:
        """A line beside the result."""
        self._tell(f"zaqar: {in_command_words(text)}")

    @contextmanager
    def logs(self, *, debug: bool) -> Iterator[None]:
        """What is logged in here is noted, a line each; the traceback after it if that is asked for."""
        handler = _Notes(self, debug=debug)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)

    def hide(self, uri: str) -> None:
        """Let no line beside the results show a secret of this URI, whatever a driver says in its errors."""
        with suppress(InvalidInput):  # a URI that cannot be parsed is never shown
            self._secrets.take_in(Uri.parse(uri))

    def error(self, error: BaseException, *, debug: bool) -> None:
        """Why it ended, in one line; the traceback before it if that is asked for."""
        if debug:
            self.traceback(error)
        self._tell(f"zaqar: error: {in_command_words(said(error))}")

    def traceback(self, error: BaseException | None) -> None:
        """Where an error came from."""
        self._clear()
        self._err.write(printable_lines(self._secrets.hide("".join(traceback.format_exception(error)))))

    def confirm(self, question: Callable[[], str], *, yes: bool) -> None:
        """Ask before something is lost. Raises ``CommandError`` unless the answer is yes."""
        if yes:
            return
        if not (sys.stdin and sys.stdin.isatty() and self._err.isatty()):
            raise CommandError("there is no terminal to ask at: pass --yes", Exit.USAGE)
        self._err.write(f"{printable(question())} [y/N] ")
        self._err.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("the answer was no: nothing was done", Exit.REFUSED)

    def progress(self, text: str) -> None:
        """A sign of life on a terminal while work takes long."""
        now = time.monotonic()
        if self._err.isatty() and now - self._began >= _PATIENCE and now - self._told >= _TICK:
            self._told = now
            shown = printable(text)
            self._err.write(f"\r{shown.ljust(len(self._progress))}")
            self._err.flush()
            self._progress = shown

    def flush(self) -> None:
        """Send off what was written. Raises ``BrokenPipeError``."""
        self._clear()
        self._out.flush()

    def abandon(self) -> None:
        """The reader has gone: discard what is still unwritten, also when the interpreter ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)

    def _json(self, item: Item) -> None:
        self._out.write(compact(item, ascii_only=self._ascii) + "\n")

    def _lines(self, lines: Iterable[str]) -> None:
        self._clear()
        self._out.write("".join(f"{printable(line)}\n" for line in lines))

    def _tell(self, text: str) -> None:
        self._clear()
        with suppress(BrokenPipeError):
            self._err.write(f"{printable(self._secrets.hide(text))}\n")
            self._err.flush()

    def _clear(self) -> None:
        if self._progress:
            self._err.write(f"\r{' ' * len(self._progress)}\r")
            self._err.flush()
            self._progress = ""

    def _width(self) -> int | None:
        return shutil.get_terminal_size().columns if self._out.isatty() else None


class _Notes(logging.Handler):
    """Notes what is logged as a warning or worse."""

    def __init__(self, output: Output, *, debug: bool) -> None:
        super().__init__(logging.WARNING)
        self._output = output
        self._debug = debug

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):  # who logs is not to fail because nobody reads
            self._output.note(record.getMessage())
            if self._debug and record.exc_info:
                self._output.traceback(record.exc_info[1])
