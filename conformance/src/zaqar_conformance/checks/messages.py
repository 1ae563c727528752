"""Checks of messages: what is posted comes back, by every way of reading, until it has expired."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import (
    BRIEF,
    LONG,
    difference,
    elapse,
    ensure_opaque,
    ids_of,
    keeps_records,
    listed,
    post,
    see_fetched,
    see_listed,
    see_stats,
    sizes,
    take,
)
from zaqar_conformance.env import Env
from zaqar_core import Capability, Message, NewMessage
from zaqar_core.contract import EncodedMessage, QueueKey
from zaqar_core.errors import MessageDoesNotExist, QueueIsEmpty

# --- posting and identity -----------------------------------------------------------------------------


@check("MSG-001")
def post_returns_ids_in_the_order_given(env: Env) -> None:
    """Each id that a post returns fetches the message at its place in the batch."""
    queue = env.queue()
    order = env.rng.sample(range(100), 100)
    # Lives and sizes out of order, so that nothing but the order given can put the ids right.
    batch = [NewMessage([number, "x" * env.rng.randrange(200)], ttl=LONG + number) for number in order]
    ids = env.storage.messages.post(queue, batch)
    ensure_equal(len(ids), len(batch), "MSG-001", "ids returned for a post of 100 messages")
    see_fetched(env, queue, ids, ids, "MSG-001", "100 messages posted at once")
    for message_id, number in zip(ids, order, strict=True):
        body = env.storage.messages.get(queue, message_id).body
        ensure_equal(body[0], number, "MSG-001", f"body fetched by the id returned for the body {number}")


@check("MSG-001")
def a_single_message_has_an_id_of_its_own(env: Env) -> None:
    """Posts of one message, equal ones too, give an id each, which fetches it."""
    queue = env.queue()
    ids = [env.storage.messages.post(queue, [NewMessage("same", ttl=LONG)])[0] for _ in range(5)]
    ensure_equal(len(set(ids)), 5, "MSG-001", "different ids of 5 equal messages posted one by one")
    ids += env.storage.messages.post(queue, [NewMessage("same", ttl=LONG)] * 5)
    ensure_equal(len(set(ids)), 10, "MSG-001", "different ids of these and 5 more posted at once")
    see_fetched(env, queue, ids, ids, "MSG-001", "10 equal messages")


@check("MSG-002", thorough=True)
def a_post_takes_thousands(env: Env) -> None:
    """Batches of every size up to the limit are stored whole and listed in the order given."""
    for size in sizes(env.storage.limits.max_messages_per_post):
        queue = env.queue()
        ids = env.storage.messages.post(queue, [NewMessage(number, ttl=LONG) for number in range(size)])
        what = f"{size} messages posted in one call"
        ensure_equal(len(ids), size, "MSG-002", f"{what}: ids returned")
        see_listed(env, queue, ids, "MSG-002", what)
        bodies = [message.body for message in listed(env, queue)]
        ensure_equal(difference(bodies, range(size)), "", "MSG-002", f"{what}: difference of the bodies listed")
        see_stats(env, queue, "MSG-002", what, free=size)


@check("MSG-002", thorough=True)
def a_post_takes_as_many_bytes_as_are_allowed(env: Env) -> None:
    """A batch of the most bytes that the limits allow is stored whole."""
    queue, limits = env.queue(), env.storage.limits
    count = max(1, min(limits.max_post_bytes // limits.max_body_bytes, limits.max_messages_per_post))
    body = "x" * (min(limits.max_body_bytes, limits.max_post_bytes) - 2)  # less its quotes
    ids = env.storage.messages.post(queue, [NewMessage(body, ttl=LONG)] * count)
    what = f"{count} bodies of {len(body) + 2} bytes posted in one call"
    see_stats(env, queue, "MSG-002", what, free=count)
    for one in (ids[0], ids[count // 2], ids[-1]):
        ensure(env.storage.messages.get(queue, one).body == body, "MSG-002", f"{what}: one came back different")
    env.storage.messages.purge(queue)


@check("MSG-003")
def message_ids_are_opaque(env: Env) -> None:
    """Message ids are URL-safe, all different, and random, within a batch and from post to post."""
    for what, ids in (
        ("message id", post(env, env.queue(), 2000)),
        ("message id of single posts", [post(env, env.queue())[0] for _ in range(300)]),
    ):
        ensure_opaque(ids, "MSG-003", what)


@check("MSG-004")
def message_ids_are_never_reused(env: Env) -> None:
    """Ids are not given again after deletion, purge, nor deletion of the queue; old ones fetch nothing."""
    queue, given = env.queue(), list[str]()

    def again(what: str) -> None:
        ids = post(env, queue, 20)
        ensure(not set(ids) & set(given), "MSG-004", f"{what}: ids given again: {sorted(set(ids) & set(given))[:3]}")
        see_fetched(env, queue, [*given, *ids], ids, "MSG-004", f"{what}: old and new ids")
        given.extend(ids)

    again("first post")
    env.storage.messages.bulk_delete(queue, given)
    again("post after all messages were deleted")
    env.storage.messages.purge(queue)
    again("post after a purge")
    if env.declares(Capability.POP):
        env.storage.messages.pop(queue, 20)
        again("post after all messages were popped")
    if keeps_records(env):
        env.storage.queues.delete(queue)
        again("post after the queue was deleted")
        env.storage.queues.delete(queue)
        env.storage.queues.create(queue)
        again("post after the queue was deleted and made again")


# --- bodies, headers, client ids ----------------------------------------------------------------------

_DEEP: list[Any] = []
for _ in range(100):
    _DEEP = [_DEEP]

BODIES: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, 0.1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1),
    *(2**64, 10**100, -(10**100), 1e16, 1e-300, 5e-324, 1.7976931348623157e308, 123456789.123456789, 1e22, 1.5e300),
    *("", " ", "a", " a ", "0", "1.0", "null", "true", "{}", "\\", '"', "'", "\\u0000", "%s", "a\r\nb\n", "</script>"),
    *("\0", "a\0b", "\u0001\u001f", "\u007f\u0085", "\u2028\u2029", "\ufeffa", "\uffff", "\U0001f600", "\U0010ffff"),
    *("\u00e9", "e\u0301", "\u202eabc", "2026-01-01T00:00:00Z", "YWJj", "x" * 70_000, "\u20ac" * 30_000),
    *([], {}, [[]], [{}], {"": None}, {"a": {}}, [None], [None, True, 1, 1.0, "1", [], {}], {"b": 1, "a": 2, "c": 3}),
    *({"\u00e9": 1, "e\u0301": 2}, {"a.b": 1, "$set": {"x": 1}, "\0": 2, "__proto__": {}}, {"$reql_type$": "TIME"}),
    {"id": 1, "_id": 2, "body": 3, "ttl": 4, "claim_id": None, "headers": {}},
    *([[1, [2, [3]]], {"a": [{"b": {"c": []}}]}], list(range(1000)), {str(number): number for number in range(1000)}),
    _DEEP,
]


@check("MSG-005")
def a_body_of_every_json_type_comes_back_equal(env: Env) -> None:
    """Every kind of JSON value comes back equal and of the same type."""
    queue = env.queue()
    ids = env.storage.messages.post(queue, [NewMessage(body, ttl=LONG) for body in BODIES])
    see_listed(env, queue, ids, "MSG-005", "one message of each JSON type")
    for how, found in (("get", env.storage.messages.bulk_get(queue, ids)), ("list", listed(env, queue))):
        for message, body in zip(found, BODIES, strict=True):
            ensure_equal(json.dumps(message.body), json.dumps(body), "MSG-005", f"body, as JSON, by {how}")


@check("MSG-005")
def a_driver_returns_the_very_bytes(env: Env) -> None:
    """At the driver's own surface a body is bytes: any at all come back as they were."""
    bodies = [
        *(b"{ }", b' {"b" : 1,\n"a":2}', b'"\\u00e9"', b"1.0e0", b"1E400", b"{'a'}", b'"\xc3\xa9"', b"\xe9", b"", b" "),
        *(b"\0", b"a\0b", b"\xff\xfe\x00", bytes(range(256)), b"\r\n", b"x'ab'", b"\x80\x04K\x01.", b"x" * 100_000),
    ]
    key = QueueKey(env.project, env.queue())
    controller = env.driver.messages
    assert controller is not None
    ids = controller.post(key, [EncodedMessage(body, LONG) for body in bodies], client_id="client")
    found = env.see(
        lambda: controller.get(key, ids), lambda seen: len(seen) == len(ids), "MSG-005", f"{len(ids)} bodies of bytes"
    )
    for message, body in zip(found, bodies, strict=True):
        ensure_equal(bytes(message.body), body, "MSG-005", "bytes that the driver returned for a body")
        ensure(isinstance(message.body, bytes), "MSG-005", f"a body of type {type(message.body).__name__}, not bytes")


