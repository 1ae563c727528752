"""Checks of time: short and long durations, what is reported of them, and whose clock counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from zaqar_conformance.check import check, ensure, ensure_equal
from zaqar_conformance.checks._support import (
    LONG,
    SLACK,
    elapse,
    ids_of,
    listed,
    post,
    see_fetched,
    see_listed,
    take,
    turns,
)
from zaqar_conformance.env import Env
from zaqar_conformance.processes import Worker
from zaqar_core import Capability, Message, NewMessage

_WRONG_HOURS = (-7, 7)


@check("TIM-001", waits=True)
def a_ttl_is_kept_to_the_millisecond(env: Env) -> None:
    """Messages with a ttl of a fraction of a second are fetched until it is over, and not after."""
    lives = []
    for ttl in (0.15, 0.15, 0.337):
        queue = env.queue()
        before = time.monotonic()
        ids = post(env, queue, 2, ttl=ttl)
        lives.append((ttl, queue, ids, before, time.monotonic()))
    for ttl, queue, ids, before, after in lives:
        turns(
            env,
            lambda: not env.storage.messages.bulk_get(queue, ids),  # noqa: B023  # called here and now
            earliest=before + ttl,
            latest=after + ttl,
            requirement="TIM-001",
            what=f"2 messages with a ttl of {ttl:g} s were posted; they are gone",
        )


@check("TIM-001", waits=True)
def each_message_of_a_batch_has_its_own_ttl(env: Env) -> None:
    """In one post, each message lives as long as its own ttl says, whatever its neighbours' are."""
    queue = env.queue()
    before = time.monotonic()
    ttls = (LONG, 0.3, LONG, 0.15, LONG)
    ids = env.storage.messages.post(queue, [NewMessage(ttl, ttl=ttl) for ttl in ttls])
    after = time.monotonic()
    for left, ttl in ((4, 0.15), (3, 0.3)):
        turns(
            env,
            lambda: len(env.storage.messages.bulk_get(queue, ids)) <= left,  # noqa: B023  # called here and now
            earliest=before + ttl,
            latest=after + ttl,
            requirement="TIM-001",
            what=f"messages with the ttls {ttls} were posted at once; no more than {left} of them are left",
        )
    see_listed(env, queue, ids[::2], "TIM-001", f"of messages with the ttls {ttls} those with the long ones")


@check("TIM-002")
def a_ttl_is_reported_as_it_was_given(env: Env) -> None:
    """``ttl`` as reported is the ttl that was given, to the millisecond, whole numbers and fractions alike."""
    queue = env.queue()
    ttls = (60, 60.001, 61.5, 99.999, 1234.567, 3600.001, 86_399.999)
    ids = env.storage.messages.post(queue, [NewMessage(ttl, ttl=ttl) for ttl in ttls])
    see_listed(env, queue, ids, "MSG-001", f"{len(ttls)} messages")
    for how, found in (("list", listed(env, queue)), ("get", env.storage.messages.bulk_get(queue, ids))):
        for message, ttl in zip(found, ttls, strict=True):
            ensure(
                abs(message.ttl - ttl) < 0.0011,
                "TIM-002",
                f"{how} of a message posted with a ttl of {ttl} s: it reports {message.ttl!r}",
            )


@check("TIM-002", waits=True)
def age_grows_with_real_time(env: Env) -> None:
    """``age`` is 0 at the post and grows as real time does, in get, list and first."""
    queue = env.queue()
    before = time.monotonic()
    ids = post(env, queue)
    after = time.monotonic()
    see_listed(env, queue, ids, "MSG-001", "a message")
    reads: dict[str, Callable[[], Message]] = {
        "get": lambda: env.storage.messages.get(queue, ids[0]),
        "list": lambda: listed(env, queue)[0],
        "first": lambda: env.storage.messages.first(queue),
    }

    def look() -> None:
        for method, read in reads.items():
            asked = time.monotonic()
            age = read().age
            answered = time.monotonic()
            low, high = max(0.0, asked - after - SLACK), answered - before + SLACK
            ensure(low <= age <= high, "TIM-002", f"age by {method}: expected {low:.3f} to {high:.3f} s, got {age!r}")

    look()
    elapse(env, 0.3)
    look()


