"""Queues: made, described, listed, counted and deleted; and what their metadata does to posts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.env import Env
from zaqar_core import Capability, Limits, NewMessage, QueueStats, Storage
from zaqar_core.errors import (
    BatchTooLarge,
    ClaimDoesNotExist,
    InvalidMetadata,
    MessageDoesNotExist,
    OutcomeUnknown,
    QueueDoesNotExist,
    StorageUnavailable,
)

_TTL = "_default_message_ttl"

_TRICKY_NAMES = (
    "B",
    "Z",
    "a",
    "a!",
    "aa",
    "b",
    "~",
    "\x7f",
    "é",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0001f600",
)
"""In code-point order, which is neither that of UTF-16 (after U+D7FF) nor that of any language."""

_RICH_METADATA: dict[str, Any] = {
    "": "an empty key",
    "null": None,
    "flags": [True, False, 1, 0, 1.0],
    "integer": 2**70,
    "float": -1.5e-9,
    "text": "quotes ' \" ` backslash \\ NUL \0 \u2028 \U0001f600",
    "nested": {"list": [[], {}, [{}]], "_flavor": "nested keys are the application's"},
    "own_": "an underscore at the end is no reservation",
}


@check("QUE-001")
def queue_create_says_true_once(env: Env) -> None:
    """``create`` says True for a queue that is not there, False for one that is, and it is there from then on."""
    queue = env.queue()
    ensure_equal(env.storage.queues.exists(queue), False, "QUE-001", "exists of a queue that was never made")
    ensure_equal(env.storage.queues.create(queue), True, "QUE-001", "create of a new queue")
    _see_exists(env, env.storage, queue, "QUE-001")
    ensure_equal(env.storage.queues.create(queue), False, "QUE-001", "create of a queue that exists")
    other = env.connect()
    _see_exists(env, other, queue, "QUE-001")
    ensure_equal(other.queues.create(queue), False, "QUE-001", "create, by another client, of a queue that exists")


@check("QUE-001")
def queue_create_again_changes_nothing(env: Env) -> None:
    """``create`` of a queue that exists leaves its metadata and its messages as they are."""
    queue = env.queue()
    env.storage.queues.create(queue, {"first": 1})
    [message_id] = env.storage.messages.post(queue, [NewMessage("kept")])
    _see_metadata(env, env.storage, queue, {"first": 1}, "QUE-001", "after create")
    for metadata in ({"second": 2}, {}, None):
        created = env.storage.queues.create(queue, metadata)
        ensure_equal(created, False, "QUE-001", f"create of a queue that exists with the metadata {metadata}")
        seen = env.storage.queues.get_metadata(queue)
        ensure_equal(seen, {"first": 1}, "QUE-001", f"metadata after create of the existing queue with {metadata}")
    env.see(
        lambda: [message.id for message in env.storage.messages.list(queue).items],
        lambda ids: ids == [message_id],
        "QUE-001",
        f"messages after create of the existing queue, expected [{message_id!r}]",
    )


@check("QUE-003")
def queue_metadata_comes_back_equal(env: Env) -> None:
    """Metadata of every JSON type comes back equal, from ``create`` and from ``set_metadata``, to another client."""
    created, changed = env.queue(), env.queue()
    env.storage.queues.create(created, _RICH_METADATA)
    env.storage.queues.create(changed)
    env.storage.queues.set_metadata(changed, _RICH_METADATA)
    other = env.connect()
    for queue, how in ((created, "create"), (changed, "set_metadata")):
        found = _see_metadata(env, other, queue, _RICH_METADATA, "QUE-003", f"after {how}")
        kinds = [type(value) for value in found["flags"]]
        ensure_equal(kinds, [bool, bool, int, int, float], "QUE-003", f"types of the values in 'flags' after {how}")


@check("QUE-003")
def queue_metadata_is_replaced_whole(env: Env) -> None:
    """``set_metadata`` leaves nothing of what was there before, whoever wrote it."""
    queue = env.queue()
    env.storage.queues.create(queue, {"old": 1, "both": {"deep": "old", "gone": True}})
    other = env.connect()
    for client, metadata in (
        (env.storage, {"both": {"deep": "new"}, "new": 2}),
        (other, {"other": []}),
        (env.storage, {}),
        (other, {"old": 3}),
    ):
        client.queues.set_metadata(queue, metadata)
        for reader in (env.storage, other):
            _see_metadata(env, reader, queue, metadata, "QUE-003", "after set_metadata")


@check("QUE-003")
def queue_metadata_of_the_largest_size(env: Env) -> None:
    """Metadata of the largest size that the limits allow is stored by ``create`` and by ``set_metadata``."""
    most = env.storage.limits.max_metadata_bytes
    largest = {"k": "x" * (most - len('{"k":""}'))}
    wide = {"k": "é" * ((most - len('{"k":""}')) // 2)}
    queue = env.queue()
    env.storage.queues.create(queue, largest)
    _see_metadata(env, env.storage, queue, largest, "QUE-003", f"after create with {most} bytes")
    env.storage.queues.set_metadata(queue, wide)
    _see_metadata(env, env.storage, queue, wide, "QUE-003", f"after set_metadata with {most} bytes in two-byte letters")


@check("QUE-004")
def queue_unknown_raises(env: Env) -> None:
    """``get_metadata``, ``set_metadata`` and ``queues.stats`` of a queue never made raise ``QueueDoesNotExist``."""
    _raises_unknown(env, env.queue(), "never made")


@check("QUE-004")
def queue_deleted_is_unknown(env: Env) -> None:
    """A deleted queue is as unknown as one never made, also while another of a similar name is there."""
    queue = env.queue()
    env.storage.queues.create(queue, {"a": 1})
    env.storage.queues.create(f"{queue}-2", {"b": 2})
    _see_exists(env, env.storage, queue, "QUE-004")
    env.storage.queues.delete(queue)
    env.see(
        lambda: env.storage.queues.exists(queue),
        lambda found: not found,
        "QUE-004",
        "exists after delete, expected False",
    )
    _raises_unknown(env, queue, "deleted")
    _see_metadata(env, env.storage, f"{queue}-2", {"b": 2}, "QUE-004", "of the other queue")


@check("QUE-005")
def queue_delete_removes_messages(env: Env) -> None:
    """``delete`` takes the queue's messages, active and delayed: made again under the name it starts empty."""
    queue = env.queue()
    env.storage.queues.create(queue, {"a": 1})
    batch = [NewMessage(n) for n in range(5)]
    if env.declares(Capability.DELAY):
        batch.append(NewMessage("delayed", delay=60))
    ids = env.storage.messages.post(queue, batch)
    env.storage.queues.delete(queue)
    _starts_empty(env, queue, ids)