@check("MSG-006")
def the_largest_body_comes_back(env: Env) -> None:
    """A body of the most bytes that the limits allow is stored and comes back, alone and beside others."""
    queue, most = env.queue(), env.storage.limits.max_body_bytes
    wide = "\u20ac" * ((most - 2) // 3)
    bodies = [
        "x" * (most - 2),
        wide + "x" * (most - 2 - len(wide.encode())),
        [0] * ((most - 1) // 2),
        "\\" * ((most - 2) // 2),
    ]
    for body in bodies:
        ids = env.storage.messages.post(queue, [NewMessage(body, ttl=LONG)])
        see_fetched(env, queue, ids, ids, "MSG-006", f"a body of {most} bytes")
        ensure(
            env.storage.messages.get(queue, ids[0]).body == body,
            "MSG-006",
            f"a body of {most} bytes came back different",
        )
    env.storage.messages.purge(queue)
    ids = env.storage.messages.post(queue, [NewMessage(body, ttl=LONG) for body in (1, *bodies, 2)])
    see_listed(env, queue, ids, "MSG-006", f"{len(bodies)} bodies of {most} bytes in a batch with small ones")
    same = [message.body for message in listed(env, queue)] == [1, *bodies, 2]
    ensure(same, "MSG-006", f"{len(bodies)} bodies of {most} bytes in a batch with small ones came back different")


HEADERS: list[dict[str, str]] = [
    {},
    {"content-type": "text/plain"},
    {"": ""},
    {"A": "1", "a": "2", "\u00e9": "3", "e\u0301": "4", "\U0001f600": "\U0001f600", " a ": " b "},
    {"id": "x", "body": "y", "ttl": "0", "client_id": "z", "claim_id": "", "a.b": "c", "$x": "\0", "\n": "\r\n"},
    {"big": "x" * (4096 - len('{"big":""}'))},
    {str(number): "v" for number in range(300)},
]


@check("MSG-007")
def headers_come_back(env: Env) -> None:
    """Headers of every kind, up to 4 KiB, come back equal in get, list and first."""
    for headers in HEADERS:
        queue = env.queue()
        ids = env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, headers=headers)])
        see_listed(env, queue, ids, "MSG-007", f"a message with {len(headers)} headers")
        for how, message in _readings(env, queue, ids[0]).items():
            ensure_equal(dict(message.headers), headers, "MSG-007", f"headers by {how}")