@check("TIM-003")
def the_longest_ttl_works(env: Env) -> None:
    """A message posted with the longest ttl allowed is there and reports that ttl, among short-lived ones too."""
    queue = env.queue()
    longest = env.storage.limits.max_message_ttl
    ids = env.storage.messages.post(
        queue, [NewMessage(1, ttl=LONG), NewMessage(2, ttl=longest), NewMessage(3, ttl=LONG)]
    )
    what = f"a message with the longest ttl, {longest:g} s, between two others"
    see_listed(env, queue, ids, "TIM-003", what)
    see_fetched(env, queue, ids[1:2], ids[1:2], "TIM-003", what)
    found = env.storage.messages.get(queue, ids[1])
    ensure(abs(found.ttl - longest) < 0.0011, "TIM-003", f"{what} reports the ttl {found.ttl!r}")
    ensure(0 <= found.age < 60, "TIM-003", f"{what} reports the age {found.age!r} at once after its post")


@check("TIM-003", "CLM-001")
def the_longest_claim_works(env: Env) -> None:
    """A claim with the longest ttl and grace allowed hides its messages, and can be renewed and released."""
    queue, limits = env.queue(), env.storage.limits
    ids = post(env, queue, 2)
    claim, _ = take(env, queue, 2, ttl=limits.max_claim_ttl, grace=limits.max_claim_grace)
    see_listed(env, queue, [], "TIM-003", "2 messages under a claim of the longest ttl and grace")
    found = env.storage.claims.get(queue, claim)
    ensure_equal((found.ttl, ids_of(found.messages)), (limits.max_claim_ttl, ids), "TIM-003", "ttl and messages of it")
    env.storage.claims.update(queue, claim, ttl=limits.max_claim_ttl, grace=limits.max_claim_grace)
    env.storage.claims.delete(queue, claim)
    see_listed(env, queue, ids, "TIM-003", "2 messages released by a claim of the longest ttl and grace")


@check("TIM-003", "MSG-027")
def the_longest_delay_works(env: Env) -> None:
    """A message with the longest delay allowed is stored, fetched, and not listed."""
    queue, limits = env.queue(), env.storage.limits
    delay = min(limits.max_message_delay, limits.max_message_ttl - 1)
    ids = post(env, queue, 1, ttl=limits.max_message_ttl, delay=delay)
    what = f"a message with the longest delay, {delay:g} s"
    see_fetched(env, queue, ids, ids, "TIM-003", what)
    see_listed(env, queue, [], "TIM-003", what)
    see_listed(env, queue, ids, "TIM-003", f"{what}, with include_delayed", include_delayed=True)


@check("TIM-004")
def a_client_with_a_wrong_clock_sees_the_right_time(env: Env) -> None:
    """A client whose clock is hours off lists and fetches what is alive, with its true age."""
    other = env.connect()
    for hours in _WRONG_HOURS:
        queue = env.queue()
        ids = post(env, queue, 3)
        with _clock_off_by(hours * 3600):
            what = f"3 messages read by a client whose clock is {hours:+d} h off"
            see_listed(env, queue, ids, "TIM-004", what, storage=other)
            found = other.messages.bulk_get(queue, ids)
            other.gc()
        ensure_equal(ids_of(found), ids, "TIM-004", what)
        for message in found:
            ensure(-SLACK <= message.age < 300, "TIM-004", f"{what}: expected an age near 0, got {message.age!r}")
        see_listed(env, queue, ids, "TIM-004", f"3 messages after a client whose clock is {hours:+d} h off ran gc")


@check("TIM-004")
def what_a_wrong_clock_posts_lives_its_time(env: Env) -> None:
    """What a client posts whose clock is hours off lives exactly its ttl for everybody, and shortens no other life."""
    other = env.connect()
    neighbour = env.queue()
    mine = post(env, neighbour, 2)
    lives = []
    for hours in _WRONG_HOURS:
        queue = env.queue()
        before = time.monotonic()
        with _clock_off_by(hours * 3600):
            short = post(env, queue, 1, ttl=0.15, storage=other)
            after = time.monotonic()
            lasting = post(env, queue, 1, storage=other)
        lives.append((hours, queue, short, lasting, before, after))
    for hours, queue, short, lasting, before, after in lives:
        who = f"a client whose clock is {hours:+d} h off"
        turns(
            env,
            lambda: not env.storage.messages.bulk_get(queue, short),  # noqa: B023  # called here and now
            earliest=before + 0.15,
            latest=after + 0.15,
            requirement="TIM-004",
            what=f"posted with a ttl of 0.15 s by {who}; it is gone",
        )
        what = f"a message with a ttl of {LONG:g} s posted by {who}"
        see_listed(env, queue, lasting, "TIM-004", what)
        age = env.storage.messages.get(queue, lasting[0]).age
        ensure(-SLACK <= age < 300, "TIM-004", f"{what}: expected an age near 0, got {age!r}")
    see_listed(env, neighbour, mine, "TIM-004", "messages of a right client beside wrong ones")


