"""A fair semaphore that repairs itself: an exception at any bytecode (from a signal handler, say) loses no slot.

``threading``'s own primitives cannot promise that: an exception that arrives between ``acquire`` and ``try``, or inside
``Condition.wait``, leaves them taken for the rest of the process. Here a slot belongs to the frame that took it. A
frame that has ended without giving its slot back has lost it, and the next taker inherits it.

Every step that matters is one call into C or one assignment, so that it has happened or not. The slots of one number
form a chain: each has at most one heir, found by ``dict.setdefault``, and can have one only once it was given back or
lost, which it then stays. So a taker whose knowledge is old by the time it acts can do no harm.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType

from zaqar_core.errors import StorageUnavailable

_POLL = 0.02
"""Seconds between two looks at the slots; being woken is only faster."""
_SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Slots:
    """At most ``limit`` frames hold a slot at a time; who waits longest is next.

    Take and give back in one function, with nothing in between but ``try``::

        slot = slots.take(deadline)
        try:
            ...
        finally:
            slot.give_back()

    That function cannot be a helper which returns the slot, nor a generator or coroutine: a slot is lost when the frame
    that took it ends or is suspended. After a fork, give the child new ``Slots``: the threads that held the old ones
    are not there any more.
    """

    def __init__(self, limit: int, what: str) -> None:
        """``what`` names the resource in errors: "the write lock of the file"."""
        self._limit = limit
        self._what = what
        self._latest: dict[int, Slot] = {}
        """By number; the one that holds it, or held it last, is this one's last heir."""
        self._waiting: deque[_Waiter] = deque()

    def take(self, deadline: float) -> Slot:
        """A slot for the calling frame, by ``deadline`` of ``time.monotonic()``.

        Raises ``StorageUnavailable``: immediately where only the calls that this one interrupted could give one back (a
        signal handler or finalizer that uses the storage in the middle of a call), else at the deadline. Raises
        ``RuntimeError`` in a generator or coroutine.
        """
        caller = sys._getframe(1)
        if caller.f_code.co_flags & _SUSPENDABLE:
            raise RuntimeError(f"{caller.f_code.co_qualname} can be suspended, and would lose its slot; use a function")
        mine = Slot(self, caller)
        if not (self._waiting and self._first_waiter()) and self._try(mine):
            return mine
        # Asked once: the calls that this one interrupted take no further slot meanwhile.
        if self._is_reentrant(caller):
            raise StorageUnavailable(
                f"{self._what} belongs to a call that this one interrupted (from a signal handler or finalizer); "
                "nothing was done: set a flag there, and use the storage after the call has returned"
            )
        waiter = _Waiter(sys._getframe())
        try:
            self._waiting.append(waiter)
            while not (self._first_waiter() is waiter and self._try(mine)):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise StorageUnavailable(f"{self._what} was in use until the timeout; nothing was done: try again")
                with suppress(Empty):
                    waiter.turn.get(timeout=min(left, _POLL))
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiter)
            self._wake()  # there may be a slot for the next one, too
            del waiter  # or it and this frame would hold each other, until the garbage collector comes
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
        """Whether all slots are held by calls that the caller interrupted, or one of those waits before it."""
        held = self.holders()
        stack = set()
        frame = caller.f_back
        while frame is not None:
            stack.add(frame)
            frame = frame.f_back
        holds_all = len(held) == self._limit and stack.issuperset(held.values())
        return holds_all or any(waiter.frame in stack for waiter in list(self._waiting))

    def _first_waiter(self) -> _Waiter | None:
        """The one that is next, without those that an exception ended."""
        while True:
            try:
                first = self._waiting[0]
            except IndexError:
                return None
            if _is_running(first.frame):
                return first
            with suppress(ValueError):  # another thread has removed it
                self._waiting.remove(first)

    def _wake(self) -> None:
        with suppress(IndexError):
            self._waiting[0].turn.put(None)


class Slot:
    """One of the ``Slots``, held by the frame that took it."""

    __slots__ = ("_returned", "_slots", "frame", "heirs", "number")

    def __init__(self, slots: Slots, frame: FrameType) -> None:
        self._slots = slots
        self._returned = False
        self.frame: FrameType | None = frame
        self.number = -1
        self.heirs: dict[int, Slot] = {}
        """The slot of the same number that was taken next, if there is one."""

    def give_back(self) -> None:
        """Let the next caller have it. Call it once, in the frame that took it, or it raises ``RuntimeError``."""
        if self.frame is not sys._getframe(1):
            raise RuntimeError("a slot was given back by another frame than the one that took it: it was lost before")
        self.end()

    def end(self) -> None:
        """Let the next caller have it, in whatever frame this is called: for locks that are built on slots."""
        self._returned = True
        self.frame = None  # or this slot and its frame would hold each other, until the garbage collector comes
        if self._slots._waiting:
            self._slots._wake()

    def last_heir(self) -> Slot:
        """The one that holds it now, or held it last."""
        slot = self
        while slot.heirs:
            slot = slot.heirs[0]
        return slot

    def is_free(self) -> bool:
        """Whether it was given back, or lost: its frame has ended without giving it back."""
        frame = self.frame
        return self._returned or frame is None or not _is_running(frame)


class _Waiter:
    """A call of ``take`` that waits. ``frame``: its own. ``turn``: what it is woken by."""

    __slots__ = ("frame", "turn")

    def __init__(self, frame: FrameType) -> None:
        self.frame = frame
        self.turn: SimpleQueue[None] = SimpleQueue()


def _is_running(frame: FrameType) -> bool:
    """Whether it has not ended. One that has is cleared, so that debuggers no longer see its variables."""
    try:
        frame.clear()  # which a frame that still runs refuses
    except RuntimeError:
        return True
    return False