@check("MSG-007")
def each_message_of_a_batch_has_its_own_headers(env: Env) -> None:
    """In one post, each message keeps its own headers."""
    queue = env.queue()
    ids = env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, headers=headers) for headers in HEADERS])
    see_listed(env, queue, ids, "MSG-007", f"{len(ids)} messages with different headers")
    ensure_equal([dict(message.headers) for message in listed(env, queue)], HEADERS, "MSG-007", "headers of a batch")


@check("MSG-007", "CLM-001")
def headers_come_back_from_claims(env: Env) -> None:
    """Headers come back from the making and the reading of a claim."""
    queue = env.queue()
    env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, headers=headers) for headers in HEADERS])
    claim, held = take(env, queue, len(HEADERS))
    ensure_equal([dict(message.headers) for message in held], HEADERS, "MSG-007", "headers by claims.create")
    found = env.storage.claims.get(queue, claim).messages
    ensure_equal([dict(message.headers) for message in found], HEADERS, "MSG-007", "headers by claims.get")


@check("MSG-007", "MSG-008", "POP-001")
def headers_and_client_come_back_from_pop(env: Env) -> None:
    """Headers and client id come back from a pop."""
    queue = env.queue()
    batch = [NewMessage(1, ttl=LONG, headers=headers) for headers in HEADERS]
    ids = env.storage.messages.post(queue, batch, client_id="the poster")
    see_listed(env, queue, ids, "MSG-001", f"{len(ids)} messages")
    popped = env.storage.messages.pop(queue, len(HEADERS))
    ensure_equal([dict(message.headers) for message in popped], HEADERS, "MSG-007", "headers by pop")
    ensure_equal({message.client_id for message in popped}, {"the poster"}, "MSG-008", "client ids by pop")


