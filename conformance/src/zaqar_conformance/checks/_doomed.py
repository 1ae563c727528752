"""Clients that are killed at work: what they do, and how the check knows what they began and what they were told."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any, Self

from zaqar_conformance.check import ensure
from zaqar_conformance.checks._clients import Busy, in_threads
from zaqar_conformance.env import Env
from zaqar_conformance.history import Call, History, Operation
from zaqar_conformance.processes import ChildProcess, Worker
from zaqar_conformance.recorder import Recorder
from zaqar_core import Capability, NewMessage, Storage
from zaqar_core.errors import StorageUnavailable

LEASES = (0.3, 0.8)
"""Claims' ttls that outlast their holder's death, and end before the check does."""
TTL = 3600.0
"""Seconds: the life of a message that is never to expire."""
_MOST_STEPS = 400
_SIZES = (1, 3, 20, 150)


class Telling(History):
    """Tells the check of each operation when it begins, and again when it has ended. A client is one thread's."""

    def __init__(self, say: Callable[[Any], None]) -> None:
        super().__init__()
        self._say = say

    @contextmanager
    def call(self, client: str, name: str, queue: str, **arguments: Any) -> Iterator[Call]:
        self._say(asdict(Operation(client, name, queue, arguments, time.monotonic_ns(), 0, "unknown")))
        with super().call(client, name, queue, **arguments) as call:
            yield call

    def add(self, operation: Operation) -> None:
        self._say(asdict(operation))


