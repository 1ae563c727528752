"""Threads of the driver's own, in which all of its work is done.

Python runs signal handlers, and raises what they raise, in the main thread, between any two bytecodes. If that thread
were inside of a client library then, a lock could stay taken, or a connection be left with half of a reply. So the
caller's thread only hands its call over and waits for the outcome, by single calls into C; the work goes on where
nothing interrupts it. A handler that uses the storage itself hands over a call of its own.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import get_ident
from typing import Any, Final, Generic, TypeVar

from zaqar_core.errors import StorageClosed, StorageUnavailable

T = TypeVar("T")

CLOSED: Final = "the storage was closed meanwhile; connect again"
_IDLE: Final = 10.0
"""Seconds after which a thread without work ends."""
_POLL: Final = 0.05
"""Seconds between two looks at the calls that are running; being woken is only faster."""


class NotDone(Exception):
    """The deadline passed before the call had ended."""


class Call(Generic[T]):
    """Work that was handed over."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._context = copy_context()
        self._owner: dict[int, str] = {}
        self._outcome: SimpleQueue[T | _Raised] = SimpleQueue()

    def result(self, deadline: float) -> T:
        """What the work returned or raised. Raises ``NotDone`` at the ``deadline``."""
        try:
            outcome = self._outcome.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise NotDone from None
        try:
            if isinstance(outcome, _Raised):
                raise outcome.error
            return outcome
        finally:
            del outcome  # or an error would hold itself, by its traceback and this frame

    def give_up(self) -> bool:
        """Whether the work has not begun, and never will."""
        return self._owner.setdefault(0, "caller") == "caller"

    def run(self, *, closed: bool) -> None:
        """In a worker's thread."""
        if self._owner.setdefault(0, "worker") != "worker":
            return
        outcome: T | _Raised
        try:
            if closed:
                raise StorageClosed(CLOSED)
            outcome = self._context.run(self._work)
        except BaseException as error:  # whatever it is, it is the caller's
            outcome = _Raised(error)
        self._outcome.put(outcome)


class Workers:
    """At most ``most`` threads, which start when they are needed and end when they are not.

    The child of a fork needs new ``Workers``.
    """

    def __init__(self, most: int | None = None) -> None:
        self._state = _State(None if most is None else [None] * most)

    def run(self, work: Callable[[], T], deadline: float) -> T:
        """What ``work`` returns or raises. In a worker's thread it is done there.

        Raises ``NotDone`` at the deadline, ``StorageUnavailable`` if it was not begun by then, ``StorageClosed``.
        """
        if _thread_local.works:
            return work()
        call = Call(work)
        try:
            self.start(call)
            return call.result(deadline)
        except NotDone:
            if call.give_up():
                raise StorageUnavailable(
                    "other calls took all of the time given; nothing was done: try again"
                ) from None
            raise
        finally:
            call.give_up()  # an interrupted caller's, if it has not begun

    def start(self, call: Call[Any]) -> None:
        """Have a thread run it. Raises ``StorageUnavailable`` or ``StorageClosed``: then it is not run."""
        state = self._state
        state.calls.put(call)
        try:
            state.start_thread()
        except RuntimeError as error:
            if call.give_up():
                raise StorageUnavailable(
                    f"no thread could be started ({error}); nothing was done: try again"
                ) from error
        if state.closed and call.give_up():
            raise StorageClosed(CLOSED)

    def close(self) -> None:
        """Let the threads end. Calls that have not begun end with ``StorageClosed``."""
        self._state.closed = True
        for _ in list(self._state.waiting):
            self._state.calls.put(None)

    def join(self, deadline: float) -> None:
        """After ``close``: wait until no call is running, or until the deadline.

        It does not wait in a worker's thread: a call would wait for itself there.
        """
        state = self._state
        while state.running and not _thread_local.works and (left := deadline - time.monotonic()) > 0:
            with suppress(Empty):
                state.ended.get(timeout=min(left, _POLL))


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _ThreadLocal(threading.local):
    works = False


_thread_local = _ThreadLocal()


class _State:
    """What the threads share; they know nothing else, so that unused ``Workers`` are not kept alive."""

    def __init__(self, tickets: list[None] | None) -> None:
        self.calls: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self.tickets = tickets
        """One for each thread that may still be started; None: any number."""
        self.waiting: list[None] = []
        """One for each thread without work."""
        self.running: dict[int, None] = {}
        """The threads that run a call, by their ids."""
        self.ended: SimpleQueue[None] = SimpleQueue()
        """One for each call that ended after ``closed`` was set."""
        self.closed = False

    def start_thread(self) -> None:
        """Start one if there are more calls than threads without work. One too many ends soon."""
        if self.calls.qsize() > len(self.waiting) and self.tickets != []:
            # Not threading.Thread, whose start takes locks that an exception could leave taken.
            _thread.start_new_thread(_work, (self,))


def _work(state: _State) -> None:
    if state.tickets is not None:
        try:
            state.tickets.pop()
        except IndexError:
            return
    _thread_local.works = True
    sys.settrace(threading.gettrace())  # as threading.Thread does, for debuggers and coverage
    sys.setprofile(threading.getprofile())
    try:
        while (call := _next(state)) is not None:
            state.running[get_ident()] = None  # before it looks at ``closed``, so that ``join`` misses no call
            call.run(closed=state.closed)
            del call
            state.running.pop(get_ident())
            if state.closed:
                state.ended.put(None)
    finally:
        if state.tickets is not None:
            state.tickets.append(None)
    with suppress(RuntimeError):
        state.start_thread()  # for what came after this one had waited long enough


def _next(state: _State) -> Call[Any] | None:
    state.waiting.append(None)
    try:
        call = state.calls.get(timeout=0 if state.closed else _IDLE)
    except Empty:
        call = None
    finally:
        state.waiting.pop()
    with suppress(RuntimeError):
        state.start_thread()  # for what came before this one was counted as busy
    return call
