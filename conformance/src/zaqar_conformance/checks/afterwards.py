"""Checks of what is left when a time is long over, waited for and not measured.

The others look at the very moment; here a backend that counts whole seconds is seen too, and what it forgets later.
"""

from __future__ import annotations

import time
from functools import partial

from zaqar_conformance.check import check, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import (
    BRIEF,
    LONG,
    elapse,
    ids_of,
    listed,
    paced,
    post,
    see_fetched,
    see_stats,
    take,
)
from zaqar_conformance.env import Env
from zaqar_core.errors import ClaimDoesNotExist

_LATER = 1.2
"""Seconds: after that, what was to last for ``BRIEF`` is over by a clock of whole seconds too, rounded up."""


@check("CLM-015", "STA-001", thorough=True, waits=True)
def long_ended_claims_are_none(env: Env) -> None:
    """Long after a claim's end its messages count as free; reading, renewing or releasing it harms nothing."""
    queue = env.queue()
    ids = post(env, queue, 3)
    old, _ = take(env, queue, 2, ttl=BRIEF)
    elapse(env, _LATER)
    see_stats(env, queue, "STA-001", "3 messages, long after the end of a claim of 2", free=3)
    for what, call in (
        ("get", partial(env.storage.claims.get, queue, old)),
        ("update", partial(env.storage.claims.update, queue, old)),
        ("delete of a message with it", partial(env.storage.messages.delete, queue, ids[0], claim_id=old)),
    ):
        ensure_raises(ClaimDoesNotExist, "CLM-015", f"{what}, long after the claim's end", call)
    env.storage.claims.delete(queue, old)
    claim = env.storage.claims.create(queue, ttl=LONG, limit=3)
    ensure_equal(ids_of(claim.messages), ids, "CLM-004", "messages claimed long after the end of another claim")


@check("CLM-006", thorough=True, waits=True)
def claimed_messages_are_there_long_after_their_ttl(env: Env) -> None:
    """Long after its own ttl a claimed message is fetched, and shown by its claim."""

    def scenario(unit: float) -> bool:
        queue, ids, claim = _claimed_long_ago(env, unit)
        if claim:
            see_fetched(env, queue, ids, ids, "CLM-006", _LONG_AGO)
            shown = ids_of(env.storage.claims.get(queue, claim).messages)
            ensure_equal(shown, ids, "CLM-006", f"{_LONG_AGO}, by the claim")
        return bool(claim)

    paced(scenario)


@check("CLM-007", "CLM-009", thorough=True, waits=True)
def claims_are_renewed_and_released_long_after_ttls(env: Env) -> None:
    """Long after its messages' own ttl a claim is renewed, and released: then they are active again."""

    def scenario(unit: float) -> bool:
        queue, ids, claim = _claimed_long_ago(env, unit)
        if claim:
            env.storage.claims.update(queue, claim, ttl=LONG)
            env.storage.claims.delete(queue, claim)
            env.see(
                lambda: ids_of(listed(env, queue)),
                lambda seen: seen == ids,
                "CLM-007",
                f"{_LONG_AGO}, released and listed: expected {ids}",
            )
        return bool(claim)

    paced(scenario)


_LONG_AGO = f"messages of which one had a short ttl, claimed for {LONG:g} s, more than {_LATER:g} s after its end"


def _claimed_long_ago(env: Env, ttl: float) -> tuple[str, list[str], str]:
    """A queue, its messages and their claim, which is "" if a message may have expired before it was claimed."""
    queue, began = env.queue(), time.monotonic()
    ids = post(env, queue, 1, ttl=ttl) + post(env, queue, 1)
    claim = env.storage.claims.create(queue, ttl=LONG, limit=2)
    if time.monotonic() - began >= ttl:
        return queue, ids, ""
    ensure_equal(ids_of(claim.messages), ids, "CLM-001", "2 messages, claimed")
    elapse(env, ttl + _LATER)
    return queue, ids, str(claim.id)


@check("MSG-010", "STA-001", thorough=True, waits=True)
def long_expired_messages_are_not_counted(env: Env) -> None:
    """Long after their end messages are neither counted nor shown first."""
    _ensure_expired(env, *_expired_long_ago(env), "long ago")


@check("MSG-010", "STA-001", thorough=True, waits=True)
def long_expired_messages_are_not_counted_after_gc(env: Env) -> None:
    """Long after their end, and after ``gc``, messages are neither counted nor shown first."""
    queue, live = _expired_long_ago(env)
    env.storage.gc()
    _ensure_expired(env, queue, live, "long ago, after gc")


def _expired_long_ago(env: Env) -> tuple[str, list[str]]:
    queue = env.queue()
    post(env, queue, 300, ttl=BRIEF)
    live = post(env, queue, 2)
    post(env, queue, 3, ttl=BRIEF)
    elapse(env, _LATER)
    return queue, live


def _ensure_expired(env: Env, queue: str, live: list[str], state: str) -> None:
    what = f"of 2 messages, 303 having expired {state}"
    see_stats(env, queue, "MSG-010", what, free=2)
    ends = [env.storage.messages.first(queue, newest=last).id for last in (False, True)]
    ensure_equal(ends, live, "MSG-010", f"first and newest {what}")


@check("MSG-011", "CLM-001", thorough=True, waits=True)
def thousands_of_long_expired_messages_wedge_no_claim(env: Env) -> None:
    """With thousands long expired at the head, a claim takes what lives behind them."""
    queue = env.queue()
    many = min(env.depth, 9_000)
    post(env, queue, many, ttl=BRIEF)
    live = post(env, queue, 3)
    elapse(env, _LATER)
    claim = env.storage.claims.create(queue, ttl=LONG, limit=10)
    ensure_equal(ids_of(claim.messages), live, "MSG-011", f"messages claimed behind {many} long expired")
