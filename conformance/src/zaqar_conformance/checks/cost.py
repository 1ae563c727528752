"""Checks of cost against depth: what a deep queue costs beside a shallow one, as a ratio within one run."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median

from zaqar_conformance.check import NotRun, Undecided, Violation, check, ensure_equal
from zaqar_conformance.checks._support import LONG, elapse, ids_of, post
from zaqar_conformance.costs import BOUND, NOT_COUNTED, SHALLOW, Cost, deep_enough
from zaqar_conformance.env import Env
from zaqar_conformance.target import TargetError
from zaqar_core import Capability, NewMessage, Storage
from zaqar_core.contract import QueueKey

_BETWEEN = (1_000, 10_000)
"""Depths that are measured for the report, as far as they lie below the deepest; they decide nothing."""
_AT_ONCE = 10
_LOOKS = (12, 36, 108, 324)
"""After so many rounds the ratios are judged; most are clear at once, and a noisy machine needs more of them."""
_CHANCE = 1000
"""One in so many intervals misses the median."""
_PATIENCE = 60.0
"""Seconds: after that, what is not clear stays undecided."""
_NAMES = 1000
"""So many are tried; of a cluster's servers each has its share of them."""
_GLANCE = 10.0
"""Seconds: the most that is spent on a depth for the report alone."""
_PACE = 1000
"""So many messages, but not more than ``depth``, are posted to see how long a queue takes to fill."""
_COUNTS = 5
"""So many rounds are counted on the wire; the median leaves out a connection that is made anew."""

_BATCH = [NewMessage(number, ttl=LONG) for number in range(_AT_ONCE)]

Fill = Callable[[Env, str, int], Iterator[None]]
"""Posts so many messages to the queue; stops for a moment after each batch."""
Round = Callable[[Storage, str], Iterator[str]]
Queues = Sequence[tuple[int, str]]
"""Depths and the queues that have them, the shallow one first and the deep one last."""


@check("CAP-003", thorough=True)
def depth_of_active_messages_costs_little(env: Env) -> None:
    """With 100 000 active messages ahead, operations cost at most 1.5 times as much as with 100."""
    with _queues(env, _post) as queues:
        _compare(env, "active", _work, queues)


@check("CAP-003", thorough=True)
def depth_of_claimed_messages_costs_little(env: Env) -> None:
    """With 100 000 claimed messages ahead, operations cost at most 1.5 times as much as with 100."""
    with _queues(env, _post_claimed) as queues:
        _compare(env, "claimed", _work, queues)


@check("CAP-003", thorough=True)
def depth_of_expired_messages_costs_little(env: Env) -> None:
    """With 100 000 expired messages ahead, operations cost at most 1.5 times as much as with 100."""
    ttl = _time_to_post(env, env.depth)
    with _queues(env, partial(_post, ttl=ttl)) as queues:
        elapse(env, ttl)
        _compare(env, "expired", _work, queues)


@check("CAP-003", thorough=True)
def depth_of_delayed_messages_costs_little(env: Env) -> None:
    """With 100 000 delayed messages ahead, operations cost at most 1.5 times as much as with 100."""
    with _queues(env, _post_delayed) as queues:
        _compare(env, "delayed", _work, queues)


