"""The reference driver's one lock: re-entrant, and free once the method that holds it has ended, however it ended."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from queue import Empty
from types import FrameType, TracebackType

from zaqar_core.errors import StorageUnavailable
from zaqar_core.kit.slots import Slot, Slots

_PATIENCE = 30.0


class Lock(Slots):
    """``with lock:``; a method that holds it may call others that take it.

    An exception may come between any two bytecodes, also between the end of the block and the lock's release. So it
    belongs to the method's frame (see ``Slots``): where that has ended, the next caller takes it over.
    """

    def __init__(self) -> None:
        super().__init__(1, "the store in memory")

    def __enter__(self) -> None:
        frame = sys._getframe(1)
        mine = Slot(self, frame)
        deadline = time.monotonic() + _PATIENCE
        while not self._is_held_on(frame) and not self._try(mine):
            if time.monotonic() > deadline:
                raise StorageUnavailable(f"another thread kept the store for {_PATIENCE:g} s; try again")
            with suppress(Empty):
                self._given_back.get(timeout=0.01)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        holder = self._held.get(0)
        if holder is not None and holder.last_heir().frame is sys._getframe(1):
            holder.last_heir().give_back()

    def _is_held_on(self, frame: FrameType) -> bool:
        """Whether a method further up this thread's stack holds it."""
        holder = self._held.get(0)
        held = None if holder is None else holder.last_heir().frame
        each: FrameType | None = frame
        while each is not None and held is not None:
            if each is held:
                return True
            each = each.f_back
        return False