@check("TIM-004", "CLM-004")
def what_a_wrong_clock_claims_comes_back_in_time(env: Env) -> None:
    """A claim made by a client whose clock is hours off ends after its ttl; such a client sees others' claims live."""
    other = env.connect()
    lives = []
    for hours in _WRONG_HOURS:
        queue = env.queue()
        ids = post(env, queue, 2)
        held, _ = take(env, queue, 1)
        with _clock_off_by(hours * 3600):
            before = time.monotonic()
            claim = other.claims.create(queue, ttl=0.15, limit=10)
            lives.append((hours, queue, before, time.monotonic()))
            left = other.claims.get(queue, held)
        who = f"a client whose clock is {hours:+d} h off"
        what = f"claimed by {who} while another claim holds the first of 2 messages"
        ensure_equal(ids_of(claim.messages), ids[1:], "TIM-004", what)
        what = f"messages of another client's live claim as seen by {who}"
        ensure_equal(ids_of(left.messages), ids[:1], "TIM-004", what)
    for hours, queue, before, after in lives:
        turns(
            env,
            lambda: listed(env, queue),  # noqa: B023  # called here and now
            earliest=before + 0.15,
            latest=after + 0.15,
            requirement="TIM-004",
            what=f"claimed for 0.15 s by a client whose clock is {hours:+d} h off; it is listed again",
        )


@check("TIM-004", "MSG-027")
def what_a_wrong_clock_delays_becomes_available_in_time(env: Env) -> None:
    """What a client posts with a delay whose clock is hours off becomes available after that delay."""
    other = env.connect()
    lives = []
    for hours in _WRONG_HOURS:
        queue = env.queue()
        before = time.monotonic()
        with _clock_off_by(hours * 3600):
            post(env, queue, 1, delay=0.15, storage=other)
        lives.append((hours, queue, before, time.monotonic()))
    for hours, queue, before, after in lives:
        turns(
            env,
            lambda: listed(env, queue),  # noqa: B023  # called here and now
            earliest=before + 0.15,
            latest=after + 0.15,
            requirement="TIM-004",
            what=f"posted with a delay of 0.15 s by a client whose clock is {hours:+d} h off; it is listed",
        )


@check("TIM-004", "CLM-004", thorough=True)
def processes_agree_on_the_time(env: Env) -> None:
    """What one process posts and claims has the same age for all others, and lives for them as long."""
    if not env.declares(Capability.MULTI_PROCESS):
        env.note("one process has nobody to agree with: the driver does not declare MULTI_PROCESS")
        return
    queue = env.queue()
    ids = post(env, queue, 4)
    held, _ = take(env, queue, 2)
    elapse(env, env.driver.settle_time)
    arguments = {"queue": queue, "ids": ids, "claim_id": held}
    for worker, posted in enumerate(env.processes(4, f"{__name__}:look_from_elsewhere", arguments)):
        what = f"a message of process {worker} with a ttl of {LONG:g} s"
        see_listed(env, posted["queue"], posted["ids"], "TIM-004", what)
        age = env.storage.messages.get(posted["queue"], posted["ids"][0]).age
        ensure(-SLACK <= age < 300, "TIM-004", f"{what}: expected an age near 0, got {age!r}")


def look_from_elsewhere(worker: Worker, queue: str, ids: list[str], claim_id: str) -> dict[str, Any]:
    """In a process of its own: what others posted and claimed is young and alive; then post something for them."""
    messages = worker.storage.messages.bulk_get(queue, ids)
    what = f"4 messages just posted, as process {worker.index} fetches them"
    ensure_equal(ids_of(messages), ids, "TIM-004", what)
    for message in messages:
        ensure(-SLACK <= message.age < 300, "TIM-004", f"{what}: expected an age near 0, got {message.age!r}")
    found = worker.storage.messages.list(queue)
    ensure_equal(ids_of(found.items), ids[2:], "TIM-004", f"{what}: those not claimed, listed")
    claim = worker.storage.claims.get(queue, claim_id)
    ensure_equal(ids_of(claim.messages), ids[:2], "TIM-004", f"{what}: those claimed, by their claim")
    own = f"{queue}-{worker.index}"
    return {"queue": own, "ids": worker.storage.messages.post(own, [NewMessage(1, ttl=LONG)])}


@contextmanager
def _clock_off_by(seconds: int) -> Iterator[None]:
    """While this lasts ``time.time`` and ``time.time_ns`` are wrong in this thread, and in no other."""
    me = threading.get_ident()
    clock, clock_ns = time.time, time.time_ns

    def wrong() -> float:
        return clock() + (seconds if threading.get_ident() == me else 0)

    def wrong_ns() -> int:
        return clock_ns() + (seconds * 10**9 if threading.get_ident() == me else 0)

    with patch("time.time", wrong), patch("time.time_ns", wrong_ns):
        yield
