"""Checks of last tries: a message that has one try left is handed out alone, and takes no other with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from zaqar_conformance import judge
from zaqar_conformance.check import check, ensure, ensure_equal
from zaqar_conformance.checks._clients import LONG_LEASE, recorders, settle_time, settled
from zaqar_conformance.checks._support import LONG, elapse, paced, post, rounds, see_stats, take
from zaqar_conformance.env import Env
from zaqar_conformance.recorder import Recorder
from zaqar_core import Storage
from zaqar_core.contract import ClaimController, QueueKey, StoredClaim, StoredMessage

_MOST = 3
"""Tries that each message has."""

Taken = tuple[list[int], list[int]]
"""Which messages, by number, a claim gave as exhausted, and which to work on."""


@check("CLM-022")
def a_last_try_ends_the_claim_before_it_or_is_alone(env: Env) -> None:
    """Where the next message has one try left, the claim ends before it; where it comes first, it is taken alone."""
    _see_claims(env, "HLH", 10, ([], [0]), ([], [1]), ([], [2]))
    _see_claims(env, "HHLLH", 10, ([], [0, 1]), ([], [2]), ([], [3]), ([], [4]))
    _see_claims(env, "LHH", 10, ([], [0]), ([], [1, 2]))
    _see_claims(env, "HHHL", 10, ([], [0, 1, 2]), ([], [3]))


@check("CLM-022", "CLM-020")
def exhausted_messages_accompany_others(env: Env) -> None:
    """Exhausted messages before a last try are taken with it, or with the healthy ones before it; none behind it."""
    _see_claims(env, "XXLH", 10, ([0, 1], [2]), ([], [3]))
    _see_claims(env, "XHXLX", 10, ([0, 2], [1]), ([], [3]), ([4], []))
    _see_claims(env, "LXH", 10, ([], [0]), ([1], [2]))
    _see_claims(env, "XLXL", 10, ([0], [1]), ([2], [3]))


@check("CLM-022", "CLM-020")
def a_limit_counts_exhausted_messages_and_a_last_try(env: Env) -> None:
    """A claim takes no more than ``limit``, exhausted ones and a last try included, and may be full before that."""
    _see_claims(env, "XXLH", 1, ([0], []), ([1], []), ([], [2]), ([], [3]))
    _see_claims(env, "XXLH", 2, ([0, 1], []), ([], [2]), ([], [3]))
    _see_claims(env, "XHLH", 2, ([0], [1]), ([], [2]), ([], [3]))
    _see_claims(env, "HHHL", 2, ([], [0, 1]), ([], [2]), ([], [3]))
    _see_claims(env, "XLH", env.storage.limits.max_messages_per_claim, ([0], [1]), ([], [2]))


@check("CLM-022", "CLM-017")
def a_message_left_for_its_last_try_is_not_counted(env: Env) -> None:
    """A message before which a claim ended stays active, with the count, the life and the place that it had."""
    queue, ids = _queue(env, "HLH")
    controller, key = _controller(env.storage), QueueKey(env.project, queue)
    before = env.storage.messages.bulk_get(queue, ids)
    controller.create(key, ttl=LONG_LEASE, grace=10 * LONG, limit=10, max_claim_count=_MOST)
    after = env.storage.messages.bulk_get(queue, ids)
    for number in (1, 2):
        seen = [(each.claim_id, each.claim_count, each.ttl) for each in (before[number], after[number])]
        ensure_equal(seen[1], seen[0], "CLM-022", "claim id, count and ttl of a message that a claim left")
    see_stats(env, queue, "CLM-022", "3 messages, the 2nd on its last try, after one claim", free=2, claimed=1)


@check("CLM-022", "CLM-020")
def a_maximum_of_one_or_lowered_protects_nobody(env: Env) -> None:
    """With one try each a claim takes all together; messages claimed more often than that are exhausted."""
    queue, ids = _queue(env, "HLX")
    fresh = post(env, queue, 3, first=3)
    claim = _controller(env.storage).create(
        QueueKey(env.project, queue), ttl=60.0, grace=0.0, limit=10, max_claim_count=1
    )
    seen = [each.id for each in claim.exhausted], [each.id for each in claim.messages]
    ensure_equal(seen, (ids, fresh), "CLM-022", "exhausted and messages, max_claim_count=1, counts 1, 2, 3, 0, 0, 0")
    queue, ids = _queue(env, "XLH")
    claim = _controller(env.storage).create(
        QueueKey(env.project, queue), ttl=60.0, grace=0.0, limit=10, max_claim_count=2
    )
    seen = [each.id for each in claim.exhausted], [each.id for each in claim.messages]
    ensure_equal(seen, (ids[:2], ids[2:]), "CLM-022", "exhausted and messages, max_claim_count=2, counts 3, 2, 1")


@check("CLM-022", waits=True)
def a_poison_message_takes_no_neighbour_with_it(env: Env) -> None:
    """A worker that dies of one of ten messages loses none of the others: each is handed out, one is exhausted."""
    for place in (0, 4, 9):
        paced(partial(_die, env, place))


@check("CLM-022")
def a_message_given_back_each_time_takes_no_neighbour_with_it(env: Env) -> None:
    """A worker that gives back all that it holds when one of ten messages fails loses none of the others."""

    def give_back(queue: str, claim_id: str) -> None:
        env.storage.claims.delete(queue, claim_id)

    for place in (0, 4, 9):
        _poison(env, place, LONG_LEASE, give_back)


@check("CLM-022", waits=True)
def a_slow_worker_exhausts_no_message_unseen(env: Env) -> None:
    """Where each claim ends before its worker is done, every message is handed out as often as it has tries."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        ids = post(env, queue, 4)
        handed_out: dict[str, int] = dict.fromkeys(ids, 0)
        exhausted: list[str] = []
        began = time.monotonic()
        for claim in _claims(env, queue, ttl=unit, limit=3):
            for message in claim.messages:
                handed_out[message.id] += 1
            exhausted += _bury(env, queue, claim)
            if time.monotonic() - began >= unit:
                return False
            elapse(env, unit)
            began = time.monotonic()
        ensure_equal(list(handed_out.values()), [_MOST] * 4, "CLM-022", "how often each of 4 messages was handed out")
        ensure_equal(sorted(exhausted), sorted(ids), "CLM-022", "messages exhausted in the end")
        return True

    paced(scenario)


