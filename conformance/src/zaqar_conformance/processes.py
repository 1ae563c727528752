"""Worker processes: real clients of the backend under test that start together, report, and can be killed.

A worker is ``python -m zaqar_conformance.worker``. Both sides speak JSON, one object a line: the job on its standard
input, then "go"; on its standard output "ready", what it says on the way, and how it ended.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from zaqar_conformance.check import Violation
from zaqar_conformance.history import History, Operation
from zaqar_conformance.outcomes import Judgement, Outcome, WorkerFailed
from zaqar_conformance.watchdog import watchdog
from zaqar_conformance.worker import WORKER
from zaqar_core import Storage

STARTUP = 60.0
"""How many seconds a worker may take to start and connect."""


class Worker:
    """What a worker's function is given: ``function(worker, **arguments)``. What it returns has to be a JSON value.

    ``storage``: a client of its own, of the check's project. ``history``: taken into the check's when the worker ends.
    ``rng``: its own, seeded by the check's seed and ``index``. ``name``: for ``history.call``.
    """

    def __init__(
        self,
        index: int,
        connect: Callable[..., Storage],
        project: str,
        seed: str,
        arguments: Mapping[str, Any],
        say: Callable[[Any], None],
    ) -> None:
        self.index = index
        self.name = f"process-{index}"
        self.project = project
        self.arguments = arguments
        self.history = History()
        self.rng = random.Random(f"{seed}/{index}")
        self.say = say
        """Send a JSON value to the check at once; it comes out of ``ChildProcess.lines``."""
        self._connect = connect
        self._open = ExitStack()
        self.storage = self.connect()

    def connect(self, **overrides: Any) -> Storage:
        """Another client, as ``Env.connect`` makes them; closed when the worker ends."""
        return self._open.enter_context(self._connect(**overrides))

    def close(self) -> None:
        """Close every client."""
        self._open.close()


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """What a worker returned and recorded."""

    value: Any
    operations: list[Operation]


class ChildProcess:
    """A worker process of this one's. Leaving the context kills it."""

    def __init__(
        self, work: str, settings: Mapping[str, Any], seed: str, arguments: Mapping[str, Any], index: int
    ) -> None:
        if WORKER in os.environ:
            raise RuntimeError(
                "a worker process starts no workers; keep what starts a run behind __name__ == '__main__'"
            )
        self.index = index
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "zaqar_conformance.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, WORKER: "1"},
            start_new_session=True,  # so that one signal reaches what it starts itself
        )
        watchdog.guard(self._process.pid)  # one that is paused cannot see its parent end
        self._frames: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._done: dict[str, Any] | None = None
        self._reader = threading.Thread(target=self._read, name=f"worker-{index}-reader", daemon=True)
        self._reader.start()
        job = {
            "path": sys.path,
            "work": work,
            "settings": settings,
            "seed": seed,
            "arguments": arguments,
            "index": index,
        }
        self._send(job)

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too."""
        return self._process.pid

    def start(self) -> None:
        """Wait until it is connected; then it stands at the line until ``go``."""
        frame = self._next(time.monotonic() + STARTUP)
        if frame is None or "ready" not in frame:
            raise self._failed(frame)

    def go(self, within: float) -> None:
        """Let it run; after ``within`` seconds it writes down where it hangs, for the report."""
        self._send({"go": within})

    def lines(self, *, within: float = 60.0) -> Iterator[Any]:
        """The values that it says, as they come, until it ends or is killed; for ``within`` seconds at most."""
        deadline = time.monotonic() + within
        while frame := self._next(deadline):
            if "said" in frame:
                yield frame["said"]
            elif "done" in frame:
                self._done = frame  # for ``result``; behind it in the queue is the end already
                return
            else:
                raise self._failed(frame)

    def result(self, deadline: float) -> WorkerResult:
        """What its function returned. Raises ``WorkerFailed``, and ``Violation`` (FAI-002) after the deadline."""
        while frame := self._done or self._next(deadline):
            if "done" in frame:
                return WorkerResult(frame["done"], _operations(frame["operations"]))
            if "said" not in frame:
                break
        raise self._failed(frame)

    def kill(self) -> None:
        """``kill -9`` it, and what it started, as a crash of the client would; returns once it is gone."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        watchdog.release(self._process.pid)
        self._reader.join(STARTUP)

    def close(self) -> None:
        """Kill it if it still runs, and let go of its pipes."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, frame: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(frame).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; reading says why

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._frames.put(json.loads(line))
            except ValueError:
                break  # cut off in the middle of a line by a kill
        self._frames.put(None)

    def _next(self, deadline: float) -> dict[str, Any] | None:
        """The next frame; None at its end. Raises ``Violation`` (FAI-002) after the deadline."""
        try:
            frame = self._frames.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            seen = f"worker process {self.index} was still at work when its time was over"
            raise Violation("FAI-002", f"{seen}\n{self._stderr()}") from None
        if frame is None:
            self._frames.put(None)  # the end stays the end
        return frame

    def _failed(self, frame: dict[str, Any] | None) -> Exception:
        if frame is None:
            code = self._process.wait()
            message = f"worker process {self.index} died with code {code}\n{self._stderr()}"
            return WorkerFailed(Judgement(Outcome.ERROR, message))
        failed = frame["failed"]
        message = f"in worker process {self.index}: {failed['message']}"
        operations = tuple(_operations(frame["operations"]))
        if failed["requirement"] is not None:
            offending = [operations[place] for place in failed["offending"]]
            return Violation(failed["requirement"], message, operations, offending)
        outcome = Outcome(failed["outcome"])
        method, details, foreign = failed["method"], failed["details"], failed["foreign"]
        return WorkerFailed(Judgement(outcome, message, None, operations, method, details, foreign=foreign))

    def _stderr(self, most: int = 4000) -> str:
        # Without seeking: the worker writes at the position that both sides share.
        descriptor = self._errors.fileno()
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, most, max(0, size - most)).decode(errors="replace")


def run_processes(
    settings: Mapping[str, Any], seed: str, work: str, arguments: Sequence[Mapping[str, Any]], *, within: float
) -> list[WorkerResult]:
    """Run ``work`` ("package.module:function") once for each of ``arguments``, in processes that start together.

    ``settings``: what each connects with, as JSON: the arguments of ``zaqar_core.connect``. Raises what the first
    failing worker raised (``WorkerFailed``, ``Violation``), and ``Violation`` (FAI-002) for those that are not done
    ``within`` seconds; all are killed then.
    """
    with ExitStack() as stack:
        children = [
            stack.enter_context(ChildProcess(work, settings, seed, each, index)) for index, each in enumerate(arguments)
        ]
        for child in children:
            child.start()
        for child in children:
            child.go(within)
        deadline = time.monotonic() + within
        return [child.result(deadline) for child in children]


def _operations(frames: Sequence[Mapping[str, Any]]) -> list[Operation]:
    return [Operation(**fields) for fields in frames]