@check("STA-005", thorough=True)
def depth_costs_statistics_little(env: Env) -> None:
    """With 100 000 messages in the queue, of every state, statistics cost at most 1.5 times as much as with 100."""
    ttl = _time_to_post(env, env.depth // len(_states(env, 0)))
    with _queues(env, partial(_post_mixture, ttl=ttl)) as queues:
        elapse(env, ttl)
        _compare(env, "of every state", _count, queues)


# --- filling ------------------------------------------------------------------------------------------


@contextmanager
def _queues(env: Env, fill: Fill) -> Iterator[Queues]:
    """Queues of all depths, filled; emptied in the end, lest they burden the checks that follow.

    ``Undecided`` where that takes so long that the check would be given up: no call of it hangs.
    """
    over = time.monotonic() + env.target.check_limit / 2
    depths = [SHALLOW, *(each for each in _BETWEEN if each < env.depth), deep_enough(env.depth)]
    first = env.queue("first")
    queues = list(zip(depths, [first, *(_beside(env, first) for _ in depths[1:])], strict=True))
    try:
        for depth, queue in queues:
            for _ in fill(env, queue, depth):
                if time.monotonic() >= over:
                    raise Undecided(f"it takes too long to post {depth:,} messages; try fewer (--depth)")
        yield queues
    finally:
        for _, queue in queues:
            env.storage.messages.purge(queue)


def _beside(env: Env, first: str) -> str:
    """Another queue on the same server."""
    for _ in range(_NAMES):
        name = env.queue("beside")
        if env.target.on_one_server(QueueKey(env.project, first), QueueKey(env.project, name)):
            return name
    raise TargetError(f"of {_NAMES} fresh queues the target {env.target.name} has none on one server with {first!r}")


def _time_to_post(env: Env, count: int) -> float:
    """Seconds, rather too many, in which so many are posted: with that ttl all are there before the first expires."""
    queue, some = env.queue("pace"), min(env.depth, _PACE)
    post(env, queue, some)  # opens connections, and fills caches
    began = time.monotonic()
    post(env, queue, some)
    took = time.monotonic() - began
    env.storage.messages.purge(queue)
    return 0.5 + 1.5 * took * count / some


def _post(env: Env, queue: str, count: int, *, ttl: float = LONG, delay: float = 0) -> Iterator[None]:
    for start in range(0, count, _PACE):
        post(env, queue, min(_PACE, count - start), ttl=ttl, delay=delay)
        yield


def _post_claimed(env: Env, queue: str, count: int) -> Iterator[None]:
    yield from _post(env, queue, count)
    most = env.storage.limits.max_messages_per_claim
    held = 0
    while held < count:
        wanted = min(most, count - held)
        claim = env.storage.claims.create(queue, ttl=LONG, grace=0, limit=wanted)
        if not claim.messages and env.declares(Capability.CONSISTENT_READS):
            raise Violation("CLM-001", f"{held} of {count} messages are claimed, and a claim finds no more")
        held += len(claim.messages)
        yield


def _post_delayed(env: Env, queue: str, count: int) -> Iterator[None]:
    return _post(env, queue, count, ttl=2 * LONG, delay=LONG)


def _post_mixture(env: Env, queue: str, count: int, *, ttl: float) -> Iterator[None]:
    states = _states(env, ttl)
    for fill in states:
        yield from fill(env, queue, count // len(states))


def _states(env: Env, ttl: float) -> Sequence[Fill]:
    """How messages of each state that the backend knows are posted; those that expire live for ``ttl``."""
    states: list[Fill] = [partial(_post, ttl=ttl)]
    if env.declares(Capability.CLAIMS):
        states.append(_post_claimed)
    if env.declares(Capability.DELAY):
        states.append(_post_delayed)
    return [*states, _post]


# --- one round ----------------------------------------------------------------------------------------


def _work(storage: Storage, queue: str) -> Iterator[str]:
    """Each operation in turn on the queue; yields its name when it is done. Leaves as many messages as it found."""
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
    if Capability.CONSISTENT_READS in storage.capabilities:
        seen = (len(page.items), len(claim.messages), len(popped))
        ensure_equal(seen, (_AT_ONCE,) * 3, "CAP-003", "messages listed, claimed and popped with limit=10, of 20 more")


def _count(storage: Storage, queue: str) -> Iterator[str]:
    storage.messages.stats(queue)
    yield "stats"


def _side_by_side(env: Env, work: Round, *queues: str) -> dict[str, list[float]]:
    """Two rounds on each of two queues, step by step; what each operation took on each of them, in milliseconds.

    Whichever comes first in a step finds caches cold that it warms for the other, so each comes first once.
    """
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    times: Counter[str] = Counter()
    sides = env.rng.sample([0, 1], 2)
    for order in (sides, sides[::-1]):
        running = [work(env.storage, queue) for queue in queues]
        name = "first"
        while name:
            for side in order:
                began = time.perf_counter()
                name = next(running[side], "")
                took = time.perf_counter() - began
                if name:
                    spent[name][side] += 1000 * took
            times[name] += 1
    return {name: [each / times[name] for each in sides] for name, sides in spent.items()}


# --- the verdict --------------------------------------------------------------------------------------


class _Measured:
    """What side by side was seen of one depth and the shallow queue, by operation."""

    def __init__(self) -> None:
        self.rounds = 0
        self.ratios: dict[str, list[float]] = defaultdict(list)
        self.milliseconds: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))

    def add(self, spent: Mapping[str, Sequence[float]]) -> None:
        self.rounds += 1
        for name, (one, shallow) in spent.items():
            self.ratios[name].append(one / shallow)
            for seen, each in zip(self.milliseconds[name], (one, shallow), strict=True):
                seen.append(each)

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {median(each):.2f} ({interval(each)[0]:.2f} to {interval(each)[1]:.2f})"
            for name, each in self.ratios.items()
        )