@check("CLM-022", "CLM-002", thorough=True)
def claimers_of_last_tries_are_not_told_none(env: Env) -> None:
    """Eight clients that claim last tries at once are not told None while one is active; each is handed out alone."""
    clients = recorders(env, 8)
    for _ in rounds(8):
        queue = env.queue()
        ids = clients[0].post(queue, 24)
        for _ in range(_MOST - 1):
            settled(env)
            claim = clients[0].claim(queue, ttl=LONG_LEASE, limit=len(ids))
            clients[0].release(queue, str(claim.id))
        settled(env)

        def work(index: int, queue: str = queue) -> list[int]:
            sizes: list[int] = []
            while not sizes or sizes[-1]:
                sizes.append(_claim_recorded(env, clients[index], queue))
            return sizes[:-1]

        sizes = {size for each in env.threads(len(clients), work) for size in each}
        ensure_equal(sizes, {1}, "CLM-022", "how many messages claims of last tries took")
    judge.demand("CLM-002", judge.told_none(env.history.operations, settle_time(env)))


def _claim_recorded(env: Env, client: Recorder, queue: str) -> int:
    """A claim with a maximum, recorded as the facade's are; how many messages it took."""
    with env.history.call(client.name, "claims.create", queue, ttl=LONG_LEASE, grace=0.0, limit=10) as call:
        claim = _controller(client.storage).create(
            QueueKey(env.project, queue), ttl=LONG_LEASE, grace=0.0, limit=10, max_claim_count=_MOST
        )
        call.result = {"id": claim.id, "messages": [message.id for message in claim.messages]}
    return len(claim.messages)


# --- how queues are filled and claimed ----------------------------------------------------------------


