"""Checks of pop: messages taken and deleted in one step."""

from __future__ import annotations

import time

from zaqar_conformance.check import check, ensure_equal
from zaqar_conformance.checks._support import (
    BRIEF,
    difference,
    elapse,
    ids_of,
    listed,
    post,
    see_fetched,
    see_listed,
    see_stats,
    sizes,
    take,
    turns,
)
from zaqar_conformance.env import Env
from zaqar_core import Capability


@check("POP-001")
def pop_takes_the_oldest(env: Env) -> None:
    """``pop`` returns and removes the oldest messages by position, at most ``limit``, with their bodies."""
    queue = env.queue()
    ids = post(env, queue, 12)
    see_listed(env, queue, ids, "MSG-001", "12 messages")
    start = 0
    for limit in (1, 1, 3, 5):
        popped = env.storage.messages.pop(queue, limit)
        found = [(message.id, message.body) for message in popped]
        expected = [(ids[place], place) for place in range(start, start + limit)]
        ensure_equal(found, expected, "POP-001", f"ids and bodies popped with limit={limit} after {start} of 12")
        start += limit
        see_listed(env, queue, ids[start:], "POP-001", f"12 messages of which {start} were popped")
    popped = env.storage.messages.pop(queue, 100)
    ensure_equal(ids_of(popped), ids[start:], "POP-001", "popped with limit=100 where 2 were left")


@check("POP-001")
def pop_of_an_empty_queue_gives_nothing(env: Env) -> None:
    """On a queue never posted to, emptied by pops, by deletion or by a purge, ``pop`` gives an empty list."""
    never, popped, deleted, purged = (env.queue() for _ in range(4))
    for queue in (popped, deleted, purged):
        see_listed(env, queue, post(env, queue, 2), "MSG-001", "2 messages")
    env.storage.messages.pop(popped, 2)
    env.storage.messages.bulk_delete(deleted, ids_of(listed(env, deleted)))
    env.storage.messages.purge(purged)
    for queue in (never, popped, deleted, purged):
        for limit in (1, 10):
            see_listed(env, queue, [], "MSG-019", "an empty queue")
            found = ids_of(env.storage.messages.pop(queue, limit))
            ensure_equal(found, [], "POP-001", f"popped with limit={limit} from an empty queue")


@check("POP-001", thorough=True)
def pop_takes_thousands(env: Env) -> None:
    """``pop`` takes any limit that is allowed: thousands at once, in order."""
    for size in sizes(env.storage.limits.max_messages_per_pop):
        queue = env.queue()
        ids = post(env, queue, size + 1)
        env.see(lambda: env.storage.messages.stats(queue).free, (size + 1).__eq__, "MSG-002", "messages posted")  # noqa: B023
        popped = ids_of(env.storage.messages.pop(queue, size))
        ensure_equal(difference(popped, ids[:size]), "", "POP-001", f"difference of a pop of {size} of {size + 1}")
        see_listed(env, queue, ids[size:], "POP-001", f"what a pop of {size} of {size + 1} left")


@check("POP-002")
def a_popped_message_is_never_seen_again(env: Env) -> None:
    """After a pop its messages are not listed, fetched, shown first, counted or popped again."""
    queue = env.queue()
    ids = post(env, queue, 6)
    see_listed(env, queue, ids, "MSG-001", "6 messages")
    for count in (1, 2, 3):
        popped = ids_of(env.storage.messages.pop(queue, count))
        what = f"6 messages, {count} of them just popped"
        see_fetched(env, queue, popped, [], "POP-002", what)
        ids = [one for one in ids if one not in popped]
        see_listed(env, queue, ids, "POP-002", what, include_claimed=True, include_delayed=True)
        see_fetched(env, queue, ids, ids, "POP-002", what)
        see_stats(env, queue, "POP-002", what, free=len(ids))
    ensure_equal(ids_of(env.storage.messages.pop(queue, 10)), [], "POP-002", "popped after all 6 messages were")
    env.storage.gc()
    see_stats(env, queue, "POP-002", "6 messages, all popped, after gc")


@check("POP-002", "CLM-001", waits=True)
def a_popped_message_is_not_claimed(env: Env) -> None:
    """A claim passes popped messages by; they do not come back when it is released or time goes on."""
    queue = env.queue()
    ids = post(env, queue, 5)
    see_listed(env, queue, ids, "MSG-001", "5 messages")
    env.storage.messages.pop(queue, 2)
    claim = env.storage.claims.create(queue, ttl=BRIEF, limit=10)
    ensure_equal(ids_of(claim.messages), ids[2:], "POP-002", "claimed of 5 messages of which 2 were popped")
    elapse(env, BRIEF)
    see_listed(env, queue, ids[2:], "POP-002", "5 messages, 2 popped, 3 claimed until now")
    see_stats(env, queue, "POP-002", "5 messages, 2 popped, 3 claimed until now", free=3)


