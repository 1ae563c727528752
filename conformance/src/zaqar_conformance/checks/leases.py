"""Checks of leases: how a claim and its renewal lengthen the lives of messages, and what an ended claim may do."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import (
    BRIEF,
    LONG,
    SLACK,
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
from zaqar_core import Capability, NewMessage
from zaqar_core.errors import ClaimDoesNotExist, ClaimDoesNotMatch

# --- the life of claimed messages ---------------------------------------------------------------------


def _claim_brief(env: Env, queue: str, unit: float, ttl: float, grace: float) -> tuple[str, str] | None:
    """Post a message with a ttl of ``unit`` and claim it: ids of message and claim; None if it may have expired."""
    begun = time.monotonic()
    message = post(env, queue, 1, ttl=unit)[0]
    claim = env.storage.claims.create(queue, ttl=ttl, grace=grace)
    if claim.id is None:
        _excuse(begun, unit, f"a message with a ttl of {unit:g} s, claimed at once, was not there")
        return None
    return message, claim.id


def _excuse(begun: float, unit: float, what: str) -> None:
    """What is missing may be missing only because its time, which had begun after ``begun``, was over."""
    ensure(time.monotonic() >= begun + unit - SLACK, "CLM-001", what)


@check("CLM-006", waits=True)
def a_claimed_message_outlives_its_ttl(env: Env) -> None:
    """A message with a ttl shorter than its claim is fetched, shown, and deleted with the claim, after its ttl."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        found = _claim_brief(env, queue, unit, LONG, 0)
        if found is None:
            return False
        message, claim = found
        elapse(env, unit)
        env.storage.gc()
        what = f"a message with a ttl of {unit:g} s, over by now, under a claim for {LONG:g} s"
        see_fetched(env, queue, [message], [message], "CLM-006", what)
        see_listed(env, queue, [message], "CLM-006", f"{what}, with include_claimed", include_claimed=True)
        see_stats(env, queue, "CLM-006", what, claimed=1)
        held = ids_of(env.storage.claims.get(queue, claim).messages)
        ensure_equal(held, [message], "CLM-006", f"messages of the claim: {what}")
        ensure_equal(env.storage.messages.first(queue).id, message, "CLM-006", f"first: {what}")
        env.storage.messages.delete(queue, message, claim_id=claim)
        see_fetched(env, queue, [message], [], "CLM-006", f"{what}, deleted with the claim")
        return True

    paced(scenario)


@check("CLM-006", waits=True)
def a_message_is_claimed_again_within_the_grace(env: Env) -> None:
    """A message whose own ttl is over is claimed again after the claim's end, within the grace."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        found = _claim_brief(env, queue, unit, unit, LONG)
        if found is None:
            return False
        elapse(env, unit)
        env.storage.gc()
        what = f"a message with a ttl of {unit:g} s whose claim for {unit:g} s has ended, within a grace of {LONG:g} s"
        see_listed(env, queue, [found[0]], "CLM-006", what)
        see_fetched(env, queue, [found[0]], [found[0]], "CLM-006", what)
        again = env.storage.claims.create(queue)
        ensure_equal(ids_of(again.messages), [found[0]], "CLM-006", f"claimed again: {what}")
        return True

    paced(scenario)


@check("CLM-006", "MSG-010", waits=True)
def a_message_dies_when_the_grace_is_over(env: Env) -> None:
    """A message with a short ttl lives until the claim's end plus the grace, in fact, and not beyond."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        before = time.monotonic()
        message = post(env, queue, 1, ttl=unit)[0]
        claimed = time.monotonic()
        claim = env.storage.claims.create(queue, ttl=unit, grace=0.5 * unit)
        after = time.monotonic()
        if claim.id is None:
            _excuse(before, unit, f"a message with a ttl of {unit:g} s, claimed at once, was not there")
            return False
        turns(
            env,
            lambda: not env.storage.messages.bulk_get(queue, [message]),
            earliest=claimed + 1.5 * unit,
            latest=after + 1.5 * unit,
            requirement="CLM-006",
            what=f"a message with a ttl of {unit:g} s, claimed for as long, with half of it as grace; it is gone",
        )
        see_listed(env, queue, [], "MSG-010", "a message whose grace is over", include_claimed=True)
        see_stats(env, queue, "MSG-010", "a message whose grace is over")
        return True

    paced(scenario)


