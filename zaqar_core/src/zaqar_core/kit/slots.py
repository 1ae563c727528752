"""A semaphore that repairs itself: an exception at any bytecode (from a signal handler, say) loses no slot.

``threading``'s own primitives cannot promise that: an exception that arrives between ``acquire`` and ``try``, or inside
``Condition.wait``, leaves them taken for the rest of the process. Here a slot belongs to the frame that took it. A
frame that has ended without giving its slot back has lost it, and the next taker inherits it.

Every step that matters is one call into C or one assignment, so that it has happened or not. The slots of one number
form a chain: each has at most one heir, found by ``dict.setdefault``, and can have one only once it was given back or
lost, which it then stays. So a taker whose knowledge is old by the time it acts can do no harm.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType

from zaqar_core.errors import StorageUnavailable

_POLL = 0.02
"""Seconds between two looks at the slots; being woken is only faster."""


class Slots:
    """At most ``limit`` frames hold a slot at a time.

    Take and give back in one function, with nothing in between but ``try``::

        slot = slots.take(deadline)
        try:
            ...
        finally:
            slot.give_back()

    After a fork, give the child new ``Slots``: the threads that held the old ones are not there any more.
    """

    def __init__(self, limit: int, what: str) -> None:
        """``what`` names the resource in errors: "the write lock of the file"."""
        self._limit = limit
        self._what = what
        self._latest: dict[int, Slot] = {}
        """By number; the one that holds it, or held it last, is this one's last heir."""
        self._given_back: SimpleQueue[None] = SimpleQueue()

    def take(self, deadline: float) -> Slot:
        """A slot for the calling frame, by ``deadline`` of ``time.monotonic()``.

        Raises ``StorageUnavailable``: at once where only the calls that this one interrupted could give one back (a
        signal handler or finalizer that uses the storage in the middle of a call), else at the deadline.
        """
        mine = Slot(self, sys._getframe(1))
        if self._try(mine):
            return mine
        # Asked once: the calls that this one interrupted take no further slot meanwhile.
        if self._is_reentrant(sys._getframe(1)):
            raise StorageUnavailable(
                f"{self._what} belongs to a call that this one interrupted (from a signal handler or finalizer); "
                "nothing was done: set a flag there, and use the storage after the call has returned"
            )
        while not self._try(mine):
            left = deadline - time.monotonic()
            if left <= 0:
                raise StorageUnavailable(f"{self._what} was in use until the timeout; nothing was done: try again")
            with suppress(Empty):
                self._given_back.get(timeout=min(left, _POLL))
        return mine

    def holders(self) -> dict[int, FrameType]:
        """The frames that hold a slot, by its number, from 0 below ``limit``. Those that have lost one are left out."""
        found: dict[int, FrameType] = {}
        for number, known in list(self._latest.items()):
            holder = known.last_heir()
            frame = holder.frame
            if frame is not None and not holder.is_free():
                found[number] = frame
        return found

    def _try(self, mine: Slot) -> bool:
        for number in range(self._limit):
            mine.number = number
            known = self._latest.setdefault(number, mine)
            if known is mine:
                return True
            last = known.last_heir()
            if last.is_free() and last.heirs.setdefault(0, mine) is mine:
                self._latest[number] = mine
                return True
        return False

    def _is_reentrant(self, caller: FrameType) -> bool:
        """Whether all slots are held by calls that the caller interrupted."""
        held = self.holders()
        stack = set()
        frame = caller.f_back
        while frame is not None:
            stack.add(frame)
            frame = frame.f_back
        return len(held) == self._limit and stack.issuperset(held.values())


class Slot:
    """One of the ``Slots``, held by the frame that took it."""

    __slots__ = ("_returned", "_slots", "frame", "heirs", "number")

    def __init__(self, slots: Slots, frame: FrameType) -> None:
        self._slots = slots
        self._returned = False
        self.frame: FrameType | None = frame
        self.number = -1
        self.heirs: dict[int, Slot] = {}
        """Who has it next: one at most."""

    def give_back(self) -> None:
        """Let the next caller have it. Call it once, in the frame that took it."""
        self._returned = True
        self.frame = None  # or this slot and its frame would hold each other, until the garbage collector comes
        if self._slots._given_back.empty():
            self._slots._given_back.put(None)

    def last_heir(self) -> Slot:
        """The one that holds it now, or held it last."""
        slot = self
        while slot.heirs:
            slot = slot.heirs[0]
        return slot

    def is_free(self) -> bool:
        """Whether it was given back, or lost: its frame has ended without giving it back."""
        frame = self.frame
        if self._returned or frame is None:
            return True
        try:
            frame.clear()  # which a frame that still runs refuses, and which does no harm to one that has ended
        except RuntimeError:
            return False
        return True
