"""Signals in the middle of a call: an exception at any bytecode loses nothing; the storage can be used there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from statistics import median
from typing import Any, TypeVar

from zaqar_conformance.bytecodes import interrupt, run_at, telling
from zaqar_conformance.check import Violation, check, ensure, ensure_equal
from zaqar_conformance.checks._support import LONG, keeps_records
from zaqar_conformance.env import Env
from zaqar_core import Capability, NewMessage, Storage
from zaqar_core.errors import ZaqarError

M = TypeVar("M")

_FEW = 24
"""Bytecodes at which each method is interrupted where time is short."""
_MANY = 250
_LEAST = 3
"""Bytecodes at which each method is interrupted however slow the backend is."""
_BRIEF_BUDGET = 20.0
_BUDGET = 60.0
"""Seconds after which no further bytecodes are tried."""
_WHOLE = (Capability.ATOMIC_POST, Capability.EXACT_STATS, Capability.CONSISTENT_READS)
_AT_ONCE = 0.5
"""Seconds within which a call in the middle of another must have ended."""


@check("FAI-013")
def an_exception_in_the_middle_of_a_call_loses_nothing(env: Env) -> None:
    """Each method is left by an exception at some bytecodes; then the client works as before, with its own replies."""
    _interrupt_all(env, _FEW, _BRIEF_BUDGET)


@check("FAI-013", thorough=True)
def an_exception_at_many_bytecodes_loses_nothing(env: Env) -> None:
    """The same at up to 250 bytecodes of each method, chosen among all after which something may be held."""
    _interrupt_all(env, _MANY, _BUDGET)


@check("FAI-014")
def a_call_in_the_middle_of_another_ends_immediately(env: Env) -> None:
    """At some bytecodes of each method the same client is used again; it works, or raises ``ZaqarError``, in 0.5 s."""
    _reenter_all(env, _FEW, _BRIEF_BUDGET)


@check("FAI-014", thorough=True)
def a_call_at_many_bytecodes_of_another_ends_immediately(env: Env) -> None:
    """The same at up to 250 bytecodes of each method, chosen among all after which something may be held."""
    _reenter_all(env, _MANY, _BUDGET)


@dataclass(frozen=True, slots=True)
class _Method:
    """``prepare`` makes what ``call`` is given, and is not interrupted.

    ``totals``: how many messages there may be in the queue afterwards, the call being done or not; () if it is gone.
    """

    name: str
    prepare: Callable[[], Any]
    call: Callable[[Any], object]
    totals: tuple[int, ...] = ()


def _methods(env: Env, storage: Storage) -> list[_Method]:
    """The methods that reach the datastore, each on a queue of its own."""
    messages, queues, claims = storage.messages, storage.queues, storage.claims

    def posted() -> tuple[str, list[str]]:
        queue = env.queue()
        return queue, messages.post(queue, [NewMessage(number, ttl=LONG) for number in range(3)])

    def claimed() -> tuple[str, str]:
        queue, _ = posted()
        return queue, str(claims.create(queue, ttl=LONG, grace=0, limit=2).id)

    def registered() -> str:
        queue = env.queue()
        queues.create(queue)
        return queue

    found = [
        _Method("messages.post", env.queue, lambda queue: messages.post(queue, [NewMessage(1), NewMessage(2)]), (0, 2)),
        _Method("messages.list", posted, lambda made: messages.list(made[0]), (3,)),
        _Method("messages.bulk_get", posted, lambda made: messages.bulk_get(*made), (3,)),
        _Method("messages.bulk_delete", posted, lambda made: messages.bulk_delete(*made)),
        _Method("messages.stats", posted, lambda made: messages.stats(made[0]), (3,)),
        _Method("messages.purge", posted, lambda made: messages.purge(made[0])),
    ]
    if env.declares(Capability.POP):
        found.append(_Method("messages.pop", posted, lambda made: messages.pop(made[0], 2), (1, 3)))
    if env.declares(Capability.CLAIMS):
        found += [
            _Method("claims.create", posted, lambda made: claims.create(made[0], ttl=LONG, grace=60), (3,)),
            _Method("claims.get", claimed, lambda made: claims.get(*made), (3,)),
            _Method("claims.update", claimed, lambda made: claims.update(*made, ttl=LONG, grace=60), (3,)),
            _Method("claims.delete", claimed, lambda made: claims.delete(*made), (3,)),
        ]
    if keeps_records(env):
        found += [
            _Method("queues.create", env.queue, queues.create),
            _Method("queues.set_metadata", registered, lambda queue: queues.set_metadata(queue, {"a": 1})),
            _Method("queues.list", registered, lambda _: queues.list()),
            _Method("queues.delete", registered, queues.delete),
        ]
    return found


# --- exceptions ---------------------------------------------------------------------------------------


def _interrupt_all(env: Env, most: int, budget: float) -> None:
    storage = env.connect(**env.target.one_connection)
    for method, at in _bytecodes(env, storage, most, budget):
        where = f"{method.name} was left by an exception before its bytecode {at}"
        _alone(env, "FAI-013", where, lambda: _leave(env, storage, method, at))  # noqa: B023  # called here and now
        _alone(env, "FAI-013", f"after {where} the client", lambda: _works(env, storage, where))  # noqa: B023


def _leave(env: Env, storage: Storage, method: _Method, at: int) -> None:
    made = method.prepare()
    interrupt(lambda: method.call(made), at)
    if method.totals and env.declares(*_WHOLE):
        queue = made if isinstance(made, str) else made[0]
        total = storage.messages.stats(queue).total
        ensure(
            total in method.totals,
            "FAI-013",
            f"{method.name}, left by an exception before its bytecode {at}: expected it to be done or not, with "
            f"{' or '.join(map(str, method.totals))} messages in the queue; there are {total}",
        )


def _works(env: Env, storage: Storage, after: str) -> None:
    """The client does all that it did before, and is given what it asked for."""
    queue = env.queue()
    body = {"queue": queue}
    try:
        ids = storage.messages.post(queue, [NewMessage(body, ttl=LONG)])
        if env.declares(Capability.CONSISTENT_READS):
            found = storage.messages.bulk_get(queue, ids)
            ensure_equal(
                [each.body for each in found], [body], "FAI-013", f"after {after}: a message posted and fetched"
            )
            stats = storage.messages.stats(queue)
            ensure_equal(stats.total, 1, "FAI-013", f"after {after}: messages counted after one post")
        refused = storage.messages.bulk_delete(queue, ids)
        ensure_equal(refused, [], "FAI-013", f"after {after}: deletions refused")
    except ZaqarError as error:
        seen = f"after {after}: the next calls of the client had to work, and raised {type(error).__name__}: {error}"
        raise Violation("FAI-013", seen) from error


# --- calls in the middle of others -------------------------------------------------------------------


def _reenter_all(env: Env, most: int, budget: float) -> None:
    storage = env.connect(**env.target.one_connection)
    queue = env.queue()
    usual = median(_timed(lambda: _use(storage, queue)) for _ in range(5))
    limit = _AT_ONCE + 10 * usual
    for method, at in _bytecodes(env, storage, most, budget):
        where = f"the same client was used at bytecode {at} of {method.name}"
        shortest = float("inf")
        for _ in range(3):  # a machine that is busy is so for a moment
            took = _alone(env, "FAI-014", where, lambda: _reenter(method, at, storage, queue))  # noqa: B023
            shortest = min(shortest, took)
            if shortest <= limit:
                break
        ensure(
            shortest <= limit,
            "FAI-014",
            f"{where}, which took {shortest:.2f} s; it had to work, or raise, within {_AT_ONCE:g} s",
        )


def _reenter(method: _Method, at: int, storage: Storage, queue: str) -> float:
    """How many seconds the inner call took. The outer one has to work."""
    made = method.prepare()
    took = 0.0

    def use() -> None:
        nonlocal took
        took = _timed(lambda: _use(storage, queue))

    try:
        run_at(lambda: method.call(made), at, use)
    except ZaqarError as error:
        seen = f"{method.name}, at whose bytecode {at} the same client was used, raised {type(error).__name__}: {error}"
        raise Violation("FAI-014", seen) from error
    return took


def _use(storage: Storage, queue: str) -> None:
    """What a signal handler or finalizer may do; an error of the contract's is an answer, too."""
    try:
        storage.messages.post(queue, [NewMessage("inner", ttl=60)])
        storage.messages.stats(queue)
    except ZaqarError:
        pass


