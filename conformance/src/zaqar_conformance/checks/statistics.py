"""Checks of statistics: counts by state that equal what listing shows, and the two ends of a queue."""

from __future__ import annotations

import time
from collections.abc import Callable

from zaqar_conformance.check import check, ensure, ensure_equal
from zaqar_conformance.checks._support import (
    BRIEF,
    LONG,
    SLACK,
    elapse,
    ids_of,
    keeps_records,
    listed,
    post,
    rounds,
    see_listed,
    see_stats,
    take,
    turns,
)
from zaqar_conformance.env import Env
from zaqar_core import Capability, MessageRef, NewMessage, QueueStats
from zaqar_core.contract import new_id

Counts = tuple[int, int, int, int]
"""Free, claimed, delayed, total."""


def _counted(env: Env, queue: str) -> Counts:
    stats = env.storage.messages.stats(queue)
    return stats.free, stats.claimed, stats.delayed, stats.total


def _shown(env: Env, queue: str) -> Counts:
    """The same counts, by listing."""
    free = len(listed(env, queue))
    with_claimed = len(listed(env, queue, include_claimed=True))
    everything = len(listed(env, queue, include_claimed=True, include_delayed=True))
    return free, with_claimed - free, everything - with_claimed, everything


def _judge(env: Env, queue: str, what: str) -> None:
    """What is counted adds up and equals what is listed."""
    counted = env.see(
        lambda: _counted(env, queue), lambda seen: seen == _shown(env, queue), "STA-001", f"{what}: counts"
    )
    free, claimed, delayed, total = counted
    sane = min(counted) >= 0 and free + claimed + delayed == total
    ensure(sane, "STA-001", f"{what}: (free, claimed, delayed, total) = {counted} do not add up")
    if keeps_records(env):
        by_name = env.storage.queues.stats(queue)
        found = (by_name.free, by_name.claimed, by_name.delayed, by_name.total)
        ensure_equal(found, counted, "STA-001", f"{what}: queues.stats beside messages.stats")


# --- counts -------------------------------------------------------------------------------------------


@check("STA-001")
def counts_follow_posts_and_deletions(env: Env) -> None:
    """Counts are 0 at first and follow posts, deletions, purges, and what of these changes nothing."""
    queue = env.queue()
    see_stats(env, queue, "STA-001", "a queue never posted to")
    ids = post(env, queue, 10)
    see_stats(env, queue, "STA-001", "10 messages", free=10)
    env.storage.messages.delete(queue, ids[0])
    for _ in range(2):
        env.storage.messages.delete(queue, ids[0])
        env.storage.messages.bulk_delete(queue, [*ids[:3], *ids[:3], "absent"])
        see_stats(env, queue, "STA-001", "10 messages of which 3 were deleted, some twice", free=7)
    if env.declares(Capability.IDEMPOTENT_POST):
        for _ in range(3):
            env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, dedup_id="d")] * 2)
        see_stats(env, queue, "STA-001", "7 messages and one posted 6 times with a dedup id", free=8)
    env.storage.messages.purge(queue)
    see_stats(env, queue, "STA-001", "a purged queue")
    see_listed(env, queue, [], "STA-001", "a purged queue")
    post(env, queue, 2)
    see_stats(env, queue, "STA-001", "2 messages posted after a purge", free=2)


@check("STA-001", "CLM-001")
def counts_follow_claims(env: Env) -> None:
    """Counts follow claims, releases whole and in part, deletions under claims, and calls that change nothing."""
    queue = env.queue()
    ids = post(env, queue, 10)
    first, _ = take(env, queue, 4)
    second, _ = take(env, queue, 3)
    see_stats(env, queue, "STA-001", "10 messages of which 7 are claimed", free=3, claimed=7)
    for _ in range(2):
        env.storage.messages.bulk_delete(queue, ids[:2], claim_ids=[first])
        env.storage.messages.bulk_delete(queue, ids)  # takes the free ones only
        see_stats(env, queue, "STA-001", "10 messages, 5 of them deleted, 5 claimed", claimed=5)
    for _ in range(2):
        env.storage.claims.delete(queue, second, message_ids=[ids[4], ids[0], "absent"])
        see_stats(env, queue, "STA-001", "5 messages, one of them released by name", free=1, claimed=4)
    env.storage.claims.update(queue, first, ttl=60)
    for _ in range(2):
        env.storage.claims.delete(queue, second)
        see_stats(env, queue, "STA-001", "5 messages, one claim of them released", free=3, claimed=2)
    env.storage.messages.bulk_delete(queue, ids, claim_ids=[first])
    env.storage.claims.delete(queue, first)
    see_stats(env, queue, "STA-001", "3 messages, all claims used up", free=3)