@check("QUE-005")
def queue_delete_removes_claims(env: Env) -> None:
    """``delete`` takes the queue's claims and the messages in them; a claim from before has no power afterwards."""
    if not env.declares(Capability.CLAIMS):
        env.note("CLAIMS is not declared: there are no claims to be removed")
        return
    queue = env.queue()
    ids = env.storage.messages.post(queue, [NewMessage(n) for n in range(4)])
    claim = env.storage.claims.create(queue, ttl=60, grace=60, limit=3)
    ensure_equal(len(claim.messages), 3, "QUE-005", "messages claimed of 4, with limit 3")
    claim_id = str(claim.id)
    env.storage.queues.delete(queue)
    _starts_empty(env, queue, ids)
    what = "claims.get of a claim on the queue before it was deleted"
    ensure_raises(ClaimDoesNotExist, "QUE-005", what, lambda: env.storage.claims.get(queue, claim_id))
    env.storage.claims.delete(queue, claim_id)
    ensure_equal(
        env.storage.messages.bulk_get(queue, ids), [], "QUE-005", "messages fetched after release of the old claim"
    )
    [fresh] = env.storage.messages.post(queue, [NewMessage("new")])
    again = env.see(
        lambda: env.storage.claims.create(queue, ttl=60, grace=0, limit=10),
        lambda made: made.id is not None,
        "QUE-005",
        "a claim on the queue made again, with one message posted, expected to take it",
    )
    ensure_equal(
        [message.id for message in again.messages], [fresh], "QUE-005", "messages claimed of the queue made again"
    )


@check("QUE-005")
def queue_delete_of_an_unknown_queue_succeeds(env: Env) -> None:
    """Deleting a queue that was never made, or twice, succeeds and harms no other."""
    queue, neighbour = env.queue("a"), env.queue("a")
    env.storage.queues.create(neighbour, {"kept": True})
    env.storage.messages.post(neighbour, [NewMessage("kept")])
    env.storage.queues.delete(queue)
    env.storage.queues.create(queue)
    env.storage.queues.delete(queue)
    env.storage.queues.delete(queue)
    ensure_equal(env.storage.queues.create(queue), True, "QUE-005", "create after two deletions")
    _see_metadata(env, env.storage, neighbour, {"kept": True}, "QUE-005", "of a neighbour of the deleted queue")
    env.see(
        lambda: env.storage.messages.stats(neighbour).total,
        lambda total: total == 1,
        "QUE-005",
        "messages of a neighbour of the deleted queue, expected 1",
    )


@check("QUE-005")
def queue_made_again_has_its_own_metadata(env: Env) -> None:
    """A queue made again has no metadata of its predecessor, and takes its own."""
    queue = env.queue()
    for metadata in ({"a": 1, _TTL: 60}, {}, {"b": 2}):
        created = env.storage.queues.create(queue, metadata)
        ensure_equal(created, True, "QUE-005", f"create with {metadata} after the deletion of the one before")
        _see_metadata(env, env.storage, queue, metadata, "QUE-005", "of a queue made again")
        env.storage.queues.delete(queue)
        env.see(
            lambda: env.storage.queues.exists(queue),
            lambda found: not found,
            "QUE-005",
            "exists after delete, expected False",
        )


