"""What a check is given: a fresh tenant on the backend under test, clients, threads, processes, and a history."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

from zaqar_conformance.check import Violation
from zaqar_conformance.costs import Cost
from zaqar_conformance.history import History
from zaqar_conformance.processes import ChildProcess, run_processes
from zaqar_conformance.target import Target
from zaqar_conformance.turns import short_turns
from zaqar_core import Capability, Storage, connect, observers
from zaqar_core.contract import Driver, Space, new_id
from zaqar_core.errors import Unsupported

T = TypeVar("T")

_AT_A_TIME = 1000
_LONGEST = 60.0
"""Seconds that emptying a project or a space of records may take."""


class Env:
    """One check's view of the backend. Isolation is by fresh names: nothing is ever flushed."""

    def __init__(self, target: Target, uri: str, *, seed: str, depth: int) -> None:
        self.target = target
        self.uri = uri
        self.seed = seed
        """Text that, with the same checks, makes ``rng`` choose the same."""
        self.depth = depth
        """How many messages "many ahead" is: 100 000 unless the target lowers it."""
        self.rng = random.Random(seed)
        self.project = f"conformance-{new_id()}"
        self.settings: dict[str, Any] = {
            "uri": uri,
            "control": target.control,
            "project": self.project,
            "metadata_ttl": 0,
            "timeout": target.call_timeout,
        }
        """What every client of the check connects with, here and in other processes."""
        self.history = History()
        self.notes: list[str] = []
        self.costs: list[Cost] = []
        """What was measured of cost against depth, for the report."""
        self._open = ExitStack()
        self._names = 0
        self._lock = threading.Lock()
        self._touched = _Touched()
        self._spaces: set[Space] = set()
        self.storage = self.connect()
        if not target.disposable:
            observers.register(self._touched)

    # --- names and clients --------------------------------------------------------------------------

    def queue(self, hint: str = "queue") -> str:
        """A fresh queue name in this check's project; the queue is not created."""
        with self._lock:
            self._names += 1
            name = f"{hint}-{self._names}-{new_id()[:8]}"
            self._touched.queues.add((self.project, name))
            return name

    def space(self, kind: str = "queues", project: str | None = None) -> Space:
        """Records of a project of this check's own, for those who write them themselves."""
        space = Space(kind, self.project if project is None else project)
        with self._lock:
            self._spaces.add(space)
        return space

    def connect(self, **overrides: Any) -> Storage:
        """Another client of the same backend and project, without metadata cache; closed when the check ends."""
        return self._open.enter_context(connect(**{**self.settings, **overrides}))

    @property
    def driver(self) -> Driver:
        """The driver beneath ``storage``, for the few checks that need it."""
        return self.storage.driver

    def declares(self, *capabilities: Capability) -> bool:
        """Whether the open connection declares all of these."""
        return set(capabilities) <= self.storage.capabilities

    def note(self, text: str) -> None:
        """Say something for the report (a measured figure)."""
        self.notes.append(text)

    @property
    def patience(self) -> float:
        """Seconds that many at once may take: a minute, unless the target gives its checks longer than others do."""
        return max(60.0, self.target.check_limit / 10)

    # --- waiting ------------------------------------------------------------------------------------

    def see(self, read: Callable[[], T], wanted: Callable[[T], object], requirement: str, what: str) -> T:
        """Read once (with ``CONSISTENT_READS``) or until ``wanted`` holds; ``Violation`` after ``settle_time``."""
        patience = 0.0 if self.declares(Capability.CONSISTENT_READS) else self.driver.settle_time
        return self._poll(read, wanted, patience, requirement, what)

    def wait_for(
        self, read: Callable[[], T], wanted: Callable[[T], object], requirement: str, what: str, *, within: float = 10.0
    ) -> T:
        """Read until ``wanted`` holds, ``within`` seconds at most: for what time brings about (expiry)."""
        return self._poll(read, wanted, within, requirement, what)

    def _poll(
        self, read: Callable[[], T], wanted: Callable[[T], object], patience: float, requirement: str, what: str
    ) -> T:
        deadline = time.monotonic() + patience
        while True:
            last_try = time.monotonic() >= deadline
            value = read()
            if wanted(value):
                return value
            if last_try:
                raise Violation(requirement, f"{what}: last seen {repr(value)[:500]}", self.history.operations)
            time.sleep(0.01)

    # --- many at once -------------------------------------------------------------------------------

    def threads(self, count: int, work: Callable[[int], T], *, within: float | None = None) -> list[T]:
        """Run ``work(0)`` to ``work(count - 1)`` in threads that start together; their results, or the first error.

        They take turns every few operations of the interpreter, so that one is amid anything when another goes on.
        ``within``: seconds until a thread that has not ended is taken to hang; unless given as long as checks of this
        target may be at work.
        """
        within = self.patience if within is None else within
        results: list[Any] = [None] * count
        errors: list[BaseException] = []
        barrier = threading.Barrier(count)

        def run(index: int) -> None:
            try:
                barrier.wait(within)
                results[index] = work(index)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
        deadline = time.monotonic() + within
        with short_turns():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        if errors:
            raise errors[0]
        stuck = sum(thread.is_alive() for thread in threads)
        if stuck:
            raise Violation("FAI-002", f"{stuck} of {count} threads were still in a call after {within:g} s")
        return results

    def processes(
        self,
        count: int,
        work: str,
        arguments: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        within: float | None = None,
    ) -> list[Any]:
        """Run ``work`` ("package.module:function") in ``count`` processes that start together; their JSON results.

        Each calls ``function(worker, **arguments)`` with a :class:`zaqar_conformance.processes.Worker`; a sequence
        gives each process its own arguments. Operations that workers record are taken into ``history``.
        """
        within = self.patience if within is None else within
        each = [arguments] * count if isinstance(arguments, Mapping) else list(arguments)
        results = run_processes(self.settings, self.seed, work, each, within=within)
        for result in results:
            self.history.extend(result.operations)
        return [result.value for result in results]

    @contextmanager
    def child(self, work: str, *, within: float | None = None, **arguments: Any) -> Iterator[ChildProcess]:
        """Run ``work`` in a process, already going, that the check may listen to (``lines``) and ``kill`` at any time.

        It is killed at the end of the context; what it recorded is in the result that ``ChildProcess.result`` gives.
        """
        with ChildProcess(work, self.settings, self.seed, arguments, index=0) as child:
            child.start()
            child.go(self.patience if within is None else within)
            yield child

    def close(self) -> None:
        """Close every client that the check opened; at a datastore of somebody else's, take its queues away first."""
        try:
            if not self.target.disposable:
                self._take_away()
        finally:
            observers.unregister(self._touched)
            self._open.close()

    def _take_away(self) -> None:
        """Delete what is in the projects that are this check's own, and every queue that this process named."""
        with connect(self.uri, metadata_ttl=0) as storage:
            for space in sorted(self._spaces):
                self._empty_space(storage, space)
            for project, queue in sorted(self._touched.queues):
                storage.messages.purge(queue, project=project)
                with suppress(Unsupported):
                    storage.queues.delete(queue, project=project)
            for project in sorted({project for project, _ in self._touched.queues if self.project in project}):
                with suppress(Unsupported):
                    self._empty_project(storage, project)

    def _empty_space(self, storage: Storage, space: Space) -> None:
        records = storage.control.records
        if records is not None:
            self._empty(
                f"records of the kind {space.kind!r} in the project {space.project!r}",
                lambda: [record.key for record in records.scan(space, limit=_AT_A_TIME)],
                lambda key: records.delete(space, key),
                storage.control.settle_time,
            )

    def _empty_project(self, storage: Storage, project: str) -> None:
        self._empty(
            f"queues in the project {project!r}",
            lambda: [entry.name for entry in storage.queues.list(project=project, limit=_AT_A_TIME).items],
            lambda name: storage.queues.delete(name, project=project),
            storage.control.settle_time,
        )

    def _empty(
        self, what: str, show: Callable[[], list[str]], delete: Callable[[str], object], settle_time: float
    ) -> None:
        """Delete what is shown until nothing is, or the same as before; then say so."""
        before: list[str] = []
        settled, over = 0.0, time.monotonic() + _LONGEST
        while names := show():
            now = time.monotonic()
            if names != before:
                before, settled = names, now + settle_time
            elif now >= settled:
                break
            if now >= over:
                break
            for name in names:
                delete(name)
        if names:
            self.note(f"left behind: {len(names)} {what}, which stay though they are deleted")


class _Touched:
    """Observes which queues are named by operations that succeed."""

    def __init__(self) -> None:
        self.queues: set[tuple[str, str]] = set()

    @observers.hookimpl
    def operation_finished(self, operation: observers.ObservedOperation, error: BaseException | None) -> None:
        if operation.project is not None and operation.queue is not None and error is None:
            self.queues.add((operation.project, operation.queue))
