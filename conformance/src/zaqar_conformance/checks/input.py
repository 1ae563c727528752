"""Wrong input: refused by the core with the error named, before anything is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import error_text, log_texts
from zaqar_conformance.env import Env
from zaqar_core import Limits, NewMessage, QueueStats, Storage, connect
from zaqar_core.contract import new_id
from zaqar_core.errors import (
    BatchTooLarge,
    InvalidBody,
    InvalidClientId,
    InvalidDedupId,
    InvalidDuration,
    InvalidHeaders,
    InvalidId,
    InvalidInput,
    InvalidLimit,
    InvalidMarker,
    InvalidMetadata,
    InvalidOption,
    InvalidProject,
    InvalidQueueName,
    InvalidUri,
    ZaqarError,
)
from zaqar_core.uri import Uri

_REMEDIES = (
    "change", "check", "convert", "flatten", "give", "name", "make", "move", "pass", "remove", "send", "shorten",
    "split", "store", "wrap", "write",
)  # fmt: skip
"""Words of which an error's text has one: it says what to do."""


def _fail(*_: object) -> Any:
    raise ArithmeticError("a method of the caller's own object")


class _Failing:
    """Whatever is done with it raises."""

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __contains__ = _fail
    __int__ = __float__ = __index__ = __lt__ = __le__ = __getitem__ = __getattr__ = _fail


_NO_NUMBERS: tuple[object, ...] = (True, False, "60", b"60", [60], Decimal(60), dt.timedelta(60))
_BEYOND: tuple[object, ...] = (-1, -0.001, float("nan"), float("inf"), float("-inf"), 10**400, 1e300)
_BAD_NAMES: tuple[object, ...] = ("nul\0inside", "lone \ud800", "\udfff", 5, b"bytes", True, ["list"])


@check("INP-001")
def input_queue_names(env: Env) -> None:
    """A queue name that is empty, too long, no text or no string is refused by every method that takes one."""
    storage: Any = env.storage
    methods = _methods_of_a_queue(storage)
    bad = ("", "x" * 65, "x" * 65_536, "\U0001f600" * 49, *_BAD_NAMES, None)
    for name in bad:
        for what, method in methods.items():
            _refused("INP-001", InvalidQueueName, f"{what} of the queue", name, partial(method, name))
    for name in ("x" * 65, 5):
        what = "queues.list with the prefix"
        _refused("INP-001", InvalidQueueName, what, name, partial(storage.queues.list, prefix=name))
    ensure_equal(storage.queues.count(), 0, "INP-001", "queues registered after calls with wrong names")


@check("INP-001")
def input_projects(env: Env) -> None:
    """A project that is too long, no text or no string is refused, by ``connect`` and by every method."""
    queue, queues = env.queue(), _untyped(env.storage.queues)
    for project in ("p" * 257, *_BAD_NAMES):
        for what, method in _methods_of_a_queue(env.storage).items():
            call = partial(method, queue, project=project)
            _refused("INP-001", InvalidProject, f"{what} with the project", project, call)
        _refused("INP-001", InvalidProject, "connect with the project", project, partial(env.connect, project=project))
        for what, method in (("queues.list", queues.list), ("queues.count", queues.count)):
            call = partial(method, project=project)
            _refused("INP-001", InvalidProject, f"{what} with the project", project, call)
    _refused("INP-001", InvalidProject, "connect with the project", None, partial(env.connect, project=None))
    ensure_equal(env.storage.queues.exists(queue), False, "INP-001", "exists after calls with wrong projects")


@check("INP-001")
def input_client_ids(env: Env) -> None:
    """A client id that is not 1 to 128 characters of text is refused by each method that takes one."""
    queue, batch = env.queue(), [NewMessage(1)]
    storage = _untyped(env.storage)
    for client in ("", "c" * 129, *_BAD_NAMES):
        methods: dict[str, Callable[..., object]] = {
            "messages.post": partial(storage.messages.post, queue, batch),
            "messages.list": partial(storage.messages.list, queue),
            "storage.queue": partial(storage.queue, queue),
            "connect": env.connect,
        }
        for what, method in methods.items():
            call = partial(method, client_id=client)
            _refused("INP-001", InvalidClientId, f"{what} with the client id", client, call)
    _untouched(env, queue, "INP-001")
    for client in ("c", "c" * 128):
        env.storage.messages.post(queue, batch, client_id=client)
    seen = [message.client_id for message in env.storage.messages.list(queue).items]
    ensure_equal(seen, ["c", "c" * 128], "INP-001", "client ids of 1 and 128 characters, which are allowed")


@check("INP-002")
def input_ttl_and_delay_of_a_message(env: Env) -> None:
    """A ttl or delay that is no number, not finite or outside the limits is refused; nothing is posted."""
    queue, limits = env.queue(), env.storage.limits
    for ttl in (*_NO_NUMBERS, *_BEYOND, 0, 0.0009, limits.max_message_ttl + 1):
        _post_refused(env, queue, "INP-002", InvalidDuration, "ttl", ttl, _message(1, ttl=ttl))
    for delay in (*_NO_NUMBERS, *_BEYOND, limits.max_message_delay + 1):
        message = _message(1, ttl=limits.max_message_ttl, delay=delay)
        _post_refused(env, queue, "INP-002", InvalidDuration, "delay", delay, message)
    _untouched(env, queue, "INP-002")