@check("MSG-008")
def a_message_carries_its_posters_id(env: Env) -> None:
    """The ``client_id`` of a message is its poster's, whoever reads it, in get, list and first."""
    clients = ["a", "A", "x" * 128, "\U0001f600" * 128, " ", "a\n", "'", "%", "None", env.storage.client_id]
    reader = env.connect(client_id="the reader")
    queue = env.queue()
    ids = {
        client: env.storage.messages.post(queue, [NewMessage(1, ttl=LONG)], client_id=client)[0] for client in clients
    }
    see_fetched(env, queue, list(ids.values()), list(ids.values()), "MSG-001", f"{len(ids)} messages")
    for client, message_id in ids.items():
        found = reader.messages.get(queue, message_id).client_id
        ensure_equal(found, client, "MSG-008", "client id by another client's get")
    shown = {message.id: message.client_id for message in listed(env, queue, storage=reader)}
    ensure_equal(shown, {message_id: client for client, message_id in ids.items()}, "MSG-008", "client ids by list")
    first = reader.messages.first(queue)
    ensure_equal(first.client_id, shown[first.id], "MSG-008", "client id by first")


@check("MSG-008", "CLM-001")
def a_claimed_message_carries_its_posters_id(env: Env) -> None:
    """The ``client_id`` of a claimed message is its poster's, not the claimer's."""
    queue = env.queue()
    post(env, queue, 2, client_id="the poster")
    claim, held = take(env, queue, 2)
    found = env.storage.claims.get(queue, claim).messages
    for how, messages in (("create", held), ("get", found), ("list", listed(env, queue, include_claimed=True))):
        ensure_equal([message.client_id for message in messages], ["the poster"] * 2, "MSG-008", f"client ids by {how}")


def _readings(env: Env, queue: str, message_id: str) -> dict[str, Message]:
    """The one message of a queue, by each way of reading."""
    return {
        "get": env.storage.messages.get(queue, message_id),
        "list": listed(env, queue)[0],
        "first": env.storage.messages.first(queue),
        "first(newest)": env.storage.messages.first(queue, newest=True),
    }


# --- fetching -----------------------------------------------------------------------------------------


@check("MSG-009")
def get_keeps_the_order_asked(env: Env) -> None:
    """``bulk_get`` gives messages in the order asked, repeated ids once, missing ones left out."""
    queue = env.queue()
    ids = post(env, queue, 50)
    asked = [*env.rng.sample(ids, 50), *ids[:10], "missing", ids[0]]
    see_fetched(
        env, queue, asked, list(dict.fromkeys(asked[:50])), "MSG-009", "50 ids shuffled, some twice, one missing"
    )
    gone = ids[10:20]
    env.storage.messages.bulk_delete(queue, gone)
    left = [message_id for message_id in asked[:50] if message_id not in gone]
    see_fetched(env, queue, asked, left, "MSG-009", "50 ids shuffled, 10 of them deleted")
    ensure_equal(env.storage.messages.bulk_get(queue, gone), [], "MSG-009", "10 deleted messages")
    ensure_equal(env.storage.messages.bulk_get(queue, []), [], "MSG-009", "no ids at all")


@check("MSG-009")
def get_takes_thousands_of_ids(env: Env) -> None:
    """``bulk_get`` takes as many ids as the limits allow, most of them missing or none."""
    queue = env.queue()
    most = env.storage.limits.max_ids_per_call
    ids = post(env, queue, most)
    for size in sizes(most):
        asked = env.rng.sample(ids, size)
        see_fetched(env, queue, asked, asked, "MSG-009", f"{size} ids at once")
    missing = [f"missing-{number}" for number in range(most - 3)]
    see_fetched(env, queue, [*missing, *ids[:3]], ids[:3], "MSG-009", f"3 ids behind {most - 3} missing ones")


@check("MSG-009", "CLM-001")
def get_fetches_claimed_messages(env: Env) -> None:
    """Claimed messages are fetched by id, with the claim's id, among others."""
    queue = env.queue()
    ids = post(env, queue, 4)
    claim, _ = take(env, queue, 2)
    see_fetched(env, queue, ids, ids, "MSG-009", "4 messages of which 2 are claimed")
    holders = [message.claim_id for message in env.storage.messages.bulk_get(queue, ids)]
    ensure_equal(holders, [claim, claim, None, None], "MSG-009", "claim ids of 4 messages of which 2 are claimed")


@check("MSG-009", "MSG-027")
def get_fetches_delayed_messages(env: Env) -> None:
    """Delayed messages are fetched by id, among others."""
    queue = env.queue()
    batch = [NewMessage(number, ttl=LONG, delay=60 * (number % 2)) for number in range(4)]
    ids = env.storage.messages.post(queue, batch)
    see_fetched(env, queue, ids, ids, "MSG-009", "4 messages of which 2 are delayed")


# --- expiry -------------------------------------------------------------------------------------------