@check("STA-001", "MSG-027")
def counts_follow_delays(env: Env) -> None:
    """Delayed messages count as delayed, whether posted so or released so, until they are deleted."""
    queue = env.queue()
    ids = post(env, queue, 3, delay=60)
    see_stats(env, queue, "STA-001", "3 delayed messages", delayed=3)
    free = post(env, queue, 2)
    see_stats(env, queue, "STA-001", "3 delayed messages and 2 others", free=2, delayed=3)
    env.storage.messages.delete(queue, ids[1])
    see_stats(env, queue, "STA-001", "3 delayed messages, one deleted, and 2 others", free=2, delayed=2)
    if env.declares(Capability.CLAIMS):
        claim, _ = take(env, queue, 2)
        env.storage.claims.delete(queue, claim, message_ids=free[:1], delay=60)
        see_stats(env, queue, "STA-001", "2 delayed, one released with a delay, one claimed", claimed=1, delayed=3)


@check("STA-001", thorough=True)
def counts_equal_what_is_listed_after_any_mixture(env: Env) -> None:
    """After every step of a random mixture of operations the counts are those of the listing, and those expected."""
    queue = env.queue()
    model = _Model(env, queue)
    for step in rounds(150):
        action = model.step()
        what = f"step {step} of a random mixture, after {action}"
        see_stats(env, queue, "STA-001", what, **model.counts())
        if step % 5 == 0:
            _judge(env, queue, what)
    _judge(env, queue, "after the last step of a random mixture")


@check("STA-001", waits=True)
def counts_equal_what_is_listed_after_time_has_passed(env: Env) -> None:
    """When the short lives, delays and claims of a random mixture are over, the counts are those of the listing."""
    queues = [env.queue() for _ in range(6)]
    for queue in queues:
        post(env, queue)
        for _ in range(12):
            _act_briefly(env, queue)
    elapse(env, BRIEF)
    for number, queue in enumerate(queues):
        if number % 2:
            env.storage.gc()
        _judge(env, queue, "after a random mixture of short lives, delays and claims, all over")
    for queue in queues:
        left = ids_of(listed(env, queue, include_claimed=True, include_delayed=True))
        holders = {message.claim_id for message in env.storage.messages.bulk_get(queue, left)}
        ensure_equal(holders - {None}, set(), "CLM-004", "claims that hold messages though all have ended")
        ensure_equal(
            env.storage.messages.bulk_delete(queue, left), [], "CLM-004", "refused though all claims have ended"
        )
        see_stats(env, queue, "STA-001", "a random mixture of short lives, delays and claims, all over and deleted")


