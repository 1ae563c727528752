"""Exceptions between any two bytecodes, as a signal handler can raise them, but placed and repeatable."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interruption(BaseException):
    """What is raised; a ``BaseException``, as ``KeyboardInterrupt`` is."""


def interrupt(call: Callable[[], object], at: int) -> bool:
    """Run ``call`` and raise ``Interruption`` before its bytecode number ``at``, counted from 1 through all it calls.

    Returns whether that was raised: False once ``call`` has fewer bytecodes. Other exceptions of ``call`` pass. Frames
    of Python code are interrupted wherever they are from; C code cannot be.
    """
    left = at

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            left -= 1
            if left == 0:
                raise Interruption
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interruption:
        return True
    finally:
        sys.settrace(before)
    return left <= 0