@check("QUE-006")
def queue_list_is_in_code_point_order(env: Env) -> None:
    """``list`` gives names by code point: capitals first, then accents, characters beyond U+FFFF last."""
    names = list(_TRICKY_NAMES)
    for name in env.rng.sample(names, len(names)):
        env.storage.queues.create(name)
    _see_names(env, names, "QUE-006", "after they were made")


@check("QUE-006")
def queue_list_is_of_one_project(env: Env) -> None:
    """``list`` shows the queues of the asking project only, whatever the others are called."""
    for project in (env.project, f"{env.project}2", f"{env.project}.a", f"{env.project}\x7f", env.project[:-1]):
        env.storage.queues.create(f"of {project[-4:]}", project=project)
        env.storage.queues.create("common", project=project)
        expected = sorted(["common", f"of {project[-4:]}"])
        _see_names(env, expected, "QUE-006", f"of the project {project!r}", project=project)
    ensure_equal(
        _names(env.storage), sorted(["common", f"of {env.project[-4:]}"]), "QUE-006", "names of the first project"
    )


@check("QUE-006")
def queue_list_detailed_has_metadata(env: Env) -> None:
    """``detailed`` shows each queue with its own metadata; without it there is none."""
    expected = {f"{number}": {"number": number} if number else {} for number in range(4)}
    for name, metadata in expected.items():
        env.storage.queues.create(name, metadata)
    env.see(
        lambda: {entry.name: entry.metadata for entry in env.storage.queues.list(detailed=True).items},
        lambda seen: seen == expected,
        "QUE-006",
        f"a detailed listing, expected {expected}",
    )
    plain = [entry.metadata for entry in env.storage.queues.list().items]
    ensure_equal(plain, [None] * 4, "QUE-006", "metadata in a listing that is not detailed")


@check("QUE-006")
def queue_list_by_prefix(env: Env) -> None:
    """``prefix`` chooses by plain text, wherever the page begins: no character of it is a wildcard, case counts."""
    names = ["%", "%b", "*", "A", "[a]", "\\", "\\%", "_", "_b", "a", "a%", "a_", "ab", "abc", "ac", "b_", "b_c", "bxc"]
    for name in names:
        env.storage.queues.create(name)
    _see_names(env, sorted(names), "QUE-006", "after they were made")
    for prefix in ("a", "ab", "abcd", "%", "_", "*", "[", "[a", "?", "\\", "b_", "A", "a%", "\U0001f600"):
        expected = sorted(name for name in names if name.startswith(prefix))
        ensure_equal(_names(env.storage, prefix=prefix), expected, "QUE-006", f"names with the prefix {prefix!r}")
        pages = [name for page in _pages(env.storage, 1, prefix=prefix) for name in page]
        ensure_equal(pages, expected, "QUE-006", f"names with the prefix {prefix!r}, in pages of one")


@check("QUE-007")
def queue_pages_are_complete(env: Env) -> None:
    """Pages joined by their markers show each queue once, whatever the limit; the last says ``more=False``."""
    names = sorted({*_TRICKY_NAMES, *(f"q{number}" for number in range(9))})
    for name in names:
        env.storage.queues.create(name)
    _see_names(env, names, "QUE-007", "after they were made")
    for limit in (1, 2, 5, len(names) - 1, len(names), len(names) + 1):
        pages = list(_pages(env.storage, limit))
        shown = [name for page in pages for name in page]
        ensure_equal(shown, names, "QUE-007", f"names in pages of {limit}")
        ensure(max(map(len, pages)) <= limit, "QUE-007", f"pages of {limit} had {[len(page) for page in pages]} names")
    end = env.storage.queues.list(limit=len(names))
    ensure_equal(end.more, False, "QUE-007", "more on a page that holds exactly all queues")
    beyond = env.storage.queues.list(marker=end.marker)
    ensure_equal(
        (list(beyond.items), beyond.more), ([], False), "QUE-007", "items and more of the page behind the last"
    )


@check("QUE-007")
def queue_marker_of_a_deleted_queue_goes_on(env: Env) -> None:
    """A marker whose queue was deleted goes on behind it, and so does one taken at the end of the list."""
    names = [f"q{number}" for number in range(6)]
    for name in names:
        env.storage.queues.create(name)
    _see_names(env, names, "QUE-007", "after they were made")
    page = env.storage.queues.list(limit=3)
    env.storage.queues.delete("q2")
    env.storage.queues.delete("q3")
    env.see(
        lambda: [entry.name for entry in env.storage.queues.list(marker=page.marker).items],
        lambda seen: seen == ["q4", "q5"],
        "QUE-007",
        "names behind the marker at q2, after q2 and q3 were deleted, expected ['q4', 'q5']",
    )
    end = env.storage.queues.list(limit=10)
    env.storage.queues.delete("q5")
    env.storage.queues.create("q6")
    env.see(
        lambda: [entry.name for entry in env.storage.queues.list(marker=end.marker).items],
        lambda seen: seen == ["q6"],
        "QUE-007",
        "names behind the marker at q5, after q5 was deleted and q6 made, expected ['q6']",
    )


