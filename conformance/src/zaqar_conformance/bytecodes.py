"""What a signal handler may do between any two bytecodes, but placed and repeatable: raise, or call something else."""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, NamedTuple

_CHANGING = ("CALL", "RETURN", "YIELD", "STORE_ATTR", "STORE_SUBSCR", "DELETE", "BEFORE_WITH", "FOR_ITER", "RESUME")
"""How the names of bytecodes begin after which something may be held that was not held before."""


class Interruption(BaseException):
    """What is raised; a ``BaseException``, as ``KeyboardInterrupt`` is."""


def interrupt(call: Callable[[], object], at: int) -> bool:
    """Run ``call`` and raise ``Interruption`` before its bytecode number ``at``, counted from 1 through all it calls.

    Returns whether that was raised: False once ``call`` has fewer bytecodes. Other exceptions of ``call`` pass. Frames
    of Python code are interrupted wherever they are from; C code cannot be.
    """
    try:
        return run_at(call, at, _raise)
    except Interruption:
        return True


def run_at(call: Callable[[], object], at: int, other: Callable[[], object]) -> bool:
    """Run ``call``, and before its bytecode number ``at``, in its midst and in the same thread, ``other``.

    Returns whether there was such a bytecode. What ``other`` raises goes off there; so pass the exceptions of both.
    """
    number = 0

    def reach(frame: FrameType) -> None:
        nonlocal number
        number += 1
        if number == at:
            other()

    _trace(call, reach)
    return number >= at


class Point(NamedTuple):
    """A bytecode: its number, as ``interrupt`` counts, and the name of the module whose code it is."""

    number: int
    module: str


def telling(call: Callable[[], object]) -> list[Point]:
    """Those bytecodes of ``call`` before which it is worth interrupting it.

    These follow a call, a return or a change of an object, and come at a place in the code that was not met before.
    What is in between neither takes nor gives back anything.
    """
    found: list[Point] = []
    seen: set[tuple[CodeType, int]] = set()
    names: dict[CodeType, dict[int, str]] = {}
    number, before = 0, "RESUME"

    def reach(frame: FrameType) -> None:
        nonlocal number, before
        number += 1
        code, place = frame.f_code, frame.f_lasti
        if before.startswith(_CHANGING) and (code, place) not in seen:
            seen.add((code, place))
            found.append(Point(number, str(frame.f_globals.get("__name__", ""))))
        if code not in names:
            names[code] = {each.offset: each.opname for each in dis.get_instructions(code)}
        before = names[code].get(place, "")

    _trace(call, reach)
    return found


def _raise() -> None:
    raise Interruption


def _trace(call: Callable[[], object], reach: Callable[[FrameType], None]) -> None:
    """Run ``call``, and ``reach`` before each of its bytecodes, itself not traced."""

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            reach(frame)
        return trace

    before, collecting = sys.gettrace(), gc.isenabled()
    gc.disable()  # its callbacks do not belong to the call, and Python swallows what they raise
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        if collecting:
            gc.enable()
