"""Clients that work at random on one queue, in threads and in processes, and record what they do."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple, TypeVar

from zaqar_conformance import judge
from zaqar_conformance.checks._support import rounds
from zaqar_conformance.env import Env
from zaqar_conformance.history import Operation
from zaqar_conformance.processes import Worker
from zaqar_conformance.recorder import Recorder
from zaqar_conformance.turns import short_turns
from zaqar_core import Capability, Storage
from zaqar_core.errors import ClaimDoesNotExist, NotPermitted, Unsupported

T = TypeVar("T")

LONG_LEASE = 60.0
"""A claim's ttl, in seconds, that outlives a check."""
SHORT_LEASES = (0.002, 0.01, 0.04)
"""Claims' ttls that end while others work."""
_MOST_HELD = 2


class _Held(NamedTuple):
    """A claim that is not done with: its id, what of it is left, and its ttl."""

    claim_id: str
    ids: list[str]
    ttl: float


class Busy:
    """One client that claims, renews, releases, deletes, pops and lets expire, at random. Used by one thread.

    ``posts``, ``pops``: how likely each step is to post, or to pop instead of claiming. ``deletes``: whether it
    deletes; without, the messages stay. ``leases``: its claims' ttls, each as likely as another. It holds some claims
    at a time, so that their leases overlap.
    """

    def __init__(
        self,
        recorder: Recorder,
        rng: random.Random,
        queue: str,
        *,
        posts: float = 0.4,
        pops: float = 0.0,
        deletes: bool = True,
        leases: Sequence[float] = (LONG_LEASE, LONG_LEASE, *SHORT_LEASES),
    ) -> None:
        self._recorder = recorder
        self._rng = rng
        self._queue = queue
        self._posts = posts
        self._pops = pops
        self._deletes = deletes
        self._leases = leases
        self._held: deque[_Held] = deque()

    def run(self, steps: int) -> None:
        """Do so many steps, as far as there is time, then give back what is still held."""
        for _ in rounds(steps):
            self.step()
        while self._held:
            self._try(self._release_all, self._held.popleft())

    def step(self) -> None:
        """Perhaps post; pop or claim; do something with the oldest of the claims held."""
        if self._rng.random() < self._posts:
            self._recorder.post(self._queue, self._rng.randint(1, 8))
        if self._rng.random() < self._pops:
            self._recorder.pop(self._queue, self._rng.randint(1, 5))
        else:
            ttl = self._ttl()
            claim = self._recorder.claim(self._queue, ttl=ttl, limit=self._rng.randint(1, 12))
            if claim.id is not None:
                self._held.append(_Held(claim.id, [message.id for message in claim.messages], ttl))
        if len(self._held) > _MOST_HELD:
            self._try(self._act, self._held.popleft())

    def _ttl(self) -> float:
        return self._rng.choice(self._leases)

    def _act(self, held: _Held) -> None:
        some = self._rng.sample(held.ids, self._rng.randint(1, len(held.ids)))
        left = [each for each in held.ids if each not in some]
        choice = self._rng.random()
        if choice < 0.25:
            self._release_some(held, some, left)
        elif choice < 0.45:
            ttl = self._ttl()
            self._recorder.update(self._queue, held.claim_id, ttl=ttl)
            self._held.append(_Held(held.claim_id, held.ids, ttl))
        elif not self._deletes:
            self._recorder.release(self._queue, held.claim_id)
        elif choice < 0.75:
            for message_id in some:
                self._recorder.delete(self._queue, message_id, claim_id=held.claim_id)
            self._keep(held, left)
        else:
            self._recorder.bulk_delete(self._queue, held.ids, claim_ids=[held.claim_id])

    def _release_some(self, held: _Held, some: list[str], left: list[str]) -> None:
        try:
            self._recorder.release(self._queue, held.claim_id, message_ids=some)
        except Unsupported:  # what it lacks is found elsewhere; what else it does is to be seen here
            self._release_all(held)
        else:
            self._keep(held, left)

    def _keep(self, held: _Held, left: list[str]) -> None:
        """Come back to the rest later; or, now and then, leave it to the claim's end."""
        if left and (held.ttl == LONG_LEASE or self._rng.random() < 0.5):
            self._held.append(_Held(held.claim_id, left, held.ttl))

    def _release_all(self, held: _Held) -> None:
        self._recorder.release(self._queue, held.claim_id)

    def _try(self, action: Callable[[_Held], None], held: _Held) -> None:
        """A claim may end before its holder comes to it; then it is refused, which is right."""
        with suppress(ClaimDoesNotExist, NotPermitted):
            action(held)


def recorders(env: Env, count: int, storages: Iterable[Storage] = ()) -> list[Recorder]:
    """Clients of the check's history, in turn over two connected storages (or those given)."""
    each = list(storages) or [env.storage, env.connect()]
    return [Recorder(each[index % len(each)], env.history, f"thread-{index}") for index in range(count)]


def rngs(env: Env, count: int) -> list[random.Random]:
    """As many seeded generators: each thread needs its own."""
    return [random.Random(f"{env.seed}/{index}") for index in range(count)]


def settle_time(env: Env) -> float:
    """For how many seconds a reader need not see what another client wrote."""
    return 0.0 if env.declares(Capability.CONSISTENT_READS) else env.driver.settle_time


def settled(env: Env) -> None:
    """Wait until every reader sees all that was written; with ``CONSISTENT_READS`` that is now."""
    time.sleep(settle_time(env))


def everything(env: Env, queue: str) -> list[str]:
    """The ids of all messages of a quiet queue, whatever their state, by a listing that is recorded."""
    settled(env)
    delayed = env.declares(Capability.DELAY)
    reader = Recorder(env.storage, env.history, f"reader-{len(env.history.operations)}")
    return [message.id for message in reader.list_all(queue, include_claimed=True, include_delayed=delayed)]


def of_queue(env: Env, queue: str) -> list[Operation]:
    """What was done to one queue."""
    return [operation for operation in env.history.operations if operation.queue == queue]


def demand_nothing_lost(env: Env, queue: str, requirement: str) -> None:
    """Every acknowledged message that nobody removed is there, and becomes active again once the leases are over."""
    found = everything(env, queue)
    judge.demand(requirement, judge.lost(of_queue(env, queue), found))
    reader = Recorder(env.storage, env.history, "last-reader")
    env.wait_for(
        lambda: {message.id for message in reader.list_all(queue)},
        lambda active: active == set(found),
        requirement,
        f"every claim is over, so all {len(found)} messages left in the queue must be active again",
        within=max(SHORT_LEASES) + settle_time(env) + 5.0,
    )


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    """Run ``work(0)`` to ``work(count - 1)`` in threads that start together, in a worker process."""
    barrier = threading.Barrier(count)

    def run(index: int) -> T:
        barrier.wait(60.0)
        return work(index)

    with short_turns(), ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def worker_recorders(worker: Worker, count: int) -> list[Recorder]:
    """Clients of a worker's history, which share its storage."""
    return [Recorder(worker.storage, worker.history, f"{worker.name}/{index}") for index in range(count)]


def at_slots(count: int, period: float, work: Callable[[int], object]) -> None:
    """Call ``work`` with each of 0 to ``count - 1`` once, at moments that all processes of the machine agree on.

    They share a clock: the number of a moment is how many periods it counts, modulo ``count``.
    """
    length = round(period * 1e9)
    first = time.monotonic_ns() // length + 1
    for slot in range(first, first + count):
        time.sleep(max(0, slot * length - time.monotonic_ns()) / 1e9)
        work(slot % count)
