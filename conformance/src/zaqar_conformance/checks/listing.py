"""Checks of listing: pages, what they leave out, and markers that stay valid whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import (
    BRIEF,
    LONG,
    difference,
    elapse,
    ids_of,
    keeps_records,
    listed,
    paced,
    post,
    see_listed,
    take,
    walk,
)
from zaqar_conformance.env import Env
from zaqar_core import NewMessage, Page
from zaqar_core.errors import InvalidMarker
from zaqar_core.models import Message

# --- pages --------------------------------------------------------------------------------------------


@check("LST-001")
def joined_pages_show_each_message_once(env: Env) -> None:
    """Whatever the limit, pages joined by their markers show every message once, in order, and then say so."""
    queue = env.queue()
    ids = post(env, queue, 25)
    for limit in (1, 2, 3, 7, 10, 24, 25, 26, 1000):
        see_listed(env, queue, ids, "LST-001", f"25 messages in pages of {limit}", limit=limit)
        pages = list(walk(env, queue, limit=limit))
        longest = max(len(page.items) for page in pages)
        ensure(longest <= limit, "LST-001", f"a page of 25 messages with limit={limit} has {longest} items")
        ensure_equal(pages[-1].more, False, "LST-001", f"more of the last page of 25 messages with limit={limit}")


@check("LST-001")
def pages_of_thousands_are_complete(env: Env) -> None:
    """Thousands of messages are listed complete and in order, in pages of 999, 1000, 1001 and the most allowed."""
    queue = env.queue()
    ids = post(env, queue, min(env.depth, 4_500))
    most = env.storage.limits.max_messages_per_page
    for limit in sorted({most, *(min(size, most) for size in (999, 1000, 1001, 4_000))}):
        see_listed(env, queue, ids, "LST-001", f"{len(ids)} messages in pages of {limit}", limit=limit)


@check("LST-001")
def a_listing_changes_nothing(env: Env) -> None:
    """Listing again gives the same: the same page from the start, the same page behind the same marker."""
    queue = env.queue()
    post(env, queue, 10)
    first = env.see(
        lambda: env.storage.messages.list(queue, limit=4),
        lambda page: page.items and len(listed(env, queue)) == 10,
        "LST-001",
        "a page of 10 messages, all of them seen by then",
    )
    for marker in (None, first.marker, first.marker, None):
        again = [ids_of(env.storage.messages.list(queue, limit=4, marker=marker).items) for _ in range(2)]
        ensure_equal(again[0], again[1], "LST-001", f"a page listed again from the marker {marker!r}")


@check("LST-001", "CLM-001")
def claimed_messages_are_left_out(env: Env) -> None:
    """A listing passes claimed messages by, in the middle of pages and between them."""
    queue = env.queue()
    ids = post(env, queue, 20)
    claim, _ = take(env, queue, 20)
    free = sorted(env.rng.sample(ids, 8), key=ids.index)
    env.storage.claims.delete(queue, claim, message_ids=free)
    for limit in (1, 3, 100):
        see_listed(env, queue, free, "LST-001", f"20 messages, 12 of them claimed, in pages of {limit}", limit=limit)


@check("LST-001", "LST-003")
def delayed_messages_are_left_out(env: Env) -> None:
    """A listing passes delayed messages by."""
    queue = env.queue()
    delays = [env.rng.choice((0, 60)) for _ in range(20)]
    ids = env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, delay=delay) for delay in delays])
    free = [one for one, delay in zip(ids, delays, strict=True) if not delay]
    for limit in (1, 3, 100):
        see_listed(env, queue, free, "LST-001", f"20 messages, some delayed, in pages of {limit}", limit=limit)


@check("LST-001", waits=True)
def expired_messages_are_left_out(env: Env) -> None:
    """Pages joined by their markers pass expired messages by, wherever they lie."""
    queue = env.queue()
    ttls = [env.rng.choice((BRIEF, LONG)) for _ in range(30)]
    ids = env.storage.messages.post(queue, [NewMessage(1, ttl=ttl) for ttl in ttls])
    left = [one for one, ttl in zip(ids, ttls, strict=True) if ttl == LONG]
    elapse(env, BRIEF)
    for limit in (1, 3, 100):
        see_listed(env, queue, left, "LST-001", f"30 messages, some expired, in pages of {limit}", limit=limit)


@check("LST-002")
def include_claimed_shows_claimed_messages(env: Env) -> None:
    """``include_claimed`` shows claimed messages at their positions with their claim's id, the others with none."""
    queue = env.queue()
    ids = post(env, queue, 12)
    first, _ = take(env, queue, 3)
    second, _ = take(env, queue, 6)
    env.storage.claims.delete(queue, second, message_ids=[ids[4], ids[6]])
    holders = [first] * 3 + [second, None, second, None, second, second] + [None] * 3
    for limit in (1, 5, 100):
        what = f"12 messages, 7 of them claimed, in pages of {limit} with include_claimed"
        see_listed(env, queue, ids, "LST-002", what, include_claimed=True, limit=limit)
        shown = [message.claim_id for message in listed(env, queue, include_claimed=True, limit=limit)]
        ensure_equal(shown, holders, "LST-002", f"claim ids of {what}")
    plain = [message.claim_id for message in listed(env, queue)]
    ensure_equal(plain, [None] * 5, "LST-002", "claim ids of the free messages")