@check("QUE-007")
def queue_listing_survives_changes_between_pages(env: Env) -> None:
    """While others are made and deleted between pages, each queue that exists throughout is shown exactly once."""
    lasting = [f"m{number:02}" for number in range(0, 40, 2)]
    fleeting = [f"m{number:02}" for number in range(1, 40, 2)]
    for name in (*lasting, *fleeting[::2]):
        env.storage.queues.create(name)
    there = set(fleeting[::2])
    expected = sorted({*lasting, *there})
    _see_names(env, expected, "QUE-007", "after they were made")
    shown: list[str] = []
    for page in _pages(env.storage, 3):
        shown += page
        for name in env.rng.sample(fleeting, 6):
            if name in there:
                env.storage.queues.delete(name)
            else:
                env.storage.queues.create(name)
            there ^= {name}
    ensure_equal(sorted(set(shown)), sorted(shown), "QUE-007", "names listed, against the same without repeats")
    throughout = [name for name in shown if name in lasting]
    ensure_equal(throughout, lasting, "QUE-007", "queues that existed throughout, as listed while others came and went")


@check("QUE-008")
def queue_count(env: Env) -> None:
    """``count`` follows creation and deletion, counts each queue once, and those of one project only."""
    _see_count(env, 0, "of a project without queues")
    names = [env.queue() for _ in range(5)]
    for name in names:
        env.storage.queues.create(name)
    _see_count(env, 5, "after five were made")
    env.storage.queues.create(names[0])
    env.storage.queues.set_metadata(names[1], {"a": 1})
    env.storage.queues.create("elsewhere", project=f"{env.project}-b")
    _see_count(env, 5, "after one was made again, one changed, and one made in another project")
    env.storage.queues.delete(names[0])
    env.storage.queues.delete(names[0])
    _see_count(env, 4, "after one was deleted twice")
    env.storage.queues.create(names[0])
    _see_count(env, 5, "after it was made again")


@check("QUE-009")
def queue_is_registered_by_its_first_post(env: Env) -> None:
    """The first post registers a queue with empty metadata; posts to a queue that exists leave its metadata alone."""
    queue, described = env.queue(), env.queue()
    env.storage.queues.create(described, {"a": 1})
    for name, metadata in ((queue, {}), (described, {"a": 1})):
        for _ in range(2):
            env.storage.messages.post(name, [NewMessage(1)])
            seen = env.storage.queues.get_metadata(name)
            ensure_equal(seen, metadata, "QUE-009", "metadata after a post")
    ensure_equal(_names(env.storage), sorted([queue, described]), "QUE-009", "names listed after the posts")


@check("QUE-009")
def queue_is_not_registered_by_reading(env: Env) -> None:
    """Only a post registers: reading, claiming, popping, deleting and purging an unknown queue leave it unknown."""
    queue, messages, claims = env.queue(), env.storage.messages, env.storage.claims
    calls: dict[str, Callable[[], object]] = {
        "messages.list": lambda: messages.list(queue),
        "messages.bulk_get": lambda: messages.bulk_get(queue, ["x"]),
        "messages.delete": lambda: messages.delete(queue, "x"),
        "messages.pop": lambda: messages.pop(queue),
        "messages.stats": lambda: messages.stats(queue),
        "messages.purge": lambda: messages.purge(queue),
        "claims.create": lambda: claims.create(queue),
        "claims.delete": lambda: claims.delete(queue, "x"),
        "storage.queue": lambda: env.storage.queue(queue),
    }
    for what, call in calls.items():
        call()
        ensure_equal(env.storage.queues.exists(queue), False, "QUE-009", f"exists after {what} on an unknown queue")


@check("QUE-010")
def queue_metadata_cache_shows_own_changes(env: Env) -> None:
    """With a cache that hardly ever runs out, one's own create, change and deletion take effect on the next post."""
    queue = env.queue()
    client = env.connect(metadata_ttl=3600)
    ensure_equal(_ttl_of_a_post(client, queue), 3600.0, "QUE-010", "ttl of a post to an unknown queue")
    client.queues.delete(queue)
    ensure_equal(client.claims.create(queue).id, None, "QUE-010", "a claim on the queue just deleted: its id")
    client.queues.create(queue, {_TTL: 50})
    ensure_equal(_ttl_of_a_post(client, queue), 50.0, "QUE-010", "ttl of a post after one's own create with ttl 50")
    client.queues.set_metadata(queue, {_TTL: 40})
    ensure_equal(
        _ttl_of_a_post(client, queue), 40.0, "QUE-010", "ttl of a post after one's own set_metadata with ttl 40"
    )
    client.queues.delete(queue)
    ensure_equal(
        _ttl_of_a_post(client, queue), 3600.0, "QUE-010", "ttl of a post after one's own deletion of the queue"
    )
    ensure_equal(client.queues.exists(queue), True, "QUE-010", "exists after a post to the queue just deleted")