class Doomed:
    """Worker processes to be killed; what they tell goes into the check's history."""

    def __init__(self, env: Env, count: int, name: str, arguments: dict[str, Any]) -> None:
        self._env = env
        self._stack = ExitStack()
        self._begun: dict[str, Operation] = {}
        work = f"{__name__}:work_until_killed"
        self.children = [
            self._stack.enter_context(env.child(work, name=f"{name}/{index}", **arguments)) for index in range(count)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def at_work(self, child: ChildProcess, least: int, requirement: str) -> None:
        """Return once the child has been told of at least so many operations that they are done, a little later."""
        done = 0
        for said in child.lines():
            done += self._take(said)
            if done >= least:
                time.sleep(a_moment(self._env.rng))
                return
        seen = f"a client's calls failed after {done} that had succeeded, before anything was hurt"
        ensure(False, requirement, seen, self._env.history.operations)

    def kill(self, *children: ChildProcess) -> None:
        """Kill these, or all. What they had begun may have happened."""
        for child in children or self.children:
            child.kill()
        self.drain(*children)

    def drain(self, *children: ChildProcess) -> None:
        """Hear these out, or all, to their end."""
        for child in children or self.children:
            for said in child.lines():
                self._take(said)
        if not children:
            now = time.monotonic_ns()
            self._env.history.extend(replace(operation, end=now) for operation in self._begun.values())
            self._begun.clear()

    def _take(self, said: dict[str, Any]) -> bool:
        operation = Operation(**said)
        if not operation.end:
            self._begun[operation.client] = operation
            return False
        del self._begun[operation.client]
        self._env.history.add(operation)
        return operation.outcome == "ok"


def a_moment(rng: random.Random) -> float:
    """Seconds to wait before a kill: within a call of a quick or of a slow backend, anywhere."""
    return rng.choice((0.001, 0.005, 0.03)) * rng.random()


def arguments_of(env: Env, queue: str, batches: str, leases: Sequence[float], *, tolerant: bool) -> dict[str, Any]:
    """What doomed clients are told: two queues, one worked on at random and one only posted to, and what they may do.

    ``tolerant``: the datastore may go away under them.
    """
    return {
        "queue": queue,
        "batches": batches,
        "leases": list(leases),
        "pops": 0.15 if env.declares(Capability.POP) else 0.0,
        "claims": env.declares(Capability.CLAIMS),
        "dedup": env.declares(Capability.IDEMPOTENT_POST),
        "records": env.storage.control.records is not None,
        "tolerant": tolerant,
    }


def work_until_killed(
    worker: Worker,
    name: str,
    queue: str,
    batches: str,
    *,
    leases: list[float],
    pops: float,
    claims: bool,
    dedup: bool,
    records: bool,
    tolerant: bool,
) -> None:
    """In a process: threads post batches, work at random, and change queues, without end."""
    history = Telling(worker.say)
    rngs = [random.Random(f"{name}/{worker.rng.random()}/{index}") for index in range(3)]
    recorder = Recorder(worker.storage, history, f"{name}/busy")
    steps = [
        _Batches(worker.storage, history, f"{name}/batches", batches, rngs[0], dedup=dedup).step,
        Busy(recorder, rngs[1], queue, posts=0.6, pops=pops, leases=leases).step
        if claims
        else Deleting(recorder, queue).step,
    ]
    if records:
        steps.append(_Keeping(worker.storage, history, f"{name}/queues").step)
    stop = threading.Event()

    def run(index: int) -> None:
        try:
            for _ in range(_MOST_STEPS):
                if stop.is_set():
                    return
                steps[index]()
        except StorageUnavailable:
            if not tolerant:
                raise
        finally:
            stop.set()

    in_threads(len(steps), run)


# --- what they do -------------------------------------------------------------------------------------


def batch_of(by: str, number: int, size: int, *, dedup: bool) -> list[NewMessage]:
    """The messages of a batch, which say whose it is, and which part of it each is."""
    return [
        NewMessage(
            {"by": by, "batch": number, "part": part},
            ttl=TTL,
            dedup_id=f"{by}/{number}/{part}" if dedup else None,
        )
        for part in range(size)
    ]


class _Batches:
    """Posts batches, of which a history knows number and size."""

    def __init__(
        self, storage: Storage, history: History, name: str, queue: str, rng: random.Random, *, dedup: bool
    ) -> None:
        self._storage = storage
        self._history = history
        self._name = name
        self._queue = queue
        self._rng = rng
        self._dedup = dedup
        self._number = 0

    def step(self) -> None:
        size = min(self._rng.choice(_SIZES), self._storage.limits.max_messages_per_post)
        batch = batch_of(self._name, self._number, size, dedup=self._dedup)
        about = {"count": size, "ttl": TTL, "delay": 0.0, "batch": self._number}
        with self._history.call(self._name, "messages.post", self._queue, **about) as call:
            call.result = self._storage.messages.post(self._queue, batch)
        self._number += 1


class Deleting:
    """Posts and deletes, without claims."""

    def __init__(self, recorder: Recorder, queue: str) -> None:
        self._recorder = recorder
        self._queue = queue

    def step(self) -> None:
        ids = self._recorder.post(self._queue, 3)
        self._recorder.delete(self._queue, ids[0])
        self._recorder.bulk_delete(self._queue, ids[1:2])


class _Keeping:
    """Creates queues, changes their metadata, deletes them. Nobody else touches them."""

    def __init__(self, storage: Storage, history: History, name: str) -> None:
        self._queues = storage.queues
        self._history = history
        self._name = name
        self._step = 0

    def step(self) -> None:
        queue = f"{self._name}/{self._step % 4}"
        turn = self._step // 4 % 4
        if turn == 0:
            with self._history.call(self._name, "queues.create", queue):
                self._queues.create(queue)
        elif turn < 3:
            with self._history.call(self._name, "queues.set_metadata", queue, step=self._step):
                self._queues.set_metadata(queue, metadata_of(self._step))
        else:
            with self._history.call(self._name, "queues.delete", queue):
                self._queues.delete(queue)
        self._step += 1


def metadata_of(step: int) -> dict[str, Any]:
    """The metadata that a queue is given: such that a part of it is not taken for the whole."""
    return {"step": step, "again": [step] * 200}