@check("LST-002", "LST-003")
def include_claimed_does_not_show_delayed_messages(env: Env) -> None:
    """Each of the two options shows its own kind and not the other; together they show both."""
    queue = env.queue()
    claimed, free = post(env, queue, 2), post(env, queue, 2)
    take(env, queue, 2)
    delayed = post(env, queue, 2, delay=60)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, free),
        ({"include_claimed": True}, [*claimed, *free]),
        ({"include_delayed": True}, [*free, *delayed]),
        ({"include_claimed": True, "include_delayed": True}, [*claimed, *free, *delayed]),
    ]
    for options, expected in cases:
        requirement = "LST-003" if "include_delayed" in options else "LST-002"
        see_listed(
            env, queue, expected, requirement, f"2 claimed, 2 free, 2 delayed messages with {options}", **options
        )


@check("LST-003")
def include_delayed_shows_delayed_messages(env: Env) -> None:
    """``include_delayed`` shows delayed messages where they will stand."""
    queue = env.queue()
    delays = (90, 0, 60, 0, 90, 30, 0)
    ids = env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, delay=delay) for delay in delays])
    order = [ids[place] for place in (1, 3, 6, 5, 2, 0, 4)]
    for limit in (1, 3, 100):
        what = f"messages with the delays {delays}, in pages of {limit} with include_delayed"
        see_listed(env, queue, order, "LST-003", what, include_delayed=True, limit=limit)


# --- echo ---------------------------------------------------------------------------------------------


def _post_as(env: Env, queue: str, clients: list[str]) -> list[str]:
    """Post one message as each of these clients; runs of one client in one call."""
    ids: list[str] = []
    start = 0
    for end in range(1, len(clients) + 1):
        if end == len(clients) or clients[end] != clients[start]:
            ids += post(env, queue, end - start, client_id=clients[start])
            start = end
    return ids


@check("LST-004")
def without_echo_only_the_askers_own_are_left_out(env: Env) -> None:
    """``echo=False`` hides what the asker posted and nothing else, whoever asks and whatever the limit."""
    queue = env.queue()
    clients = [env.rng.choice(("a", "A", "b", "a ")) for _ in range(40)]
    posted = dict(zip(_post_as(env, queue, clients), clients, strict=True))
    env.see(lambda: len(listed(env, queue)), lambda count: count == 40, "MSG-001", "40 messages listed")
    for asker in ("a", "A", "b", "nobody"):
        expected = sorted(one for one, client in posted.items() if client != asker)
        for limit in (1, 3, 100):
            found = ids_of(listed(env, queue, limit=limit, echo=False, client_id=asker))
            different = difference(sorted(found), expected)
            ensure_equal(
                different, "", "LST-004", f"difference of a listing by {asker!r} with echo=False, limit={limit}"
            )
    everything = ids_of(listed(env, queue, echo=True, client_id="a"))
    ensure_equal(
        difference(sorted(everything), sorted(posted)), "", "LST-004", "difference of a listing with echo=True"
    )


