"""Checks of claims: what they take and hide, for how long, what they show, and what they count."""

from __future__ import annotations

import time

from zaqar_conformance.check import check, ensure, ensure_equal
from zaqar_conformance.checks._support import (
    BRIEF,
    LONG,
    SLACK,
    difference,
    elapse,
    ensure_opaque,
    ids_of,
    listed,
    paced,
    post,
    see_listed,
    see_stats,
    sizes,
    take,
    turns,
)
from zaqar_conformance.env import Env
from zaqar_core import Capability, NewMessage
from zaqar_core.contract import QueueKey

# --- making a claim -----------------------------------------------------------------------------------


@check("CLM-001")
def a_claim_takes_the_oldest(env: Env) -> None:
    """Claims take the oldest active messages by position, one after the other, at most ``limit`` each."""
    queue = env.queue()
    ids = post(env, queue, 12)
    see_listed(env, queue, ids, "MSG-001", "12 messages")
    start = 0
    for limit in (1, 1, 3, 5):
        claim = env.storage.claims.create(queue, limit=limit)
        found = [(message.id, message.body) for message in claim.messages]
        expected = [(ids[place], place) for place in range(start, start + limit)]
        ensure_equal(found, expected, "CLM-001", f"ids and bodies claimed with limit={limit} after {start} of 12")
        start += limit
    claim = env.storage.claims.create(queue, limit=100)
    ensure_equal(ids_of(claim.messages), ids[start:], "CLM-001", "claimed with limit=100 where 2 were left")


@check("CLM-001")
def claimed_messages_are_hidden(env: Env) -> None:
    """Claimed messages are neither listed nor claimed again, and count as claimed."""
    queue = env.queue()
    ids = post(env, queue, 5)
    take(env, queue, 3)
    what = "5 messages of which 3 are claimed"
    see_listed(env, queue, ids[3:], "CLM-001", what)
    see_stats(env, queue, "CLM-001", what, free=2, claimed=3)
    other = env.connect()
    claim = other.claims.create(queue, limit=10)
    ensure_equal(ids_of(claim.messages), ids[3:], "CLM-001", f"claimed by another client of {what}")
    see_listed(env, queue, [], "CLM-001", "5 messages, all claimed")


@check("CLM-001")
def claimed_messages_carry_their_claim(env: Env) -> None:
    """Each claimed message carries the id of its claim: in the claim, when it is read, fetched and listed."""
    queue = env.queue()
    ids = post(env, queue, 4)
    claims = [take(env, queue, 2) for _ in range(2)]
    for place, (claim, held) in enumerate(claims):
        mine = ids[2 * place : 2 * place + 2]
        readings = {
            "claims.create": held,
            "claims.get": list(env.storage.claims.get(queue, claim).messages),
            "get": env.storage.messages.bulk_get(queue, mine),
            "list": [message for message in listed(env, queue, include_claimed=True) if message.id in mine],
        }
        for how, messages in readings.items():
            found = [(message.id, message.claim_id) for message in messages]
            ensure_equal(found, [(one, claim) for one in mine], "CLM-001", f"claimed messages and their claim by {how}")


@check("CLM-001")
def a_claim_passes_over_claimed_deleted_and_delayed_messages(env: Env) -> None:
    """Among messages in every state a claim takes exactly those that the listing shows, in its order."""
    queue = env.queue()
    for _ in range(20):
        post(env, queue, env.rng.randint(2, 6))
        if env.declares(Capability.DELAY):
            post(env, queue, 1, delay=60)
        env.storage.messages.delete(queue, env.rng.choice(listed(env, queue)).id)
        active = env.see(lambda: ids_of(listed(env, queue)), bool, "MSG-001", "messages listed")
        limit = env.rng.randint(1, 5)
        claim = env.storage.claims.create(queue, limit=limit)
        expected = active[:limit]
        ensure_equal(ids_of(claim.messages), expected, "CLM-001", f"claimed with limit={limit} of {len(active)} listed")
        some = env.rng.sample(expected, env.rng.randint(0, len(expected)))
        if some:
            env.storage.claims.delete(queue, str(claim.id), message_ids=some)


