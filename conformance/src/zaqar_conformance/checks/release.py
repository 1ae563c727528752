"""Checks of release: claims given back whole or in part, at once or with a delay, and claims used up."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from zaqar_conformance.check import check, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import (
    BRIEF,
    elapse,
    ids_of,
    listed,
    paced,
    post,
    see_fetched,
    see_listed,
    see_stats,
    take,
    turns,
)
from zaqar_conformance.env import Env
from zaqar_core.errors import ClaimDoesNotExist, ClaimDoesNotMatch, InvalidDuration

# --- release ------------------------------------------------------------------------------------------


@check("CLM-010")
def release_puts_messages_back_where_they_stood(env: Env) -> None:
    """A release makes all messages of the claim active at once, at their old places, first in line."""
    queue = env.queue()
    ids = post(env, queue, 7)
    first, _ = take(env, queue, 2)
    second, _ = take(env, queue, 3)
    post_order = [*ids, *post(env, queue, 2)]
    env.storage.claims.delete(queue, second)
    see_listed(env, queue, post_order[2:], "CLM-010", "9 messages of which the first 2 are claimed, 3 were released")
    see_stats(env, queue, "CLM-010", "9 messages of which the first 2 are claimed, 3 were released", free=7, claimed=2)
    env.storage.claims.delete(queue, first)
    see_listed(env, queue, post_order, "CLM-010", "9 messages, all released")
    taken = ids_of(env.storage.claims.create(queue, limit=3).messages)
    ensure_equal(taken, ids[:3], "CLM-010", "claimed after all were released")


@check("CLM-010")
def release_is_idempotent_and_ends_the_claim(env: Env) -> None:
    """After a release the claim is gone; releasing it again succeeds and changes nothing."""
    queue = env.queue()
    ids = post(env, queue, 3)
    claim, _ = take(env, queue, 2)
    for _ in range(3):
        env.storage.claims.delete(queue, claim)
        see_listed(env, queue, ids, "CLM-010", "3 messages, 2 claimed and released, once or more")
        get = partial(env.storage.claims.get, queue, claim)
        ensure_raises(ClaimDoesNotExist, "CLM-010", "get of a released claim", get)
        update = partial(env.storage.claims.update, queue, claim)
        ensure_raises(ClaimDoesNotExist, "CLM-010", "update of a released claim", update)
    env.storage.claims.delete(queue, claim, message_ids=ids)
    holders = [message.claim_id for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(holders, [None] * 3, "CLM-010", "claim ids of released messages")


@check("CLM-010")
def order_survives_many_releases(env: Env) -> None:
    """Claimed and released again and again, in any order, messages keep their places."""
    queue = env.queue()
    ids = post(env, queue, 30)
    for _ in range(15):
        claims = [take(env, queue, env.rng.randint(1, 9))[0] for _ in range(3)]
        env.rng.shuffle(claims)
        for claim in claims:
            env.storage.claims.delete(queue, claim)
        see_listed(env, queue, ids, "CLM-010", "30 messages after claims and releases in any order")


@check("CLM-011")
def release_of_some_keeps_the_rest_claimed(env: Env) -> None:
    """A release with ``message_ids`` frees those at their places; the claim holds and may delete the others."""
    queue = env.queue()
    ids = post(env, queue, 7)
    claim, _ = take(env, queue, 6)
    env.storage.claims.delete(queue, claim, message_ids=[ids[4], ids[1]])
    what = "7 messages, 6 claimed, of which the 2nd and 5th were released"
    see_listed(env, queue, [ids[1], ids[4], ids[6]], "CLM-011", what)
    see_stats(env, queue, "CLM-011", what, free=3, claimed=4)
    held = ids_of(env.storage.claims.get(queue, claim).messages)
    ensure_equal(held, [ids[0], ids[2], ids[3], ids[5]], "CLM-011", f"messages of the claim: {what}")
    delete = partial(env.storage.messages.delete, queue, ids[1], claim_id=claim)
    ensure_raises(ClaimDoesNotMatch, "CLM-011", "deleting a released message with the claim that held it", delete)
    env.storage.messages.delete(queue, ids[0], claim_id=claim)
    taken = ids_of(env.storage.claims.create(queue, limit=10).messages)
    ensure_equal(taken, [ids[1], ids[4], ids[6]], "CLM-011", f"claimed by another: {what}")


@check("CLM-011")
def release_ignores_what_the_claim_does_not_hold(env: Env) -> None:
    """Named in a release, messages that are free, absent, or held by another claim stay as they are."""
    queue = env.queue()
    ids = post(env, queue, 7)
    mine, _ = take(env, queue, 3)
    theirs, _ = take(env, queue, 2)
    env.storage.messages.delete(queue, ids[0], claim_id=mine)
    for _ in range(2):
        env.storage.claims.delete(queue, mine, message_ids=[ids[3], ids[6], "absent", "", ids[0], ids[2], ids[4]])
        what = (
            "of 7 messages one deleted, one still claimed, one released by name, 2 of another claim named too, 2 free"
        )
        see_listed(env, queue, [ids[2], *ids[5:]], "CLM-011", what)
        see_stats(env, queue, "CLM-011", what, free=3, claimed=3)
        held = ids_of(env.storage.claims.get(queue, mine).messages)
        ensure_equal(held, [ids[1]], "CLM-011", "messages left to the claim")
        held = ids_of(env.storage.claims.get(queue, theirs).messages)
        ensure_equal(held, ids[3:5], "CLM-011", "messages of the other claim")
    env.storage.claims.delete(queue, mine, message_ids=[])
    see_stats(env, queue, "CLM-011", "after a release of no messages at all", free=3, claimed=3)


@check("CLM-011")
def release_of_thousands_by_name(env: Env) -> None:
    """Thousands of messages are released by name in one call, and the rest stays claimed."""
    limits = env.storage.limits
    most = min(limits.max_messages_per_claim, limits.max_ids_per_call, limits.max_messages_per_post)
    for size in sorted({min(size, most) for size in (999, 1001, 2_500)}):
        queue = env.queue()
        ids = post(env, queue, size)
        claim, _ = take(env, queue, size)
        env.storage.claims.delete(queue, claim, message_ids=env.rng.sample(ids[:-1], size - 1))
        see_listed(env, queue, ids[:-1], "CLM-011", f"{size} claimed messages, all but the last released by name")
        held = ids_of(env.storage.claims.get(queue, claim).messages)
        ensure_equal(held, ids[-1:], "CLM-011", "messages left to the claim")


@check("CLM-012", waits=True)
def a_delayed_release_hides_messages_until_then(env: Env) -> None:
    """Messages released with a delay are delayed, the claim is gone, and they are listed when it is over."""
    queue = env.queue()
    ids = post(env, queue, 3)
    claim, _ = take(env, queue, 2)
    before = time.monotonic()
    env.storage.claims.delete(queue, claim, delay=0.15)
    after = time.monotonic()
    get = partial(env.storage.claims.get, queue, claim)
    ensure_raises(ClaimDoesNotExist, "CLM-012", "get of a claim released with a delay", get)
    turns(
        env,
        lambda: len(listed(env, queue)) > 1,
        earliest=before + 0.15,
        latest=after + 0.15,
        requirement="CLM-012",
        what="2 of 3 messages were released with a delay of 0.15 s; they are listed",
    )
    see_listed(env, queue, [ids[2], *ids[:2]], "CLM-012", "3 messages, the first 2 released with a delay that is over")
    holders = [message.claim_id for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(holders, [None] * 3, "CLM-012", "claim ids after a release with a delay")


@check("CLM-012")
def a_delayed_release_counts_as_delayed(env: Env) -> None:
    """Messages released with a delay count and are listed as delayed, are fetched, and cannot be claimed."""
    queue = env.queue()
    ids = post(env, queue, 4)
    claim, _ = take(env, queue, 3)
    env.storage.claims.delete(queue, claim, message_ids=ids[:2], delay=60)
    what = "4 messages, 3 claimed, 2 of them released with a delay of 60 s"
    see_stats(env, queue, "CLM-012", what, free=1, claimed=1, delayed=2)
    see_listed(env, queue, ids[3:], "CLM-012", what)
    see_listed(env, queue, [*ids[3:], *ids[:2]], "CLM-012", f"{what}, with include_delayed", include_delayed=True)
    see_fetched(env, queue, ids, ids, "CLM-012", what)
    taken = ids_of(env.storage.claims.create(queue, limit=10).messages)
    ensure_equal(taken, ids[3:], "CLM-012", f"claimed by another: {what}")
    held = ids_of(env.storage.claims.get(queue, claim).messages)
    ensure_equal(held, [ids[2]], "CLM-012", f"messages of the claim: {what}")


@check("CLM-012", waits=True)
def a_delayed_release_moves_messages_in_their_order(env: Env) -> None:
    """Released with a delay, messages stand in their old order between what was available before and what is new."""
    queue = env.queue()
    ids = post(env, queue, 6)
    claim, _ = take(env, queue, 5)
    env.storage.claims.delete(queue, claim, message_ids=[ids[3], ids[0], ids[2]], delay=BRIEF)
    env.storage.claims.delete(queue, claim)
    elapse(env, BRIEF)
    order = [ids[1], ids[4], ids[5], ids[0], ids[2], ids[3], *post(env, queue, 1)]
    what = "6 messages, the 1st, 3rd and 4th released with a delay that is over, 1 posted since"
    see_listed(env, queue, order, "CLM-012", what)
    taken = ids_of(env.storage.claims.create(queue, limit=10).messages)
    ensure_equal(taken, order, "CLM-012", f"claimed: {what}")


@check("CLM-012", waits=True)
def a_delayed_release_keeps_the_order_in_which_messages_stood(env: Env) -> None:
    """Messages that were posted or released with delays stand, released together, in the order in which they stood."""
    queue = env.queue()
    late = post(env, queue, 1, delay=3 * BRIEF)
    soon = post(env, queue, 1, delay=BRIEF)
    plain = post(env, queue, 2)
    back, _ = take(env, queue, 1)
    env.storage.claims.delete(queue, back, delay=2 * BRIEF)
    elapse(env, 3 * BRIEF)
    order = ids_of(listed(env, queue))
    what = "4 messages: 2 posted with delays, 1 released with one, all over"
    ensure_equal(sorted(order), sorted([*late, *soon, *plain]), "MSG-027", f"listed: {what}")
    for way in ("released together", "claimed until now, then released together"):
        if way.startswith("claimed"):
            take(env, queue, 4, ttl=BRIEF)
            elapse(env, BRIEF)
        claim, _ = take(env, queue, 4)
        env.storage.claims.delete(queue, claim, message_ids=env.rng.sample(order, 4), delay=BRIEF)
        elapse(env, BRIEF)
        see_listed(env, queue, order, "CLM-012", f"{what}, {way} with another delay that is over")
    taken = ids_of(env.storage.claims.create(queue, limit=10).messages)
    ensure_equal(taken, order, "CLM-012", f"claimed: {what}")


@check("CLM-012", waits=True)
def messages_released_in_parts_stand_in_the_order_of_their_delays(env: Env) -> None:
    """Parts of a claim released with delays stand by the ends of these, each part in the order in which it stood."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        ids = post(env, queue, 5)
        claim, _ = take(env, queue, 5)
        before = time.monotonic()
        env.storage.claims.delete(queue, claim, message_ids=[ids[2], ids[0]], delay=2 * unit)
        env.storage.claims.delete(queue, claim, message_ids=[ids[4], ids[1]], delay=unit)
        if time.monotonic() - before >= unit:
            return False
        elapse(env, 2 * unit)
        order = [ids[1], ids[4], ids[0], ids[2]]
        what = "of 5 messages the 1st and 3rd released with a delay, the 2nd and 5th with half of it, both over"
        see_listed(env, queue, order, "CLM-012", what)
        again, _ = take(env, queue, 4)
        env.storage.claims.delete(queue, again, delay=BRIEF)
        env.storage.claims.delete(queue, claim, delay=BRIEF)
        elapse(env, BRIEF)
        see_listed(env, queue, [*order, ids[3]], "CLM-012", f"{what}; then released with another, the 4th after them")
        return True

    paced(scenario)


