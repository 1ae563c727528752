"""Turns of threads so short that what is done in two steps is seen between them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TURN = 1e-5
"""Seconds after which a thread lets another go on; Python's own 5 ms are longer than most races."""

_lock = threading.Lock()
_within = 0
_usual = 0.0


@contextmanager
def short_turns() -> Iterator[None]:
    """While this lasts, in any thread, the threads of this process take short turns."""
    global _within, _usual  # noqa: PLW0603  # so is the interval
    with _lock:
        if not _within:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(_TURN)
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if not _within:
                sys.setswitchinterval(_usual)