@check("QUE-010")
def queue_metadata_cache_runs_out(env: Env) -> None:
    """Another client's change takes effect once ``metadata_ttl`` has passed, and ``get_metadata`` shows it at once."""
    queue, behind = env.queue(), 0.3
    client = env.connect(metadata_ttl=behind)
    env.storage.queues.create(queue, {_TTL: 50})
    ensure_equal(_ttl_of_a_post(client, queue), 50.0, "QUE-010", "ttl of a post by the client with a cache")
    env.storage.queues.set_metadata(queue, {_TTL: 40})
    over = time.monotonic() + behind
    ensure_equal(client.queues.get_metadata(queue), {_TTL: 40}, "QUE-010", "get_metadata after another client's change")

    def post() -> tuple[bool, float]:
        return time.monotonic() >= over, _ttl_of_a_post(client, queue)

    wanted = env.wait_for(
        post,
        lambda seen: seen[0] or seen[1] == 40.0,
        "QUE-010",
        "(whether metadata_ttl has passed, ttl of a post)",
    )
    ensure_equal(wanted[1], 40.0, "QUE-010", f"ttl of a post {behind} s after another client set it to 40")


@check("QUE-017")
def queues_deleted_under_a_poster_are_registered_when_it_closes(env: Env) -> None:
    """Two queues are deleted under a client that posts by remembered metadata; ``close`` registers the one in use."""
    used, emptied = env.queue(), env.queue()
    client = env.connect(metadata_ttl=3600)
    _post_to_deleted(env, client, used, emptied)
    env.storage.messages.purge(emptied)
    client.close()
    seen = env.storage.queues.exists(used), env.storage.messages.stats(used).total, env.storage.queues.exists(emptied)
    what = "exists and messages of the queue in use, and exists of the emptied one, after the poster closed"
    ensure_equal(seen, (True, 1, False), "QUE-017", what)


@check("QUE-017")
def queues_deleted_under_a_poster_are_registered_at_its_next_operation(env: Env) -> None:
    """A queue is deleted under a client that posts by remembered metadata: once those are old, any operation helps."""
    queue, behind = env.queue(), 0.3
    client = env.connect(metadata_ttl=behind)
    _post_to_deleted(env, client, queue)

    def look() -> tuple[bool, bool]:
        client.messages.stats("another")
        return env.storage.queues.exists(queue), env.storage.messages.stats(queue).total == 1

    what = "(the queue is registered, its message is there)"
    env.wait_for(look, lambda seen: seen == (True, True), "QUE-017", what)


def _post_to_deleted(env: Env, client: Storage, *queues: str) -> None:
    """Post, let another client delete the queues, and post again: by what is remembered, if that is young enough."""
    for queue in queues:
        for _ in range(2):  # the first registers the queue, the second remembers that it is there
            client.messages.post(queue, [NewMessage("before")])
        env.storage.queues.delete(queue)
        client.messages.post(queue, [NewMessage("after")])


@check("QUE-010")
def queue_metadata_cache_can_be_off(env: Env) -> None:
    """With ``metadata_ttl=0`` another client's change takes effect on the very next post."""
    queue, other = env.queue(), env.connect()
    for ttl in (50.0, 40.0, 30.0):
        other.queues.create(queue)
        other.queues.set_metadata(queue, {_TTL: ttl})
        seen = _ttl_of_a_post(env.storage, queue)
        ensure_equal(seen, ttl, "QUE-010", f"ttl of a post right after another client set it to {ttl:g}")