@check("CLM-006", "MSG-010", waits=True)
def without_grace_a_message_dies_with_its_claim(env: Env) -> None:
    """A message with a short ttl, claimed without grace, is gone when the claim ends, and never active again."""

    def scenario(unit: float) -> bool:
        queues = [env.queue() for _ in range(3)]
        found = [_claim_brief(env, queue, unit, unit, 0) for queue in queues]
        if None in found:
            return False
        elapse(env, unit)
        what = "a message whose ttl, and claim without grace, are over"
        claim = env.storage.claims.create(queues[0])
        ensure_equal((claim.id, list(claim.messages)), (None, []), "MSG-010", f"a claim on {what}")
        see_listed(env, queues[1], [], "MSG-010", what, include_claimed=True)
        see_stats(env, queues[2], "MSG-010", what)
        return True

    paced(scenario)


@check("CLM-007", waits=True)
def a_longer_life_outlives_the_release(env: Env) -> None:
    """The life that a claim lengthened stays so after its release: the message is there after its first ttl."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        found = _claim_brief(env, queue, unit, LONG, 60)
        if found is None:
            return False
        message, claim = found
        env.storage.claims.delete(queue, claim)
        elapse(env, unit)
        env.storage.gc()
        what = f"a message with a ttl of {unit:g} s, over by now, that was claimed for {LONG:g} s and released"
        see_listed(env, queue, [message], "CLM-007", what)
        see_fetched(env, queue, [message], [message], "CLM-007", what)
        see_stats(env, queue, "CLM-007", what, free=1)
        ensure_equal(ids_of(env.storage.claims.create(queue).messages), [message], "CLM-007", f"claimed again: {what}")
        return True

    paced(scenario)


@check("CLM-007", waits=True)
def a_claim_never_shortens_a_life(env: Env) -> None:
    """A message with a longer ttl than its claim and grace keeps it, as reported and in fact."""
    queue = env.queue()
    ids = post(env, queue, 2)
    claim, held = take(env, queue, 1, ttl=BRIEF, grace=0)
    ensure_equal(held[0].ttl, LONG, "CLM-007", f"ttl of a message with {LONG:g} s, claimed for {BRIEF:g} s")
    elapse(env, BRIEF)
    env.storage.gc()
    see_listed(env, queue, ids, "CLM-007", "2 messages with a long ttl, one claimed for a short time that is over")
    ttls = [message.ttl for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(ttls, [LONG, LONG], "CLM-007", "ttls of these 2 messages")
    claim, _ = take(env, queue, 2, ttl=1, grace=0)
    env.storage.claims.update(queue, claim, ttl=2, grace=1)
    env.storage.claims.delete(queue, claim)
    ttls = [message.ttl for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(ttls, [LONG, LONG], "CLM-007", "ttls after another short claim, renewed and released")


@check("CLM-007", waits=True)
def a_claim_never_resets_an_age(env: Env) -> None:
    """A message's age counts from its post through claims, renewals, releases and ends of claims."""
    queue = env.queue()
    before = time.monotonic()
    ids = post(env, queue, 1)
    after = time.monotonic()

    def judge(age: float, asked: float, what: str) -> None:
        low, high = asked - after - SLACK, time.monotonic() - before + SLACK
        seen = f"age of a message {what}: expected {low:.3f} to {high:.3f} s, got {age!r}"
        ensure(max(0.0, low) <= age <= high, "CLM-007", seen)

    def look(what: str) -> None:
        asked = time.monotonic()
        judge(env.storage.messages.get(queue, ids[0]).age, asked, what)

    elapse(env, 0.1)
    asked = time.monotonic()
    claim, held = take(env, queue, 1)
    judge(held[0].age, asked, "just claimed")
    look("under a claim")
    asked = time.monotonic()
    judge(env.storage.claims.get(queue, claim).messages[0].age, asked, "as its claim shows it")
    env.storage.claims.update(queue, claim, ttl=300)
    look("whose claim was renewed")
    env.storage.claims.delete(queue, claim)
    look("that was released")
    take(env, queue, 1, ttl=BRIEF)
    elapse(env, BRIEF)
    look("whose claim has ended")


