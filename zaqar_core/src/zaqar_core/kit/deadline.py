"""One deadline for each call of a ``Storage``: the core sets it, drivers read it."""

from __future__ import annotations

import sys
import threading
import time
from types import FrameType, TracebackType
from typing import NamedTuple

from zaqar_core.kit.frames import is_on_stack


class _Limit(NamedTuple):
    moment: float
    frame: FrameType
    """The one whose ``with`` block it belongs to."""


class _Thread(threading.local):
    limit: _Limit | None = None


_thread = _Thread()


def deadline(timeout: float) -> float:
    """The moment, by ``time.monotonic()``, at which the operation under way must have ended.

    It is the one that the core set for the ``Storage`` method that this thread is in, however many driver calls that
    method makes. A driver called without the core gets ``timeout`` seconds from now. Work that a driver hands to
    threads of its own does not see the caller's deadline: read it first, and pass it on.
    """
    limit = _thread.limit
    now = time.monotonic()
    if limit is None or (limit.moment <= now and not is_on_stack(limit.frame)):
        return now + timeout
    return limit.moment


def remaining(timeout: float) -> float:
    """Seconds until :func:`deadline`; 0 if it has passed."""
    return max(0.0, deadline(timeout) - time.monotonic())


class time_limit:  # noqa: N801 - it reads like a function, and a class costs less than a generator
    """Give the calls made in this ``with`` block one deadline: ``seconds`` from now, or that of the call around it."""

    __slots__ = ("_before", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        before = _thread.limit
        # An exception between two bytecodes can leave one behind that is nobody's any more.
        self._before = before if before is not None and is_on_stack(before.frame) else None
        moment = time.monotonic() + self._seconds
        if self._before is not None and self._before.moment < moment:
            moment = self._before.moment  # a method that calls others does not get their time as well
        _thread.limit = _Limit(moment, sys._getframe(1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _thread.limit = self._before