@check("QUE-011")
def queue_default_ttl_takes_effect(env: Env) -> None:
    """``_default_message_ttl`` is the ttl of messages that name none; a message's own comes first."""
    queue = env.queue()
    env.storage.queues.create(queue, {_TTL: 77.5})
    ids = env.storage.messages.post(queue, [NewMessage(1), NewMessage(2, ttl=5)])
    seen = [message.ttl for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(
        seen, [77.5, 5.0], "QUE-011", "ttl of a message without, and of one with ttl=5, where 77.5 is the default"
    )


@check("QUE-011")
def queue_default_delay_takes_effect(env: Env) -> None:
    """``_default_message_delay`` is the delay of messages that name none; a message's own, 0 too, comes first."""
    queue = env.queue()
    env.storage.queues.create(queue, {"_default_message_delay": 60})
    env.storage.messages.post(queue, [NewMessage("late"), NewMessage("now", delay=0)])
    stats = env.storage.messages.stats(queue)
    ensure_equal(
        (stats.free, stats.delayed), (1, 1), "QUE-011", "free and delayed of a message with delay=0 and one without"
    )
    shown = [message.body for message in env.storage.messages.list(queue).items]
    ensure_equal(shown, ["now"], "QUE-011", "active messages of a queue with a default delay of 60 s")


@check("QUE-011")
def queue_post_size_takes_effect(env: Env) -> None:
    """``_max_messages_post_size`` bounds the bytes of a post's bodies, all together; a post above it writes nothing."""
    queue = env.queue()
    env.storage.queues.create(queue, {"_max_messages_post_size": 20})
    fits, over = NewMessage("x" * 8), NewMessage("x" * 9)  # 10 and 11 bytes as JSON
    env.storage.messages.post(queue, [fits, fits])
    what = "a post of 21 bytes where 20 are allowed"
    raised = ensure_raises(BatchTooLarge, "QUE-011", what, lambda: env.storage.messages.post(queue, [fits, over]))
    ensure("21" in str(raised) and "20" in str(raised), "QUE-011", f"{what}: the error names neither size: {raised}")
    ensure_equal(env.storage.messages.stats(queue).total, 2, "QUE-011", f"messages after {what}")


@check("QUE-011")
def queue_reserved_metadata_is_checked_when_set(env: Env) -> None:
    """A reserved key with a value of the wrong kind is refused by ``create`` and ``set_metadata``; nothing changes."""
    new, there = env.queue(), env.queue()
    env.storage.queues.create(there, {"kept": 1})
    for key in (_TTL, "_default_message_delay", "_max_messages_post_size"):
        for value in ("60", True, -1, [60]):
            _refuses(f"create with {key} = {value!r}", key, partial(env.storage.queues.create, new, {key: value}))
            what = f"set_metadata with {key} = {value!r}"
            _refuses(what, key, partial(env.storage.queues.set_metadata, there, {key: value}))
    ensure_equal(env.storage.queues.exists(new), False, "QUE-011", "exists after create was refused")
    ensure_equal(
        env.storage.queues.get_metadata(there), {"kept": 1}, "QUE-011", "metadata after set_metadata was refused"
    )


@check("QUE-013")
def queue_metadata_is_updated_in_part(env: Env) -> None:
    """``update_metadata`` sets and removes the keys that it is told to; the others stay, whoever set them."""
    queue, queues, other = env.queue(), env.storage.queues, env.connect()
    queues.create(queue, {"kept": {"deep": 1}, "old": 1, "gone": None})
    changed = queues.update_metadata(queue, {"old": 2, "new": [3]}, remove=["gone", "never there"])
    expected: dict[str, Any] = {"kept": {"deep": 1}, "old": 2, "new": [3]}
    ensure_equal(changed, expected, "QUE-013", "what update_metadata returned")
    _see_metadata(env, other, queue, expected, "QUE-013", "after update_metadata")
    other.queues.update_metadata(queue, {_TTL: 50})
    _see_metadata(env, env.storage, queue, {**expected, _TTL: 50}, "QUE-013", "after another client's update_metadata")
    ensure_equal(_ttl_of_a_post(env.storage, queue), 50.0, "QUE-013", "ttl of a post after update_metadata")
    ensure_equal(queues.update_metadata(queue, remove=[_TTL]), expected, "QUE-013", "what removing a key returned")
    what = "update_metadata of an unknown queue"
    ensure_raises(QueueDoesNotExist, "QUE-013", what, lambda: queues.update_metadata(env.queue(), {"a": 1}))


@check("QUE-013")
def queue_metadata_updated_in_part_is_checked_as_a_whole(env: Env) -> None:
    """Keys that are fine one by one are refused together, and then nothing changes."""
    queue, queues = env.queue(), env.storage.queues
    queues.create(queue, {"a": 1})
    refused: list[tuple[dict[str, Any], list[str]]] = [
        ({"_dead_letter_queue": "dead"}, []),
        ({_TTL: -1, "b": 1}, []),
        ({"a": 2}, ["a"]),
        ({"_max_claims": 3}, []),
    ]
    for changes, remove in refused:
        what = f"update_metadata with {changes}, remove={remove}"
        ensure_raises(InvalidMetadata, "QUE-013", what, partial(queues.update_metadata, queue, changes, remove=remove))
    _see_metadata(env, env.storage, queue, {"a": 1}, "QUE-013", "after update_metadata was refused")
    queues.update_metadata(queue, {"_max_claim_count": 3})
    queues.update_metadata(queue, {"_dead_letter_queue": "dead"})
    what = "update_metadata that removes _max_claim_count and leaves _dead_letter_queue"
    ensure_raises(InvalidMetadata, "QUE-013", what, partial(queues.update_metadata, queue, remove=["_max_claim_count"]))
    queues.update_metadata(queue, remove=["_max_claim_count", "_dead_letter_queue"])
    _see_metadata(env, env.storage, queue, {"a": 1}, "QUE-013", "after both keys were removed")


@check("QUE-013")
def queue_metadata_beyond_this_clients_limits_stay(env: Env) -> None:
    """A client with narrower limits changes other keys of a queue's metadata, and sets none beyond its limits."""
    queue, wide, narrow = env.queue(), env.storage, env.connect(limits=Limits(max_message_ttl=60))
    wide.queues.create(queue, {_TTL: 600})
    changed = narrow.queues.update_metadata(queue, {"a": 1})
    ensure_equal(changed, {_TTL: 600, "a": 1}, "QUE-013", "what update_metadata returned")
    for changes in ({_TTL: 120}, {"_dead_letter_queue": "dead"}):
        what = f"update_metadata with {changes} by a client whose messages may live for 60 s"
        ensure_raises(InvalidMetadata, "QUE-013", what, partial(narrow.queues.update_metadata, queue, changes))
    _see_metadata(env, wide, queue, {_TTL: 600, "a": 1}, "QUE-013", "after update_metadata was refused")


@check("QUE-014")
def queue_metadata_updates_at_once_are_all_kept(env: Env) -> None:
    """Clients that set keys of their own at the same time lose none of one another's."""
    queue, clients, rounds = env.queue(), [env.connect() for _ in range(4)], 10
    env.storage.queues.create(queue)

    def work(number: int) -> None:
        for turn in range(rounds):
            clients[number].queues.update_metadata(queue, {f"{number}-{turn}": turn})

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(work, range(len(clients))))
    expected = {f"{number}-{turn}": turn for number in range(len(clients)) for turn in range(rounds)}
    _see_metadata(env, env.storage, queue, expected, "QUE-014", "after updates by four clients at once")