def _partly_expired(env: Env, queue: str) -> tuple[list[str], list[str]]:
    """Post expiring messages before, between and behind two that last: the ids of all, and of the lasting."""
    ttls = (BRIEF, BRIEF, LONG, BRIEF, LONG, BRIEF)
    ids = env.storage.messages.post(queue, [NewMessage(ttl, ttl=ttl) for ttl in ttls])
    return ids, [message_id for message_id, ttl in zip(ids, ttls, strict=True) if ttl == LONG]


_Posted = tuple[str, list[str], list[str]]


def _expire(env: Env, count: int) -> list[_Posted]:
    """Queues whose messages have partly expired and which nobody looked at since: name, all ids, lasting ids."""
    queues = [env.queue() for _ in range(count)]
    posted = [(queue, *_partly_expired(env, queue)) for queue in queues]
    elapse(env, BRIEF)
    return posted


def _read_expired(env: Env, posted: list[_Posted], what: str) -> None:
    """Each way of reading, as the first operation on its queue since the expiry, shows what lasts."""
    (by_list, _, first), (by_all, _, second), (by_get, third_all, third), (by_first, _, fourth) = posted[:4]
    (by_newest, _, fifth), (by_stats, _, _) = posted[4:6]
    see_listed(env, by_list, first, "MSG-010", what)
    see_listed(env, by_all, second, "MSG-010", what, include_claimed=True, include_delayed=True)
    see_fetched(env, by_get, third_all, third, "MSG-010", what)
    ensure_equal(env.storage.messages.first(by_first).id, fourth[0], "MSG-010", f"first of {what}")
    ensure_equal(env.storage.messages.first(by_newest, newest=True).id, fifth[1], "MSG-010", f"newest of {what}")
    see_stats(env, by_stats, "MSG-010", what, free=2)
    for queue, ids, lasting in posted[:6]:
        see_listed(env, queue, lasting, "MSG-010", what)
        see_fetched(env, queue, ids, lasting, "MSG-010", what)
        see_stats(env, queue, "MSG-010", what, free=2)


@check("MSG-010", waits=True)
def expired_messages_are_not_read(env: Env) -> None:
    """Expired messages are not listed, fetched, shown first or counted, by the very first look."""
    _read_expired(env, _expire(env, 6), "6 messages of which 4 have expired")


@check("MSG-010", waits=True)
def expired_messages_are_not_read_after_gc(env: Env) -> None:
    """After ``gc``, once and twice, expired messages are as absent as before, and the others are there."""
    posted = _expire(env, 6)
    env.storage.gc()
    env.storage.gc()
    _read_expired(env, posted, "6 messages of which 4 have expired, after gc")


@check("MSG-010", waits=True)
def a_queue_whose_messages_expired_is_empty(env: Env) -> None:
    """A queue of which every message has expired is empty to every method, by the very first look."""
    queues = [env.queue() for _ in range(4)]
    ids = [post(env, queue, 3, ttl=BRIEF) for queue in queues]
    elapse(env, BRIEF)
    what = "a queue whose 3 messages have expired"
    see_stats(env, queues[0], "MSG-010", what)
    ensure_raises(QueueIsEmpty, "MSG-010", f"first of {what}", lambda: env.storage.messages.first(queues[1]))
    get = partial(env.storage.messages.get, queues[2], ids[2][0])
    ensure_raises(MessageDoesNotExist, "MSG-010", f"get in {what}", get)
    see_listed(env, queues[3], [], "MSG-010", what)
    fresh = post(env, queues[0], 1)
    see_listed(env, queues[0], fresh, "MSG-010", f"a new message in {what}")


@check("MSG-010", "CLM-001", waits=True)
def expired_messages_are_not_claimed(env: Env) -> None:
    """A claim, as the first operation since, takes no expired message and gets all others."""
    (queue, _, lasting), (after_gc, _, others), (small, _, firsts) = _expire(env, 3)
    claim = env.storage.claims.create(queue, limit=10)
    ensure_equal(ids_of(claim.messages), lasting, "MSG-010", "claimed of 6 messages of which 4 have expired")
    claim = env.storage.claims.create(small, limit=1)
    ensure_equal(ids_of(claim.messages), firsts[:1], "MSG-010", "claimed with limit=1 behind expired messages")
    env.storage.gc()
    claim = env.storage.claims.create(after_gc, limit=10)
    ensure_equal(ids_of(claim.messages), others, "MSG-010", "claimed of 6 messages of which 4 have expired, after gc")