def _compare(env: Env, state: str, work: Round, queues: Queues) -> None:
    """Compare the deep with the shallow queue, in round trips and in time: ``Violation``, ``Undecided``, or fine."""
    (_, shallow), *deeper = queues
    for _, queue in deeper:
        for _ in range(3):
            _side_by_side(env, work, queue, shallow)  # settles what time has changed
    trips = _round_trips(env, work, queues)
    measured = {depth: _Measured() for depth, _ in reversed(deeper)}
    said = f"{env.depth:,} {state} ahead, times the cost with {SHALLOW}"
    try:
        for depth, queue in reversed(deeper):
            _measure(env, work, (queue, shallow), measured[depth], _LOOKS[0], time.monotonic() + _GLANCE)
        judge_round_trips(trips, env.depth)
        deadline = time.monotonic() + _PATIENCE
        for rounds in _LOOKS:
            _measure(env, work, (deeper[-1][1], shallow), measured[env.depth], rounds, deadline)
            if _is_clear(said, measured[env.depth], rounds):
                env.note(f"{said}: {measured[env.depth]}")
                return _fine_as_far_as_measured(env)
        raise Undecided(f"not clear after {measured[env.depth].rounds} rounds; {said}: {measured[env.depth]}")
    finally:
        env.costs += _costs(state, measured, trips)


def _fine_as_far_as_measured(env: Env) -> None:
    """``Undecided`` if that is not as deep as the target has it: what is dear there may be cheap up here."""
    if env.depth < env.target.depth:
        own = f"the target's own number is {env.target.depth:,}; run it without --depth"
        raise Undecided(f"cheap enough, but measured with {env.depth:,} ahead, and {own}")


def _measure(env: Env, work: Round, pair: tuple[str, str], measured: _Measured, rounds: int, deadline: float) -> None:
    """Measure until there are so many rounds, or it takes too long."""
    while measured.rounds < rounds and time.monotonic() < deadline:
        measured.add(_side_by_side(env, work, *pair))


def judge_round_trips(trips: Mapping[int, Mapping[str, float]], depth: int) -> None:
    """``Violation`` if an operation takes too many: ``trips`` by depth and operation; none counted is fine."""
    for name, count in trips.get(depth, {}).items():
        least = trips[SHALLOW][name]
        if count > BOUND * least:
            seen = f"{name} takes {count:g} round trips with {depth:,} ahead, and {least:g} with {SHALLOW}"
            raise Violation(_requirement(name), f"{seen}; at most {BOUND} times as many are allowed")


def _is_clear(said: str, measured: _Measured, rounds: int) -> bool:
    """Whether all rounds were made and every operation is cheap enough; ``Violation`` if one is not."""
    for name, each in measured.ratios.items():
        if interval(each)[0] > BOUND:
            raise Violation(_requirement(name), f"{name} costs more than {BOUND} times as much; {said}: {measured}")
    return measured.rounds >= rounds and all(interval(each)[1] <= BOUND for each in measured.ratios.values())


def _requirement(operation: str) -> str:
    return "STA-005" if operation == "stats" else "CAP-003"


def _round_trips(env: Env, work: Round, queues: Queues) -> dict[int, dict[str, float]]:
    """The round trips of each operation at each depth, the median of some; nothing where they cannot be counted."""
    try:
        proxy, uri = env.target.proxied(env.uri)
    except NotRun as reason:
        env.note(f"{NOT_COUNTED} ({reason}).")
        return {}
    found: dict[int, dict[str, float]] = {}
    with proxy, env.connect(uri=uri) as storage:
        for depth, queue in queues:
            counts: dict[str, list[float]] = defaultdict(list)
            for _ in range(1 + _COUNTS):  # the first connects, and may load what the rest uses
                times: Counter[str] = Counter()
                trips: Counter[str] = Counter()
                before = proxy.round_trips
                for name in work(storage, queue):
                    times[name] += 1
                    trips[name] += proxy.round_trips - before
                    before = proxy.round_trips
                for name, count in trips.items():
                    counts[name].append(count / times[name])
            found[depth] = {name: median(each[1:]) for name, each in counts.items()}
    return found


def _costs(state: str, measured: Mapping[int, _Measured], trips: Mapping[int, Mapping[str, float]]) -> Iterator[Cost]:
    """What was measured, as far as it got: the shallow queue's own cost, then that of each depth."""
    for name, (_, shallow) in measured[max(measured)].milliseconds.items():
        yield Cost(name, state, SHALLOW, round(median(shallow), 4), 1.0, 1.0, 1.0, trips.get(SHALLOW, {}).get(name))
    for depth, each in sorted(measured.items()):
        for name, ratios in each.ratios.items():
            low, high = interval(ratios)
            known = math.isfinite(high)
            yield Cost(
                name,
                state,
                depth,
                round(median(each.milliseconds[name][0]), 4),
                round(median(ratios), 3),
                round(low, 3) if known else None,
                round(high, 3) if known else None,
                trips.get(depth, {}).get(name),
            )


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Where the median is, with a chance of 999 in 1 000, whatever the distribution; from a few, anywhere."""
    count, ordered = len(ratios), sorted(ratios)
    left_out, ways = -1, 1  # of 2 ** count ways to lie on either side of the median, those that would mislead
    while 2 * _CHANCE * ways <= 2**count:
        left_out += 1
        ways += math.comb(count, left_out + 1)
    return (0.0, math.inf) if left_out < 0 else (ordered[left_out], ordered[-1 - left_out])