@check("INP-002")
def input_delay_not_less_than_ttl(env: Env) -> None:
    """A delay that is not less than the ttl, given or by default, is refused; one that is less is not."""
    queue, handle = env.queue(), env.storage.queue(env.queue())
    for ttl, delay in ((10, 10), (10, 11), (10.5, 10.5), (1, 86_400), (None, 3600), (None, 3601)):
        _post_refused(env, queue, "INP-002", InvalidDuration, "delay", delay, NewMessage(1, ttl=ttl, delay=delay))
    _untouched(env, queue, "INP-002")
    handle.post("fits", ttl=10, delay=9.999)
    ensure_equal(handle.stats().delayed, 1, "INP-002", "delayed messages after a post with a delay less than the ttl")


@check("INP-002")
def input_durations_of_claims(env: Env) -> None:
    """A ttl, grace, delay or wait of a claim that is no duration is refused; no claim is made or changed."""
    queue, claims, limits = env.queue(), env.storage.claims, env.storage.limits
    env.storage.messages.post(queue, [NewMessage(1), NewMessage(2)])
    held = claims.create(queue, ttl=500, grace=100, limit=1)
    claim_id = str(held.id)
    handle = env.storage.queue(queue)
    bad_ttl = (*_NO_NUMBERS, *_BEYOND, 0, limits.max_claim_ttl + 1)
    bad = (*_NO_NUMBERS, *_BEYOND)
    calls: list[tuple[str, Callable[..., object], Iterable[object]]] = [
        ("ttl", partial(claims.create, queue), bad_ttl),
        ("grace", partial(claims.create, queue), (*bad, limits.max_claim_grace + 1)),
        ("ttl", partial(claims.update, queue, claim_id), bad_ttl),
        ("grace", partial(claims.update, queue, claim_id), (*bad, limits.max_claim_grace + 1)),
        ("delay", partial(claims.delete, queue, claim_id), (*bad, None, limits.max_message_delay + 1)),
        ("wait", handle.claim, (*bad, None, 10 * 24 * 3600)),
        ("ttl", handle.claim, bad_ttl),
    ]
    for argument, method, values in calls:
        for value in values:
            what = f"a claim's method with {argument}"
            _refused("INP-002", InvalidDuration, what, value, partial(method, **{argument: value}))
    seen = claims.get(queue, claim_id)
    ensure_equal((seen.ttl, len(seen.messages)), (500.0, 1), "INP-002", "ttl and size of the claim after the refusals")
    stats = env.storage.messages.stats(queue)
    ensure_equal((stats.free, stats.claimed), (1, 1), "INP-002", "free and claimed messages after the refusals")


@check("INP-003")
def input_limits(env: Env) -> None:
    """A limit that is no whole number, below 1 or above the limits is refused; nothing is claimed or popped."""
    queue, storage = env.queue(), env.storage
    storage.messages.post(queue, [NewMessage(1)])
    most = storage.limits
    methods: list[tuple[str, Callable[..., object], int]] = [
        ("messages.list", partial(storage.messages.list, queue), most.max_messages_per_page),
        ("messages.pop", partial(storage.messages.pop, queue), most.max_messages_per_pop),
        ("claims.create", partial(storage.claims.create, queue), most.max_messages_per_claim),
        ("queues.list", storage.queues.list, most.max_queues_per_page),
    ]
    for what, method, highest in methods:
        for limit in (0, -1, highest + 1, 10**400, True, 1.0, 1.5, "1", float("nan"), [1]):
            _refused("INP-003", InvalidLimit, f"{what} with limit", limit, partial(method, limit=limit))
    stats = storage.messages.stats(queue)
    ensure_equal((stats.free, stats.claimed), (1, 0), "INP-003", "free and claimed messages after the refusals")
    for _, method, highest in methods[:1] + methods[3:]:
        method(limit=1)
        method(limit=highest)


@check("INP-004")
def input_bodies(env: Env) -> None:
    """A body that is no JSON value, at any depth, is refused, and the error says where in it; nothing is posted."""
    queue = env.queue()
    for bad in (
        float("nan"), float("inf"), float("-inf"), b"bytes", bytearray(b"b"), (1, 2), (), {1}, frozenset(), "\ud800",
        "a\udfffb", {1: "a"}, {None: "a"}, {True: "a"}, {1.5: "a"}, {(1, 2): "a"}, {"\ud800": "a"}, 10**5000, object(),
        Decimal(1), 1j, dt.date(2024, 1, 1), NewMessage(1), range(3), len, Ellipsis,
    ):  # fmt: skip
        _post_refused(env, queue, "INP-004", InvalidBody, "the body", None, NewMessage(bad))
        for where, body in (
            ("['here']", {"fine": [1], "here": bad}),
            ("[2]", [1, "fine", bad]),
            ("['a'][1]['b']", {"a": [0, {"b": bad}, 0]}),
        ):
            raised = _post_refused(env, queue, "INP-004", InvalidBody, f"a body at {where}", None, NewMessage(body))
            ensure(where in str(raised), "INP-004", f"the error does not say that the fault is at {where}: {raised}")
    _untouched(env, queue, "INP-004")


