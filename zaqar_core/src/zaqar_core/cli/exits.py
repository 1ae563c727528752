"""The exit codes: one table, which the help and the documentation print."""

from __future__ import annotations

from enum import IntEnum

from zaqar_core.errors import (
    CodecError,
    DoesNotExist,
    DriverError,
    InvalidInput,
    NotPermitted,
    OutcomeUnknown,
    StorageError,
    Unsupported,
    ZaqarError,
)


class Exit(IntEnum):
    """What the process says to who called it."""

    DONE = 0
    NOTHING = 1
    USAGE = 2
    UNAVAILABLE = 3
    UNKNOWN = 4
    DRIVER = 5
    REFUSED = 6
    DEFECT = 70
    STREAMS = 74
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS = {
    Exit.DONE: "done",
    Exit.NOTHING: "what was named is not there, or there is no message to peek at, pop or claim",
    Exit.USAGE: "wrong usage or invalid input",
    Exit.UNAVAILABLE: "the storage cannot be reached, did not answer in time, is full, or holds what is not ours",
    Exit.UNKNOWN: "the connection broke in the middle: it may have been done",
    Exit.DRIVER: "a driver or codec is missing, broken or does not fit",
    Exit.REFUSED: "refused: the backend cannot do it, the state of things forbids it, or the answer was no",
    Exit.DEFECT: "an error in this program or in a driver; --debug shows where",
    Exit.STREAMS: "standard input or output failed",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
    Exit.BROKEN_PIPE: "the reader of the output went away",
}

_OF_ERRORS: tuple[tuple[type[Exception], Exit], ...] = (
    (OutcomeUnknown, Exit.UNKNOWN),
    (StorageError, Exit.UNAVAILABLE),
    (DriverError, Exit.DRIVER),
    (CodecError, Exit.DRIVER),
    (InvalidInput, Exit.USAGE),
    (DoesNotExist, Exit.NOTHING),
    (NotPermitted, Exit.REFUSED),
    (Unsupported, Exit.REFUSED),
)


class CommandError(ZaqarError):
    """A command ends with this text and this code."""

    def __init__(self, text: str, code: Exit) -> None:
        super().__init__(text)
        self.code = code


def exit_of(error: Exception) -> Exit:
    """The code that an error ends the process with."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), Exit.DEFECT)


def exit_table() -> str:
    """The table for the help."""
    return "exit codes:\n" + "".join(f"  {code:>3}  {meaning}\n" for code, meaning in MEANINGS.items())