@check("POP-003")
def pop_never_takes_a_claimed_message(env: Env) -> None:
    """``pop`` passes claimed messages by, before, between and behind free ones; the claim keeps them."""
    queue = env.queue()
    ids = post(env, queue, 8)
    claim, _ = take(env, queue, 8)
    free = [ids[place] for place in (1, 2, 5)]
    env.storage.claims.delete(queue, claim, message_ids=free)
    see_listed(env, queue, free, "CLM-011", "8 claimed messages of which 3 were released")
    ensure_equal(
        ids_of(env.storage.messages.pop(queue, 1)), free[:1], "POP-003", "popped with limit=1 of 3 free, 5 claimed"
    )
    ensure_equal(
        ids_of(env.storage.messages.pop(queue, 10)), free[1:], "POP-003", "popped of 2 free, 5 claimed messages"
    )
    ensure_equal(ids_of(env.storage.messages.pop(queue, 10)), [], "POP-003", "popped where all are claimed")
    kept = ids_of(env.storage.claims.get(queue, claim).messages)
    ensure_equal(kept, [one for one in ids if one not in free], "POP-003", "messages of the claim after pops")
    see_stats(env, queue, "POP-003", "8 messages, 3 popped, 5 claimed", claimed=5)


@check("POP-003")
def pop_takes_the_messages_of_a_released_claim(env: Env) -> None:
    """Messages of a released claim are popped, in their order among the others."""
    queue = env.queue()
    ids = post(env, queue, 4)
    claim, _ = take(env, queue, 2)
    env.storage.claims.delete(queue, claim)
    see_listed(env, queue, ids, "CLM-010", "4 messages of which 2 were claimed and released")
    popped = ids_of(env.storage.messages.pop(queue, 10))
    ensure_equal(popped, ids, "POP-003", "popped of 4 messages of which 2 were claimed and released")


@check("POP-003", waits=True)
def pop_takes_the_messages_of_an_expired_claim(env: Env) -> None:
    """Messages of a claim are popped once it has ended, and not before, whoever looked last."""
    queue = env.queue()
    ids = post(env, queue, 2)
    claimed = time.monotonic()
    take(env, queue, 2, ttl=0.2)
    after = time.monotonic()
    turns(
        env,
        lambda: ids_of(env.storage.messages.pop(queue, 1)) == ids[:1],
        earliest=claimed + 0.2,
        latest=after + 0.2,
        requirement="POP-003",
        what="2 messages were claimed for 0.2 s; the first is popped",
    )
    ensure_equal(ids_of(env.storage.messages.pop(queue, 10)), ids[1:], "POP-003", "popped after that")


@check("POP-003")
def thousands_of_claimed_messages_wedge_no_pop(env: Env) -> None:
    """With thousands of claimed messages ahead, a pop takes those behind; once the claim has ended, all."""
    many = min(env.depth, env.storage.limits.max_messages_per_claim, 5_000)
    queue = env.queue()
    ids = post(env, queue, many)
    claim, _ = take(env, queue, many)
    behind = post(env, queue, 2)
    see_listed(env, queue, behind, "CLM-001", f"2 messages behind {many} claimed ones")
    ensure_equal(
        ids_of(env.storage.messages.pop(queue, 10)), behind, "POP-003", f"popped behind {many} claimed messages"
    )
    env.storage.claims.update(queue, claim, ttl=BRIEF)
    elapse(env, BRIEF)
    limit = min(many, env.storage.limits.max_messages_per_pop)
    popped = ids_of(env.storage.messages.pop(queue, limit))
    different = difference(popped, ids[:limit])
    ensure_equal(different, "", "POP-003", f"difference of a pop of {limit} messages whose claim has just ended")


@check("POP-001")
def pops_of_a_changing_queue_follow_its_listing(env: Env) -> None:
    """After any mixture of posts, deletions, claims and releases a pop takes what the listing shows first."""
    queue = env.queue()
    claims: list[str] = []
    for _ in range(60):
        action = env.rng.choice(("post", "post", "delete", "pop", "pop", "claim", "release"))
        shown = ids_of(listed(env, queue))
        if action == "post":
            ids = post(env, queue, env.rng.randint(1, 5))
            env.see(lambda: ids_of(listed(env, queue)), set(ids).issubset, "MSG-001", "messages posted")
        elif action == "delete" and shown:
            env.storage.messages.delete(queue, env.rng.choice(shown))
        elif action == "claim" and shown and env.declares(Capability.CLAIMS):
            claims.append(str(env.storage.claims.create(queue, limit=env.rng.randint(1, 4)).id))
        elif action == "release" and claims:
            env.storage.claims.delete(queue, claims.pop())
        elif action == "pop":
            limit = env.rng.randint(1, 4)
            before = ids_of(listed(env, queue))
            popped = ids_of(env.storage.messages.pop(queue, limit))
            ensure_equal(popped, before[:limit], "POP-001", f"popped with limit={limit} of {len(before)} listed")
            see_fetched(env, queue, popped, [], "POP-002", "popped messages")
