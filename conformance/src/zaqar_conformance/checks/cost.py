"""Checks of cost against depth: what a deep queue costs beside a shallow one, as a ratio within one run."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from zaqar_conformance.check import Undecided, Violation, check, ensure_equal
from zaqar_conformance.checks._support import LONG, elapse, ids_of, post
from zaqar_conformance.env import Env
from zaqar_conformance.target import TargetError
from zaqar_core import Capability, NewMessage
from zaqar_core.contract import QueueKey

BOUND = 1.5
"""How many times as much a deep queue may cost."""
_SHALLOW = 100
_AT_ONCE = 10
_LOOKS = (12, 36, 108, 324)
"""After so many rounds the ratios are judged; most are clear at once, and a noisy machine needs more of them."""
_CHANCE = 1000
"""One in so many intervals misses the median."""
_PATIENCE = 60.0
"""Seconds: after that, what is not clear stays undecided."""
_NAMES = 1000
"""So many are tried; of a cluster's servers each has its share of them."""
_EXPIRY = 5.0
"""Seconds: the life of what is to expire; most backends fill a queue in that time."""

_BATCH = [NewMessage(number, ttl=LONG) for number in range(_AT_ONCE)]

Fill = Callable[[Env, str, int], object]
Round = Callable[[Env, str], Iterator[str]]


@check("CAP-003", thorough=True)
def depth_of_active_messages_costs_little(env: Env) -> None:
    """With 100 000 active messages ahead, operations cost at most 1.5 times as much as with 100."""
    with _two_queues(env, post) as (deep, shallow):
        _compare(env, f"{env.depth:,} active ahead", _work, deep, shallow)


@check("CAP-003", thorough=True)
def depth_of_claimed_messages_costs_little(env: Env) -> None:
    """With 100 000 claimed messages ahead, operations cost at most 1.5 times as much as with 100."""
    with _two_queues(env, _post_claimed) as (deep, shallow):
        _compare(env, f"{env.depth:,} claimed ahead", _work, deep, shallow)


@check("CAP-003", thorough=True)
def depth_of_expired_messages_costs_little(env: Env) -> None:
    """With 100 000 expired messages ahead, operations cost at most 1.5 times as much as with 100."""
    with _two_queues(env, _post_expiring) as (deep, shallow):
        elapse(env, _EXPIRY)
        _compare(env, f"{env.depth:,} expired ahead", _work, deep, shallow)


@check("CAP-003", thorough=True)
def depth_of_delayed_messages_costs_little(env: Env) -> None:
    """With 100 000 delayed messages ahead, operations cost at most 1.5 times as much as with 100."""
    with _two_queues(env, _post_delayed) as (deep, shallow):
        _compare(env, f"{env.depth:,} delayed ahead", _work, deep, shallow)


@check("STA-005", thorough=True)
def depth_costs_statistics_little(env: Env) -> None:
    """With 100 000 messages in the queue, of every state, statistics cost at most 1.5 times as much as with 100."""
    with _two_queues(env, _post_mixture) as (deep, shallow):
        elapse(env, _EXPIRY)
        _compare(env, f"{env.depth:,} in every state", _count, deep, shallow)


# --- filling ------------------------------------------------------------------------------------------


@contextmanager
def _two_queues(env: Env, fill: Fill) -> Iterator[tuple[str, str]]:
    """A deep and a shallow queue, filled; emptied in the end, lest they burden the checks that follow."""
    deep = env.queue("deep")
    shallow = _beside(env, deep)
    try:
        fill(env, shallow, _SHALLOW)
        fill(env, deep, env.depth)
        yield deep, shallow
    finally:
        for queue in (deep, shallow):
            env.storage.messages.purge(queue)


def _beside(env: Env, deep: str) -> str:
    """Another queue on the same server."""
    for _ in range(_NAMES):
        name = env.queue("shallow")
        if env.target.on_one_server(QueueKey(env.project, deep), QueueKey(env.project, name)):
            return name
    raise TargetError(f"of {_NAMES} fresh queues the target {env.target.name} has none on one server with {deep!r}")


def _post_claimed(env: Env, queue: str, count: int) -> None:
    post(env, queue, count)
    most = env.storage.limits.max_messages_per_claim
    held = 0
    while held < count:
        wanted = min(most, count - held)
        claim = env.storage.claims.create(queue, ttl=LONG, grace=0, limit=wanted)
        if not claim.messages and env.declares(Capability.CONSISTENT_READS):
            raise Violation("CLM-001", f"{held} of {count} messages are claimed, and a claim finds no more")
        held += len(claim.messages)