@check("LST-004")
def without_echo_a_listing_passes_thousands_of_own_messages(env: Env) -> None:
    """However many of its own messages lie between, the asker's listing reaches the others."""
    queue = env.queue()
    many, more = min(env.depth, 2_500), min(env.depth, 1_100)
    clients = ["other", *["me"] * many, "other", *["me"] * more, "other"]
    ids = _post_as(env, queue, clients)
    expected = sorted(one for one, client in zip(ids, clients, strict=True) if client == "other")
    env.see(lambda: len(listed(env, queue)), lambda count: count == len(ids), "MSG-001", f"{len(ids)} messages listed")
    for limit in (1, 2, 10, 1000):
        found = ids_of(listed(env, queue, limit=limit, echo=False, client_id="me"))
        what = f"difference of a listing of 3 messages among {many + more} of the asker's, limit={limit}"
        ensure_equal(difference(sorted(found), expected), "", "LST-004", what)


# --- more ---------------------------------------------------------------------------------------------


def _judge_more(env: Env, queue: str, what: str, **options: Any) -> None:
    """Each page says that there is more exactly if the listing goes on behind it."""
    for limit in (1, 2, 3, 4, 5, 6, 7):
        for number, page in enumerate(walk(env, queue, limit=limit, **options)):
            behind = listed(env, queue, marker=page.marker, **options)
            ensure_equal(
                page.more,
                bool(behind),
                "LST-005",
                f"{what}: more of page {number} with limit={limit} and {options}, behind which {len(behind)} follow",
            )


@check("LST-005")
def more_is_true_exactly_if_more_follows(env: Env) -> None:
    """``more`` of each page, at every limit, says whether a message follows; of an empty queue it is False."""
    queue = env.queue()
    page = env.storage.messages.list(queue)
    ensure_equal((list(page.items), page.more), ([], False), "LST-005", "items and more of an empty queue")
    ids = post(env, queue, 6)
    see_listed(env, queue, ids, "MSG-001", "6 messages")
    _judge_more(env, queue, "6 messages")
    env.storage.messages.bulk_delete(queue, ids[3:])
    see_listed(env, queue, ids[:3], "MSG-019", "6 messages of which the last 3 were deleted")
    _judge_more(env, queue, "6 messages of which the last 3 were deleted")


@check("LST-005")
def more_does_not_count_the_askers_own(env: Env) -> None:
    """With ``echo=False``, ``more`` is False where nothing but the asker's own messages follow."""
    queue = env.queue()
    _post_as(env, queue, ["other", "me", "other", "me", "me"])
    env.see(lambda: len(listed(env, queue)), lambda count: count == 5, "MSG-001", "5 messages of two clients, listed")
    _judge_more(env, queue, "messages of other, me, other, me, me", echo=False, client_id="me")
    _judge_more(env, queue, "messages of other, me, other, me, me", echo=False, client_id="other")
    _judge_more(env, queue, "messages of other, me, other, me, me", echo=True, client_id="me")


@check("LST-005", waits=True)
def more_does_not_count_expired_messages(env: Env) -> None:
    """``more`` is False where nothing but expired messages follow."""
    queue = env.queue()
    ttls = (LONG, BRIEF, LONG, BRIEF, BRIEF)
    ids = env.storage.messages.post(queue, [NewMessage(ttl, ttl=ttl) for ttl in ttls])
    elapse(env, BRIEF)
    see_listed(env, queue, [ids[0], ids[2]], "MSG-010", "5 messages of which 3 have expired")
    _judge_more(env, queue, "5 messages of which the 2nd, 4th and 5th have expired")


@check("LST-005", "LST-002")
def more_counts_claimed_messages_only_if_they_are_shown(env: Env) -> None:
    """``more`` is False where nothing but claimed messages follow, and True with ``include_claimed``."""
    queue = env.queue()
    ids = post(env, queue, 6)
    claim, _ = take(env, queue, 6)
    env.storage.claims.delete(queue, claim, message_ids=[ids[0], ids[2]])
    see_listed(env, queue, [ids[0], ids[2]], "CLM-011", "6 messages of which 2 are free")
    for options in ({}, {"include_claimed": True}):
        _judge_more(env, queue, "6 messages, all but the 1st and 3rd claimed", **options)


@check("LST-005", "LST-003")
def more_counts_delayed_messages_only_if_they_are_shown(env: Env) -> None:
    """``more`` is False where nothing but delayed messages follow, and True with ``include_delayed``."""
    queue = env.queue()
    delays = (0, 60, 0, 60, 60)
    ids = env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, delay=delay) for delay in delays])
    see_listed(env, queue, [ids[0], ids[2]], "MSG-027", "5 messages of which 2 are not delayed")
    for options in ({}, {"include_delayed": True}):
        _judge_more(env, queue, "5 messages, all but the 1st and 3rd delayed", **options)