class _Model:
    """Works at random on one queue, nothing of which ends by itself, and knows what must be there."""

    def __init__(self, env: Env, queue: str) -> None:
        self._env = env
        self._queue = queue
        self._free = post(env, queue)
        self._delayed: list[str] = []
        self._claims: dict[str, list[str]] = {}
        actions: list[Callable[[], str]] = [self._post, self._post, self._delete, self._delete_many, self._gc]
        if env.declares(Capability.CLAIMS):
            actions += [self._claim, self._claim, self._release, self._release_some, self._delete_claimed, self._renew]
        if env.declares(Capability.DELAY):
            actions += [self._post_delayed]
        if env.declares(Capability.CLAIMS, Capability.DELAY):
            actions += [self._release_delayed]
        if env.declares(Capability.POP):
            actions += [self._pop]
        self._actions = actions

    def step(self) -> str:
        """Do something at random; what it was."""
        if self._env.rng.random() < 0.01:
            return self._purge()
        return self._env.rng.choice(self._actions)()

    def counts(self) -> dict[str, int]:
        """What must be counted."""
        claimed = sum(map(len, self._claims.values()))
        return {"free": len(self._free), "claimed": claimed, "delayed": len(self._delayed)}

    def _post(self) -> str:
        count = self._env.rng.randint(1, 8)
        self._free += post(self._env, self._queue, count)
        return f"a post of {count}"

    def _post_delayed(self) -> str:
        self._delayed += post(self._env, self._queue, 2, delay=60)
        return "a post of 2 delayed messages"

    def _some(self, ids: list[str]) -> list[str]:
        return self._env.rng.sample(ids, self._env.rng.randint(0, len(ids)))

    def _delete(self) -> str:
        ids = [*self._free, *self._delayed, new_id()]
        gone = self._env.rng.choice(ids)
        self._env.storage.messages.delete(self._queue, gone)
        self._forget([gone])
        return "a deletion"

    def _delete_many(self) -> str:
        gone = self._some([*self._free, *self._delayed])[:5]
        claimed = [one for ids in self._claims.values() for one in ids][:2]
        refused = self._env.storage.messages.bulk_delete(self._queue, [*gone, *claimed])
        ensure_equal(refused, claimed, "MSG-018", "refused of free and claimed messages deleted without a claim")
        self._forget(gone)
        return f"a deletion of {len(gone)} at once"

    def _forget(self, gone: list[str]) -> None:
        self._free = [one for one in self._free if one not in gone]
        self._delayed = [one for one in self._delayed if one not in gone]

    def _gc(self) -> str:
        self._env.storage.gc()
        return "gc"

    def _claim(self) -> str:
        limit = self._env.rng.randint(1, 6)
        claim = self._env.storage.claims.create(self._queue, ttl=LONG, limit=limit)
        ids = ids_of(claim.messages)
        strange = set(ids) - set(self._free)
        ensure(not strange, "CLM-001", f"a claim took what was not active: {sorted(strange)[:3]}")
        if claim.id is not None:
            self._claims[claim.id] = ids
            self._forget(ids)
        return f"a claim of {len(ids)}"

    def _any_claim(self) -> str:
        return self._env.rng.choice([*self._claims, new_id()])

    def _release(self) -> str:
        claim = self._any_claim()
        self._env.storage.claims.delete(self._queue, claim)
        ids = self._claims.pop(claim, [])
        self._free += ids
        return f"a release of {len(ids)}"

    def _release_some(self) -> str:
        claim = self._any_claim()
        named = self._some(self._claims.get(claim, []))
        self._env.storage.claims.delete(self._queue, claim, message_ids=[*named, *self._free[:2], new_id()])
        self._let_go(claim, named)
        self._free += named
        return f"a release of {len(named)} by name"

    def _release_delayed(self) -> str:
        claim = self._any_claim()
        self._env.storage.claims.delete(self._queue, claim, delay=60)
        ids = self._claims.pop(claim, [])
        self._delayed += ids
        return f"a release of {len(ids)} with a delay"

    def _delete_claimed(self) -> str:
        claim = self._any_claim()
        named = self._some(self._claims.get(claim, []))
        self._env.storage.messages.bulk_delete(self._queue, [*named, *self._free[:2], new_id()], claim_ids=[claim])
        self._let_go(claim, named)
        return f"a deletion of {len(named)} by their claim"

    def _let_go(self, claim: str, gone: list[str]) -> None:
        if left := [one for one in self._claims.pop(claim, []) if one not in gone]:
            self._claims[claim] = left

    def _renew(self) -> str:
        if self._claims:
            claim = self._env.rng.choice([*self._claims])
            self._env.storage.claims.update(self._queue, claim, ttl=self._env.rng.choice((60, LONG)))
        return "a renewal"

    def _pop(self) -> str:
        popped = ids_of(self._env.storage.messages.pop(self._queue, 2))
        strange = set(popped) - set(self._free)
        ensure(not strange, "POP-001", f"a pop took what was not active: {sorted(strange)[:3]}")
        self._forget(popped)
        return f"a pop of {len(popped)}"

    def _purge(self) -> str:
        self._env.storage.messages.purge(self._queue)
        self._free, self._delayed, self._claims = [], [], {}
        return "a purge"


def _act_briefly(env: Env, queue: str) -> None:
    """Something at random whose effects end within ``BRIEF``, or last."""
    action = env.rng.randrange(6)
    ttl = env.rng.choice((BRIEF, LONG))
    if action < 2 or not env.declares(Capability.CLAIMS):
        delay = env.rng.choice((0, BRIEF / 2)) if env.declares(Capability.DELAY) else 0
        post(env, queue, env.rng.randint(1, 5), ttl=ttl, delay=delay)
        return
    claim = env.storage.claims.create(queue, ttl=BRIEF, grace=0, limit=env.rng.randint(1, 4))
    if claim.id is None or action == 2:
        return
    some = ids_of(claim.messages)[: env.rng.randint(1, 3)]
    if action == 3:
        env.storage.messages.bulk_delete(queue, some, claim_ids=[claim.id])
    elif action == 4:
        env.storage.claims.delete(queue, claim.id, message_ids=some)
    elif env.declares(Capability.DELAY):
        env.storage.claims.delete(queue, claim.id, delay=BRIEF / 2)


