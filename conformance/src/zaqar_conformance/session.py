"""A running target, and checks run on it, each with a fresh tenant and a limit to its time."""

from __future__ import annotations

import os
import platform
import random
import shlex
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from zaqar_conformance.check import Check
from zaqar_conformance.costs import Cost
from zaqar_conformance.env import Env
from zaqar_conformance.hiding import Secrets
from zaqar_conformance.history import Operation
from zaqar_conformance.interruptions import interruptible
from zaqar_conformance.known_failures import KnownFailure
from zaqar_conformance.outcomes import Judgement, Outcome, is_suite, judge
from zaqar_conformance.report import CheckResult
from zaqar_conformance.scoring import bound, features
from zaqar_conformance.target import Target
from zaqar_core import Capability, connect
from zaqar_core.errors import StorageUnavailable, ZaqarError

T = TypeVar("T")

_STOP_LIMIT = 120.0
"""Seconds after which a datastore that does not stop is given up, and the run reported."""
_ANSWER_LIMIT = 30.0
"""Seconds after which a connection that neither comes about nor fails is the driver's fault."""


class CannotRun(Exception):
    """The datastore does not start, or cannot be connected to; the cause is chained, secrets and all.

    ``details``: the traceback of a cause that does not explain itself, without secrets.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class Session:
    """A running target on which checks are run, each by itself. Leaving the context stops it.

    Raises ``CannotRun`` if the datastore does not start or cannot be connected to. If it does not stop,
    ``environment`` says so: ``not stopped``, with ``error`` and ``traceback``.
    """

    def __init__(
        self,
        target: Target,
        *,
        seed: str | None = None,
        depth: int | None = None,
        quick: bool = False,
        known: Sequence[KnownFailure] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        self.seed = seed if seed is not None else str(random.SystemRandom().randrange(2**32))
        self.depth = depth if depth is not None else target.depth
        self.capabilities: frozenset[Capability] = frozenset()
        self.environment: dict[str, Any] = {}
        self._target = target
        self._known = known
        self._quick = quick
        self._arguments = list(arguments) or [target.name]
        if depth is not None:
            self._arguments.append(f"--depth={depth}")
        self._server = _Server(target)
        self._lanes: set[_Server] = set()

    def __enter__(self) -> Self:
        self._start(self._server, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in [*self._lanes, self._server]:  # an interrupted run left lanes in the middle of their checks
            self._stop(server)

    def run_check(self, check: Check) -> CheckResult:
        """Run one check and judge it, while nothing else runs; raises nothing but ``KeyboardInterrupt``."""
        return self._run_check(check, self._server, alone=True)

    @contextmanager
    def lane(self) -> Iterator[Callable[[Check], CheckResult]]:
        """What does the same beside other lanes, on another datastore of the kind. Raises ``CannotRun``."""
        server = _Server(self._target.fresh())
        self._lanes.add(server)
        try:
            self._start(server)
            yield partial(self._run_check, server=server, alone=False)
        finally:
            self._stop(server)
            self._lanes.discard(server)

    def _start(self, server: _Server, look: Callable[[], None] = lambda: None) -> None:
        """Start it and look at it; if that fails, it is stopped."""
        try:
            with interruptible():
                server.start()
                look()
        except BaseException as error:
            try:
                server.stop()
            except Exception as raised:
                error.add_note(f"Nor could it be stopped: {type(raised).__name__}: {raised}")
            if not isinstance(error, Exception):
                raise
            seen = server.secrets.hide(f"{type(error).__name__}: {error}")
            details = "" if isinstance(error, ZaqarError) else server.secrets.hide_in_traceback(error)
            raise CannotRun(f"the datastore of {self._target.name} cannot be used: {seen}", details) from error

    def _stop(self, server: _Server) -> None:
        """Stop it. What was found is worth more than that it cannot be: an error of the run, not of what it found."""
        try:
            server.stop()
        except Exception as raised:
            self.environment["not stopped"] = {
                "error": server.secrets.hide(f"{type(raised).__name__}: {raised}"),
                "traceback": server.secrets.hide_in_traceback(raised),
            }

    def _run_check(self, check: Check, server: _Server, alone: bool) -> CheckResult:
        try:
            return self._result(check, server, alone)
        except Exception as error:  # what other checks found must not be lost for it
            message = server.secrets.hide(
                f"the suite could not run or judge the check: {type(error).__name__}: {error}"
            )
            details = server.secrets.hide_in_traceback(error)
            return CheckResult(
                check.name, check.summary, check.requirements, Outcome.ERROR, message=message, details=details
            )

    def _result(self, check: Check, server: _Server, alone: bool) -> CheckResult:
        begin = time.monotonic()
        trial = self._try(check, server, alone)
        judgement = bound(check, trial.judgement, self.capabilities)
        for entry in self._known:
            if entry.covers(check) and judgement.outcome in (Outcome.FAILED, Outcome.NOT_IMPLEMENTED):
                message = f"{entry.reason} (seen: {judgement.message})"
                judgement = replace(judgement, outcome=Outcome.KNOWN_FAILURE, message=message, method=None)
        secrets = server.secrets
        hide = secrets.hide
        return CheckResult(
            name=check.name,
            summary=check.summary,
            requirements=check.requirements,
            outcome=judgement.outcome,
            seconds=round(time.monotonic() - begin, 3),
            message=hide(judgement.message),
            requirement=judgement.requirement,
            method=judgement.method,
            details=hide(judgement.details),
            notes=tuple(hide(note) for note in trial.notes),
            history=tuple(secrets.hide_in_operation(each) for each in judgement.history),
            offending=_where(judgement.offending, judgement.history),
            costs=tuple(trial.costs),
            reproduce=self.command(f"--only={check.name}"),
        )

    def command(self, *options: str) -> str:
        """The command line that runs this again."""
        return shlex.join(["zaqar-conformance", "run", *self._arguments, *options, f"--seed={self.seed}"])

    def _try(self, check: Check, server: _Server, alone: bool) -> _Trial:
        missing = features(check) - self.capabilities
        if missing:
            return _Trial(Judgement(Outcome.UNSUPPORTED, f"{', '.join(sorted(missing))} is not declared"))
        if self._quick and check.thorough:
            return _Trial(Judgement(Outcome.NOT_RUN, "it takes long, and --effort quick was asked for"))
        if not check.destructive:
            trial = self._guarded(check, server, alone)
            if trial.judgement.outcome is Outcome.FAILED and not server.answers():
                # The failure says nothing about this check once the datastore itself is gone.
                message = f"the datastore does not answer any more; the check saw: {trial.judgement.message}"
                return replace(trial, judgement=replace(trial.judgement, outcome=Outcome.ERROR, message=message))
            return trial
        if not self._target.disposable:
            reason = "it hurts its datastore, and one given by its URI is never hurt; name a target instead"
            return _Trial(Judgement(Outcome.NOT_RUN, reason))
        own = _Server(self._target.fresh())  # which the check may hurt
        try:
            try:
                _within(self._target.check_limit, own.start, "start the datastore")
                return self._guarded(check, own, alone)
            finally:
                server.secrets.take_in(own.secrets)
                own.stop()
        except Exception as error:
            details = "".join(traceback.format_exception(error))
            return _Trial(Judgement(Outcome.ERROR, f"the server of its own failed: {error}", details=details))

    def _guarded(self, check: Check, server: _Server, alone: bool) -> _Trial:
        """Run the check in a thread, which is given up when the target's ``check_limit`` is over.

        ``alone``: nothing else runs meanwhile, so that threads that are there afterwards are this check's.
        """
        before = set(threading.enumerate())
        trial = _Trial(Judgement(Outcome.PASSED))

        def body() -> None:
            env: Env | None = None
            error: BaseException | None = None
            try:
                env = Env(server.target, server.uri, seed=f"{self.seed}/{check.name}", depth=self.depth)
                check.function(env)
            except BaseException as raised:
                error = raised
            try:
                if env is not None:
                    env.close()
            except Exception as raised:
                error = error or raised
            if env is not None:
                trial.notes.extend(env.notes)
                trial.costs.extend(env.costs)
            if error is not None:
                judgement = judge(error, check.function.__module__)
                history = judgement.history or tuple(env.history.operations if env is not None else ())
                trial.judgement = replace(judgement, history=history)

        thread = threading.Thread(target=body, name=f"check {check.name}", daemon=True)
        thread.start()
        thread.join(self._target.check_limit)
        if thread.is_alive():
            return _Trial(_hung(thread, self._target.check_limit))
        if alone:
            trial.notes.extend(_leftovers(before))
        return trial

    def _look(self) -> None:
        """Connect once: does it work at all, what does it declare, what does it say of itself?"""
        health: Any = {}
        # What is not written yet says every check that needs it: that is the report an author starts from.
        self.capabilities = frozenset(Capability)
        with suppress(NotImplementedError), connect(self._server.uri, control=self._target.control) as storage:
            self.capabilities = storage.capabilities
            health = storage.health()
        self.environment = {
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "distributions": _versions(),
            "health": self._server.secrets.hide_within(health),
        }


@dataclass(slots=True)
class _Trial:
    """How a check ended, before it is asked what that means for this driver."""

    judgement: Judgement
    notes: list[str] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)


class _Server:
    """A target in a workspace of its own."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.uri = ""
        self._workspace: Path | None = None
        self.secrets = Secrets()

    def start(self) -> None:
        self._workspace = Path(tempfile.mkdtemp(prefix="zaqar-conformance-"))
        self.uri = self.target.start(self._workspace)
        self.secrets = Secrets(self.uri, *filter(None, [self.target.control]))

    def stop(self) -> None:
        """Raises ``TimeoutError`` if it takes too long: a report waits for it."""
        try:
            _within(_STOP_LIMIT, self.target.stop, "stop the datastore")
        finally:
            if self._workspace is not None:
                shutil.rmtree(self._workspace, ignore_errors=True)

    def answers(self) -> bool:
        """Whether another client can connect. Only a datastore that cannot be reached does not answer."""

        def ask() -> bool:
            try:
                with connect(self.uri):
                    return True
            except StorageUnavailable:
                return False

        try:
            return _within(_ANSWER_LIMIT, ask, "connect")
        except Exception:
            return True


