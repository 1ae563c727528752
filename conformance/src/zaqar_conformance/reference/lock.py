"""The reference driver's one lock: re-entrant, and free once the method that holds it has ended, however it ended."""

from __future__ import annotations

import sys
import time
from types import FrameType, TracebackType

from zaqar_core.errors import StorageUnavailable
from zaqar_core.kit.slots import Slot, Slots

_PATIENCE = 30.0


class Lock:
    """``with lock:``; a method that holds it may call others that take it.

    An exception may come between any two bytecodes, also between the end of the block and the lock's release. So it
    belongs to the method's frame, as a ``Slot`` does: where that has ended, the next caller takes it over.
    """

    def __init__(self) -> None:
        self._slots = Slots(1, "the store in memory")
        self._latest: dict[int, Slot] = {}

    def __enter__(self) -> None:
        mine = Slot(self._slots, sys._getframe(1))
        deadline = time.monotonic() + _PATIENCE
        while True:
            holder = self._latest.setdefault(0, mine).last_heir()
            if holder is mine or _is_below(mine.frame, holder.frame):
                return
            if holder.is_free() and holder.heirs.setdefault(0, mine) is mine:
                self._latest[0] = mine
                return
            if time.monotonic() > deadline:
                raise StorageUnavailable(f"another thread kept the store for {_PATIENCE:g} s; try again")
            time.sleep(0.0005)  # it polls: no exception can leave it waiting for a wake-up that was lost

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        holder = self._latest[0].last_heir()
        if holder.frame is sys._getframe(1):
            holder.end()


def _is_below(frame: FrameType | None, other: FrameType | None) -> bool:
    """Whether ``other`` is the frame, or has called it."""
    while frame is not None and other is not None:
        if frame is other:
            return True
        frame = frame.f_back
    return False