@check("CLM-007", waits=True)
def a_lengthened_life_is_reported(env: Env) -> None:
    """``ttl`` reports the whole life as it stands: age at the claim + the claim's ttl + grace, where that is longer."""
    queue = env.queue()
    before = time.monotonic()
    ids = post(env, queue, 1, ttl=60)
    after = time.monotonic()

    def look(ttl: float, asked: float, done: float, life: float, what: str) -> None:
        low, high = asked - after + life - SLACK, done - before + life + SLACK
        ensure(
            low <= ttl <= high, "CLM-007", f"ttl of a message {what}: expected {low:.3f} to {high:.3f} s, got {ttl!r}"
        )

    elapse(env, 0.05)
    asked = time.monotonic()
    claim, held = take(env, queue, 1, ttl=100, grace=50)
    done = time.monotonic()
    what = "with 60 s, claimed for 100 s with 50 s of grace"
    readings = {
        "create": held[0],
        "claims.get": env.storage.claims.get(queue, claim).messages[0],
        "get": env.storage.messages.get(queue, ids[0]),
        "list": listed(env, queue, include_claimed=True)[0],
        "first": env.storage.messages.first(queue),
    }
    for how, message in readings.items():
        look(message.ttl, asked, done, 150, f"{what}, by {how}")
    env.storage.claims.delete(queue, claim)
    look(env.storage.messages.get(queue, ids[0]).ttl, asked, done, 150, f"{what}, released")


# --- update -------------------------------------------------------------------------------------------


@check("CLM-008", waits=True)
def an_update_lengthens_a_claim(env: Env) -> None:
    """A claim renewed for longer holds its messages beyond its first end."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        ids = post(env, queue, 3)
        begun = time.monotonic()
        claim, _ = take(env, queue, 2, ttl=unit)
        try:
            env.storage.claims.update(queue, claim, ttl=LONG)
        except ClaimDoesNotExist:
            _excuse(begun, unit, f"a claim for {unit:g} s, renewed at once, did not exist")
            return False
        elapse(env, unit)
        what = f"3 messages, 2 of them claimed for {unit:g} s, over by now, and renewed at once for {LONG:g} s"
        see_listed(env, queue, ids[2:], "CLM-008", what)
        see_stats(env, queue, "CLM-008", what, free=1, claimed=2)
        held = ids_of(env.storage.claims.get(queue, claim).messages)
        ensure_equal(held, ids[:2], "CLM-008", f"messages of the claim: {what}")
        taken = ids_of(env.storage.claims.create(queue).messages)
        ensure_equal(taken, ids[2:], "CLM-008", f"claimed by another: {what}")
        env.storage.messages.delete(queue, ids[0], claim_id=claim)
        return True

    paced(scenario)


@check("CLM-008", waits=True)
def an_update_shortens_a_claim(env: Env) -> None:
    """A claim renewed for less ends that many seconds from the update, and not at its first end."""
    queue = env.queue()
    ids = post(env, queue, 2)
    claim, _ = take(env, queue, 2)
    before = time.monotonic()
    env.storage.claims.update(queue, claim, ttl=0.15)
    after = time.monotonic()
    turns(
        env,
        lambda: listed(env, queue),
        earliest=before + 0.15,
        latest=after + 0.15,
        requirement="CLM-008",
        what=f"2 messages were claimed for {LONG:g} s, then 0.15 s from an update; they are listed",
    )
    see_listed(env, queue, ids, "CLM-008", "2 messages of a claim that was shortened and has ended")
    get = partial(env.storage.claims.get, queue, claim)
    ensure_raises(ClaimDoesNotExist, "CLM-008", "get of a claim that was shortened and has ended", get)


@check("CLM-008", waits=True)
def an_update_counts_from_now(env: Env) -> None:
    """Renewed with its own ttl, a claim ends that many seconds after the update, not after it was made."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        post(env, queue, 1)
        begun = time.monotonic()
        claim, _ = take(env, queue, 1, ttl=unit)
        elapse(env, unit / 2)
        before = time.monotonic()
        try:
            env.storage.claims.update(queue, claim, ttl=unit)
        except ClaimDoesNotExist:
            _excuse(begun, unit, f"a claim for {unit:g} s, renewed after half of that, did not exist")
            return False
        after = time.monotonic()
        turns(
            env,
            lambda: listed(env, queue),
            earliest=before + unit,
            latest=after + unit,
            requirement="CLM-008",
            what=f"a claim for {unit:g} s renewed for {unit:g} s half-way; its message is listed",
        )
        return True

    paced(scenario)


