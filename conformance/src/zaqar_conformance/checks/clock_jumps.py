"""A datastore's clock that is set ahead once and corrected: what it did stays done, and time runs true again."""

from __future__ import annotations

import time
from collections.abc import Callable

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import LONG, ids_of, listed, post, see_listed, take, turns
from zaqar_conformance.env import Env
from zaqar_core import Capability
from zaqar_core.errors import ClaimDoesNotExist

_DECADE = 10 * 365 * 86_400.0
_HOUR = 3600.0
_DAY = 86_400.0
_SOON = 0.3


@check("TIM-005", destructive=True)
def time_runs_true_after_a_clock_that_was_a_decade_ahead(env: Env) -> None:
    """After the correction ttls, delays and leases end in time, on queues used meanwhile and on new ones."""
    used = env.queue("used")
    old = post(env, used, 2)
    see_listed(env, used, old, "MSG-001", "2 messages")
    env.target.move_clock(_DECADE)
    see_listed(env, used, [], "TIM-005", f"messages with a ttl of {LONG:g} s, by a clock ten years ahead")
    post(env, used, 1, ttl=_DAY)
    if env.declares(Capability.CLAIMS):
        take(env, used, 1, ttl=_SOON)
    env.target.move_clock(0)
    for queue in (used, env.queue("new")):
        _lasts(env, queue)
    left = ids_of(env.storage.messages.bulk_get(used, old))
    ensure_equal(left, [], "TIM-005", "messages expired while the clock was ahead, fetched after its correction")


@check("TIM-005", destructive=True)
def what_a_clock_ahead_did_stays_done(env: Env) -> None:
    """A claim that ended while the clock was an hour ahead stays so after its correction, and so does a delay."""
    queue = env.queue()
    ids = post(env, queue, 2, ttl=_DAY)
    delayed = post(env, queue, 1, ttl=_DAY, delay=_HOUR / 2) if env.declares(Capability.DELAY) else []
    claim = take(env, queue, 1, ttl=_HOUR / 2)[0] if env.declares(Capability.CLAIMS) else None
    env.target.move_clock(_HOUR)
    what = "messages of a claim and a delay that were over"
    see_listed(env, queue, [*ids, *delayed], "TIM-005", f"{what}, by a clock an hour ahead")
    env.target.move_clock(0)
    see_listed(env, queue, [*ids, *delayed], "TIM-005", f"{what}, after its correction")
    for message in listed(env, queue):
        ensure(message.age >= 0, "TIM-005", f"age after a clock was corrected: expected 0 or more, got {message.age!r}")
    if claim is not None:
        call = env.storage.claims.get
        ensure_raises(ClaimDoesNotExist, "TIM-005", "get of a claim that had ended", lambda: call(queue, claim))


@check("TIM-005", destructive=True)
def order_and_markers_survive_a_correction_of_the_clock(env: Env) -> None:
    """What is posted after the correction is listed after what was there, and by the markers given before."""
    queue = env.queue()
    env.target.move_clock(_HOUR)
    ids = post(env, queue, 2, ttl=_DAY)
    see_listed(env, queue, ids, "MSG-001", "2 messages posted while the clock was an hour ahead")
    page = env.storage.messages.list(queue, limit=2)
    env.target.move_clock(0)
    later = post(env, queue, 2, ttl=_DAY)
    if env.declares(Capability.FIFO):
        see_listed(env, queue, [*ids, *later], "TIM-005", "2 messages from before the clock's correction, 2 from after")
    if env.declares(Capability.STRICT_MARKERS):
        see_listed(env, queue, later, "TIM-005", "what follows a marker from before the correction", marker=page.marker)
    for message in listed(env, queue):
        ensure(message.age >= 0, "TIM-005", f"age after a clock was corrected: expected 0 or more, got {message.age!r}")


def _lasts(env: Env, queue: str) -> None:
    """Ttls, delays and leases given now end when they should."""
    before = time.monotonic()
    short = post(env, queue, 1, ttl=_SOON)
    after = time.monotonic()
    what = f"after the clock was corrected, in the queue {queue!r}: a message with a ttl of {_SOON:g} s is gone"
    messages = env.storage.messages
    _turns(env, lambda: not messages.bulk_get(queue, short), before, after, what)
    if env.declares(Capability.DELAY):
        before = time.monotonic()
        delayed = post(env, queue, 1, ttl=_DAY, delay=_SOON)
        what = f"after the clock was corrected, in the queue {queue!r}: a message with a delay of {_SOON:g} s is listed"
        _turns(env, lambda: delayed[0] in ids_of(listed(env, queue)), before, time.monotonic(), what)
    if env.declares(Capability.CLAIMS):
        [held] = post(env, queue, 1, ttl=_DAY)
        before = time.monotonic()
        claim = env.storage.claims.create(queue, ttl=_SOON, grace=0, limit=10)
        after = time.monotonic()
        if held in ids_of(claim.messages):
            what = f"after the clock was corrected, in the queue {queue!r}: a claim for {_SOON:g} s has ended"
            _turns(env, lambda: held in ids_of(listed(env, queue)), before, after, what)


def _turns(env: Env, read: Callable[[], object], before: float, after: float, what: str) -> None:
    turns(env, read, earliest=before + _SOON, latest=after + _SOON, requirement="TIM-005", what=what)