@check("CLM-002")
def with_nothing_to_take_there_is_no_claim(env: Env) -> None:
    """On a queue that is empty, emptied or all claimed, the claim's id is None and nothing changes."""
    empty, emptied, purged, claimed = (env.queue() for _ in range(4))
    env.storage.messages.bulk_delete(emptied, post(env, emptied, 2))
    post(env, purged, 2)
    env.storage.messages.purge(purged)
    ids = post(env, claimed, 2)
    holder, _ = take(env, claimed, 2)
    for queue, state in (
        (empty, "never posted to"),
        (emptied, "emptied"),
        (purged, "purged"),
        (claimed, "all claimed"),
    ):
        for _ in range(2):
            see_listed(env, queue, [], "MSG-019", f"a queue that is {state}")
            claim = env.storage.claims.create(queue, ttl=77, limit=5)
            found = (claim.id, list(claim.messages))
            ensure_equal(found, (None, []), "CLM-002", f"id and messages of a claim on a queue that is {state}")
        see_stats(env, queue, "CLM-002", f"a queue that is {state}, after claims", claimed=2 if queue == claimed else 0)
    kept = env.storage.claims.get(claimed, holder)
    counts = [message.claim_count for message in kept.messages]
    ensure_equal(
        (ids_of(kept.messages), counts), (ids, [1, 1]), "CLM-002", "messages and counts of the claim there was"
    )


@check("CLM-002")
def as_long_as_messages_are_left_no_claim_is_empty(env: Env) -> None:
    """Claimed one by one, all of many messages are given out before a claim says None, thousands claimed ahead too."""
    many = min(env.depth, env.storage.limits.max_messages_per_claim, 3_000)
    queue = env.queue()
    post(env, queue, many)
    take(env, queue, many)
    ids = post(env, queue, 20)
    see_listed(env, queue, ids, "CLM-001", f"20 messages behind {many} claimed ones")
    taken: list[str] = []
    for _ in range(len(ids) + 1):
        claim = env.storage.claims.create(queue, limit=1)
        taken += ids_of(claim.messages)
    ensure_equal(claim.id, None, "CLM-002", "the id of the claim after those of all 20 messages")
    ensure_equal(taken, ids, "CLM-002", f"claimed one by one, until None, behind {many} claimed messages")


@check("CLM-002", "MSG-027")
def with_nothing_but_delayed_messages_there_is_no_claim(env: Env) -> None:
    """Delayed messages are none to take."""
    queue = env.queue()
    post(env, queue, 2, delay=60)
    claim = env.storage.claims.create(queue)
    ensure_equal((claim.id, list(claim.messages)), (None, []), "CLM-002", "a claim where 2 messages are delayed")
    see_stats(env, queue, "CLM-002", "2 delayed messages after a claim", delayed=2)


@check("CLM-003")
def claim_ids_are_opaque(env: Env) -> None:
    """Claim ids are URL-safe, all different, and random."""
    queue = env.queue()
    post(env, queue, 300)
    ensure_opaque([take(env, queue, 1)[0] for _ in range(300)], "CLM-003", "claim id")


@check("CLM-003", waits=True)
def claim_ids_are_never_reused(env: Env) -> None:
    """Claims made after others were released, ended, purged or used up have new ids."""
    queue = env.queue()
    given: list[str] = []

    def again(what: str, ttl: float = LONG) -> str:
        claim, _ = take(env, queue, 2, ttl=ttl)
        ensure(claim not in given, "CLM-003", f"a claim made {what} was given the id {claim!r} again")
        given.append(claim)
        return claim

    post(env, queue, 2)
    first = again("first")
    env.storage.claims.delete(queue, first)
    again("after a release", ttl=BRIEF)
    elapse(env, BRIEF)
    last = again("after another ended")
    env.storage.messages.bulk_delete(queue, ids_of(env.storage.claims.get(queue, last).messages), claim_ids=[last])
    post(env, queue, 2)
    again("after all messages of another were deleted")
    env.storage.messages.purge(queue)
    post(env, queue, 2)
    again("after a purge")


# --- its end ------------------------------------------------------------------------------------------


