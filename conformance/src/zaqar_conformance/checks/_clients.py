"""Clients that work at random on one queue, in threads and in processes, and record what they do."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from zaqar_conformance import judge
from zaqar_conformance.env import Env
from zaqar_conformance.history import Operation
from zaqar_conformance.processes import Worker
from zaqar_conformance.recorder import Recorder
from zaqar_core import Capability, Storage
from zaqar_core.errors import ClaimDoesNotExist, NotPermitted
from zaqar_core.models import Claim

T = TypeVar("T")

LONG_LEASE = 60.0
"""A claim's ttl, in seconds, that outlives a check."""
SHORT_LEASES = (0.02, 0.04, 0.08)
"""Claims' ttls that end while others work."""
_MOST_HELD = 2


class Busy:
    """One client that claims, renews, releases, deletes, pops and lets expire, at random. Used by one thread.

    ``posts``, ``pops``: how likely each step is to post, or to pop instead of claiming. ``deletes``: whether it
    deletes; without, the messages stay. It holds some claims at a time, so that their leases overlap.
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
    ) -> None:
        self._recorder = recorder
        self._rng = rng
        self._queue = queue
        self._posts = posts
        self._pops = pops
        self._deletes = deletes
        self._held: deque[tuple[str, list[str]]] = deque()

    def run(self, steps: int) -> None:
        """Do so many steps, then give back what is still held."""
        for _ in range(steps):
            self.step()
        while self._held:
            claim_id, ids = self._held.popleft()
            self._try(self._release, claim_id, ids)

    def step(self) -> None:
        """Perhaps post; pop or claim; do something with the oldest of the claims held."""
        if self._rng.random() < self._posts:
            self._recorder.post(self._queue, self._rng.randint(1, 8))
        if self._rng.random() < self._pops:
            self._recorder.pop(self._queue, self._rng.randint(1, 5))
        else:
            ttl = self._rng.choice((LONG_LEASE, LONG_LEASE, *SHORT_LEASES))
            self._hold(self._recorder.claim(self._queue, ttl=ttl, limit=self._rng.randint(1, 12)))
        if len(self._held) > _MOST_HELD:
            claim_id, ids = self._held.popleft()
            self._try(self._act, claim_id, ids)

    def _hold(self, claim: Claim) -> None:
        if claim.id is not None:
            self._held.append((claim.id, [message.id for message in claim.messages]))

    def _act(self, claim_id: str, ids: list[str]) -> None:
        some = self._rng.sample(ids, self._rng.randint(1, len(ids)))
        choice = self._rng.random()
        if choice < 0.25:
            self._release(claim_id, some)
            self._keep(claim_id, ids, some)
        elif choice < 0.45:
            self._recorder.update(self._queue, claim_id, ttl=self._rng.choice((LONG_LEASE, *SHORT_LEASES)))
            self._held.append((claim_id, ids))
        elif not self._deletes:
            self._recorder.release(self._queue, claim_id)
        elif choice < 0.75:
            for message_id in some:
                self._recorder.delete(self._queue, message_id, claim_id=claim_id)
            self._keep(claim_id, ids, some)
        else:
            self._recorder.bulk_delete(self._queue, ids, claim_ids=[claim_id])

    def _keep(self, claim_id: str, ids: list[str], done: list[str]) -> None:
        left = [each for each in ids if each not in done]
        if left:
            self._held.append((claim_id, left))

    def _release(self, claim_id: str, ids: list[str]) -> None:
        self._recorder.release(self._queue, claim_id, message_ids=ids)

    def _try(self, action: Callable[[str, list[str]], None], claim_id: str, ids: list[str]) -> None:
        """A claim may end before its holder comes to it; then it is refused, which is right."""
        with suppress(ClaimDoesNotExist, NotPermitted):
            action(claim_id, ids)


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

    with ThreadPoolExecutor(count) as pool:
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