@check("CLM-008")
def the_last_of_many_updates_counts(env: Env) -> None:
    """However often a claim is renewed, for longer and for less in turns, the last update says when it ends."""
    queue = env.queue()
    ids = post(env, queue, 2)
    claim, _ = take(env, queue, 2)
    for ttl in (30, 300, 5, LONG, LONG, 60, 400):
        env.storage.claims.update(queue, claim, ttl=ttl, grace=env.rng.choice((0, 10, 60)))
        found = env.storage.claims.get(queue, claim)
        ensure_equal((found.ttl, ids_of(found.messages)), (ttl, ids), "CLM-008", "ttl and messages of a renewed claim")
    see_stats(env, queue, "CLM-008", "2 messages of a claim that was renewed often", claimed=2)
    counts = [message.claim_count for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(counts, [1, 1], "CLM-017", "claim counts of messages whose claim was renewed often")


@check("CLM-009", waits=True)
def an_update_lengthens_lives(env: Env) -> None:
    """After an update each message lives until the new end plus the grace, in fact, released too."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        begun = time.monotonic()
        ids = env.storage.messages.post(queue, [NewMessage(ttl, ttl=ttl) for ttl in (unit, LONG)])
        claim = env.storage.claims.create(queue, ttl=unit, grace=0)
        if claim.id is None or len(claim.messages) < 2:
            _excuse(begun, unit, f"2 messages, one of {unit:g} s, claimed at once, were not there")
            return False
        try:
            env.storage.claims.update(queue, claim.id, ttl=LONG, grace=60)
        except ClaimDoesNotExist:
            _excuse(begun, unit, f"a claim for {unit:g} s, renewed at once, did not exist")
            return False
        if time.monotonic() >= begun + unit:
            return False  # the message may have gone before the update
        elapse(env, unit)
        env.storage.gc()
        what = f"a message with a ttl of {unit:g} s, over by now, whose claim was renewed for {LONG:g} s"
        see_fetched(env, queue, ids, ids, "CLM-009", what)
        held = ids_of(env.storage.claims.get(queue, claim.id).messages)
        ensure_equal(held, ids, "CLM-009", f"messages of the claim: {what}")
        env.storage.claims.delete(queue, claim.id)
        see_listed(env, queue, ids, "CLM-009", f"{what}, then released")
        return True

    paced(scenario)


@check("CLM-009", waits=True)
def an_update_never_shortens_lives(env: Env) -> None:
    """An update that shortens the claim leaves the lives that it gave before as they were, reported and in fact."""
    queue = env.queue()
    ids = post(env, queue, 2, ttl=60)
    claim, _ = take(env, queue, 2, ttl=300, grace=100)
    given = [message.ttl for message in env.storage.messages.bulk_get(queue, ids)]
    ensure(min(given) >= 400 - SLACK, "CLM-006", f"ttls of messages claimed for 300 s with 100 s of grace: {given}")
    for ttl, grace in ((100, 0), (10, 1), (BRIEF, 0)):
        env.storage.claims.update(queue, claim, ttl=ttl, grace=grace)
        found = [message.ttl for message in env.storage.messages.bulk_get(queue, ids)]
        ensure_equal(
            found, given, "CLM-009", f"ttls of 2 messages after an update to {ttl:g} s with {grace} s of grace"
        )
    elapse(env, BRIEF)
    see_listed(env, queue, ids, "CLM-009", "2 messages whose claim was shortened and has ended")


@check("CLM-009")
def an_update_reports_the_lengthened_life(env: Env) -> None:
    """After an update ``ttl`` is age + the new ttl + grace where that is longer than before."""
    queue = env.queue()
    begun = time.monotonic()
    ids = env.storage.messages.post(queue, [NewMessage(ttl, ttl=ttl) for ttl in (60, 3000)])
    claim, _ = take(env, queue, 2, ttl=60, grace=0)
    env.storage.claims.update(queue, claim, ttl=200, grace=100)
    most = 300 + time.monotonic() - begun + SLACK
    first, second = (message.ttl for message in env.storage.messages.bulk_get(queue, ids))
    ensure(300 - SLACK <= first <= most, "CLM-009", f"ttl of a message of 60 s, renewed for 200 + 100 s: {first!r}")
    ensure_equal(second, 3000.0, "CLM-009", "ttl of a message of 3000 s, renewed for 200 + 100 s")


# --- claims that are over -----------------------------------------------------------------------------


@check("CLM-015", waits=True)
def an_expired_claim_is_none(env: Env) -> None:
    """An expired claim is not read, renewed or deleted with, by the very first call after its end."""
    calls: dict[str, Callable[[str, str, list[str]], object]] = {
        "get": lambda queue, claim, _: env.storage.claims.get(queue, claim),
        "update": lambda queue, claim, _: env.storage.claims.update(queue, claim, ttl=60),
        "delete with it": lambda queue, claim, ids: env.storage.messages.delete(queue, ids[0], claim_id=claim),
    }
    queues = {name: env.queue() for name in calls}
    ids = {name: post(env, queue, 2) for name, queue in queues.items()}
    claims = {name: take(env, queue, 2, ttl=BRIEF)[0] for name, queue in queues.items()}
    elapse(env, BRIEF)
    for name, call in calls.items():
        for _ in range(2):
            late = partial(call, queues[name], claims[name], ids[name])
            ensure_raises(ClaimDoesNotExist, "CLM-015", f"{name} of an expired claim, nobody having looked since", late)
        see_listed(env, queues[name], ids[name], "CLM-015", f"2 messages of an expired claim after {name} was refused")
        see_stats(env, queues[name], "CLM-015", f"2 messages of an expired claim after {name} was refused", free=2)


@check("CLM-015", waits=True)
def an_expired_claim_releases_nothing(env: Env) -> None:
    """Releasing an expired claim, all or by name, succeeds and changes nothing."""
    queue = env.queue()
    ids = post(env, queue, 3)
    claim, _ = take(env, queue, 2, ttl=BRIEF)
    elapse(env, BRIEF)
    env.storage.claims.delete(queue, claim)
    env.storage.claims.delete(queue, claim, message_ids=ids)
    see_listed(env, queue, ids, "CLM-015", "3 messages after the release of an expired claim of 2")
    counts = [message.claim_count for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(counts, [1, 1, 0], "CLM-015", "claim counts after the release of an expired claim")


@check("CLM-015", "CLM-012", waits=True)
def an_expired_claim_delays_nothing(env: Env) -> None:
    """Releasing an expired claim with a delay does not hide its messages, nor move them."""
    queue, by_name = env.queue(), env.queue()
    posted = {name: post(env, name, 3) for name in (queue, by_name)}
    claims = {name: take(env, name, 2, ttl=BRIEF)[0] for name in posted}
    elapse(env, BRIEF)
    env.storage.claims.delete(queue, claims[queue], delay=60)
    env.storage.claims.delete(by_name, claims[by_name], message_ids=posted[by_name], delay=60)
    for name, ids in posted.items():
        see_listed(env, name, ids, "CLM-015", "3 messages after the release, with a delay, of an expired claim of 2")
        see_stats(env, name, "CLM-015", "3 messages after the release, with a delay, of an expired claim", free=3)


def _ensure_powerless(env: Env, queue: str, old: str, holder: str, ids: list[str], state: str) -> None:
    """Nothing that is done with the claim ``old`` touches ``ids``, which the claim ``holder`` holds by now."""
    what = f"a claim that {state} while another holds its messages"
    claims, messages = env.storage.claims, env.storage.messages
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: claims.get(queue, old),
        "update": lambda: claims.update(queue, old, ttl=1, grace=5000),
        "deleting with": lambda: messages.delete(queue, ids[0], claim_id=old),
    }
    for name, call in calls.items():
        ensure_raises(ClaimDoesNotExist, "CLM-016", f"{name} {what}", call)
    refused = messages.bulk_delete(queue, ids, claim_ids=[old])
    ensure_equal(refused, ids, "CLM-016", f"refused of messages deleted in bulk with {what}")
    claims.delete(queue, old)
    claims.delete(queue, old, message_ids=ids)
    if env.declares(Capability.DELAY):
        claims.delete(queue, old, delay=60)
        claims.delete(queue, old, message_ids=ids, delay=60)
    see_stats(env, queue, "CLM-016", f"after calls with {what}", claimed=len(ids))
    found = claims.get(queue, holder)
    ensure_equal(
        (found.ttl, ids_of(found.messages)), (LONG, ids), "CLM-016", f"ttl and messages of the other after {what}"
    )
    lives = [message.ttl for message in found.messages]
    ensure(max(lives) < 5000, "CLM-016", f"ttls of the messages after an update of {what}: {lives}")


@check("CLM-016", waits=True)
def an_expired_claim_has_no_power_over_another(env: Env) -> None:
    """An expired claim neither reads, renews, releases nor deletes what another claim holds since."""
    queue = env.queue()
    ids = post(env, queue, 3)
    old, _ = take(env, queue, 3, ttl=BRIEF)
    elapse(env, BRIEF)
    holder, _ = take(env, queue, 3)
    _ensure_powerless(env, queue, old, holder, ids, "has expired")


@check("CLM-016")
def a_released_claim_has_no_power_over_another(env: Env) -> None:
    """A released claim neither reads, renews, releases nor deletes what another claim holds since."""
    queue = env.queue()
    ids = post(env, queue, 3)
    old, _ = take(env, queue, 3)
    env.storage.claims.delete(queue, old)
    holder, _ = take(env, queue, 3)
    _ensure_powerless(env, queue, old, holder, ids, "was released")


@check("CLM-016", waits=True)
def a_claims_old_end_does_not_end_another(env: Env) -> None:
    """When the time comes at which a released claim would have ended, another's hold on the messages goes on."""
    queue = env.queue()
    ids = post(env, queue, 2)
    old = env.storage.claims.create(queue, ttl=0.2, limit=10)
    env.storage.claims.delete(queue, str(old.id))
    holder, _ = take(env, queue, 2)
    elapse(env, 0.2)
    env.storage.gc()
    see_stats(env, queue, "CLM-016", "2 messages claimed again before their first, released claim would end", claimed=2)
    held = ids_of(env.storage.claims.get(queue, holder).messages)
    ensure_equal(held, ids, "CLM-016", "messages of the second claim after the first would have ended")


@check("CLM-016")
def a_live_claim_has_no_power_over_what_it_let_go(env: Env) -> None:
    """A live claim neither shows, renews, releases nor deletes a message that it released and another holds since."""
    queue = env.queue()
    ids = post(env, queue, 2)
    first, _ = take(env, queue, 2)
    env.storage.claims.delete(queue, first, message_ids=[ids[1]])
    second, _ = take(env, queue, 1)
    held = ids_of(env.storage.claims.get(queue, first).messages)
    ensure_equal(held, ids[:1], "CLM-016", "messages of a claim of 2 that let one go, which another holds since")
    env.storage.claims.update(queue, first, ttl=300, grace=5000)
    life = env.storage.messages.get(queue, ids[1]).ttl
    ensure(life < 5000, "CLM-016", f"ttl of a message that another claim holds after the first was renewed: {life!r}")
    delete = partial(env.storage.messages.delete, queue, ids[1], claim_id=first)
    ensure_raises(ClaimDoesNotMatch, "CLM-016", "deleting what another claim holds since", delete)
    env.storage.claims.delete(queue, first, message_ids=[ids[1]])
    env.storage.claims.delete(queue, first)
    see_listed(env, queue, ids[:1], "CLM-016", "2 messages, the first released, the second held by another claim")
    found = env.storage.claims.get(queue, second)
    ensure_equal((found.ttl, ids_of(found.messages)), (LONG, ids[1:]), "CLM-016", "ttl and messages of the other claim")