@check("QUE-015")
def queue_metadata_that_is_misspelt_is_refused(env: Env) -> None:
    """A reserved key that is unknown is refused with the one that is most like it; without ``_`` it is the user's."""
    for key, meant in (
        ("_max_claims_count", "_max_claim_count"),
        ("_deadletter_queue", "_dead_letter_queue"),
        ("_default_ttl", "_default_message_ttl"),
        ("_FLAVOR", "_flavor"),
    ):
        for value in (3, None):
            what = f"create with {key} = {value}"
            raised = ensure_raises(
                InvalidMetadata, "QUE-015", what, partial(env.storage.queues.create, "q", {key: value})
            )
            ensure(key in str(raised) and meant in str(raised), "QUE-015", f"{what} does not name {meant}: {raised}")
    what = "create with _dead_letter_queue and no _max_claim_count"
    for metadata in ({"_dead_letter_queue": "dead"}, {"_dead_letter_queue": "dead", "_max_claim_count": None}):
        raised = ensure_raises(InvalidMetadata, "QUE-015", what, partial(env.storage.queues.create, "q", metadata))
        ensure("_max_claim_count" in str(raised), "QUE-015", f"the error does not name _max_claim_count: {raised}")
    ensure_equal(env.storage.queues.exists("q"), False, "QUE-015", "exists after create was refused")


@check("QUE-015")
def queue_metadata_of_null_is_not_set(env: Env) -> None:
    """``null`` as the value of a reserved key is as if the key were not there, also where another client wrote it."""
    queue = env.queue()
    keys = [_TTL, "_default_message_delay", "_max_messages_post_size", "_max_claim_count", "_dead_letter_queue"]
    keys += ["_dead_letter_queue_messages_ttl", "_flavor"]
    env.storage.queues.create(queue, dict.fromkeys(keys))
    _see_metadata(env, env.storage, queue, dict.fromkeys(keys), "QUE-015", "after create with null")
    ensure_equal(_ttl_of_a_post(env.storage, queue), 3600.0, "QUE-015", "ttl of a post to a queue with null metadata")
    if env.declares(Capability.CLAIMS):
        claim = env.storage.claims.create(queue)
        ensure_equal(len(claim.messages), 1, "QUE-015", "messages claimed of a queue with null metadata")


@check("QUE-016")
def queue_deletion_that_fails_midway_says_so(env: Env) -> None:
    """With the store gone after the purge, ``delete`` says ``OutcomeUnknown``; again, it finishes."""
    queue, client = env.queue(), env.connect()
    client.messages.post(queue, [NewMessage(n) for n in range(5)])
    client.subscriptions.create(queue, subscriber="https://example.org")
    records = client.control.records
    assert records is not None

    def fail(*_: object, **__: object) -> Any:
        raise StorageUnavailable("no server")

    for method in ("delete_all", "delete"):
        working = getattr(records, method)
        setattr(records, method, fail)
        try:
            what = f"queues.delete while records.{method} fails"
            ensure_raises(OutcomeUnknown, "QUE-016", what, lambda: client.queues.delete(queue))
        finally:
            setattr(records, method, working)
        ensure_equal(client.queues.exists(queue), True, "QUE-016", f"exists after {what}")
    client.queues.delete(queue)
    left = client.queues.exists(queue), client.messages.stats(queue).total, len(client.subscriptions.list(queue).items)
    ensure_equal(
        left, (False, 0, 0), "QUE-016", "the queue, its messages and subscriptions after delete was done again"
    )


