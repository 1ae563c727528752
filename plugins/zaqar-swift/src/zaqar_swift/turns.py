"""Threads of one process take turns at a queue or container, which costs less than to meet in Swift."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from zaqar_core.errors import StorageUnavailable
from zaqar_swift.forks import renew_in_child

_REMEMBERED: Final = 4_096


class Turns:
    """A lock for each key, as long as it was used not too long ago: without one nothing breaks."""

    def __init__(self) -> None:
        renew_in_child(self)

    def renew(self) -> None:
        self._lock = Lock()
        self._turns: OrderedDict[Hashable, Lock] = OrderedDict()

    @contextmanager
    def of(self, key: Hashable, deadline: float) -> Iterator[None]:
        """Wait for the turn, and hold it. Raises ``StorageUnavailable`` at the ``deadline``."""
        turn = self._turn(key)
        if not turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StorageUnavailable("other threads were busy with this queue for all of the time given; try again")
        try:
            yield
        finally:
            turn.release()

    @contextmanager
    def at_once(self, key: Hashable) -> Iterator[bool]:
        """Hold the turn, without waiting for it; whether it was to be had."""
        turn = self._turn(key)
        mine = turn.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                turn.release()

    def _turn(self, key: Hashable) -> Lock:
        with self._lock:
            turn = self._turns.setdefault(key, Lock())
            self._turns.move_to_end(key)
            while len(self._turns) > _REMEMBERED:
                self._turns.popitem(last=False)
            return turn


TURNS: Final = Turns()