def _timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


# --- both ---------------------------------------------------------------------------------------------


def _bytecodes(env: Env, storage: Storage, most: int, budget: float) -> Iterator[tuple[_Method, int]]:
    """The methods, each with a bytecode to try. A note says where time was too short for all."""
    plan = _plan(env, storage, most)
    tried: Counter[str] = Counter()
    for method, at in rounds(plan, time.monotonic() + min(budget, env.target.check_limit / 2)):
        yield method, at
        tried[method.name] += 1
    short = [
        f"{method.name} {tried[method.name]} of {len(points)}"
        for method, points in plan
        if tried[method.name] < len(points)
    ]
    if short:
        env.note(f"bytecodes tried in the time there was: {', '.join(short)}")


def rounds(plan: Sequence[tuple[M, Sequence[int]]], until: float) -> Iterator[tuple[M, int]]:
    """One bytecode of each method, then the next of each, as long as there is time; a few of each in any case."""
    for number in range(max((len(points) for _, points in plan), default=0)):
        for method, points in plan:
            if number < len(points) and (number < _LEAST or time.monotonic() < until):
                yield method, points[number]


def _plan(env: Env, storage: Storage, most: int) -> list[tuple[_Method, list[int]]]:
    """The methods, and the bytecodes to try of each. The driver's own code comes first."""
    driver = env.driver
    parts = (driver, driver.messages, driver.claims, driver.records)
    packages = tuple({type(part).__module__.rpartition(".")[0] for part in parts if part is not None})
    plan = []
    for method in _methods(env, storage):
        for _ in range(2):  # imports and a first connection happen once, and do not count
            method.call(method.prepare())
        made = method.prepare()
        points = telling(lambda: method.call(made))  # noqa: B023  # called here and now
        env.rng.shuffle(points)
        own = [point.number for point in points if point.module.startswith(packages)]
        others = [point.number for point in points if not point.module.startswith(packages)]
        plan.append((method, [*own[: 2 * most // 3], *others][:most]))
    return plan


def _alone(env: Env, requirement: str, what: str, work: Callable[[], Any]) -> Any:
    """What ``work`` gives, in a thread of its own, which must end in half the time that one call may wait for."""
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            results.put((work(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=run, daemon=True, name=f"signals of {env.project}").start()
    try:
        result, error = results.get(timeout=3 * env.target.call_timeout)
    except Empty:
        seen = f"{what}: still in a call after {3 * env.target.call_timeout:g} s"
        raise Violation(requirement, seen) from None
    if error is not None:
        raise error
    return result