@check("CLM-004", waits=True)
def messages_are_active_again_when_the_claim_ends(env: Env) -> None:
    """Claimed messages are hidden until the claim's ttl is over, and listed, where they stood, from then on."""
    queue = env.queue()
    ids = post(env, queue, 5)
    before = time.monotonic()
    take(env, queue, 3, ttl=0.15)
    after = time.monotonic()
    turns(
        env,
        lambda: len(listed(env, queue)) > 2,
        earliest=before + 0.15,
        latest=after + 0.15,
        requirement="CLM-004",
        what="3 of 5 messages were claimed for 0.15 s; they are listed",
    )
    what = "5 messages, the first 3 claimed until now"
    see_listed(env, queue, ids, "CLM-004", what)
    see_stats(env, queue, "CLM-004", what, free=5)
    holders = [message.claim_id for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(holders, [None] * 5, "CLM-004", f"claim ids of {what}")


@check("CLM-004", waits=True)
def messages_are_claimed_again_when_the_claim_ends(env: Env) -> None:
    """Claimed messages are not claimed again before the claim's ttl is over, and first of all from then on."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        ids = post(env, queue, 3)
        before = time.monotonic()
        take(env, queue, 1, ttl=unit)
        after = time.monotonic()
        take(env, queue, 1)
        if time.monotonic() - before >= unit:
            return False

        def first_again() -> bool:
            claim = env.storage.claims.create(queue, limit=1)
            if claim.id is not None and claim.messages[0].id == ids[2]:
                env.storage.claims.delete(queue, claim.id)
            return [message.id for message in claim.messages] == ids[:1]

        turns(
            env,
            first_again,
            earliest=before + unit,
            latest=after + unit,
            requirement="CLM-004",
            what=f"the first of 3 messages was claimed for {unit} s, the second for long; a claim gets the first",
        )
        return True

    paced(scenario)


@check("CLM-004", waits=True)
def each_claim_ends_at_its_own_time(env: Env) -> None:
    """Of several claims the shorter ends first, whichever was made first; each frees its own messages."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        ids = post(env, queue, 6)
        before = time.monotonic()
        for ttl in (2 * unit, unit, LONG):
            take(env, queue, 2, ttl=ttl)
        after = time.monotonic()
        if after - before >= unit:
            return False
        for ttl, free in ((unit, ids[2:4]), (2 * unit, ids[:4])):
            turns(
                env,
                lambda: len(listed(env, queue)) >= len(free),  # noqa: B023  # called here and now
                earliest=before + ttl,
                latest=after + ttl,
                requirement="CLM-004",
                what=f"claims of 2 messages each for {2 * unit}, {unit} and {LONG:g} s; {len(free)} are listed",
            )
        see_listed(env, queue, ids[:4], "CLM-004", "6 messages of which the first two claims have ended")
        return True

    paced(scenario)


@check("CLM-004", thorough=True)
def thousands_come_back_together(env: Env) -> None:
    """When a claim of thousands ends, the first listing, count, deletion and claim see them all, in order."""
    many = min(env.depth, env.storage.limits.max_messages_per_claim, 5_000)
    queues = [env.queue() for _ in range(4)]
    ids = [post(env, queue, many) for queue in queues]
    for queue in queues:
        take(env, queue, many, ttl=BRIEF)
    elapse(env, BRIEF)
    what = f"{many} messages whose claim has ended"
    see_listed(env, queues[0], ids[0], "CLM-004", what)
    see_stats(env, queues[1], "CLM-004", what, free=many)
    refused = env.storage.messages.bulk_delete(queues[2], ids[2][:10])
    ensure_equal(refused, [], "CLM-004", f"refused of 10 of {what}")
    taken = ids_of(env.storage.claims.create(queues[3], limit=many).messages)
    ensure_equal(difference(taken, ids[3]), "", "CLM-004", f"difference of what is claimed of {what}")


# --- reading a claim ----------------------------------------------------------------------------------


@check("CLM-005")
def a_claim_shows_the_messages_it_still_holds(env: Env) -> None:
    """``get`` gives the claim's messages by position, whole, less those that were deleted or released since."""
    queue = env.queue()
    batch = [NewMessage({"n": number}, ttl=LONG, headers={"h": str(number)}) for number in range(6)]
    ids = env.storage.messages.post(queue, batch)
    claim, held = take(env, queue, 5)
    found = env.storage.claims.get(queue, claim)
    ensure_equal(found.id, claim, "CLM-005", "id of a claim read")
    whole = [(message.id, message.body, dict(message.headers), message.claim_count) for message in found.messages]
    made = [(message.id, message.body, dict(message.headers), message.claim_count) for message in held]
    ensure_equal(whole, made, "CLM-005", "ids, bodies, headers and counts of a claim read, and as it was made")
    env.storage.messages.delete(queue, ids[1], claim_id=claim)
    env.storage.claims.delete(queue, claim, message_ids=[ids[3]])
    left = ids_of(env.storage.claims.get(queue, claim).messages)
    what = "messages of a claim of 5 of which the 2nd was deleted and the 4th released"
    ensure_equal(left, [ids[0], ids[2], ids[4]], "CLM-005", what)


@check("CLM-005")
def a_claim_reports_its_ttl(env: Env) -> None:
    """A claim reports the ttl it was given, when made and read, and the new one after an update."""
    queue = env.queue()
    post(env, queue, 5)
    for ttl in (60, 60.001, 99.5, 1234.567, 43_200):
        claim = env.storage.claims.create(queue, ttl=ttl, limit=1)
        found = env.storage.claims.get(queue, str(claim.id))
        for how, seen in (("create", claim.ttl), ("get", found.ttl)):
            ensure(abs(seen - ttl) < 0.0011, "CLM-005", f"ttl by {how} of a claim for {ttl} s: {seen!r}")
        env.storage.claims.update(queue, str(claim.id), ttl=2 * ttl)
        seen = env.storage.claims.get(queue, str(claim.id)).ttl
        ensure(abs(seen - 2 * ttl) < 0.0011, "CLM-005", f"ttl of a claim renewed for {2 * ttl} s: {seen!r}")


@check("CLM-005", waits=True)
def a_claims_age_counts_from_its_last_update(env: Env) -> None:
    """A claim's age grows with real time from 0 when it is made, and again from 0 when it is updated."""
    queue = env.queue()
    post(env, queue, 1)
    before = time.monotonic()
    claim, _ = take(env, queue, 1)
    after = time.monotonic()

    def look(what: str) -> None:
        asked = time.monotonic()
        age = env.storage.claims.get(queue, claim).age
        low, high = max(0.0, asked - after - SLACK), time.monotonic() - before + SLACK
        ensure(low <= age <= high, "CLM-005", f"age of a claim {what}: expected {low:.3f} to {high:.3f} s, got {age!r}")

    look("at once")
    elapse(env, 0.15)
    look("after 0.15 s")
    before = time.monotonic()
    env.storage.claims.update(queue, claim, ttl=LONG)
    after = time.monotonic()
    look("just renewed")


# --- counts -------------------------------------------------------------------------------------------


@check("CLM-017")
def claim_count_rises_at_every_claim(env: Env) -> None:
    """``claim_count`` is 0 at the post, rises by one at every claim, and is the same by every way of reading."""
    queue = env.queue()
    ids = post(env, queue, 2)
    see_listed(env, queue, ids, "MSG-001", "2 messages")

    def look(expected: int, what: str) -> None:
        readings = {
            "get": env.storage.messages.bulk_get(queue, ids),
            "list": listed(env, queue, include_claimed=True),
            "first": [env.storage.messages.first(queue)],
        }
        for how, messages in readings.items():
            counts = {message.claim_count for message in messages}
            ensure_equal(counts, {expected}, "CLM-017", f"claim counts {what}, by {how}")

    look(0, "at the post")
    for turn in range(1, 4):
        claim, held = take(env, queue, 2)
        counts = [message.claim_count for message in held]
        ensure_equal(counts, [turn, turn], "CLM-017", f"claim counts at claim number {turn}")
        look(turn, f"under claim number {turn}")
        env.storage.claims.update(queue, claim, ttl=60)
        look(turn, f"under claim number {turn}, renewed")
        env.storage.claims.delete(queue, claim, message_ids=ids[:1])
        env.storage.claims.delete(queue, claim)
        look(turn, f"after the release of claim number {turn}")


@check("CLM-017", waits=True)
def claim_count_survives_expiry(env: Env) -> None:
    """When a claim ends by itself its messages keep their count, and the next claim adds one."""
    queue = env.queue()
    ids = post(env, queue, 2)
    take(env, queue, 1, ttl=BRIEF)
    elapse(env, BRIEF)
    counts = [message.claim_count for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(counts, [1, 0], "CLM-017", "claim counts of 2 messages, one claimed until now")
    _, held = take(env, queue, 2)
    counts = [message.claim_count for message in held]
    ensure_equal(counts, [2, 1], "CLM-017", "claim counts when both are claimed")


@check("CLM-017", "CLM-012", waits=True)
def claim_count_survives_a_delayed_release(env: Env) -> None:
    """A release with a delay does not change the count."""
    queue = env.queue()
    ids = post(env, queue, 1)
    claim, _ = take(env, queue, 1)
    env.storage.claims.delete(queue, claim, delay=BRIEF)
    elapse(env, BRIEF)
    ensure_equal(
        env.storage.messages.get(queue, ids[0]).claim_count, 1, "CLM-017", "claim count after a delayed release"
    )
    _, held = take(env, queue, 1)
    ensure_equal(held[0].claim_count, 2, "CLM-017", "claim count when claimed after a delayed release")


@check("CLM-020")
def used_up_messages_come_back_apart(env: Env) -> None:
    """With ``max_claim_count``, what had been claimed so often comes in ``exhausted``, the rest in ``messages``."""
    queue = env.queue()
    controller = env.driver.claims
    assert controller is not None
    key = QueueKey(env.project, queue)
    for most, used_up, left in ((5, 0, 0), (4, 0, 3), (3, 1, 0), (2, 1, 2), (1, 2, 0)):
        ids = post(env, queue, 4)
        for limit in (2, 1, 1):
            claim, _ = take(env, queue, limit)
            env.storage.claims.delete(queue, claim)
        counts = [message.claim_count for message in env.storage.messages.bulk_get(queue, ids)]
        ensure_equal(counts, [3, 1, 0, 0], "CLM-017", "claim counts of 4 messages claimed 3 times, once, never, never")
        found = controller.create(key, ttl=60.0, grace=60.0, limit=10, max_claim_count=most)
        seen = [message.id for message in found.exhausted], [message.id for message in found.messages]
        what = f"exhausted and messages of a claim with max_claim_count={most}, counts {counts}"
        taken = ids[: len(ids) - left]
        ensure_equal(seen, (taken[:used_up], taken[used_up:]), "CLM-020", what)
        ensure(found.id is not None, "CLM-020", f"the claim of {what} has no id")
        holders = {message.claim_id for message in env.storage.messages.bulk_get(queue, taken)}
        ensure_equal(holders, {found.id}, "CLM-020", f"claims that hold the {what}")
        see_listed(env, queue, ids[len(taken) :], "CLM-020", f"hidden, of 4 messages: {what}")
        env.storage.messages.purge(queue)


@check("CLM-020")
def a_claim_of_used_up_messages_is_a_claim(env: Env) -> None:
    """A claim that meets nothing but used-up messages has an id, heeds ``limit``, and deletes them."""
    queue = env.queue()
    ids = post(env, queue, 3)
    claim, _ = take(env, queue, 3)
    env.storage.claims.delete(queue, claim)
    controller = env.driver.claims
    assert controller is not None
    key = QueueKey(env.project, queue)
    found = controller.create(key, ttl=60.0, grace=60.0, limit=2, max_claim_count=1)
    seen = [message.id for message in found.exhausted], [message.id for message in found.messages]
    ensure_equal(seen, (ids[:2], []), "CLM-020", "exhausted and messages of a claim with limit=2 of 3 used-up messages")
    counts = [message.claim_count for message in found.exhausted]
    ensure_equal(counts, [2, 2], "CLM-017", "claim counts of used-up messages that were claimed again")
    ensure(found.id is not None, "CLM-020", "a claim of 2 used-up messages has no id")
    held = ids_of(env.storage.claims.get(queue, str(found.id)).messages)
    ensure_equal(held, ids[:2], "CLM-020", "messages of a claim of used-up messages, read")
    refused = env.storage.messages.bulk_delete(queue, ids[:2], claim_ids=[str(found.id)])
    ensure_equal(refused, [], "CLM-020", "refused of 2 used-up messages deleted with their claim")
    plain = controller.create(key, ttl=60.0, grace=60.0, limit=2)
    seen = [message.id for message in plain.exhausted], [message.id for message in plain.messages]
    ensure_equal(seen, ([], ids[2:]), "CLM-020", "exhausted and messages of a claim without max_claim_count")


@check("CLM-021", thorough=True)
def a_claim_takes_thousands(env: Env) -> None:
    """A claim of every size up to the limit is made, read, renewed, deleted from and released whole."""
    limits = env.storage.limits
    for size in sizes(min(limits.max_messages_per_claim, limits.max_ids_per_call)):
        queue = env.queue()
        ids = post(env, queue, size)
        claim, held = take(env, queue, size)
        what = f"a claim of {size} messages"
        ensure_equal(difference(ids_of(held), ids), "", "CLM-021", f"difference of {what}")
        found = ids_of(env.storage.claims.get(queue, claim).messages)
        ensure_equal(difference(found, ids), "", "CLM-021", f"difference of {what}, read")
        env.storage.claims.update(queue, claim, ttl=300, grace=1000)
        lives = {round(message.ttl) >= 1300 for message in env.storage.messages.bulk_get(queue, ids)}
        ensure_equal(lives, {True}, "CLM-021", f"whether each message of {what} lives for 1300 s after an update")
        gone = ids[: size // 2]
        refused = env.storage.messages.bulk_delete(queue, gone, claim_ids=[claim])
        ensure_equal(refused, [], "CLM-021", f"refused of {len(gone)} messages of {what}")
        see_stats(env, queue, "CLM-021", f"{what}, half of them deleted", claimed=size - len(gone))
        env.storage.claims.delete(queue, claim)
        see_listed(env, queue, ids[size // 2 :], "CLM-021", f"{what}, half of them deleted, released")
