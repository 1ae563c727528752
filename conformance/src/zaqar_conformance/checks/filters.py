"""Checks of listings that leave messages out: what their markers pass over, and what their ``more`` counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zaqar_conformance.check import check, ensure_equal
from zaqar_conformance.checks._support import BRIEF, LONG, difference, elapse, ids_of, listed, post, take, walk
from zaqar_conformance.env import Env
from zaqar_core import Capability

_MANY = (1_100, 1_500, 2_500)
"""More than drivers are known to look at in one step."""
_WITHOUT_ECHO = {"echo": False, "client_id": "me"}

_Hide = Callable[[Env, str, int], None]
"""Fill a queue with messages that a listing leaves out."""


def _own(env: Env, queue: str, count: int) -> None:
    post(env, queue, count, client_id="me")


def _own_delayed(env: Env, queue: str, count: int) -> None:
    post(env, queue, count, delay=LONG / 2, client_id="me")


def _claimed(env: Env, queue: str, count: int) -> None:
    before = ids_of(listed(env, queue))
    post(env, queue, count)
    step = env.storage.limits.max_messages_per_claim
    for start in range(0, len(before) + count, step):
        claim_id, _ = take(env, queue, min(step, len(before) + count - start), ttl=LONG)
        if before and not start:
            env.storage.claims.delete(queue, claim_id, message_ids=before)


def _delayed(env: Env, queue: str, count: int) -> None:
    post(env, queue, count, delay=LONG / 2)


def _expired(env: Env, queue: str, count: int) -> None:
    post(env, queue, count, ttl=BRIEF)
    elapse(env, BRIEF)


def _kinds(env: Env) -> list[tuple[_Hide, dict[str, Any]]]:
    """What hides messages, with the options of a listing that leaves them out."""
    kinds: list[tuple[_Hide, dict[str, Any]]] = [(_own, _WITHOUT_ECHO), (_expired, {})]
    if env.declares(Capability.CLAIMS):
        kinds += [(_claimed, {}), (_own, {**_WITHOUT_ECHO, "include_claimed": True})]
    if env.declares(Capability.DELAY):
        kinds += [
            (_delayed, {}),
            (_own_delayed, _WITHOUT_ECHO),
            (_own_delayed, {**_WITHOUT_ECHO, "include_delayed": True}),
            (_expired, {"include_delayed": True}),
        ]
    return kinds


@check("LST-006")
def what_a_page_leaves_out_leads_no_marker_past_what_comes(env: Env) -> None:
    """From the marker of a page that left messages out, empty or not, all that another client posts later is shown."""
    for hide, options in _kinds(env):
        for shown in (0, 1):
            queue = env.queue()
            first = post(env, queue, shown, client_id="other")
            hide(env, queue, 3)
            pages = [*walk(env, queue, limit=1, **options)]
            pages.append(env.storage.messages.list(queue, marker=pages[-1].marker, **options))
            what = f"messages that a listing with {options} leaves out ({hide.__name__[1:]})"
            ensure_equal([one for page in pages for one in ids_of(page.items)], first, "LST-001", f"listed: 3 {what}")
            later = post(env, queue, 2, client_id="other")
            seen = 0
            for number, page in enumerate(pages):
                seen += len(page.items)
                name = f"page {number}, where {shown} came before 3 {what}"
                _see_behind(env, queue, page.marker, [*first[seen:], *later], name, options)


@check("LST-004", "LST-005")
def without_echo_a_page_is_complete_behind_thousands_of_own(env: Env) -> None:
    """Behind thousands of the asker's own messages one page shows another client's, and ``more`` counts no own ones."""
    for many in sorted({min(env.depth, many) for many in _MANY}):
        queue = env.queue()
        ids = post(env, queue, 1, client_id="other")
        post(env, queue, many, client_id="me")
        _see_page(env, queue, ids, False, f"1 of another client and {many} own behind it")
        ids += post(env, queue, 2, client_id="other")
        _see_page(env, queue, ids, False, f"{many} own between 1 and 2 of another client")
        env.storage.messages.delete(queue, ids.pop(0))
        _see_page(env, queue, ids, False, f"2 of another client behind {many} own")
        _see_page(env, queue, ids[:1], True, f"2 of another client behind {many} own, limit=1", limit=1)


@check("LST-005", thorough=True)
def more_counts_nothing_hidden_however_much_there_is(env: Env) -> None:
    """Behind thousands of hidden messages of each kind ``more`` is False unless something follows that is shown."""
    many = min(env.depth, _MANY[1])
    for hide, options in _kinds(env):
        queue = env.queue()
        hide(env, queue, many)
        what = f"{many} messages that a listing with {options} leaves out ({hide.__name__[1:]})"
        page = env.storage.messages.list(queue, limit=10, **options)
        ensure_equal(([*page.items], page.more), ([], False), "LST-005", f"items and more of a page of {what}")
        last = post(env, queue, 1, client_id="other")
        for marker in (None, page.marker):
            found = ids_of(listed(env, queue, marker=marker, limit=10, **options))
            ensure_equal(difference(found, last), "", "LST-006", f"difference of 1 message behind {what}")
            *_, end = walk(env, queue, marker=marker, limit=1, **options)
            again = env.storage.messages.list(queue, marker=end.marker, limit=1, **options)
            ensure_equal(([*again.items], again.more), ([], False), "LST-005", f"items and more at the end: {what}")


def _see_page(env: Env, queue: str, expected: list[str], more: bool, what: str, *, limit: int = 10) -> None:
    """The first page shows these, once every client sees what was posted."""
    seen = env.see(
        lambda: env.storage.messages.list(queue, limit=limit, **_WITHOUT_ECHO),  # type: ignore[arg-type]
        lambda page: ids_of(page.items) == expected,
        "LST-004",
        f"the page of {what}, with echo=False: expected {expected}",
    )
    ensure_equal(seen.more, more, "LST-005", f"more of the page of {what}, with echo=False")


def _see_behind(env: Env, queue: str, marker: str, expected: list[str], what: str, options: dict[str, Any]) -> None:
    for limit in (1, 100):
        env.see(
            lambda: difference(ids_of(listed(env, queue, marker=marker, limit=limit, **options)), expected),  # noqa: B023
            lambda different: not different,
            "LST-006",
            f"2 messages posted later, behind the marker of {what}",
        )