# --- oldest and newest --------------------------------------------------------------------------------


def _ends(stats: QueueStats) -> tuple[str | None, str | None]:
    return stats.oldest.id if stats.oldest else None, stats.newest.id if stats.newest else None


def _see_ends(env: Env, queue: str, oldest: str | None, newest: str | None, what: str) -> None:
    env.see(
        lambda: _ends(env.storage.messages.stats(queue)),
        lambda seen: seen == (oldest, newest),
        "STA-002",
        f"oldest and newest of {what}: expected {(oldest, newest)}",
    )


@check("STA-002")
def statistics_name_both_ends(env: Env) -> None:
    """``oldest`` and ``newest`` follow posts and deletions at both ends; they are None on an empty queue."""
    queue = env.queue()
    _see_ends(env, queue, None, None, "a queue never posted to")
    ids = post(env, queue, 6)
    while ids:
        _see_ends(env, queue, ids[0], ids[-1], f"{len(ids)} messages")
        env.storage.messages.delete(queue, ids.pop(0 if len(ids) % 2 else -1))
    _see_ends(env, queue, None, None, "a queue whose messages were deleted")
    one = post(env, queue)[0]
    _see_ends(env, queue, one, one, "a single message")
    env.storage.messages.purge(queue)
    _see_ends(env, queue, None, None, "a purged queue")


@check("STA-002", "CLM-001")
def statistics_count_claimed_messages_at_the_ends(env: Env) -> None:
    """Claimed messages are the oldest and newest where they stand first and last."""
    queue = env.queue()
    ids = post(env, queue, 4)
    claim, _ = take(env, queue, 2)
    _see_ends(env, queue, ids[0], ids[3], "4 messages of which the first 2 are claimed")
    take(env, queue, 2)
    _see_ends(env, queue, ids[0], ids[3], "4 claimed messages")
    env.storage.messages.delete(queue, ids[0], claim_id=claim)
    _see_ends(env, queue, ids[1], ids[3], "4 claimed messages of which the first was deleted")
    env.storage.claims.delete(queue, claim)
    _see_ends(env, queue, ids[1], ids[3], "3 messages of which the first was released")


@check("STA-002", "MSG-027")
def statistics_leave_delayed_messages_out_at_the_ends(env: Env) -> None:
    """Delayed messages are neither oldest nor newest."""
    queue, only = env.queue(), env.queue()
    delays = (60, 0, 0, 60)
    ids = env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, delay=delay) for delay in delays])
    _see_ends(env, queue, ids[1], ids[2], f"messages with the delays {delays}")
    post(env, only, 2, delay=60)
    _see_ends(env, only, None, None, "2 delayed messages")


@check("STA-002", "MSG-010", waits=True)
def statistics_leave_expired_messages_out_at_the_ends(env: Env) -> None:
    """Expired messages are neither oldest nor newest."""
    queue, only = env.queue(), env.queue()
    ttls = (BRIEF, LONG, LONG, BRIEF)
    ids = env.storage.messages.post(queue, [NewMessage(1, ttl=ttl) for ttl in ttls])
    post(env, only, 2, ttl=BRIEF)
    elapse(env, BRIEF)
    _see_ends(env, queue, ids[1], ids[2], "4 messages of which the first and last have expired")
    _see_ends(env, only, None, None, "2 expired messages")


@check("STA-002", waits=True)
def statistics_give_ages(env: Env) -> None:
    """The ages of ``oldest`` and ``newest`` count from their posts."""
    queue = env.queue()
    posts = []
    for _ in range(2):
        before = time.monotonic()
        post(env, queue)
        posts.append((before, time.monotonic()))
        elapse(env, BRIEF)
    asked = time.monotonic()
    stats = env.see(
        lambda: env.storage.messages.stats(queue), lambda seen: seen.total == 2, "STA-001", "statistics of 2 messages"
    )
    answered = time.monotonic()
    ends: list[tuple[str, MessageRef | None]] = [("oldest", stats.oldest), ("newest", stats.newest)]
    # Which of the two posts came first is no matter of statistics where posts keep no order.
    if not env.declares(Capability.FIFO):
        ends.sort(key=lambda end: -(end[1].age if end[1] else 0))
    for (before, after), (name, end) in zip(posts, ends, strict=True):
        low, high = asked - after - SLACK, answered - before + SLACK
        seen = f"age of the {name} of 2 messages: expected {low:.3f} to {high:.3f} s, got {end!r}"
        ensure(end is not None and low <= end.age <= high, "STA-002", seen)