@check("MSG-010", "POP-001", waits=True)
def expired_messages_are_not_popped(env: Env) -> None:
    """A pop, as the first operation since, takes no expired message and gets all others."""
    (queue, _, lasting), (small, _, firsts) = _expire(env, 2)
    popped = ids_of(env.storage.messages.pop(queue, 10))
    ensure_equal(popped, lasting, "MSG-010", "popped of 6 messages of which 4 have expired")
    popped = ids_of(env.storage.messages.pop(small, 1))
    ensure_equal(popped, firsts[:1], "MSG-010", "popped with limit=1 behind expired messages")


@check("MSG-011", thorough=True)
def thousands_of_expired_messages_wedge_nothing(env: Env) -> None:
    """With thousands expired at the head, every operation works and its first answer is right."""
    many = min(env.depth, 9_000, env.storage.limits.max_messages_per_post - 1)
    operations: dict[str, Callable[[str, str], object]] = {
        "list": lambda queue, _: ids_of(listed(env, queue, limit=10)),
        "get": lambda queue, live: ids_of(env.storage.messages.bulk_get(queue, [live])),
        "first": lambda queue, _: [env.storage.messages.first(queue).id],
        "newest": lambda queue, _: [env.storage.messages.first(queue, newest=True).id],
        "stats": lambda queue, live: [live] * env.storage.messages.stats(queue).total,
        "post": lambda queue, live: [live, *post(env, queue)][:1],
        "delete": lambda queue, live: env.storage.messages.bulk_delete(queue, [live]) or [live],
    }
    if env.declares(Capability.CLAIMS):
        operations["claim"] = lambda queue, _: ids_of(env.storage.claims.create(queue, limit=10).messages)
    if env.declares(Capability.POP):
        operations["pop"] = lambda queue, _: ids_of(env.storage.messages.pop(queue, 10))
    queues = {}
    for name in operations:
        queue = env.queue(name)
        # In one call: one of its own for the last might come when the others have expired, and take them away.
        batch = [NewMessage(number, ttl=LONG if number == many else BRIEF) for number in range(many + 1)]
        queues[name] = (queue, env.storage.messages.post(queue, batch)[-1])
    elapse(env, BRIEF)
    for name, operation in operations.items():
        queue, live = queues[name]
        seen = operation(queue, live)
        ensure_equal(seen, [live], "MSG-011", f"{name}, the first operation on a queue with {many} expired at its head")
        shown = {"post": 2, "delete": 0, "pop": 0}.get(name, 1)
        count = len(listed(env, queue, include_claimed=True))
        ensure_equal(count, shown, "MSG-011", f"messages listed after {name} behind {many} expired")


# --- gc -----------------------------------------------------------------------------------------------


@check("MSG-012", waits=True)
def gc_removes_nothing_alive(env: Env) -> None:
    """``gc``, also twice in a row, leaves active, claimed and delayed messages, claims and metadata as they were."""
    queue, metadata = env.queue(), {"a": 1}
    if keeps_records(env):
        env.storage.queues.create(queue, metadata)
    post(env, queue, 20, ttl=BRIEF)
    ids = post(env, queue, 5)
    held, claim, delayed = 0, None, list[str]()
    if env.declares(Capability.DELAY):
        delayed = post(env, queue, 3, delay=60)
    elapse(env, BRIEF)
    if env.declares(Capability.CLAIMS):
        held, claim = 2, take(env, queue, 2)[0]
    for times in ("once", "twice"):
        env.storage.gc()
        what = f"5 lasting messages and {len(delayed)} delayed ones after gc ran {times}"
        see_listed(env, queue, ids, "MSG-012", what, include_claimed=True)
        see_fetched(env, queue, [*ids, *delayed], [*ids, *delayed], "MSG-012", what)
        see_stats(env, queue, "MSG-012", what, free=5 - held, claimed=held, delayed=len(delayed))
        if claim is not None:
            kept = ids_of(env.storage.claims.get(queue, claim).messages)
            ensure_equal(kept, ids[:2], "MSG-012", f"messages of the live claim after gc ran {times}")
        if keeps_records(env):
            ensure_equal(env.storage.queues.get_metadata(queue), metadata, "MSG-012", f"metadata after gc ran {times}")


@check("MSG-012", thorough=True)
def gc_runs_while_others_work(env: Env) -> None:
    """``gc`` over and over disturbs nobody who posts, reads and deletes meanwhile."""
    queue = env.queue()
    post(env, queue, 200, ttl=0.05)
    kept = post(env, queue, 10)

    def work(index: int) -> None:
        for _ in range(20):
            if index == 0:
                env.storage.gc()
            else:
                ids = post(env, queue, 5, ttl=LONG)
                see_fetched(env, queue, ids, ids, "MSG-012", "5 messages posted while gc runs")
                env.storage.messages.bulk_delete(queue, ids)

    env.threads(3, work)
    elapse(env, 0.05)
    see_listed(env, queue, kept, "MSG-012", "10 lasting messages after gc ran beside posts and deletions")
    see_stats(env, queue, "MSG-012", "10 lasting messages after gc ran beside posts and deletions", free=10)


