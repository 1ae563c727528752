"""Checks of moves of dead letters that fail, or that outlast their claim: they cost no consumer a healthy message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from zaqar_conformance.check import check, ensure, ensure_equal
from zaqar_conformance.checks._relay import relayed
from zaqar_conformance.checks._support import BRIEF, elapse, ids_of, log_texts
from zaqar_conformance.env import Env
from zaqar_core import Claim, NewMessage, Storage, connect
from zaqar_core.contract import new_id
from zaqar_core.errors import OutcomeUnknown, StorageFull
from zaqar_core.observers import ObservedOperation, hookimpl, register, unregister

_MOST = 3
_LEASE = 0.5
"""Seconds: the shortest claim within which a second claim follows the first for certain."""
_POISON = ("poison 0", "poison 1")
_STEPS = [(step, moment) for step in ("messages.post", "messages.delete") for moment in ("before", "after")]
"""Where a move may fail: before the step took effect, or after."""


@check("DLQ-006")
def a_failed_move_costs_no_healthy_message(env: Env) -> None:
    """Whichever step of a move fails, and however often, claims give the healthy messages, each at its first try."""
    for step in _STEPS:
        queue, dead = _poisoned(env)
        fails = [step]
        mover = _failing(env, fails)
        for turn in (1, 2):
            claim = mover.claims.create(queue, ttl=60, grace=0, limit=20)
            what = f"bodies and counts of claim {turn} of a queue with dead letters whose move fails {_named(step)}"
            ensure_equal(_told(claim), [(number, 1) for number in range(9)], "DLQ-006", what)
            if step != ("messages.delete", "after"):
                held = [message.body for message in mover.claims.get(queue, str(claim.id)).messages]
                what = f"what claims.get shows of a claim whose move fails {_named(step)}"
                ensure_equal(held, [*_POISON, *range(9)], "DLQ-006", what)
            env.storage.messages.bulk_delete(queue, ids_of(claim.messages), claim_ids=[str(claim.id)])
            env.storage.claims.delete(queue, str(claim.id))
            env.storage.messages.post(queue, [NewMessage(number) for number in range(9)])
        fails.clear()
        mover.claims.create(queue, ttl=60, grace=0)
        _see_moved(env.storage, queue, dead, f"once a move that failed {_named(step)} goes well", "DLQ-006")


@check("DLQ-006", waits=True)
def a_failed_move_of_nothing_else_gives_none(env: Env) -> None:
    """Where there are dead letters and nothing else, a claim whose move fails gives nothing, and raises nothing."""
    for step in _STEPS:
        queue, dead = _poisoned(env, healthy=0)
        fails = [step]
        mover = _failing(env, fails)
        claim = mover.claims.create(queue, ttl=_LEASE, grace=60)
        what = f"messages of a claim on dead letters whose move fails {_named(step)}"
        ensure_equal(_told(claim), [], "DLQ-006", what)
        fails.clear()
        elapse(env, _LEASE)
        mover.claims.create(queue, ttl=60, grace=0)
        _see_moved(env.storage, queue, dead, f"once a move that failed {_named(step)} goes well", "DLQ-006")


@check("DLQ-006")
def a_failed_move_is_logged_and_observed(env: Env) -> None:
    """A move that fails is a warning in the log, with the queue and no body, and an operation that observers see."""
    queue, _ = _poisoned(env)
    mover = _failing(env, [("messages.post", "before")])
    with log_texts() as texts, _observed(queue) as seen:
        mover.claims.create(queue, ttl=60, grace=0)
    told = [text for text in texts if "dead letters" in text and queue in text]
    ensure(told, "DLQ-006", f"no line of the log tells of the failed move; it says {texts[:5]}")
    ensure(not any(body in text for body in _POISON for text in texts), "DLQ-006", f"the log tells a body: {told}")
    moves = [(name, error) for name, error in seen if name == "dead_letters.move"]
    ensure_equal(moves, [("dead_letters.move", "StorageFull")], "DLQ-006", "moves that observers saw, with their error")


@check("DLQ-007", waits=True)
def a_move_that_outlasts_its_claim_multiplies_no_letter(env: Env) -> None:
    """Where each move is slower than its claim is long, letters are moved all the same, and none of them twice."""
    for without in ("", "IDEMPOTENT_POST"):
        with connect(f"memory://{new_id()}?without={without}", project=env.project, metadata_ttl=0) as storage:
            queue, dead = _poisoned(env, storage, healthy=0)
            slow = relayed(storage, storage, [], partial(_pause, env))
            for _ in range(4):
                slow.claims.create(queue, ttl=BRIEF, grace=60)
                elapse(env, BRIEF)
            storage.claims.create(queue, ttl=60, grace=0)
            _see_moved(storage, queue, dead, f"after slow moves (not declared: {without or 'nothing'})", "DLQ-007")


def _pause(env: Env, name: str, moment: str) -> None:
    """Each post takes longer than a claim of ``BRIEF`` lasts."""
    if (name, moment) == ("messages.post", "after"):
        elapse(env, 2 * BRIEF)


def _told(claim: Claim) -> list[tuple[object, int]]:
    return [(message.body, message.claim_count) for message in claim.messages]


def _poisoned(env: Env, storage: Storage | None = None, *, healthy: int = 9) -> tuple[str, str]:
    """A queue of two messages that have used up their tries, and of healthy ones behind; and its dead letter queue."""
    storage = storage or env.storage
    queue, dead = env.queue(), env.queue("dead")
    storage.messages.post(queue, [NewMessage(body) for body in _POISON])
    for _ in range(_MOST):
        claim = storage.claims.create(queue, ttl=60, grace=0)
        storage.claims.delete(queue, str(claim.id))
    storage.queues.set_metadata(queue, {"_max_claim_count": _MOST, "_dead_letter_queue": dead})
    storage.queues.create(dead)
    if healthy:
        storage.messages.post(queue, [NewMessage(number) for number in range(healthy)])
    return queue, dead


def _failing(env: Env, fails: Sequence[tuple[str, str]]) -> Storage:
    """A client of which these steps fail, to which nothing may be left but claims: so each step is one of a move."""

    def watch(name: str, moment: str) -> None:
        if (name, moment) in fails:
            raise StorageFull("it is full") if moment == "before" else OutcomeUnknown("the reply was lost")

    return relayed(env.storage, env.storage, [], watch)


def _named(step: tuple[str, str]) -> str:
    return f"{step[1]} {step[0]}"


def _see_moved(storage: Storage, queue: str, dead: str, what: str, requirement: str) -> None:
    copies = Counter(message.body for message in storage.messages.list(dead, limit=100).items)
    ensure_equal(dict(copies), dict.fromkeys(_POISON, 1), requirement, f"copies of each dead letter {what}")
    found = storage.messages.list(queue, limit=100, include_claimed=True).items
    left = [message.body for message in found if message.body in _POISON]
    ensure_equal(left, [], requirement, f"dead letters left in the old queue {what}")


@contextmanager
def _observed(queue: str) -> Iterator[list[tuple[str, str]]]:
    """What observers are shown of operations on this queue: name and error."""
    seen: list[tuple[str, str]] = []

    class Observer:
        @hookimpl
        def operation_finished(self, operation: ObservedOperation, error: BaseException | None) -> None:
            if operation.queue == queue:
                seen.append((operation.name, type(error).__name__))

    observer = Observer()
    register(observer)
    try:
        yield seen
    finally:
        unregister(observer)
