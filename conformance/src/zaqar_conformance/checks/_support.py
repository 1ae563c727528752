"""What several modules of checks need: posting, walking pages, telling differences, waiting without luck."""

from __future__ import annotations

import logging
import math
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from zaqar_conformance.check import Undecided, Violation, ensure, ensure_equal
from zaqar_conformance.env import Env
from zaqar_conformance.recorder import ensure_whole
from zaqar_core import Capability, Message, NewMessage, Page, Storage

LONG = 600.0
"""Seconds: the life of what must not end while a check runs."""

BRIEF = 0.1
"""Seconds: what is to be over before the next step of a check, and of which nobody looks whether it lasts."""

SLACK = 0.005
"""Seconds by which two clocks may differ over a second, and by which milliseconds are rounded."""

_PACES = (0.15, 0.5, 1.0, 2.0, 4.0)
_MOST_PAGES = 100_000
_ROUNDS_FOR = 20.0


# --- posting and claiming -----------------------------------------------------------------------------


def post(
    env: Env,
    queue: str,
    count: int = 1,
    *,
    first: int = 0,
    ttl: float = LONG,
    delay: float = 0,
    storage: Storage | None = None,
    **options: Any,
) -> list[str]:
    """Post messages with the bodies ``first``, ``first + 1``, ..., in as few calls as the limits allow; their ids."""
    client = storage or env.storage
    step = client.limits.max_messages_per_post
    ids: list[str] = []
    for start in range(first, first + count, step):
        numbers = range(start, min(start + step, first + count))
        batch = [NewMessage(number, ttl=ttl, delay=delay) for number in numbers]
        ids += client.messages.post(queue, batch, **options)
    ensure_equal(len(ids), count, "MSG-001", f"ids returned for a post of {count} messages")
    return ids


def take(env: Env, queue: str, count: int, *, ttl: float = LONG, grace: float = 60.0) -> tuple[str, list[Message]]:
    """Claim exactly ``count`` messages, which must be there to take; the claim's id and the messages."""
    if not env.declares(Capability.CONSISTENT_READS):
        env.see(lambda: _shown(env, queue, count), lambda seen: seen >= count, "CLM-001", f"{count} messages to claim")
    claim = env.storage.claims.create(queue, ttl=ttl, grace=grace, limit=count)
    ensure_whole(claim)
    ensure(
        claim.id is not None and len(claim.messages) == count,
        "CLM-001",
        f"claimed with limit={count} where at least {count} messages were active: expected {count} messages, "
        f"got {len(claim.messages)} (claim id {claim.id!r})",
    )
    return str(claim.id), list(claim.messages)


def sizes(limit: int) -> list[int]:
    """Sizes of batches that cross what is known of drivers' internal limits, up to ``limit``."""
    return sorted({size for size in (1, 999, 1000, 1001, 4000, 10_000) if size <= limit} | {limit})


def in_calls(env: Env, ids: Sequence[str]) -> list[Sequence[str]]:
    """The ids, divided as the limit to one call asks for."""
    step = env.storage.limits.max_ids_per_call
    return [ids[start : start + step] for start in range(0, len(ids), step)]


def keeps_records(env: Env) -> bool:
    """Whether queues can be registered at all."""
    return env.storage.control.records is not None


# --- reading ------------------------------------------------------------------------------------------


def walk(
    env: Env,
    queue: str,
    *,
    marker: str | None = None,
    limit: int = 1000,
    storage: Storage | None = None,
    **options: Any,
) -> Iterator[Page[Message]]:
    """The pages of a listing from ``marker`` on, until one says that there is no more."""
    client = storage or env.storage
    limit = min(limit, client.limits.max_messages_per_page)
    for _ in range(_MOST_PAGES):
        page = client.messages.list(queue, marker=marker, limit=limit, **options)
        yield page
        if not page.more:
            return
        if page.marker == marker:
            raise Violation("LST-001", f"a page of {queue!r} says more=True but its marker {marker!r} leads back to it")
        marker = page.marker
    raise Violation("LST-001", f"following the markers of {queue!r} did not end within {_MOST_PAGES} pages")


def listed(env: Env, queue: str, **options: Any) -> list[Message]:
    """All messages of a listing, its pages joined."""
    return [message for page in walk(env, queue, **options) for message in page.items]


def _shown(env: Env, queue: str, enough: int) -> int:
    """How many messages are listed, as far as ``enough`` of them."""
    shown = 0
    for page in walk(env, queue, limit=enough):
        shown += len(page.items)
        if shown >= enough:
            break
    return shown


def ids_of(messages: Sequence[Message]) -> list[str]:
    """The ids, in order."""
    return [message.id for message in messages]


def difference(actual: Sequence[object], expected: Sequence[object]) -> str:
    """How ``actual`` differs from ``expected``, in words; "" if they are equal."""
    if list(actual) == list(expected):
        return ""
    missing, extra = Counter(expected) - Counter(actual), Counter(actual) - Counter(expected)
    found = []
    if missing:
        found.append(f"{missing.total()} missing (such as {next(iter(missing))!r})")
    if extra:
        found.append(f"{extra.total()} too many (such as {next(iter(extra))!r})")
    if not found:
        index = next(place for place, pair in enumerate(zip(actual, expected, strict=True)) if pair[0] != pair[1])
        found.append(f"wrong order from index {index} on: {actual[index]!r} instead of {expected[index]!r}")
    return f"{', '.join(found)}; {len(expected)} expected, {len(actual)} seen"


def see_listed(env: Env, queue: str, expected: Sequence[str], requirement: str, what: str, **options: Any) -> None:
    """The listing shows exactly these ids, in this order."""
    env.see(
        lambda: difference(ids_of(listed(env, queue, **options)), expected), _nothing, requirement, f"{what}, listed"
    )