@check("INP-004")
def input_bodies_nested_too_deeply(env: Env) -> None:
    """A body that nests too deeply, or contains itself, is refused whatever the depth; one of 100 levels comes back."""
    queue = env.queue()
    loop: list[Any] = []
    loop.append({"again": loop})
    for body in (_nested(129), _nested(1_000), _nested(100_000), {"a": _nested(129)}, loop):
        raised = _post_refused(env, queue, "INP-004", InvalidBody, "a deep body", None, NewMessage(body))
        ensure("deep" in str(raised), "INP-004", f"the error does not say that the body is too deep: {raised}")
    _untouched(env, queue, "INP-004")
    [message_id] = env.storage.messages.post(queue, [NewMessage(_nested(100))])
    ensure_equal(env.storage.messages.get(queue, message_id).body, _nested(100), "INP-004", "a body of 100 levels")


@check("INP-004")
def input_bodies_too_large(env: Env) -> None:
    """A body of one byte more than the limits allow is refused, counted in bytes; one of as many comes back."""
    queue, most = env.queue(), env.storage.limits.max_body_bytes
    for body in ("x" * (most - 1), "é" * (most // 2), ["x" * most], {"x" * most: 1}):
        size = len(body.encode()) + 2 if isinstance(body, str) else None
        raised = _post_refused(env, queue, "INP-004", InvalidBody, "a body too large", None, NewMessage(body))
        named = str(most) in str(raised) and (size is None or str(size) in str(raised))
        ensure(named, "INP-004", f"the error does not name the size and the limit of {most} bytes: {raised}")
    _untouched(env, queue, "INP-004")
    largest = "x" * (most - 2)
    [message_id] = env.storage.messages.post(queue, [NewMessage(largest)])
    ensure(env.storage.messages.get(queue, message_id).body == largest, "INP-004", f"a body of {most} bytes differs")


@check("INP-005")
def input_headers(env: Env) -> None:
    """Headers that are no mapping of strings to strings, or above 4 KiB as JSON, are refused; nothing is posted."""
    queue = env.queue()
    for headers in (
        None, "text", 5, ["a"], [("a", "b")], {"a": 1}, {"a": None}, {"a": ["b"]}, {1: "a"}, {None: "a"}, {"a": b"b"},
        {"fine": "a", "bad": True}, {"a": "\ud800"}, {"\ud800": "a"},
    ):  # fmt: skip
        message = _message(1, headers=headers)
        _post_refused(env, queue, "INP-005", InvalidHeaders, "headers", None, message)
    fits, quoted = {"h": "x" * (4096 - len('{"h":""}'))}, {"h": '"' * 2048}
    for headers in ({"h": fits["h"] + "x"}, quoted, {f"{number:04}": "" for number in range(1000)}):
        raised = _post_refused(env, queue, "INP-005", InvalidHeaders, "headers", None, NewMessage(1, headers=headers))
        ensure("4096" in str(raised), "INP-005", f"the error does not name the limit of 4096 bytes: {raised}")
    _untouched(env, queue, "INP-005")
    [message_id] = env.storage.messages.post(queue, [NewMessage(1, headers=fits)])
    ensure_equal(env.storage.messages.get(queue, message_id).headers, fits, "INP-005", "headers of 4 KiB")


@check("INP-005")
def input_dedup_ids(env: Env) -> None:
    """A dedup id that is not 1 to 128 characters of text is refused; nothing is posted."""
    queue = env.queue()
    for dedup_id in ("", "d" * 129, *_BAD_NAMES):
        message = _message(1, dedup_id=dedup_id)
        _post_refused(env, queue, "INP-005", InvalidDedupId, "dedup id", dedup_id, message)
    _untouched(env, queue, "INP-005")
    env.storage.messages.post(queue, [NewMessage(1, dedup_id="d" * 128), NewMessage(1, dedup_id="d")])
    ensure_equal(
        env.storage.messages.stats(queue).total, 2, "INP-005", "messages posted with ids of 128 and 1 characters"
    )


@check("INP-006")
def input_metadata(env: Env) -> None:
    """Metadata that is no JSON object is refused by ``create`` and ``set_metadata``; nothing changes."""
    nan, most = float("nan"), env.storage.limits.max_metadata_bytes
    for metadata in (
        [], "text", 5, True, [("a", 1)], {"a": nan}, {1: "a"}, {"a": {"b": b"c"}}, {"a": (1,)}, {"\ud800": 1},
        {"a": _nested(200)},
    ):  # fmt: skip
        _metadata_refused(env, metadata)
    raised = _metadata_refused(env, {"k": "x" * (most + 1 - len('{"k":""}'))})
    ensure(str(most) in raised and str(most + 1) in raised, "INP-006", f"the error does not name the sizes: {raised}")
    call = partial(_untyped(env.storage.queues).set_metadata, env.queue(), None)
    _refused("INP-006", InvalidMetadata, "set_metadata with None", None, call)


@check("INP-006")
def input_reserved_metadata(env: Env) -> None:
    """A reserved key of metadata with a value of the wrong kind is refused, and the error names it."""
    bad: dict[str, tuple[object, ...]] = {
        "_default_message_ttl": ("60", True, 0, -1, float("inf"), 10**9, [60]),
        "_default_message_delay": ("60", True, -1, 10**9, {}),
        "_max_messages_post_size": ("10", True, 0, -1, 1.5, []),
        "_max_claim_count": ("3", True, 0, -1, 1.5, []),
        "_dead_letter_queue": ("", 5, "x" * 65, "nul\0", True, ["q"]),
        "_dead_letter_queue_messages_ttl": ("60", False, 0, -1, 10**9),
        "_flavor": (5, True, ["f"]),
    }
    for key, values in bad.items():
        for value in values:
            raised = _metadata_refused(env, {"fine": 1, "_max_claim_count": 1, key: value})
            if value != float("inf"):  # no JSON at all, so refused before anything is known of the key
                named = key.strip("_").replace("_", " ") in raised.replace("_", " ") or "queue name" in raised
                ensure(named, "INP-006", f"the error for {key}={value!r} does not name the key: {raised}")


@check("INP-007")
def input_batches(env: Env) -> None:
    """A post of no messages, too many, too many bytes, or of what are no messages is refused whole."""
    queue = env.queue()
    client = env.connect(limits=Limits(max_messages_per_post=3, max_post_bytes=30))
    post = _untyped(client.messages).post
    for what, batch, error in (
        ("no messages", [], BatchTooLarge),
        ("no messages, as an iterator", iter(()), BatchTooLarge),
        ("4 messages where 3 are allowed", [NewMessage(1)] * 4, BatchTooLarge),
        (
            "31 bytes where 30 are allowed",
            [NewMessage("x" * 8), NewMessage("x" * 8), NewMessage("x" * 9)],
            BatchTooLarge,
        ),
        ("a message that is not in a list", NewMessage(1), InvalidInput),
        ("None", None, InvalidInput),
        ("a string", "text", InvalidInput),
        ("bytes", b"bytes", InvalidInput),
        ("a dict", {"body": 1}, InvalidInput),
        ("a number", 5, InvalidInput),
        ("bodies that are not wrapped", [{"n": 1}], InvalidInput),
        ("None among messages", [NewMessage(1), None], InvalidInput),
    ):
        _refused("INP-007", error, f"messages.post of {what}", None, partial(post, queue, batch))
    _untouched(env, queue, "INP-007")
    most = env.storage.limits.max_messages_per_post
    many = [NewMessage(1)] * (most + 1)
    what = f"messages.post of {most + 1} messages"
    raised = _refused("INP-007", BatchTooLarge, what, None, partial(env.storage.messages.post, queue, many))
    ensure(str(most) in str(raised), "INP-007", f"{what}: the error does not name the limit of {most}: {raised}")
    _untouched(env, queue, "INP-007")
    client.messages.post(queue, [NewMessage("x" * 8)] * 3)
    ensure_equal(env.storage.messages.stats(queue).total, 3, "INP-007", "messages after a post at the limits")


@check("INP-007")
def input_one_wrong_message_refuses_the_batch(env: Env) -> None:
    """One wrong message, wherever it stands, refuses the whole batch; the error says which one it was."""
    queue = env.queue()
    for wrong, error in (
        (NewMessage(float("nan")), InvalidBody),
        (NewMessage("x" * (env.storage.limits.max_body_bytes + 1)), InvalidBody),
        (NewMessage(1, ttl=0), InvalidDuration),
        (NewMessage(1, ttl=5, delay=5), InvalidDuration),
        (NewMessage(1, headers={"a": "\ud800"}), InvalidHeaders),
        (NewMessage(1, dedup_id=""), InvalidDedupId),
        ("no message", InvalidInput),
    ):
        for place in (0, 5, 9):
            batch: list[Any] = [NewMessage(number) for number in range(9)]
            batch.insert(place, wrong)
            call = partial(env.storage.messages.post, queue, batch)
            raised = _refused("INP-007", error, f"a post of 10 messages, number {place} wrong", None, call)
            ensure(f"message {place}" in str(raised), "INP-007", f"the error does not say which message: {raised}")
    _untouched(env, queue, "INP-007")


@check("INP-007")
def input_a_wrong_post_changes_no_queue(env: Env) -> None:
    """A refused post to a queue that exists leaves its messages and its metadata as they were."""
    queue = env.queue()
    env.storage.queues.create(queue, {"kept": 1, "_max_messages_post_size": 10})
    env.storage.messages.post(queue, [NewMessage("kept")])
    for batch in ([], [NewMessage("x" * 9)], [NewMessage(1), NewMessage(float("nan"))], [NewMessage(1, ttl=-1)]):
        _refused("INP-007", InvalidInput, "a wrong post", None, partial(env.storage.messages.post, queue, batch))
    bodies = [message.body for message in env.storage.messages.list(queue, include_delayed=True).items]
    ensure_equal(bodies, ["kept"], "INP-007", "messages after the refusals")
    metadata = env.storage.queues.get_metadata(queue)
    ensure_equal(metadata, {"kept": 1, "_max_messages_post_size": 10}, "INP-007", "metadata after the refusals")


@check("INP-008")
def input_markers_and_ids(env: Env) -> None:
    """A marker or id that is no string is refused; nothing is deleted, claimed or released."""
    queue, messages, claims = env.queue(), _untyped(env.storage.messages), _untyped(env.storage.claims)
    [free, taken] = messages.post(queue, [NewMessage(1), NewMessage(2)])
    claim = claims.create(queue, limit=1)
    claim_id = str(claim.id)
    for bad in (5, 1.5, True, b"bytes", ["x"], {}, object(), _ReadsLike(messages.list(queue).marker)):
        listings: dict[str, Callable[..., object]] = {
            "messages.list": partial(messages.list, queue),
            "queues.list": env.storage.queues.list,
        }
        for what, method in listings.items():
            _refused("INP-008", InvalidMarker, f"{what} with marker", bad, partial(method, marker=bad))
    for bad in (5, None, True, b"bytes", ["x"], _ReadsLike(free)):
        methods: dict[str, Callable[..., object]] = {
            "messages.get": partial(messages.get, queue, bad),
            "messages.bulk_get": partial(messages.bulk_get, queue, [free, bad]),
            "messages.delete": partial(messages.delete, queue, bad),
            "messages.bulk_delete": partial(messages.bulk_delete, queue, [free, bad]),
            "messages.bulk_delete, as a claim,": partial(
                messages.bulk_delete, queue, [taken], claim_ids=[claim_id, bad]
            ),
            "claims.get": partial(claims.get, queue, bad),
            "claims.update": partial(claims.update, queue, bad),
            "claims.delete": partial(claims.delete, queue, bad),
            "claims.delete, as a message,": partial(claims.delete, queue, claim_id, message_ids=[taken, bad]),
        }
        for what, method in methods.items():
            _refused("INP-008", InvalidId, f"{what} of the id", bad, method)
    for bad in (5, True, b"bytes"):
        call = partial(messages.delete, queue, taken, claim_id=bad)
        _refused("INP-008", InvalidId, "messages.delete with the claim id", bad, call)
    _holds_two(env, queue, claim_id)


@check("INP-008")
def input_collections_of_ids(env: Env) -> None:
    """Ids that are not in a collection, or too many of them, are refused; nothing is deleted or released."""
    queue, messages, claims = env.queue(), _untyped(env.storage.messages), _untyped(env.storage.claims)
    [free, taken] = messages.post(queue, [NewMessage(1), NewMessage(2)])
    claim_id = str(claims.create(queue, limit=1).id)
    for bad in (free, 5, None):
        methods: dict[str, Callable[..., object]] = {
            "messages.bulk_get": partial(messages.bulk_get, queue, bad),
            "messages.bulk_delete": partial(messages.bulk_delete, queue, bad),
        }
        if bad is not None:
            methods["messages.bulk_delete, as claims,"] = partial(messages.bulk_delete, queue, [taken], claim_ids=bad)
            methods["claims.delete"] = partial(claims.delete, queue, claim_id, message_ids=bad)
        for what, method in methods.items():
            _refused("INP-008", InvalidId, f"{what} of the ids", bad, method)
    most = env.storage.limits.max_ids_per_call
    many = [free] + ["x"] * most
    for what, method in {
        "messages.bulk_get": partial(messages.bulk_get, queue, many),
        "messages.bulk_delete": partial(messages.bulk_delete, queue, many),
        "claims.delete": partial(claims.delete, queue, claim_id, message_ids=many),
    }.items():
        _refused("INP-008", InvalidInput, f"{what} of {most + 1} ids", most + 1, method)
    _holds_two(env, queue, claim_id)


@check("INP-009")
def input_uris(env: Env) -> None:
    """A URI that cannot be read is refused without being echoed: what is no URI may well be a password."""
    call: Callable[..., Storage] = connect
    secret = f"hunter2{new_id()}"
    for uri in (
        "", secret, f"{secret}://", f"Memory://{secret}", f"memory:/{secret}", f"1memory://{secret}", f"://{secret}",
        f"memory://{secret}[", f"memory://a?{secret}", f"memory://a?b=c&{secret}", f"memory://u:{secret}@a#fragment",
        f"memory://u:{secret}@a\nb", f"memory://u:{secret}@a/%ff", f"memory://a?{secret}=%ff",
    ):  # fmt: skip
        for what, attempt in (("connect", partial(call, uri)), ("control", partial(env.connect, control=uri))):
            raised = _refused("INP-009", InvalidUri, f"a URI that cannot be read, in {what},", None, attempt)
            ensure(secret not in error_text(raised), "INP-009", f"the error shows what may be a password: {raised}")
    for none in (None, 5, b"memory://a", ["memory://a"]):
        _refused("INP-009", InvalidUri, f"connect to {none!r}", None, partial(call, none))


@check("INP-009")
def input_options_that_disagree(env: Env) -> None:
    """An option given twice with different values is refused; given twice with the same it is not."""
    name = f"memory://{new_id()}"
    call: Callable[..., Storage] = connect
    for uri, options in (
        (f"{name}?create=true&create=false", {}),
        (f"{name}?create=true", {"create": False}),
        (f"{name}?create=false", {"create": True}),
    ):
        raised = _refused(
            "INP-009", InvalidOption, f"connect to {uri} with {options}", None, partial(call, uri, **options)
        )
        ensure("create" in str(raised), "INP-009", f"the error does not name the option: {raised}")
    for odd in (None, ["true"], object()):
        raised = _refused("INP-009", InvalidOption, f"the option create={odd!r}", None, partial(call, name, create=odd))
        ensure("create" in str(raised), "INP-009", f"the error does not name the option: {raised}")
    for uri, agreeing in ((f"{name}?create=true&create=true", {}), (f"{name}?create=true", {"create": True})):
        call(uri, **agreeing).close()


@check("INP-009")
def input_secrets_are_never_shown(env: Env) -> None:
    """No password or secret option shows in an error, a repr, a text or a log, whatever goes wrong."""
    secret = f"hunter2{new_id()}"
    quoted = f"%68unter2{secret.removeprefix('hunter2')}"
    call: Callable[..., Storage] = connect
    shown: list[str] = []
    with log_texts() as logged:
        for user in (f"user:{secret}@", f":{secret}@", f"user:{quoted}@", f"a:{secret}@b:{secret}@"):
            host = f"{user}{new_id()}"
            for uri, options in (
                (f"memory://{host}/no-such-path", {}),
                (f"memory://{host}?create=false", {}),
                (f"memory://{host}?create=maybe", {}),
                (f"memory://{host}?creat=true", {}),
                (f"memory://{host}?password={secret}", {}),
                (f"memory://{host}?api_token={secret}&api_token=other", {}),
                (f"memory://{host}?secret_key={secret}", {"secret_key": "other"}),
                (f"memory://{host}?secret_key=other", {"secret_key": secret}),
                (f"memory://{host}", {"client_secret": secret}),
                (f"nosuchscheme://{host}", {}),
                (f"memry://{host}", {}),
                (f"memory://{host}", {"control": f"nosuchscheme://{host}"}),
                (f"memory://{host}", {"timeout": -1}),
            ):
                raised = ensure_raises(ZaqarError, "INP-009", "connect to a wrong URI", partial(call, uri, **options))
                shown += [error_text(raised), repr(raised)]
            with call(f"memory://{host}") as storage:
                raised = ensure_raises(
                    InvalidInput, "INP-009", "post of no messages", partial(storage.messages.post, "q", [])
                )
                shown += [repr(storage), repr(storage.queue("q")), repr(storage.driver), str(storage.health())]
                shown.append(error_text(raised))
            for uri in (f"memory://{host}", f"memory://{host}?password={secret}&db_pwd={secret}&key={secret}"):
                parsed = Uri.parse(uri, {"auth_token": secret})
                shown += [repr(parsed), str(parsed), f"{parsed}", repr([parsed])]
    for text in (*shown, *logged):
        ensure(secret not in text and quoted not in text, "INP-009", f"a secret shows in: {text}")


@check("INP-010")
def input_flags(env: Env) -> None:
    """What is neither True nor False is refused where a flag is meant, and the error names the argument."""
    queue, storage = env.queue(), _untyped(env.storage)
    storage.messages.post(queue, [NewMessage(1)])
    methods: list[tuple[str, Callable[..., object]]] = [
        *((flag, partial(storage.messages.list, queue)) for flag in ("echo", "include_claimed", "include_delayed")),
        *((flag, storage.queue(queue).list) for flag in ("echo", "include_claimed", "include_delayed")),
        ("newest", partial(storage.messages.first, queue)),
        ("detailed", storage.queues.list),
        ("confirmed", partial(storage.subscriptions.confirm, queue, "none")),
    ]
    for flag, method in methods:
        for value in (None, 0, 1, "yes", "no", "", b"", [], {}, object()):
            raised = _refused("INP-010", InvalidInput, f"{flag}=", value, partial(method, **{flag: value}))
            ensure(flag in str(raised), "INP-010", f"the error does not name the argument {flag}: {raised}")


@check("INP-011")
def input_of_any_kind(env: Env) -> None:
    """Values that cannot be shown, compared, counted or iterated over are refused like any other; nothing happens."""
    queue, storage = env.queue(), _untyped(env.storage)
    storage.messages.post(queue, [NewMessage(1)])
    claim_id = str(storage.claims.create(queue, ttl=500).id)
    post: Callable[[object], object] = partial(storage.messages.post, queue)
    methods: dict[str, Callable[[Any], object]] = {
        **_methods_of_a_queue(storage),
        "a project": lambda value: storage.messages.stats(queue, project=value),
        "a client id": lambda value: storage.messages.post(queue, [NewMessage(2)], client_id=value),
        "messages": post,
        "a message": lambda value: post([value]),
        "a body": lambda value: post([NewMessage({"a": [value]})]),
        "a ttl": lambda value: post([NewMessage(2, ttl=value)]),
        "headers": lambda value: post([NewMessage(2, headers=value)]),
        "a header": lambda value: post([NewMessage(2, headers={"a": value})]),
        "a dedup id": lambda value: post([NewMessage(2, dedup_id=value)]),
        "metadata": lambda value: storage.queues.set_metadata(queue, value),
        "a value of metadata": lambda value: storage.queues.set_metadata(queue, {"_max_claim_count": value}),
        "an id": lambda value: storage.messages.delete(queue, value),
        "ids": lambda value: storage.messages.bulk_get(queue, value),
        "claim ids": lambda value: storage.messages.bulk_delete(queue, ["a"], claim_ids=value),
        "a limit": lambda value: storage.messages.list(queue, limit=value),
        "a marker": lambda value: storage.messages.list(queue, marker=value),
        "a marker of queues": lambda value: storage.queues.list(marker=value),
        "a prefix": lambda value: storage.queues.list(prefix=value),
        "the ttl of a claim": lambda value: storage.claims.update(queue, claim_id, ttl=value),
        "a delay": lambda value: storage.claims.delete(queue, claim_id, delay=value),
        "a timeout": lambda value: env.connect(timeout=value),
        "codecs": lambda value: env.connect(codecs=value),
        "limits": lambda value: env.connect(limits=value),
        "a control plane": lambda value: env.connect(control=value),
    }
    kinds: dict[str, Callable[[], object]] = {
        "an integer of 5001 digits": lambda: 10**5000,
        "an object whose methods raise": _Failing,
        "a list of one": lambda: [_Failing()],
        "a dict with such an integer": lambda: {10**5000: 1},
        "an iterator that raises": lambda: map(_fail, [1]),
    }
    for kind, make in kinds.items():
        for what, method in methods.items():
            raised = _refused("INP-011", InvalidInput, f"{kind} as {what}", None, partial(method, make()))
            ensure(len(str(raised)) < 1_000, "INP-011", f"the error about {what} has {len(str(raised))} characters")
    seen = [(message.body, message.claim_id) for message in storage.messages.list(queue, include_claimed=True).items]
    ensure_equal(seen, [(1, claim_id)], "INP-011", "messages and their claims after the refusals")


@check("INP-011")
def input_that_never_ends(env: Env) -> None:
    """A collection that never ends is refused once one item above the limit was read."""
    queue = env.queue()
    with env.connect(limits=Limits(max_messages_per_post=3, max_ids_per_call=3)) as storage:
        methods: dict[str, Callable[[Iterable[Any]], object]] = {
            "messages.post": partial(storage.messages.post, queue),
            "messages.bulk_get": partial(storage.messages.bulk_get, queue),
            "messages.bulk_delete": partial(storage.messages.bulk_delete, queue),
            "messages.bulk_delete, as claims,": lambda ids: storage.messages.bulk_delete(queue, ["a"], claim_ids=ids),
            "claims.delete": lambda ids: storage.claims.delete(queue, "a", message_ids=ids),
        }
        for what, method in methods.items():
            numbers = count()
            items = (NewMessage(number) if what == "messages.post" else str(number) for number in numbers)
            _refused("INP-011", InvalidInput, f"{what} of what never ends", None, partial(method, items))
            ensure_equal(next(numbers), 4, "INP-011", f"items that {what} read, where 3 are allowed")
    _untouched(env, queue, "INP-011")


@check("INP-012")
def input_uris_that_could_be_read_in_two_ways(env: Env) -> None:
    """A user name or password that is not percent-encoded is refused rather than shown in part."""
    call: Callable[..., Storage] = connect
    secret = f"hunter2{new_id()}"
    for odd in ("/", "?", "#", "/a:", "?a=b&", "//", "/?", "%2F/", "[", "]", ":/"):
        for user in (
            f"u{odd}{secret}:p",
            f":{secret}{odd}x",
            f":x{odd}{secret}",
            f"u:1{odd}{secret}=y",
            f"{secret}{odd}",
        ):
            uri = f"memory://{user}@{new_id()}/0"
            for what, attempt in (
                ("connect", partial(call, uri)),
                ("control", partial(env.connect, control=uri)),
                ("a pool", partial(env.storage.pools.create, f"p{new_id()}", uri=uri)),
            ):
                try:
                    attempt()
                except ZaqarError as error:
                    ensure(secret not in error_text(error), "INP-012", f"{what} shows it of {uri}: {error}")
                with suppress(InvalidUri):
                    ensure(secret not in str(Uri.parse(uri)), "INP-012", f"str shows it of {uri}")
    for host in ("h:p", "h:65536", "h:" + "9" * 5000, "a..b", "a b", "[::1", "x" * 64, "[h]", "h/a@b", "h?a=b@c"):
        for uri in (f"memory://{host}", f"memory://{secret}:{secret}@{host}"):
            raised = _refused("INP-012", InvalidUri, "a URI with a host that is none", None, partial(call, uri))
            hidden = secret not in error_text(raised) and host not in error_text(raised)
            ensure(hidden, "INP-012", f"the error shows more than the scheme: {raised}")


def _refused(
    requirement: str, error: type[InvalidInput], what: str, value: object, call: Callable[[], object]
) -> Exception:
    """The call raises the error, which is an ``InvalidInput`` and a ``ValueError``, names the value and a remedy."""
    shown = _shown(value)
    raised = ensure_raises(error, requirement, f"{what} {shown}" if shown else what, call)
    for base in (InvalidInput, ValueError):
        ensure(isinstance(raised, base), requirement, f"{what}: {type(raised).__name__} is no {base.__name__}")
    text = str(raised)
    ensure(shown in text, requirement, f"{what}: the error does not name the value {shown}: {text}")
    ensure(
        any(remedy in text for remedy in _REMEDIES), requirement, f"{what}: the error does not say what to do: {text}"
    )
    return raised


def _shown(value: object) -> str:
    """As much of a value as its error has to show; "" for None, which may mean that there is none."""
    try:
        return "" if value is None else repr(value)[:40]
    except ValueError:
        return ""  # an integer of more digits than Python prints


def _post_refused(
    env: Env, queue: str, requirement: str, error: type[InvalidInput], what: str, value: object, message: NewMessage
) -> Exception:
    """A post of two good messages and this one is refused."""
    batch = [NewMessage("good"), message, NewMessage("good")]
    shown = None if isinstance(value, float) and value > 1e15 else value
    call = partial(env.storage.messages.post, queue, batch)
    return _refused(requirement, error, f"a post with {what}", shown, call)


def _metadata_refused(env: Env, metadata: Any) -> str:
    """``create`` and ``set_metadata`` refuse it and change nothing; what the error says."""
    new, there = env.queue(), env.queue()
    env.storage.queues.create(there, {"kept": 1})
    what = f"with the metadata {repr(metadata)[:100]}"
    create: Callable[[], object] = partial(env.storage.queues.create, new, metadata)
    change: Callable[[], object] = partial(env.storage.queues.set_metadata, there, metadata)
    _refused("INP-006", InvalidMetadata, f"create {what}", None, create)
    raised = _refused("INP-006", InvalidMetadata, f"set_metadata {what}", None, change)
    ensure_equal(env.storage.queues.exists(new), False, "INP-006", f"exists after create {what} was refused")
    seen = env.storage.queues.get_metadata(there)
    ensure_equal(seen, {"kept": 1}, "INP-006", f"metadata after set_metadata {what} was refused")
    return str(raised)


def _untouched(env: Env, queue: str, requirement: str) -> None:
    """The queue was never posted to: not registered, and empty."""
    ensure_equal(env.storage.queues.exists(queue), False, requirement, "exists of the queue after the refusals")
    stats = env.storage.messages.stats(queue)
    ensure_equal(stats, QueueStats(), requirement, "stats of the queue after the refusals")


def _holds_two(env: Env, queue: str, claim_id: str) -> None:
    """One message is free, the other held by the claim."""
    stats = env.storage.messages.stats(queue)
    ensure_equal((stats.free, stats.claimed), (1, 1), "INP-008", "free and claimed messages after the refusals")
    held = len(env.storage.claims.get(queue, claim_id).messages)
    ensure_equal(held, 1, "INP-008", "messages that the claim holds after the refusals")


class _ReadsLike:
    """No text, though it reads like some."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def _untyped(value: object) -> Any:
    """The same, for arguments of which a type checker already knows that they are wrong."""
    return value


def _message(body: object, **fields: Any) -> NewMessage:
    return NewMessage(body, **fields)


def _methods_of_a_queue(storage: Any) -> dict[str, Callable[..., object]]:
    """Every method that takes a queue; call each with the queue."""
    messages, claims, queues = storage.messages, storage.claims, storage.queues

    def give(method: Callable[..., object], argument: object) -> Callable[..., object]:
        return lambda queue, **options: method(queue, argument, **options)

    return {
        "messages.post": give(messages.post, [NewMessage(1)]),
        "messages.get": give(messages.get, "x"),
        "messages.bulk_get": give(messages.bulk_get, ["x"]),
        "messages.list": messages.list,
        "messages.first": messages.first,
        "messages.delete": give(messages.delete, "x"),
        "messages.bulk_delete": give(messages.bulk_delete, ["x"]),
        "messages.pop": messages.pop,
        "messages.stats": messages.stats,
        "messages.purge": messages.purge,
        "claims.create": claims.create,
        "claims.get": give(claims.get, "x"),
        "claims.update": give(claims.update, "x"),
        "claims.delete": give(claims.delete, "x"),
        "queues.create": queues.create,
        "queues.exists": queues.exists,
        "queues.get_metadata": queues.get_metadata,
        "queues.set_metadata": give(queues.set_metadata, {}),
        "queues.delete": queues.delete,
        "queues.stats": queues.stats,
        "storage.queue": storage.queue,
        "storage.capabilities_for": storage.capabilities_for,
    }


def _nested(levels: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(levels - 1):
        deep = [deep]
    return deep
