"""Checks of single markers, without walking pages of one: a backend that stumbles over those is looked at further."""

from __future__ import annotations

from zaqar_conformance.check import check, ensure, ensure_equal
from zaqar_conformance.checks._support import LONG, ids_of, post
from zaqar_conformance.env import Env


@check("LST-007")
def a_marker_of_a_deleted_message_goes_on_behind_it(env: Env) -> None:
    """The message at a marker is deleted: the next page begins behind it, and does not start again."""
    queue = env.queue()
    ids = post(env, queue, 8)
    marker = env.storage.messages.list(queue, limit=3).marker
    env.storage.messages.delete(queue, ids[2])
    seen = ids_of(env.storage.messages.list(queue, limit=10, marker=marker).items)
    ensure_equal(seen, ids[3:], "LST-007", "8 messages, behind a marker at the 3rd, which was deleted")


@check("LST-001", "LST-005")
def a_marker_at_the_first_message_goes_on_behind_it(env: Env) -> None:
    """Behind a marker at a queue's first message comes the second; behind that of a single message nothing."""
    for count in (3, 1):
        queue = env.queue()
        ids = post(env, queue, count)
        marker = env.storage.messages.list(queue, limit=1).marker
        seen = ids_of(env.storage.messages.list(queue, limit=10, marker=marker).items)
        ensure_equal(seen, ids[1:], "LST-001", f"{count} messages, behind a marker at the first")


@check("LST-005", "CLM-001")
def an_empty_page_says_what_lies_behind_claimed_messages(env: Env) -> None:
    """A page that is empty because all it met is claimed says ``more`` where active messages lie behind."""
    queue = env.queue()
    post(env, queue, 6)
    marker = env.storage.messages.list(queue, limit=2).marker
    env.storage.claims.create(queue, ttl=LONG, limit=4)
    page = env.storage.messages.list(queue, limit=2, marker=marker)
    what = "of 6 messages 4 are claimed; behind a marker at the 2nd, with limit=2"
    ensure(page.items or page.more, "LST-005", f"{what}: an empty page with more=False, while 2 are active")
