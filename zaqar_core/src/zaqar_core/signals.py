"""Tells an exception that a signal handler raised from an error of the code that it interrupted.

A handler may raise any ``Exception`` to stop a task: Celery's soft time limit does. Where the core catches the errors
of drivers, codecs and observers, it lets such an exception pass, since it is meant for the caller.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from types import CodeType


def is_from_handler(error: BaseException) -> bool:
    """Whether the error was raised in a Python function that is installed as a signal handler."""
    handlers = set(_codes())
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def _codes() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        handler: object = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        if callable(handler):
            called = handler if hasattr(handler, "__code__") else type(handler).__call__
            code = getattr(called, "__code__", None)
            if isinstance(code, CodeType):
                yield code