# --- first --------------------------------------------------------------------------------------------


@check("MSG-013")
def first_gives_both_ends(env: Env) -> None:
    """``first`` gives the first by position, with ``newest`` the last, as messages come and go."""
    queue = env.queue()
    ids = post(env, queue, 5)
    see_listed(env, queue, ids, "MSG-001", "5 messages")
    while ids:
        found = env.storage.messages.first(queue).id, env.storage.messages.first(queue, newest=True).id
        ensure_equal(found, (ids[0], ids[-1]), "MSG-013", f"first and newest of {len(ids)} messages")
        gone = ids.pop(0 if len(ids) % 2 else -1)
        env.storage.messages.delete(queue, gone)
        see_listed(env, queue, ids, "MSG-019", "after a deletion")


@check("MSG-013")
def first_of_an_empty_queue_is_none(env: Env) -> None:
    """Without any message ``first`` raises ``QueueIsEmpty``, and the driver gives None."""
    queue, emptied = env.queue(), env.queue()
    env.storage.messages.bulk_delete(emptied, post(env, emptied, 3))
    see_listed(env, emptied, [], "MSG-019", "3 deleted messages")
    assert env.driver.messages is not None
    for name in (queue, emptied):
        for newest in (False, True):
            found = env.driver.messages.first(QueueKey(env.project, name), newest=newest)
            ensure_equal(found, None, "MSG-013", f"the driver's first(newest={newest}) of a queue without messages")
            ensure_raises(
                QueueIsEmpty,
                "MSG-013",
                f"first(newest={newest}) of a queue without messages",
                partial(env.storage.messages.first, name, newest=newest),
            )


@check("MSG-013", "CLM-001")
def first_includes_claimed_messages(env: Env) -> None:
    """``first`` counts claimed messages in, at their positions."""
    queue = env.queue()
    ids = post(env, queue, 4)
    claim, _ = take(env, queue, 2)
    found = env.storage.messages.first(queue)
    ensure_equal(
        (found.id, found.claim_id), (ids[0], claim), "MSG-013", "first and its claim, where the first 2 are claimed"
    )
    ensure_equal(env.storage.messages.first(queue, newest=True).id, ids[3], "MSG-013", "newest of 4")
    take(env, queue, 2)
    ensure_equal(env.storage.messages.first(queue, newest=True).id, ids[3], "MSG-013", "newest of 4 claimed messages")
    env.storage.claims.delete(queue, claim)
    ensure_equal(env.storage.messages.first(queue).id, ids[0], "MSG-013", "first after the first claim was released")


@check("MSG-013", "MSG-027")
def first_leaves_out_delayed_messages(env: Env) -> None:
    """``first`` shows no delayed message, at neither end."""
    queue, only = env.queue(), env.queue()
    delays = (60, 0, 0, 60)
    ids = env.storage.messages.post(queue, [NewMessage(1, ttl=LONG, delay=delay) for delay in delays])
    see_listed(env, queue, ids[1:3], "MSG-027", "2 delayed messages around 2 others")
    found = env.storage.messages.first(queue).id, env.storage.messages.first(queue, newest=True).id
    ensure_equal(found, (ids[1], ids[2]), "MSG-013", "first and newest with delayed messages around")
    post(env, only, 2, delay=60)
    for newest in (False, True):
        ensure_raises(
            QueueIsEmpty,
            "MSG-013",
            f"first(newest={newest}) of a queue with nothing but delayed messages",
            partial(env.storage.messages.first, only, newest=newest),
        )


# --- empty queues, and reading at once ----------------------------------------------------------------


