"""Ctrl-C, SIGTERM and SIGHUP during a run: they end the checks, and never the report."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class _State:
    guarded = False
    interruptible = False
    pending = False


_state = _State()


@contextmanager
def guarded() -> Iterator[None]:
    """While this lasts, these signals raise ``KeyboardInterrupt`` in ``interruptible`` blocks and nowhere else.

    A signal that arrives elsewhere is kept for the next such block. So stopping the datastore and writing the report
    are not interrupted, however many signals arrive. No-op in threads other than the main one, which get no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    _state.guarded, _state.pending = True, False
    # What the process was told to ignore (SIGHUP by nohup) it goes on ignoring.
    taken = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
        _state.guarded = False


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals raise ``KeyboardInterrupt`` here, at most once, also those that ``guarded`` kept."""
    if not _state.guarded or threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.interruptible = True
    try:
        if _state.pending:
            _interrupt(signal.SIGINT, None)
        yield
    finally:
        _state.interruptible = False


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _state.interruptible:
        _state.interruptible = _state.pending = False
        raise KeyboardInterrupt
    _state.pending = True
