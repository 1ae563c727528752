"""Checks of holds in one thread, step by step, and of pops that may fail: what no race is needed for."""

from __future__ import annotations

from collections import Counter

from zaqar_conformance.check import check, ensure, ensure_equal
from zaqar_conformance.checks._support import LONG, ids_of, post, take
from zaqar_conformance.env import Env
from zaqar_core import NewMessage
from zaqar_core.errors import StorageError

_POPPERS = 8
_POPPED = 4_000


@check("CLM-018")
def what_is_held_behind_free_messages_stays_held(env: Env) -> None:
    """A claim that finds free messages before others' passes over those, and each claim keeps what it held."""
    queue = env.queue()
    ids = post(env, queue, 6)
    first, _ = take(env, queue, 2)
    second, _ = take(env, queue, 2)
    env.storage.claims.delete(queue, first)
    claim = env.storage.claims.create(queue, ttl=LONG, limit=6)
    what = "6 messages, the 3rd and 4th under another claim"
    ensure_equal(ids_of(claim.messages), ids[:2] + ids[4:], "CLM-018", f"claimed with limit=6 of {what}")
    held = ids_of(env.storage.claims.get(queue, second).messages)
    ensure_equal(held, ids[2:4], "CLM-018", "what that other claim holds then")
    ensure_equal(env.storage.messages.bulk_delete(queue, held, claim_ids=[second]), [], "CLM-018", "refused to it")


@check("MSG-027", "CLM-001")
def what_is_delayed_behind_free_messages_is_not_claimed(env: Env) -> None:
    """A claim that finds a free message before delayed ones takes that one alone."""
    queue = env.queue()
    [free] = post(env, queue, 1)
    env.storage.messages.post(queue, [NewMessage(number, ttl=2 * LONG, delay=LONG) for number in range(3)])
    claim = env.storage.claims.create(queue, ttl=LONG, limit=4)
    ensure_equal(ids_of(claim.messages), [free], "MSG-027", "claimed with limit=4 of a free message and 3 delayed ones")


@check("POP-004", thorough=True)
def pops_that_may_fail_give_nothing_twice(env: Env) -> None:
    """Eight clients pop a long queue, whatever errors they meet: some get messages, and no two the same one."""
    queue, popped, errors = env.queue(), min(env.depth, _POPPED), list[StorageError]()
    post(env, queue, popped)

    def work(index: int) -> list[str]:
        storage, mine = env.connect(), list[str]()
        for _ in range(2 * popped // 5 // _POPPERS):
            try:
                mine += ids_of(storage.messages.pop(queue, 5))
            except StorageError as error:
                errors.append(error)
        return mine

    counts = Counter(each for mine in env.threads(_POPPERS, work) for each in mine)
    said = f"; {len(errors)} pops failed, the last with {type(errors[-1]).__name__}: {errors[-1]}" if errors else ""
    ensure(counts, "POP-001", f"of {popped} messages none was popped by {_POPPERS} clients{said}")
    twice = [each for each, count in counts.items() if count > 1]
    ensure(not twice, "POP-004", f"{len(twice)} of {len(counts)} popped messages were given more than once")