# --- markers ------------------------------------------------------------------------------------------


def _behind(
    env: Env, queue: str, marker: str, expected: list[str], requirement: str, what: str, **options: Any
) -> None:
    """The listing that goes on from ``marker`` shows exactly these, in pages of every length."""
    for limit in (1, 2, 1000):
        name = f"{what}; behind the marker, in pages of {limit}"
        see_listed(env, queue, expected, requirement, name, marker=marker, limit=limit, **options)


def _page(env: Env, queue: str, count: int, **options: Any) -> Page[Message]:
    """A page with exactly ``count`` messages, put together of short ones where a driver gives such."""
    page = env.storage.messages.list(queue, limit=count, **options)
    while len(page.items) < count and page.more:
        limit = count - len(page.items)
        rest = env.storage.messages.list(queue, limit=limit, **{**options, "marker": page.marker})
        page = Page([*page.items, *rest.items], rest.marker, rest.more)
    ensure_equal(len(page.items), count, "LST-001", f"messages on the first pages, which hold {count} and more")
    return page


@check("LST-006")
def an_empty_page_gives_a_marker(env: Env) -> None:
    """A listing that goes on from the marker of an empty queue shows what is posted later."""
    queue = env.queue()
    page = env.storage.messages.list(queue)
    for _ in range(2):
        ensure(isinstance(page.marker, str), "LST-006", f"the marker of an empty page is {page.marker!r}, not text")
        page = env.storage.messages.list(queue, marker=page.marker)
    ids = post(env, queue, 3)
    _behind(env, queue, page.marker, ids, "LST-006", "3 messages posted to a queue that was listed while empty")


@check("LST-006")
def a_listing_goes_on_from_its_end(env: Env) -> None:
    """From the last page's marker, and from that of the empty page behind it, what is posted later is shown."""
    queue = env.queue()
    see_listed(env, queue, post(env, queue, 3), "MSG-001", "3 messages")
    for turn in range(5):
        *_, last = walk(env, queue, limit=2)
        empty = env.storage.messages.list(queue, marker=last.marker)
        ensure_equal(ids_of(empty.items), [], "LST-006", "messages behind the last page")
        ids = post(env, queue, 1 + turn % 3)
        for marker, name in ((last.marker, "the last page"), (empty.marker, "the empty page behind the last")):
            _behind(env, queue, marker, ids, "LST-006", f"messages posted after {name} was listed")


@check("LST-006")
def a_listing_with_options_goes_on_from_its_end(env: Env) -> None:
    """With ``echo=False`` too, a listing that found nothing goes on from its marker."""
    queue = env.queue()
    see_listed(env, queue, post(env, queue, 3, client_id="me"), "MSG-001", "3 messages")
    *_, last = walk(env, queue, echo=False, client_id="me")
    post(env, queue, 2, client_id="me")
    ids = post(env, queue, 2, client_id="other")
    what = "messages of another client posted after a listing found nothing but the asker's own"
    _behind(env, queue, last.marker, ids, "LST-006", what, echo=False, client_id="me")


@check("LST-007")
def a_marker_outlives_the_deletion_of_its_message(env: Env) -> None:
    """When the message at the marker is deleted, or those around it too, the listing goes on behind it."""
    for gone in ([3], [2], [4], [3, 4], [2, 3], [2, 3, 4], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]):
        queue = env.queue()
        ids = post(env, queue, 10)
        see_listed(env, queue, ids, "MSG-001", "10 messages")
        marker = _page(env, queue, 4).marker
        env.storage.messages.bulk_delete(queue, [ids[place] for place in gone])
        expected = [one for place, one in enumerate(ids) if place > 3 and place not in gone]
        _behind(env, queue, marker, expected, "LST-007", f"10 messages, marker at the 4th, deleted {gone} (from 0)")


@check("LST-007")
def a_marker_outlives_all_messages(env: Env) -> None:
    """When every message that was there is deleted, a marker shows what is posted later, and only that."""
    queue = env.queue()
    ids = post(env, queue, 6)
    see_listed(env, queue, ids, "MSG-001", "6 messages")
    markers = [_page(env, queue, count).marker for count in (1, 3, 6)]
    env.storage.messages.bulk_delete(queue, ids)
    see_listed(env, queue, [], "MSG-019", "6 deleted messages")
    for marker in markers:
        _behind(env, queue, marker, [], "LST-007", "6 messages, all deleted")
    fresh = post(env, queue, 3)
    for marker in markers:
        _behind(env, queue, marker, fresh, "LST-007", "6 messages, all deleted, then 3 posted")