def _refuses(what: str, key: str, call: Callable[[], object]) -> None:
    raised = ensure_raises(InvalidMetadata, "QUE-011", what, call)
    ensure(key in str(raised), "QUE-011", f"{what}: the error does not name the key: {raised}")


def _see_names(env: Env, expected: list[str], requirement: str, what: str, *, project: str | None = None) -> None:
    env.see(
        lambda: _names(env.storage, project=project),
        lambda seen: seen == expected,
        requirement,
        f"names listed {what}, expected {expected}",
    )


def _names(storage: Storage, *, prefix: str = "", project: str | None = None) -> list[str]:
    return [entry.name for entry in storage.queues.list(limit=1000, prefix=prefix, project=project).items]


def _pages(storage: Storage, limit: int, *, prefix: str = "") -> Iterator[list[str]]:
    """The names of each page in turn, until a page says that nothing more is there."""
    marker = None
    for _ in range(100):
        page = storage.queues.list(marker=marker, limit=limit, prefix=prefix)
        yield [entry.name for entry in page.items]
        if not page.more:
            return
        marker = page.marker
    ensure(False, "QUE-007", f"100 pages of {limit} and still more=True; the last marker was {marker!r}")


def _ttl_of_a_post(storage: Storage, queue: str) -> float:
    [message_id] = storage.messages.post(queue, [NewMessage("which ttl?")])
    return storage.messages.get(queue, message_id).ttl


def _see_exists(env: Env, storage: Storage, queue: str, requirement: str) -> None:
    env.see(lambda: storage.queues.exists(queue), bool, requirement, f"exists of {queue!r} after create, expected True")


def _see_metadata(
    env: Env, storage: Storage, queue: str, expected: dict[str, Any], requirement: str, what: str
) -> dict[str, Any]:
    def read() -> dict[str, Any] | None:
        try:
            return storage.queues.get_metadata(queue)
        except QueueDoesNotExist:
            return None

    shown = repr(expected)[:200]
    seen = env.see(read, lambda found: found == expected, requirement, f"metadata {what}, expected {shown}")
    return seen or {}


def _see_count(env: Env, expected: int, what: str) -> None:
    env.see(env.storage.queues.count, lambda seen: seen == expected, "QUE-008", f"count {what}, expected {expected}")


def _raises_unknown(env: Env, queue: str, state: str) -> None:
    queues = env.storage.queues
    ensure_equal(queues.exists(queue), False, "QUE-004", f"exists of a queue {state}")
    calls: dict[str, Callable[[], object]] = {
        "get_metadata": lambda: queues.get_metadata(queue),
        "set_metadata": lambda: queues.set_metadata(queue, {"a": 1}),
        "stats": lambda: queues.stats(queue),
    }
    for what, call in calls.items():
        raised = ensure_raises(QueueDoesNotExist, "QUE-004", f"queues.{what} of a queue {state}", call)
        ensure(repr(queue) in str(raised), "QUE-004", f"the error of queues.{what} does not name {queue!r}: {raised}")
    ensure_equal(queues.exists(queue), False, "QUE-004", f"exists of a queue {state}, after set_metadata was refused")


def _starts_empty(env: Env, queue: str, old_ids: list[str]) -> None:
    """The deleted queue is unknown; made again it has no metadata, and none of the old messages in any way."""
    env.see(
        lambda: env.storage.queues.exists(queue),
        lambda found: not found,
        "QUE-005",
        "exists after delete, expected False",
    )
    ensure_equal(env.storage.queues.create(queue), True, "QUE-005", "create after delete")
    _see_metadata(env, env.storage, queue, {}, "QUE-005", "of the queue made again")
    env.see(
        lambda: env.storage.queues.stats(queue),
        lambda stats: stats == QueueStats(),
        "QUE-005",
        "stats of the queue made again, expected all 0 and None",
    )
    page = env.storage.messages.list(queue, include_claimed=True, include_delayed=True)
    ensure_equal([*page.items], [], "QUE-005", "messages listed in the queue made again, with claimed and delayed")
    ensure_equal(env.storage.messages.bulk_get(queue, old_ids), [], "QUE-005", "messages fetched by their old ids")
    what = "messages.get of a message of the deleted queue"
    ensure_raises(MessageDoesNotExist, "QUE-005", what, lambda: env.storage.messages.get(queue, old_ids[0]))
    if env.declares(Capability.CLAIMS):
        claim = env.storage.claims.create(queue, ttl=1, grace=0, limit=10)
        ensure_equal(claim.id, None, "QUE-005", "the id of a claim on the queue made again, without messages")