@check("CLM-023")
def a_release_with_a_delay_longer_than_a_life_is_refused(env: Env) -> None:
    """A delay that one of the messages would not outlive is refused, and all of them stay with their claim."""
    queue = env.queue()
    brief, ids = post(env, queue, 1, ttl=500), post(env, queue, 2, first=1, ttl=5000)
    held = [*brief, *ids]
    claim, _ = take(env, queue, 3, ttl=60, grace=0)
    named = partial(env.storage.claims.delete, queue, claim, message_ids=[ids[0], *brief])
    for delay, release in ((500, partial(env.storage.claims.delete, queue, claim)), (500.001, named), (600, named)):
        what = f"a release with a delay of {delay} s of messages of which one lives for less than 500 s more"
        ensure_raises(InvalidDuration, "CLM-023", what, partial(release, delay=delay))
        see_stats(env, queue, "CLM-023", f"after {what}", claimed=3)
        kept = ids_of(env.storage.claims.get(queue, claim).messages)
        ensure_equal(kept, held, "CLM-023", f"messages of the claim after {what}")
    env.storage.claims.delete(queue, claim, message_ids=[*ids, "absent"], delay=600)
    see_stats(env, queue, "CLM-023", "the two released that live for long, with a delay of 600 s", claimed=1, delayed=2)
    env.storage.claims.delete(queue, claim, delay=60)
    see_stats(env, queue, "CLM-023", "all released with delays that they outlive", delayed=3)