@check("LST-007", waits=True)
def a_marker_outlives_the_expiry_of_its_message(env: Env) -> None:
    """When the message at the marker has expired, and ``gc`` has taken it, the listing goes on behind it."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        before = time.monotonic()
        ttls = (LONG, unit, unit, LONG, unit, LONG)
        ids = env.storage.messages.post(queue, [NewMessage(ttl, ttl=ttl) for ttl in ttls])
        page = env.storage.messages.list(queue, limit=3)
        if ids_of(page.items) != ids[:3] or time.monotonic() >= before + unit:
            return False
        elapse(env, unit)
        what = "6 messages, marker at the 3rd, the 2nd, 3rd and 5th expired"
        _behind(env, queue, page.marker, [ids[3], ids[5]], "LST-007", what)
        env.storage.gc()
        _behind(env, queue, page.marker, [ids[3], ids[5]], "LST-007", f"{what}, after gc")
        return True

    paced(scenario)


@check("LST-007", "CLM-001")
def a_marker_outlives_the_claim_of_its_message(env: Env) -> None:
    """When the message at the marker is claimed, deleted by its claim or released, the listing goes on behind it."""
    queue = env.queue()
    ids = post(env, queue, 8)
    see_listed(env, queue, ids, "MSG-001", "8 messages")
    marker = _page(env, queue, 3).marker
    claim, _ = take(env, queue, 5)
    _behind(env, queue, marker, ids[5:], "LST-007", "8 messages, marker at the 3rd, 5 claimed")
    _behind(env, queue, marker, ids[3:], "LST-007", "8 messages, marker at the 3rd, 5 claimed", include_claimed=True)
    env.storage.messages.bulk_delete(queue, [ids[2], ids[3]], claim_ids=[claim])
    _behind(env, queue, marker, ids[5:], "LST-007", "8 messages, marker at the 3rd, which its claimer deleted")
    env.storage.claims.delete(queue, claim)
    _behind(env, queue, marker, ids[4:], "LST-007", "8 messages, marker at the 3rd, deleted; the rest released")


@check("LST-007", "POP-001")
def a_marker_outlives_the_pop_of_its_message(env: Env) -> None:
    """When the message at the marker was popped, the listing goes on behind it."""
    queue = env.queue()
    ids = post(env, queue, 8)
    see_listed(env, queue, ids, "MSG-001", "8 messages")
    marker = _page(env, queue, 3).marker
    for popped in (3, 2):
        env.storage.messages.pop(queue, popped)
        left = ids_of(listed(env, queue))
        _behind(env, queue, marker, left, "LST-007", f"8 messages, marker at the 3rd, {8 - len(left)} popped")


@check("LST-008")
def a_marker_outlives_a_purge(env: Env) -> None:
    """After purges, of a long queue and an empty one, each marker from before shows exactly what was posted since."""
    for count in (0, 5, min(env.depth, 1_500)):
        queue = env.queue()
        if count:
            see_listed(env, queue, post(env, queue, count), "MSG-001", f"{count} messages")
        markers = [page.marker for page in (env.storage.messages.list(queue, limit=2), *walk(env, queue))]
        for _ in range(2):
            env.storage.messages.purge(queue)
            what = f"{count} messages, listed, then purged"
            _behind(env, queue, markers[-1], [], "LST-008", what)
            ids = post(env, queue, 3)
            for marker in markers:
                _behind(env, queue, marker, ids, "LST-008", f"{what}, then 3 posted")


@check("LST-008")
def a_marker_outlives_its_queue(env: Env) -> None:
    """After the queue was deleted, and made again by a post or by create, a marker shows what was posted since."""
    if not keeps_records(env):
        return
    for create in (False, True):
        queue = env.queue()
        see_listed(env, queue, post(env, queue, 20), "MSG-001", "20 messages")
        markers = [page.marker for page in walk(env, queue, limit=7)]
        env.storage.queues.delete(queue)
        if create:
            env.storage.queues.create(queue)
        ids = post(env, queue, 3)
        for marker in markers:
            what = f"20 messages, listed, the queue deleted, then 3 posted ({'after' if create else 'without'} create)"
            _behind(env, queue, marker, ids, "LST-008", what)


@check("LST-008", "MSG-028")
def a_marker_of_delayed_messages_outlives_a_purge(env: Env) -> None:
    """A marker far ahead, among messages of a long delay, still shows what is delayed longer after a purge."""
    queue = env.queue()
    see_listed(env, queue, post(env, queue, 3, delay=60), "LST-003", "3 delayed messages", include_delayed=True)
    marker = _page(env, queue, 2, include_delayed=True).marker
    env.storage.messages.purge(queue)
    ids = post(env, queue, 2, delay=300)
    _behind(
        env, queue, marker, ids, "LST-008", "2 messages of a longer delay posted after a purge", include_delayed=True
    )


@check("LST-009")
def a_malformed_marker_is_refused(env: Env) -> None:
    """Text that is no marker raises ``InvalidMarker``, near misses of real ones too; the queue is as before."""
    queue = env.queue()
    ids = post(env, queue, 5)
    see_listed(env, queue, ids, "MSG-001", "5 messages")
    real = _page(env, queue, 2).marker
    malformed = [
        *(
            " ",
            "no such marker",
            "\0",
            "\ud800",
            "\uffff",
            "🙂",
            "'",
            "' OR '1'='1",
            "*",
            "%",
            "{}",
            "[1]",
            "\n",
            "a b",
        ),
        *("x" * 10_000, " " * 100, f" {real}", f"{real} ", f"{real}\n", f"{real}\0", f"{real}é", f"{real} {real}"),
    ]
    every: list[dict[str, Any]] = [{}, {"include_claimed": True, "include_delayed": True}, {"echo": False}]
    for marker in malformed:
        for options in every:
            ensure_raises(
                InvalidMarker,
                "LST-009",
                f"list with the marker {marker[:80]!r} ({len(marker)} characters) and {options}",
                partial(env.storage.messages.list, queue, marker=marker, **options),
            )
    see_listed(env, queue, ids, "LST-009", "5 messages after listings with malformed markers")
    ensure_raises(
        InvalidMarker,
        "LST-009",
        "list of a queue never posted to with the marker ' '",
        lambda: env.storage.messages.list(env.queue(), marker=" "),
    )


@check("LST-009")
def a_marker_that_a_page_gave_is_never_refused(env: Env) -> None:
    """A page's marker is taken with other options and limits, by other clients, and in other queues, without error."""
    queue, other, neighbour = env.queue(), env.connect(), env.queue()
    ids = post(env, queue, 6)
    post(env, neighbour, 2)
    see_listed(env, queue, ids, "MSG-001", "6 messages")
    marker = _page(env, queue, 2).marker
    calls: dict[str, Callable[[], object]] = {
        "in another queue": lambda: listed(env, neighbour, marker=marker),
        "in a queue never posted to": lambda: listed(env, env.queue(), marker=marker),
        "in another project": lambda: listed(env, queue, marker=marker, project=f"{env.project}-other"),
    }
    for where, call in calls.items():
        try:
            call()
        except InvalidMarker as error:
            ensure(False, "LST-009", f"a page's marker {marker!r} {where}: expected no InvalidMarker, got {error}")
    for options in (
        {"include_claimed": True},
        {"include_delayed": True},
        {"echo": False, "client_id": "x"},
        {"limit": 1},
    ):
        see_listed(env, queue, ids[2:], "LST-009", f"behind a marker, with {options}", marker=marker, **options)
    see_listed(env, queue, ids[2:], "LST-009", "behind a marker, by another client", marker=marker, storage=other)