def _post_expiring(env: Env, queue: str, count: int) -> None:
    post(env, queue, count, ttl=_EXPIRY)


def _post_delayed(env: Env, queue: str, count: int) -> None:
    post(env, queue, count, ttl=2 * LONG, delay=LONG)


def _post_mixture(env: Env, queue: str, count: int) -> None:
    states: list[Fill] = [_post_expiring]
    if env.declares(Capability.CLAIMS):
        states.append(_post_claimed)
    if env.declares(Capability.DELAY):
        states.append(_post_delayed)
    for fill in (*states, post):
        fill(env, queue, count // (len(states) + 1))


# --- one round ----------------------------------------------------------------------------------------


def _work(env: Env, queue: str) -> Iterator[str]:
    """Each operation in turn on the queue; yields its name when it is done. Leaves as many messages as it found."""
    storage, sure = env.storage, env.declares(Capability.CONSISTENT_READS)
    storage.messages.post(queue, _BATCH)
    yield "post"
    storage.messages.post(queue, _BATCH)
    yield "post"
    page = storage.messages.list(queue, limit=_AT_ONCE)
    yield "list"
    claim = storage.claims.create(queue, ttl=LONG, grace=0, limit=_AT_ONCE)
    yield "claim"
    storage.messages.bulk_delete(queue, ids_of(claim.messages), claim_ids=[claim.id] if claim.id else None)
    yield "delete"
    popped = storage.messages.pop(queue, limit=_AT_ONCE)
    yield "pop"
    if sure:
        seen = (len(page.items), len(claim.messages), len(popped))
        ensure_equal(seen, (_AT_ONCE,) * 3, "CAP-003", "messages listed, claimed and popped with limit=10, of 20 more")


def _count(env: Env, queue: str) -> Iterator[str]:
    env.storage.messages.stats(queue)
    yield "stats"


def _side_by_side(env: Env, work: Round, deep: str, shallow: str) -> dict[str, float]:
    """Two rounds on both queues, step by step; how many times as much the deep one took.

    Whichever comes first in a step finds caches cold that it warms for the other, so each comes first once.
    """
    seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    sides = env.rng.sample([0, 1], 2)
    for order in (sides, sides[::-1]):
        running = [work(env, deep), work(env, shallow)]
        name = "first"
        while name:
            for side in order:
                began = time.perf_counter()
                name = next(running[side], "")
                took = time.perf_counter() - began
                if name:
                    seconds[name][side] += took
    return {name: spent[0] / spent[1] for name, spent in seconds.items()}


# --- the verdict --------------------------------------------------------------------------------------


def _compare(env: Env, depth: str, work: Round, deep: str, shallow: str) -> None:
    """Compare by rounds until all is clear: ``Violation`` for what is too dear, ``Undecided`` for what stays open."""
    for _ in range(3):
        _side_by_side(env, work, deep, shallow)  # settles what time has changed
    ratios: dict[str, list[float]] = defaultdict(list)
    deadline = time.monotonic() + _PATIENCE
    done = 0
    for look in _LOOKS:
        while done < look and time.monotonic() < deadline:
            done += 1
            for name, ratio in _side_by_side(env, work, deep, shallow).items():
                ratios[name].append(ratio)
        said = f"{depth}, times the cost with {_SHALLOW}: " + ", ".join(
            f"{name} {median(each):.2f} ({interval(each)[0]:.2f} to {interval(each)[1]:.2f})"
            for name, each in ratios.items()
        )
        for name, each in ratios.items():
            if interval(each)[0] > BOUND:
                requirement = "STA-005" if name == "stats" else "CAP-003"
                raise Violation(requirement, f"{name} costs more than {BOUND} times as much; {said}")
        if done == look and all(interval(each)[1] <= BOUND for each in ratios.values()):
            env.note(said)
            return
    raise Undecided(f"not clear after {done} rounds; {said}")


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Where the median is, with a chance of 999 in 1 000, whatever the distribution; from a few, anywhere."""
    count, ordered = len(ratios), sorted(ratios)
    left_out, ways = -1, 1  # of 2 ** count ways to lie on either side of the median, those that would mislead
    while 2 * _CHANCE * ways <= 2**count:
        left_out += 1
        ways += math.comb(count, left_out + 1)
    return (0.0, math.inf) if left_out < 0 else (ordered[left_out], ordered[-1 - left_out])
