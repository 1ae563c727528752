"""What sees each operation of a ``Storage`` from outside, for metrics, tracing or logs, and cannot change or stop it.

An observer is an object, a module or a class (made without arguments) with any of the methods of ``Hooks``, each marked
with ``hookimpl``. A distribution offers one as an entry point of the group ``zaqar_core.observers``; all that are
installed are loaded once in a process, at the first ``connect``, in the order of their names. ``register`` adds one
without an entry point.

A pair of hooks was chosen rather than one that wraps the operation. Metrics need the second alone, one plain function.
A span has to begin before the driver works and be current meanwhile, so that those of the client library become its
children: that is what the first is for. And nothing an observer does can come between the caller and the operation.

What an observer raises is logged with its name, at most once a minute for each, and harms neither the operation nor the
other observers. One that cannot be loaded is logged once, and the others go on without it. What a signal handler raises
in an observer passes, and so do exceptions of its own that are not an ``Exception``, such as ``KeyboardInterrupt``.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import EntryPoint
from types import FrameType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import pluggy

from zaqar_core import validation
from zaqar_core.encoding import shown
from zaqar_core.errors import InvalidInput, OutcomeUnknown, StorageUnavailable
from zaqar_core.hiding import said
from zaqar_core.kit.deadline import begin_limit, end_limit, forked, remaining
from zaqar_core.kit.frames import is_on_stack
from zaqar_core.kit.slots import Slots
from zaqar_core.plugins import offered, owner
from zaqar_core.signals import is_from_handler

if TYPE_CHECKING:
    from zaqar_core.context import Context
    from zaqar_core.contract import QueueKey

GROUP = "zaqar_core.observers"
"""The entry-point group in which a distribution offers an observer."""

hookspec = pluggy.HookspecMarker("zaqar_core")
hookimpl = pluggy.HookimplMarker("zaqar_core")
"""Marks the methods or functions of an observer."""

_log = logging.getLogger(__name__)
_SILENCE = 60.0  # seconds between two reports of one observer
_LONGEST_LOADING = 60.0  # seconds that ``load`` has, if it is not called by ``connect``
_CONTROL = frozenset({"queues", "pools", "flavors", "catalogue"})  # the controllers of the control plane

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class ObservedOperation:
    """One call of a ``Storage``. Both hooks get the same object, which equals no other: a key to keep things under.

    ``name``: controller and method, such as ``messages.post``; or ``dead_letters.move``, for the dead letters that a
    ``claims.create`` on ``queue`` moved on its way. That is seen by itself, because its failure is not the caller's.
    ``scheme``: that of the backend's URI; for queues and other records that of the control plane.
    ``project``: the tenant; ``queue``: the queue's name. None where the operation has none, or what was given is none.
    """

    name: str
    scheme: str
    project: str | None
    queue: str | None


class Hooks:
    """What an observer may implement; each hook may take fewer arguments than it is offered.

    They are called in the caller's thread: what takes long in them makes every operation longer. No body, header,
    client id or URI is among what they get. Do not keep an ``error``: its traceback holds what the caller held.
    What is called inside of an operation, by it or by an observer, is part of it and not seen by itself, but for
    ``dead_letters.move``.
    """

    @hookspec
    def operation_started(self, operation: ObservedOperation) -> None:
        """Before anything is done; observers in the order of their names."""

    @hookspec
    def operation_finished(
        self, operation: ObservedOperation, count: int | None, seconds: float, error: BaseException | None
    ) -> None:
        """After it returned or raised, also if this observer's ``operation_started`` did; in the opposite order.

        ``count``: how many messages (or queues and so on) were stored, returned or deleted; None where that is no
        number, and on errors. ``seconds``: how long it took. ``error``: what the caller gets raised, wrong input too.
        """


def register(observer: object, name: str | None = None) -> None:
    """Add an observer, for all ``Storage`` objects of this process; ``name`` is what its failures are logged under.

    Raises ``InvalidInput`` if it is none: an unknown hook or argument, or no hook at all.
    """
    try:
        added = _Observer(observer, name or str(getattr(observer, "__name__", type(observer).__name__)))
    except Exception as error:
        raise InvalidInput(f"{shown(observer)} is not an observer: {error}; see zaqar_core.observers.Hooks") from error
    _process.registered.append(added)


def unregister(observer: object) -> None:
    """Remove an observer; no-op if it is not registered."""
    for one in _process.observers():
        if one.observer is observer:
            with suppress(ValueError):
                _process.registered.remove(one)
    _process.installed = tuple(one for one in _process.installed if one.observer is not observer)


def load() -> None:
    """Load the observers that are installed; does nothing the second time.

    While another thread loads them, this one waits for half of the time that its call has left. Then it goes on, so
    that it can still connect; observers see what is done once they are loaded.
    """
    if _process.loaded:
        return
    try:
        slot = _process.loading.take(time.monotonic() + remaining(_LONGEST_LOADING) / 2)
    except StorageUnavailable:  # an observer connects while it is loaded, or does not get loaded
        return
    try:
        if not _process.loaded:
            _process.installed = _load_installed()
            _process.loaded = True
    finally:
        slot.give_back()


class _Observed(Protocol):
    _context: Context


S = TypeVar("S", bound=_Observed)


def observed(
    name: str, *, queue: str = "queue", count: Callable[[Any], int] | None = None
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Give each call of a controller's method one deadline, and let observers see it.

    ``queue``: what the method calls the queue's name, its first argument, if it has one. ``count``: makes the number of
    messages or items from what the method returns. What it calls itself, observed or not, is part of it.
    """
    of_control = name.partition(".")[0] in _CONTROL

    def decorate(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        parameters = list(inspect.signature(method).parameters)
        has_queue = parameters[1:2] == [queue]
        has_project = "project" in parameters

        @wraps(method)
        def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            context = self._context
            before = begin_limit(context.timeout, sys._getframe())
            try:
                context.look_again()
                if not (_process.installed or _process.registered) or _is_inside():
                    result = method(self, *args, **kwargs)
                else:
                    project = _project(context, kwargs.get("project")) if has_project else None
                    queue_name = _queue(args[0] if args else kwargs.get(queue)) if has_queue else None
                    scheme = context.control_scheme if of_control else context.scheme
                    operation = ObservedOperation(name, scheme, project, queue_name)
                    result = _observe(operation, count, lambda: method(self, *args, **kwargs))
                if forked():
                    raise OutcomeUnknown(
                        f"this process was forked in the middle of {name}: the result belongs to the parent; call "
                        "again if this process needs one of its own"
                    )
                return result
            finally:
                end_limit(before)

        return call

    return decorate


def observe_move(context: Context, queue: QueueKey, move: Callable[[], int]) -> int:
    """Let observers see the moving of dead letters, which returns how many it moved."""
    if not (_process.installed or _process.registered):
        return move()
    operation = ObservedOperation("dead_letters.move", context.scheme, queue.project, queue.name)
    return _observe(operation, int, move)


class _Observer:
    """One observer, behind a plugin manager of its own: so its failures are its own too."""

    def __init__(self, observer: object, name: str) -> None:
        manager = pluggy.PluginManager("zaqar_core")
        manager.add_hookspecs(Hooks)
        manager.register(observer, name)
        manager.check_pending()
        if not manager.get_hookcallers(observer):
            raise TypeError("none of its methods is marked with zaqar_core.observers.hookimpl")
        self.observer = observer
        self._name = name
        self._hooks = manager.hook
        self._failures = 0
        self._silent_until = 0.0

    def started(self, operation: ObservedOperation) -> None:
        try:
            self._hooks.operation_started(operation=operation)
        except Exception as error:
            if is_from_handler(error):
                raise
            self._report("operation_started", error)

    def finished(
        self, operation: ObservedOperation, count: int | None, seconds: float, error: BaseException | None
    ) -> None:
        try:
            self._hooks.operation_finished(operation=operation, count=count, seconds=seconds, error=error)
        except Exception as failure:
            if is_from_handler(failure):
                raise
            self._report("operation_finished", failure)

    def _report(self, hook: str, error: Exception) -> None:
        self._failures += 1
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            failures, self._failures = self._failures, 0
            _log.error(
                "the observer %s failed in %s, %d time(s) since this was last said; operations go on: repair it, or "
                "uninstall it",
                self._name,
                hook,
                failures,
                exc_info=error,
            )


class _Process:
    """The observers of this process. There is no lock: each change is one call into C, which no exception splits."""

    def __init__(self) -> None:
        self.installed: tuple[_Observer, ...] = ()
        self.registered: list[_Observer] = []
        self.loaded = False
        self.renew()

    def renew(self) -> None:
        self.loading = Slots(1, "the loading of observers")

    def observers(self) -> tuple[_Observer, ...]:
        return (*self.installed, *self.registered)


class _Thread(threading.local):
    inside: FrameType | None = None
    """The frame that observes the operation which this thread is in; one that has ended is of no operation."""


_process = _Process()
_thread = _Thread()

if hasattr(os, "register_at_fork"):  # a child must not wait for a thread that only its parent has
    os.register_at_fork(after_in_child=_process.renew)


def _is_inside() -> bool:
    frame = _thread.inside
    return frame is not None and is_on_stack(frame)


def _load_installed() -> tuple[_Observer, ...]:
    found = sorted(offered(GROUP), key=lambda entry: (entry.name, owner(entry), entry.value))
    loaded = [_load(entry, f"{entry.name} ({owner(entry)})") for entry in found]
    return tuple(one for one in loaded if one is not None)


def _load(entry: EntryPoint, name: str) -> _Observer | None:
    try:
        observer = entry.load()
        return _Observer(observer() if isinstance(observer, type) else observer, name)
    except BaseException as error:  # one that would end the process while it is imported is broken too
        if isinstance(error, KeyboardInterrupt) or is_from_handler(error):
            raise
        _log.error(
            "the observer %s is installed, but %s cannot be loaded: %s; all goes on without it: reinstall its "
            "distribution, or uninstall it",
            name,
            entry.value,
            said(error) or type(error).__name__,
            exc_info=error,
        )
        return None


def _project(context: Context, given: object) -> str | None:
    try:
        return context.project if given is None else validation.project(given)
    except InvalidInput:
        return None


def _queue(given: object) -> str | None:
    try:
        return validation.queue_name(given)
    except InvalidInput:
        return None


def _observe(operation: ObservedOperation, count: Callable[[Any], int] | None, call: Callable[[], R]) -> R:
    observers = _process.observers()
    around = _thread.inside if _is_inside() else None
    error: BaseException | None = None
    number: int | None = None
    try:
        _thread.inside = sys._getframe()
        began = time.perf_counter()
        try:
            for observer in observers:
                observer.started(operation)
            began = time.perf_counter()
            result = call()
        except BaseException as raised:
            error = raised
        seconds = time.perf_counter() - began
        if error is None and count is not None:
            with suppress(Exception):
                number = count(result)
        # Not while the error is handled: it would become the context of what an observer raises, and be logged with it.
        for observer in reversed(observers):
            observer.finished(operation, number, seconds, error)
        if error is not None:
            raise error
        return result
    finally:
        _thread.inside = around
        del error  # or it would hold itself, by its traceback and this frame