# --- strict markers -----------------------------------------------------------------------------------


@check("LST-011")
def what_is_released_behind_the_marker_is_not_shown_again(env: Env) -> None:
    """Messages claimed and released behind the marker stay behind it."""
    queue = env.queue()
    ids = post(env, queue, 10)
    see_listed(env, queue, ids, "MSG-001", "10 messages")
    marker = _page(env, queue, 4).marker
    claim, _ = take(env, queue, 3)
    _behind(env, queue, marker, ids[4:], "LST-011", "10 messages, 4 shown, of which 3 are claimed")
    env.storage.claims.delete(queue, claim)
    _behind(env, queue, marker, ids[4:], "LST-011", "10 messages, 4 shown, of which 3 were claimed and released")


@check("LST-011")
def what_is_released_ahead_of_the_marker_is_shown_once(env: Env) -> None:
    """Messages that were claimed when a listing began, and are released ahead of its marker, are shown once."""
    queue = env.queue()
    ids = post(env, queue, 10)
    claim, _ = take(env, queue, 8)
    env.storage.claims.delete(queue, claim, message_ids=ids[:2])
    see_listed(env, queue, [*ids[:2], *ids[8:]], "CLM-011", "10 messages, the 3rd to 8th claimed")
    page = _page(env, queue, 2)
    ensure_equal(ids_of(page.items), ids[:2], "LST-011", "the first page of 2 where the 3rd to 8th of 10 are claimed")
    env.storage.claims.delete(queue, claim, message_ids=ids[4:6])
    expected = [*ids[4:6], *ids[8:]]
    _behind(env, queue, page.marker, expected, "LST-011", "10 messages, 2 shown, the 5th and 6th released since")
    rest = _page(env, queue, 2, marker=page.marker)
    env.storage.claims.delete(queue, claim)
    what = "10 messages, shown as far as the 6th, the 3rd, 4th, 7th and 8th released since"
    _behind(env, queue, rest.marker, ids[6:], "LST-011", what)