# --- what time changes --------------------------------------------------------------------------------


@check("STA-004", waits=True)
def the_next_statistics_show_what_expired(env: Env) -> None:
    """Until their ttl is over messages are counted, and by the very next statistics they are not."""
    queue = env.queue()
    post(env, queue, 2)
    before = time.monotonic()
    post(env, queue, 3, ttl=0.15)
    after = time.monotonic()
    turns(
        env,
        lambda: _counted(env, queue) == (2, 0, 0, 2),
        earliest=before + 0.15,
        latest=after + 0.15,
        requirement="STA-004",
        what="3 of 5 messages have a ttl of 0.15 s; 2 are counted",
    )
    _count_before_and_after(env, lambda queue: post(env, queue, 3, ttl=BRIEF), (0, 0, 0, 0), "3 messages expired")


@check("STA-004", "CLM-004", waits=True)
def the_next_statistics_show_a_claims_end(env: Env) -> None:
    """Until the claim ends its messages count as claimed, and by the very next statistics as free."""
    queue = env.queue()
    post(env, queue, 5)
    before = time.monotonic()
    take(env, queue, 3, ttl=0.15)
    after = time.monotonic()
    turns(
        env,
        lambda: _counted(env, queue) == (5, 0, 0, 5),
        earliest=before + 0.15,
        latest=after + 0.15,
        requirement="STA-004",
        what="3 of 5 messages were claimed for 0.15 s; 5 count as free",
    )
    _count_before_and_after(
        env,
        lambda queue: (post(env, queue, 3), take(env, queue, 3, ttl=BRIEF)),
        (3, 0, 0, 3),
        "a claim of 3 messages ended",
    )


@check("STA-004", "MSG-027", waits=True)
def the_next_statistics_show_a_delays_end(env: Env) -> None:
    """Until the delay is over messages count as delayed, and by the very next statistics as free."""
    queue = env.queue()
    before = time.monotonic()
    post(env, queue, 3, delay=0.15)
    after = time.monotonic()
    turns(
        env,
        lambda: _counted(env, queue) == (3, 0, 0, 3),
        earliest=before + 0.15,
        latest=after + 0.15,
        requirement="STA-004",
        what="3 messages were posted with a delay of 0.15 s; 3 count as free",
    )
    _count_before_and_after(
        env, lambda queue: post(env, queue, 3, delay=BRIEF), (3, 0, 0, 3), "the delay of 3 messages ended"
    )


def _count_before_and_after(env: Env, fill: Callable[[str], object], expected: Counts, what: str) -> None:
    """What statistics said before time changed something is not what they say after, be they the first to look."""
    queue = env.queue()
    fill(queue)
    _counted(env, queue)
    elapse(env, BRIEF)
    ensure_equal(_counted(env, queue), expected, "STA-004", f"counts before and after {what}: those after")


@check("STA-004", thorough=True)
def the_first_statistics_after_thousands_changed_are_exact(env: Env) -> None:
    """When thousands expire, end their claim and their delay together, the first statistics show it all."""
    many = min(env.depth, 5_000)
    queue = env.queue()
    expected = 10
    post(env, queue, many, ttl=BRIEF)
    if env.declares(Capability.DELAY):
        post(env, queue, many, delay=BRIEF)
        expected += many
    if env.declares(Capability.CLAIMS):
        other = env.queue()
        post(env, other, many)
        take(env, other, min(many, env.storage.limits.max_messages_per_claim), ttl=BRIEF)
    post(env, queue, 10)
    elapse(env, BRIEF)
    counted = _counted(env, queue)
    what = f"first statistics of 10 messages after {many} expired and {expected - 10} became available"
    ensure_equal(counted, (expected, 0, 0, expected), "STA-004", what)
    if env.declares(Capability.CLAIMS):
        ensure_equal(
            _counted(env, other), (many, 0, 0, many), "STA-004", f"first statistics after a claim of {many} ended"
        )