def _within(seconds: float, call: Callable[[], T], what: str) -> T:
    """What ``call`` returns or raises, run in a thread that is given up after so long with ``TimeoutError``."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"the attempt to {what} did not end within {seconds:g} s")
    return results[0]


def _where(some: Sequence[Operation], history: Sequence[Operation]) -> tuple[int, ...]:
    """Where these stand in the history. (Operations hold dictionaries, so they are told apart by identity.)"""
    wanted = {id(operation) for operation in some}
    return tuple(index for index, operation in enumerate(history) if id(operation) in wanted)


def _hung(thread: threading.Thread, limit: float) -> Judgement:
    """A check that did not end: the driver's fault if it hangs in a call, the suite's otherwise."""
    frame = sys._current_frames().get(thread.ident or 0)
    stack = list(traceback.walk_stack(frame))
    details = "".join(traceback.format_stack(frame))
    modules = [str(each.f_globals.get("__name__", "")) for each, _ in stack]
    message = f"the check did not end within {limit:g} s; the traceback shows where it was"
    outside = (name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names)
    if is_suite(next(outside, "")):
        return Judgement(Outcome.ERROR, message, details=details)
    return Judgement(Outcome.FAILED, message, "FAI-002", details=details)


def _leftovers(before: set[threading.Thread], patience: float = 1.0) -> list[str]:
    """What the check, or the clients it closed, left running."""
    deadline = time.monotonic() + patience
    for thread in set(threading.enumerate()) - before:
        thread.join(max(0.0, deadline - time.monotonic()))
    left = sorted(thread.name for thread in set(threading.enumerate()) - before)
    return [f"left {len(left)} threads running: {', '.join(left)}"] if left else []


def _versions() -> dict[str, str]:
    found = {dist.name: dist.version for dist in distributions() if (dist.name or "").startswith("zaqar-")}
    return dict(sorted(found.items()))
