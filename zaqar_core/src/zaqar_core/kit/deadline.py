"""One deadline for each call of a ``Storage``: the core sets it, drivers read it."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import FrameType, TracebackType

from zaqar_core.kit.frames import is_on_stack

_Limit = tuple[float, FrameType, object]
"""The deadline, the frame of the ``with`` block that it belongs to, and the process. A plain tuple, for each
call makes one.
"""

_process = object()
"""Another one in each process: comparing it costs less than to ask for the process's id."""


def _begin_process() -> None:
    global _process  # noqa: PLW0603 - the child of a fork is another process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_process)


class _Thread(threading.local):
    limit: _Limit | None = None


_thread = _Thread()


def deadline(timeout: float) -> float:
    """The moment, by ``time.monotonic()``, at which the operation under way must have ended.

    The core sets one for each call of a ``Storage`` method, however many driver calls that method makes. A driver
    called without the core gets ``timeout`` seconds from now. A driver's own threads do not see the caller's deadline:
    read it first, and pass it on.
    """
    limit = _thread.limit
    now = time.monotonic()
    if limit is None:
        return now + timeout
    moment, frame, _ = limit
    return now + timeout if moment <= now and not is_on_stack(frame) else moment


def remaining(timeout: float) -> float:
    """Seconds until :func:`deadline`; 0 if it has passed."""
    return max(0.0, deadline(timeout) - time.monotonic())


def forked() -> bool:
    """Whether this process was forked in the middle of the ``Storage`` method that this thread is in.

    The parent completes that method. A driver checks it before it changes anything, and raises ``StorageUnavailable``:
    otherwise both processes do the work, with the same ids.
    """
    limit = _thread.limit
    return limit is not None and limit[2] is not _process and is_on_stack(limit[1])


class time_limit:  # noqa: N801 - it reads like a function, and a class costs less than a generator
    """Give the calls made in this ``with`` block one deadline: ``seconds`` from now, or an earlier one around it."""

    __slots__ = ("_before", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._before = begin_limit(self._seconds, sys._getframe(1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_limit(self._before)


def begin_limit(seconds: float, frame: FrameType) -> _Limit | None:
    """What entering a ``time_limit`` does, at half the cost. Pass what it returns to ``end_limit``, in a ``finally``.

    ``frame``: the caller's. Once it has ended, so has the limit, even if an exception kept ``end_limit`` from being
    called.
    """
    before = _thread.limit
    moment = time.monotonic() + seconds
    if before is not None:
        if not is_on_stack(before[1]):
            before = None  # an exception between two bytecodes left it behind when its block had ended
        elif before[0] < moment:
            moment = before[0]  # a method called by another one ends no later
    _thread.limit = (moment, frame, _process)
    return before


def end_limit(before: _Limit | None) -> None:
    """What leaving a ``time_limit`` does."""
    _thread.limit = before