@check("LST-011", waits=True)
def what_a_claims_end_frees_is_not_shown_again(env: Env) -> None:
    """Messages behind the marker whose claim ends by itself stay behind it; those ahead are shown once."""
    queue = env.queue()
    ids = post(env, queue, 6)
    see_listed(env, queue, ids, "MSG-001", "6 messages")
    marker = _page(env, queue, 3).marker
    take(env, queue, 5, ttl=BRIEF)
    elapse(env, BRIEF)
    _behind(env, queue, marker, ids[3:], "LST-011", "6 messages, 3 shown, 5 claimed until now")


@check("LST-012", waits=True)
def a_delayed_message_is_shown_once_by_following_markers(env: Env) -> None:
    """A listing that goes on from its marker shows a delayed message once, after it became available."""

    def scenario(unit: float) -> bool:
        queue = env.queue()
        before = time.monotonic()
        delays = (unit, 0, unit, 0)
        ids = env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, delay=delay) for delay in delays])
        shown = list(walk(env, queue, limit=1))
        if time.monotonic() >= before + unit:
            return False
        found = ids_of([message for page in shown for message in page.items])
        ensure_equal(found, [ids[1], ids[3]], "LST-012", f"listed at once of messages with the delays {delays}")
        elapse(env, unit)
        marker = shown[-1].marker
        expected = [ids[0], ids[2], *post(env, queue, 1)]
        _behind(env, queue, marker, expected, "LST-012", "a listing followed while two delays ended and one was posted")
        *_, last = walk(env, queue, marker=marker)
        _behind(env, queue, last.marker, [], "LST-012", "a listing followed to its end after two delays ended")
        return True

    paced(scenario)


@check("LST-012", waits=True)
def include_delayed_shows_everything_posted_before_once(env: Env) -> None:
    """With ``include_delayed`` a listing shows all that was posted before its first page once, while delays end."""
    queue = env.queue()
    delays = [env.rng.choice((0, 0.05, 0.1, 0.15, 60)) for _ in range(24)]
    ids = env.storage.messages.post(queue, [NewMessage(delay, ttl=LONG, delay=delay) for delay in delays])
    order = sorted(range(24), key=lambda place: (delays[place], place))
    shown: list[str] = []
    for number, page in enumerate(walk(env, queue, limit=4, include_delayed=True)):
        shown += ids_of(page.items)
        if number in (1, 2, 3):
            elapse(env, 0.05)
    what = f"difference of a listing in pages of 4 with include_delayed while delays end ({sorted(set(delays))} s)"
    ensure_equal(difference(shown, [ids[place] for place in order]), "", "LST-012", what)


@check("LST-012", "CLM-012", waits=True)
def what_is_released_with_a_delay_is_shown_when_available(env: Env) -> None:
    """A message behind the marker that is released with a delay moves ahead of it and is shown once available."""
    queue = env.queue()
    ids = post(env, queue, 4)
    see_listed(env, queue, ids, "MSG-001", "4 messages")
    *_, last = walk(env, queue)
    claim, _ = take(env, queue, 2)
    env.storage.claims.delete(queue, claim, delay=BRIEF)
    elapse(env, BRIEF)
    what = "4 messages, all shown, of which 2 were released with a delay that is over"
    _behind(env, queue, last.marker, ids[:2], "LST-012", what)