def see_fetched(
    env: Env, queue: str, asked: Sequence[str], expected: Sequence[str], requirement: str, what: str, **options: Any
) -> None:
    """``bulk_get`` of the ids asked for, in as few calls as the limits allow, gives those expected, in this order."""

    def fetched() -> list[str]:
        found = (env.storage.messages.bulk_get(queue, ids, **options) for ids in in_calls(env, asked))
        return [one for messages in found for one in ids_of(messages)]

    env.see(lambda: difference(fetched(), expected), _nothing, requirement, f"{what}, fetched by id")


def see_stats(
    env: Env,
    queue: str,
    requirement: str,
    what: str,
    *,
    free: int = 0,
    claimed: int = 0,
    delayed: int = 0,
    **options: Any,
) -> None:
    """The statistics say these counts."""
    expected = (free, claimed, delayed, free + claimed + delayed)

    def read() -> tuple[int, int, int, int]:
        stats = env.storage.messages.stats(queue, **options)
        return stats.free, stats.claimed, stats.delayed, stats.total

    expectation = f"{what}, counted: expected (free, claimed, delayed, total) = {expected}"
    env.see(read, lambda seen: seen == expected, requirement, expectation)


def _nothing(difference: str) -> bool:
    return not difference


# --- time ---------------------------------------------------------------------------------------------


def elapse(env: Env, seconds: float) -> None:
    """Wait until every duration of at most ``seconds`` that began before this call is over."""
    until = time.monotonic() + seconds + SLACK
    what = "the machine's clock stands still"
    env.wait_for(time.monotonic, lambda now: now >= until, "TIM-001", what, within=seconds + 10)


def turns(env: Env, read: Callable[[], object], *, earliest: float, latest: float, requirement: str, what: str) -> None:
    """``read`` is false at first and turns true between two moments of the monotonic clock.

    Only what the clock proves is judged: a true that came back before ``earliest``, a false to a question asked after
    ``latest``. So a slow machine makes this blinder, never wrong.
    """
    patience = SLACK if env.declares(Capability.CONSISTENT_READS) else SLACK + env.driver.settle_time

    def look() -> bool:
        asked = time.monotonic()
        turned = bool(read())
        answered = time.monotonic()
        early, late = earliest - answered, asked - latest
        ensure(not turned or early <= SLACK, requirement, f"{what}: {early:.3f} s too early")
        ensure(turned or late <= patience, requirement, f"{what}: not yet, {late:.3f} s after it had to be")
        return turned

    env.wait_for(look, bool, requirement, what, within=latest - time.monotonic() + 10)


def paced(scenario: Callable[[float], bool]) -> None:
    """Run a scenario with a unit of time that grows until it says True: all went quickly enough to show anything.

    It says False, before it judges anything, where what it had set up may have ended meanwhile.
    """
    for unit in _PACES:
        if scenario(unit):
            return
    raise Undecided(f"this backend, or this machine, is too slow to see something that lasts {_PACES[-1]:g} s")


def rounds(count: int) -> Iterator[int]:
    """The numbers below ``count``, one at least, as long as there is time: slow rounds show less, nothing wrong."""
    until = time.monotonic() + _ROUNDS_FOR
    for number in range(count):
        if number and time.monotonic() > until:
            return
        yield number


# --- ids ----------------------------------------------------------------------------------------------

_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]+")


def ensure_opaque(ids: Sequence[Any], requirement: str, what: str) -> None:
    """The ids are URL-safe, differ, and are too random to be guessed; some hundreds are needed to tell."""
    for one in ids:
        ensure(
            isinstance(one, str) and _URL_SAFE.fullmatch(one),
            requirement,
            f"{what} {one!r}: expected a string of letters, digits, '-', '_', '.' and '~'",
        )
    ensure_equal(len(set(ids)), len(ids), requirement, f"different ones among {len(ids)} {what}s")
    bits = _random_bits(ids)
    ensure(
        bits >= 62,  # 64 less what an estimate from so few may be off
        requirement,
        f"{len(ids)} {what}s such as {ids[0]!r} and {ids[1]!r}: expected at least 64 random bits, their characters "
        f"carry about {bits:.0f}",
    )
    for one, other in pairwise(ids):
        differing = sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))
        ensure(
            differing >= 6,
            requirement,
            f"{what}s {one!r} and {other!r}, given one after the other: expected nothing in common but by chance, "
            f"they differ in {differing} characters",
        )


def _random_bits(ids: Sequence[str]) -> float:
    """The entropy of each character's place, added up, with the correction of Miller and Madow."""
    bits = 0.0
    for place in range(1, max(map(len, ids)) + 1):
        counts = Counter(one[-place] if place <= len(one) else "" for one in ids)
        shares = [count / len(ids) for count in counts.values()]
        bits -= sum(share * math.log2(share) for share in shares)
        bits += (len(counts) - 1) / (2 * len(ids) * math.log(2))
    return bits


# --- what is shown ------------------------------------------------------------------------------------


def error_text(error: BaseException) -> str:
    """The error as an uncaught one is shown: with its causes, without the source lines, which name the arguments."""
    shown = traceback.TracebackException.from_exception(error, lookup_lines=False, capture_locals=False)
    texts: list[str] = []
    each: traceback.TracebackException | None = shown
    while each is not None:
        texts += each.format_exception_only()
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "".join(texts)


@contextmanager
def log_texts() -> Iterator[list[str]]:
    """What any logger of this process says meanwhile, down to DEBUG, with tracebacks."""
    texts: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(self.format(record))

    root, handler = logging.getLogger(), Handler(logging.DEBUG)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield texts
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