@check("CLM-023")
def a_release_counts_the_life_that_its_claim_gave(env: Env) -> None:
    """A delay may be longer than what a message was posted with, as long as the claim's grace makes it live on."""
    queue = env.queue()
    ids = post(env, queue, 2, ttl=60)
    claim, _ = take(env, queue, 2, ttl=300, grace=500)
    refused = partial(env.storage.claims.delete, queue, claim, message_ids=ids[:1], delay=800)
    ensure_raises(InvalidDuration, "CLM-023", "a delay of 800 s where a claim makes messages live for 800 s", refused)
    env.storage.claims.delete(queue, claim, message_ids=ids[:1], delay=500)
    env.storage.claims.update(queue, claim, ttl=300, grace=900)
    env.storage.claims.delete(queue, claim, delay=900)
    see_stats(env, queue, "CLM-023", "released with delays shorter than the lives that the claim gave", delayed=2)


@check("CLM-023", waits=True)
def what_is_released_with_a_delay_is_there_when_it_is_over(env: Env) -> None:
    """A message released with a delay that it just outlives is listed when the delay is over."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        before = time.monotonic()
        ids = post(env, queue, 1, ttl=4 * unit)
        claim, _ = take(env, queue, 1, ttl=3 * unit, grace=0)
        if time.monotonic() - before >= unit:
            return False
        env.storage.claims.delete(queue, claim, delay=2 * unit)
        elapse(env, 2 * unit)
        found = ids_of(listed(env, queue))
        if time.monotonic() - before >= 4 * unit:
            return False
        ensure_equal(found, ids, "CLM-023", "listed after a delay that the message outlives")
        return True

    paced(scenario)


@check("CLM-024")
def a_claim_renewed_without_a_ttl_keeps_its_own(env: Env) -> None:
    """``renew`` without a ttl lets a claim end its own ttl from then on: that which it was made or renewed with."""
    queue = env.queue()
    post(env, queue, 1)
    for ttl in (3600.0, 1.5):
        with env.storage.queue(queue).claim(ttl=ttl) as claim:
            claim.renew()
            seen = env.storage.claims.get(queue, str(claim.id)).ttl
            ensure_equal(seen, ttl, "CLM-024", f"ttl of a claim made for {ttl:g} s and renewed without a ttl")
            claim.renew(ttl=2 * ttl)
            claim.renew()
            seen = env.storage.claims.get(queue, str(claim.id)).ttl
            ensure_equal(seen, 2 * ttl, "CLM-024", f"ttl of a claim renewed for {2 * ttl:g} s and then without a ttl")


@check("CLM-013", "CLM-005")
def a_claim_works_when_some_of_its_messages_are_deleted(env: Env) -> None:
    """With messages deleted from its start, middle and end, a claim is read, renewed and released like any other."""
    queue = env.queue()
    ids = post(env, queue, 8)
    claim, _ = take(env, queue, 7)
    env.storage.messages.bulk_delete(queue, [ids[0], ids[3]], claim_ids=[claim])
    env.storage.messages.delete(queue, ids[6], claim_id=claim)
    left = [ids[1], ids[2], ids[4], ids[5]]
    held = ids_of(env.storage.claims.get(queue, claim).messages)
    ensure_equal(held, left, "CLM-013", "messages of a claim of 7 of which 3 were deleted")
    env.storage.claims.update(queue, claim, ttl=300, grace=300)
    found = env.storage.claims.get(queue, claim)
    ensure_equal((found.ttl, ids_of(found.messages)), (300.0, left), "CLM-013", "ttl and messages of it, renewed")
    see_stats(env, queue, "CLM-013", "a claim of 7 of which 3 were deleted, renewed", free=1, claimed=4)
    env.storage.claims.delete(queue, claim, message_ids=[ids[0], ids[1], ids[3]])
    see_listed(env, queue, [ids[1], ids[7]], "CLM-013", "a claim of which 3 were deleted and one released by name")
    env.storage.claims.delete(queue, claim)
    see_listed(env, queue, [*left, ids[7]], "CLM-013", "a claim of which 3 were deleted, released")
    see_stats(env, queue, "CLM-013", "a claim of which 3 were deleted, released", free=5)


@check("CLM-014")
def a_claim_without_messages_does_not_exist(env: Env) -> None:
    """Once all its messages were deleted or released by name, a claim is not read, renewed, nor good for anything."""

    def delete_each(queue: str, claim: str, ids: list[str]) -> None:
        for one in ids:
            env.storage.messages.delete(queue, one, claim_id=claim)

    def delete_all(queue: str, claim: str, ids: list[str]) -> None:
        env.storage.messages.bulk_delete(queue, ids, claim_ids=[claim])

    def release_each(queue: str, claim: str, ids: list[str]) -> None:
        for one in ids:
            env.storage.claims.delete(queue, claim, message_ids=[one])

    def release_all(queue: str, claim: str, ids: list[str]) -> None:
        env.storage.claims.delete(queue, claim, message_ids=ids)

    def some_of_each(queue: str, claim: str, ids: list[str]) -> None:
        delete_each(queue, claim, ids[:1])
        release_each(queue, claim, ids[1:])

    ways: list[Callable[[str, str, list[str]], None]] = [
        delete_each,
        delete_all,
        release_each,
        release_all,
        some_of_each,
    ]
    for way in ways:
        queue = env.queue()
        ids = post(env, queue, 4)
        claim, _ = take(env, queue, 3)
        way(queue, claim, ids[:3])
        what = f"a claim of which no message is left ({way.__name__})"
        get = partial(env.storage.claims.get, queue, claim)
        ensure_raises(ClaimDoesNotExist, "CLM-014", f"get of {what}", get)
        update = partial(env.storage.claims.update, queue, claim, ttl=60)
        ensure_raises(ClaimDoesNotExist, "CLM-014", f"update of {what}", update)
        delete = partial(env.storage.messages.delete, queue, ids[3], claim_id=claim)
        ensure_raises(ClaimDoesNotExist, "CLM-014", f"deleting another message with {what}", delete)
        env.storage.claims.delete(queue, claim)
        see_stats(env, queue, "CLM-014", f"after {what}", free=len(listed(env, queue)))


@check("CLM-014", "CLM-012")
def a_claim_released_by_name_with_a_delay_does_not_exist(env: Env) -> None:
    """Once all its messages were released by name with a delay, a claim is neither read nor renewed."""
    queue = env.queue()
    ids = post(env, queue, 2)
    claim, _ = take(env, queue, 2)
    for one in ids:
        env.storage.claims.delete(queue, claim, message_ids=[one], delay=60)
    get = partial(env.storage.claims.get, queue, claim)
    ensure_raises(ClaimDoesNotExist, "CLM-014", "get of a claim whose messages were released with a delay", get)
    update = partial(env.storage.claims.update, queue, claim, ttl=60)
    ensure_raises(ClaimDoesNotExist, "CLM-014", "update of a claim whose messages were released with a delay", update)