@check("MSG-021")
def an_unknown_queue_acts_as_an_empty_one(env: Env) -> None:
    """Every data method works on a queue that was never posted to, again and again, and registers nothing."""
    messages = env.storage.messages

    def nothing(_: object) -> list[object]:
        return []

    methods: dict[str, Callable[[str], Sequence[object]]] = {
        "list": lambda queue: listed(env, queue, include_claimed=True, include_delayed=True),
        "bulk_get": lambda queue: messages.bulk_get(queue, ["a", "b"]),
        "delete": lambda queue: nothing(messages.delete(queue, "a")),
        "delete with a claim": lambda queue: nothing(messages.delete(queue, "a", claim_id="b")),
        "bulk_delete": lambda queue: messages.bulk_delete(queue, ["a", "b"]),
        "stats": lambda queue: [messages.stats(queue)] if messages.stats(queue).total else [],
        "purge": lambda queue: nothing(messages.purge(queue)),
        "first": lambda queue: nothing(
            ensure_raises(QueueIsEmpty, "MSG-021", "first of a queue never posted to", lambda: messages.first(queue))
        ),
    }
    if env.declares(Capability.POP):
        methods["pop"] = lambda queue: messages.pop(queue, 10)
    shared = env.queue()
    for what, method in methods.items():
        own = env.queue()  # which no other method has made known
        for queue in (own, own, shared, shared):
            ensure_equal(list(method(queue)), [], "MSG-021", f"{what} of a queue never posted to")
            page = messages.list(queue)
            ensure_equal((list(page.items), page.more), ([], False), "MSG-021", f"a page of it, after {what}")
            see_stats(env, queue, "MSG-021", f"a queue never posted to, after {what}")
        if keeps_records(env):
            exists = env.storage.queues.exists(own)
            ensure_equal(exists, False, "MSG-021", f"exists() of a queue never posted to, after {what}")


@check("MSG-021", "CLM-002")
def claims_on_an_unknown_queue_find_nothing(env: Env) -> None:
    """Claiming on a queue that was never posted to gives no claim; releasing one succeeds."""
    queue = env.queue()
    for _ in range(2):
        claim = env.storage.claims.create(queue)
        ensure_equal((claim.id, list(claim.messages)), (None, []), "MSG-021", "a claim on a queue never posted to")
        env.storage.claims.delete(queue, "a")
        env.storage.claims.delete(queue, "a", message_ids=["b"])
    see_stats(env, queue, "MSG-021", "a queue never posted to, after claims")


@check("MSG-030")
def others_see_a_post_and_a_deletion_at_once(env: Env) -> None:
    """What one client posts and deletes another lists, fetches and counts, or not, by its very next call."""
    queue, other = env.queue(), env.connect()
    alive: list[str] = []
    for turn in range(30):
        ids = post(env, queue, 3, first=3 * turn)
        alive += ids
        _same(ids_of(listed(env, queue, storage=other)), alive, "list by another client after a post")
        _same(ids_of(other.messages.bulk_get(queue, ids)), ids, "get by another client after a post")
        _same([other.messages.stats(queue).free], [len(alive)], "stats by another client after a post")
        gone = alive.pop(env.rng.randrange(len(alive)))
        other.messages.delete(queue, gone)
        _same(ids_of(listed(env, queue)), alive, "list after another client's deletion")
        _same(ids_of(env.storage.messages.bulk_get(queue, [gone])), [], "get after another client's deletion")
        _same([env.storage.messages.stats(queue).total], [len(alive)], "stats after another client's deletion")


@check("MSG-030", "CLM-001")
def others_see_a_claim_at_once(env: Env) -> None:
    """What one client claims, renews or releases is so to another by its very next call."""
    queue, other = env.queue(), env.connect()
    ids = post(env, queue, 3)
    for _ in range(20):
        claim = env.storage.claims.create(queue, limit=2)
        _same(ids_of(claim.messages), ids[:2], "claim after another client's release")
        _same(ids_of(listed(env, queue, storage=other)), ids[2:], "list by another client after a claim")
        _same([other.messages.stats(queue).claimed], [2], "stats by another client after a claim")
        _same(ids_of(other.claims.get(queue, str(claim.id)).messages), ids[:2], "claim read by another client")
        other.claims.delete(queue, str(claim.id))
        _same(ids_of(listed(env, queue)), ids, "list after another client's release")
        _same([env.storage.messages.stats(queue).free], [3], "stats after another client's release")


@check("MSG-030")
def others_see_a_purge_at_once(env: Env) -> None:
    """After one client's purge the queue is empty to another by its very next call."""
    queue, other = env.queue(), env.connect()
    for _ in range(10):
        ids = post(env, queue, 5)
        _same(ids_of(listed(env, queue, storage=other)), ids, "list by another client after a post")
        env.storage.messages.purge(queue)
        _same(ids_of(listed(env, queue, storage=other)), [], "list by another client after a purge")
        _same([other.messages.stats(queue).total], [0], "stats by another client after a purge")


def _same(actual: list[Any], expected: list[Any], what: str) -> None:
    """Without ``env.see``: the very next read has to be right."""
    ensure_equal(difference(actual, expected), "", "MSG-030", f"{what}: difference")