def _queue(env: Env, kinds: str) -> tuple[str, list[str]]:
    """A queue with a message of each kind: H healthy (claimed once), L on its last try, X exhausted; and their ids."""
    queue = env.queue()
    ids: list[str] = []
    held: list[str] = []
    for number, kind in enumerate(kinds):
        ids += post(env, queue, 1, first=number)
        for _ in range({"H": 0, "L": _MOST - 2, "X": _MOST - 1}[kind]):
            env.storage.claims.delete(queue, take(env, queue, 1)[0])
        held.append(take(env, queue, 1)[0])
    for claim_id in held:
        env.storage.claims.delete(queue, claim_id)
    counts = [message.claim_count for message in env.storage.messages.bulk_get(queue, ids)]
    expected = [{"H": 1, "L": _MOST - 1, "X": _MOST}[kind] for kind in kinds]
    ensure_equal(counts, expected, "CLM-017", "claim counts of messages that were claimed and released")
    return queue, ids


def _controller(storage: Storage) -> ClaimController:
    controller = storage.driver.claims
    assert controller is not None
    return controller


def _see_claims(env: Env, kinds: str, limit: int, *expected: Taken) -> None:
    """One claim after the other takes what is expected, and then there is nothing left to take."""
    queue, ids = _queue(env, kinds)
    for number, taken in enumerate([*expected, None], 1):
        claim = _controller(env.storage).create(
            QueueKey(env.project, queue), ttl=LONG_LEASE, grace=0.0, limit=limit, max_claim_count=_MOST
        )
        what = f"(exhausted, messages) of claim {number} with limit={limit}, max_claim_count={_MOST} on {_shown(kinds)}"
        ensure_equal(
            (_numbers(claim.exhausted, ids), _numbers(claim.messages, ids)), taken or ([], []), "CLM-022", what
        )
        ensure_equal(claim.id is None, taken is None, "CLM-022", f"whether the id is None: {what}")


def _shown(kinds: str) -> str:
    names = {"H": "healthy", "L": "last try", "X": "exhausted"}
    return "messages " + ", ".join(f"{number} {names[kind]}" for number, kind in enumerate(kinds))


def _numbers(messages: Sequence[StoredMessage], ids: list[str]) -> list[int]:
    return [ids.index(message.id) if message.id in ids else -1 for message in messages]


def _claims(env: Env, queue: str, *, ttl: float, limit: int) -> Iterator[StoredClaim]:
    """Claim until there is nothing to take."""
    for _ in range(100):
        claim = _controller(env.storage).create(
            QueueKey(env.project, queue), ttl=ttl, grace=LONG, limit=limit, max_claim_count=_MOST
        )
        if claim.id is None:
            return
        yield claim
    ensure(False, "CLM-022", f"100 claims with max_claim_count={_MOST} did not use up a few messages")


def _bury(env: Env, queue: str, claim: StoredClaim) -> list[str]:
    """Delete what the claim gave as exhausted, as the facade does once they are in the dead letter queue."""
    dead = [message.id for message in claim.exhausted]
    env.storage.messages.bulk_delete(queue, dead, claim_ids=[str(claim.id)])
    return dead


def _die(env: Env, place: int, ttl: float) -> bool:
    """``_poison``, where the worker dies: its claim ends when its ttl is over."""
    return _poison(env, place, ttl, lambda *_: elapse(env, ttl))


def _poison(env: Env, place: int, ttl: float, fail: Callable[[str, str], None]) -> bool:
    """A worker claims ten messages at a time, in order, and fails at the one in that place.

    Returns False, and judges nothing, if a claim may have ended before its worker had deleted what it was done with.
    """
    queue = env.queue()
    ids = post(env, queue, 10)
    handled: list[str] = []
    exhausted: list[str] = []
    began = time.monotonic()
    for claim in _claims(env, queue, ttl=ttl, limit=10):
        exhausted += _bury(env, queue, claim)
        done = [message.id for message in claim.messages]
        poisoned = ids[place] in done
        del done[done.index(ids[place]) if poisoned else len(done) :]
        handled += set(done) - set(env.storage.messages.bulk_delete(queue, done, claim_ids=[str(claim.id)]))
        if time.monotonic() - began >= ttl:
            return False
        if poisoned:
            fail(queue, str(claim.id))
        began = time.monotonic()
    healthy = [each for each in ids if each != ids[place]]
    what = f"where a worker fails each time at message {place} of 10 with max_claim_count={_MOST}"
    ensure_equal(sorted(handled), sorted(healthy), "CLM-022", f"messages worked on {what}")
    ensure_equal(exhausted, [ids[place]], "CLM-022", f"messages exhausted {what}")
    return True
