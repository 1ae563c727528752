"""Subscriptions: who wants to be told about a queue's messages."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._control import pages
from zaqar_conformance.checks._support import elapse, ensure_opaque, error_text, log_texts, paced
from zaqar_conformance.checks.pools import BAD_NAMES
from zaqar_conformance.env import Env
from zaqar_core import NewMessage, Storage, Subscription
from zaqar_core.contract import new_id
from zaqar_core.errors import (
    InvalidDuration,
    InvalidId,
    InvalidLimit,
    InvalidMarker,
    InvalidProject,
    InvalidQueueName,
    InvalidSubscription,
    SubscriptionDoesNotExist,
)

_HOOK = "https://example.org/hook"
_RICH: dict[str, Any] = {"": None, "list": [1, 1.0, True, {}], "text": "quotes ' \" NUL \0 \U0001f600", "big": 2**70}


@check("SUB-001")
def subscription_create_makes_one_for_a_subscriber(env: Env) -> None:
    """``create`` returns an id once for a subscriber, then None; every method gives it as it was made."""
    queue, subscriptions = env.queue(), env.storage.subscriptions
    made: list[Subscription] = []
    for subscriber, ttl, options in (
        (_HOOK, None, {}),
        (f"{_HOOK}?", 3600, _RICH),
        ("mailto:someone@example.org", 0.5 + 3600, {"a": "b"}),
        (f"https://example.org/{'x' * 2028}", 10 * 365 * 24 * 3600, {"x": "y" * 16_000}),
        ("trust+http://é\U0001f600", None, {}),
    ):
        made_id = subscriptions.create(queue, subscriber=subscriber, ttl=ttl, options=options)
        ensure(isinstance(made_id, str), "SUB-001", f"create of a new subscription returned {made_id!r}, not an id")
        made.append(Subscription(str(made_id), queue, subscriber, ttl, options))
        for other in ({}, {"ttl": 5}, {"options": {"other": 1}}):
            again: Any = subscriptions.create
            seen = again(queue, subscriber=subscriber, **other)
            ensure_equal(seen, None, "SUB-001", f"create for a subscriber that has one, with {other}")
        _shows(env, queue, made, "SUB-001")
    ensure_equal(env.storage.queues.exists(queue), False, "SUB-001", "exists of the queue, which nobody registered")


@check("SUB-002")
def subscription_update_and_confirm(env: Env) -> None:
    """``update`` replaces the options whole, ``confirm`` sets whether it is confirmed; all else stays."""
    queue, subscriptions = env.queue(), env.storage.subscriptions
    made_id = str(subscriptions.create(queue, subscriber=_HOOK, ttl=3600, options={"a": 1, "b": 2}))
    expected = Subscription(made_id, queue, _HOOK, 3600, {"a": 1, "b": 2})
    for options in ({"c": 3}, _RICH, {}):
        subscriptions.update(queue, made_id, options=options)
        expected = replace(expected, options=options)
        _shows(env, queue, [expected], "SUB-002")
        for confirmed in (True, True, False):
            subscriptions.confirm(queue, made_id, confirmed=confirmed)
            expected = replace(expected, confirmed=confirmed)
            _shows(env, queue, [expected], "SUB-002")
    subscriptions.confirm(queue, made_id)
    _shows(env, queue, [replace(expected, confirmed=True)], "SUB-002")


@check("SUB-002")
def subscriptions_unknown(env: Env) -> None:
    """A subscription that is not there, or not any more, raises on every method but ``delete`` and ``exists``."""
    queue, subscriptions = env.queue(), env.storage.subscriptions
    kept = str(subscriptions.create(queue, subscriber=_HOOK))
    gone = str(subscriptions.create(queue, subscriber=f"{_HOOK}/2"))
    for _ in range(2):
        subscriptions.delete(queue, gone)
    for unknown in (gone, "", "x", kept[:-1], f"{kept}x", kept.swapcase(), "\0", "\ud800", "é" * 40, "x" * 10_000):
        _is_unknown(env.storage, queue, unknown, "SUB-002")
    by_subscriber = partial(subscriptions.get_with_subscriber, queue, f"{_HOOK}/2")
    ensure_raises(SubscriptionDoesNotExist, "SUB-002", "get_with_subscriber of one that is gone", by_subscriber)
    _shows(env, queue, [Subscription(kept, queue, _HOOK)], "SUB-002")


@check("SUB-003")
def subscription_ids_are_opaque(env: Env) -> None:
    """Ids cannot be guessed, and a subscriber's next subscription has another, while the old id names nothing."""
    queue, subscriptions = env.queue(), env.storage.subscriptions
    ids: list[str] = []
    for _ in range(200):
        ids.append(str(subscriptions.create(queue, subscriber=_HOOK)))
        if len(ids) > 1:
            ensure_equal(subscriptions.exists(queue, ids[-2]), False, "SUB-003", "exists of an id of one deleted")
            subscriptions.delete(queue, ids[-2])
        ensure_equal(subscriptions.exists(queue, ids[-1]), True, "SUB-003", "exists after delete by an old id")
        subscriptions.delete(queue, ids[-1])
    ensure_opaque(ids, "SUB-003", "subscription id")


@check("SUB-004")
def subscriptions_of_queues_and_projects_are_apart(env: Env) -> None:
    """Queues and projects whose names join to one text, of the longest names too, have subscriptions of their own."""
    base = env.project
    pairs = [(base, "q"), (f"{base}2", "q"), (base, "Q"), (base, "q "), (base, "q1"), (base, "qhttps"), (base, "1:q")]
    for separator in (".", ":", "/", "\x01", "1:"):
        pairs += [(base, f"b{separator}c"), (f"{base}{separator}b", "c")]
    longest = base + "\U0001f600" * (256 - len(base))
    pairs += [(longest, "\U0001f600" * 48), (base, "x" * 64)]
    subscriptions = env.storage.subscriptions
    ids = {pair: _create(env.storage, pair) for pair in pairs}
    for project, queue in pairs:
        expected = Subscription(ids[project, queue], queue, _HOOK, None, {"of": [project, queue]})
        env.see(
            lambda project=project, queue=queue: subscriptions.list(queue, project=project).items,  # type: ignore[misc]
            lambda seen, expected=expected: [*seen] == [expected],  # type: ignore[misc]
            "SUB-004",
            f"subscriptions of {queue!r} in {project!r}, expected {expected}",
        )
        found = subscriptions.get(queue, ids[project, queue], project=project)
        ensure_equal(found, expected, "SUB-004", "the subscription, by get")
    (first_project, first), *others = pairs
    for pair in others:
        _is_unknown(env.storage, first, ids[pair], "SUB-004", project=first_project)
    subscriptions.delete(first, ids[first_project, first], project=first_project)
    for project, queue in others:
        here = subscriptions.exists(queue, ids[project, queue], project=project)
        ensure_equal(here, True, "SUB-004", f"exists in {queue!r} of {project!r} after deletions in {first!r}")


@check("SUB-004")
def subscriptions_are_listed_once(env: Env) -> None:
    """Pages of any size, joined by their markers, show each subscription of the queue once, behind any marker."""
    queue, near, subscriptions = env.queue(), env.queue(), env.storage.subscriptions
    count = 25
    ids = {str(subscriptions.create(queue, subscriber=f"{_HOOK}/{number}")) for number in range(count)}
    subscriptions.create(near, subscriber=_HOOK)
    for limit in (1, 7, count, 1000):
        env.see(
            lambda limit=limit: sorted(  # type: ignore[misc]
                each.id for page in pages(partial(subscriptions.list, queue), limit=limit) for each in page.items
            ),
            lambda seen: seen == sorted(ids),
            "SUB-004",
            f"ids of {count} subscriptions in pages of {limit}",
        )
    page = subscriptions.list(queue, limit=10)
    subscriptions.delete(queue, page.items[-1].id)
    rest = [each.id for each in subscriptions.list(queue, marker=page.marker, limit=100).items]
    expected = ids - {each.id for each in page.items}
    ensure_equal(sorted(rest), sorted(expected), "SUB-004", "ids behind a marker whose subscription is gone")


@check("SUB-005", waits=True)
def subscription_ends_with_its_ttl(env: Env) -> None:
    """A subscription is there until its ttl is over, then gone to every method; changes do not move its end."""
    subscriptions = env.storage.subscriptions

    def scenario(unit: float) -> bool:
        queue, began = env.queue(), time.monotonic()
        made_id = str(subscriptions.create(queue, subscriber=_HOOK, ttl=2 * unit))
        lasting = str(subscriptions.create(queue, subscriber=f"{_HOOK}/2"))
        created = time.monotonic()
        elapse(env, unit / 2)
        try:
            subscriptions.update(queue, made_id, options={"changed": True})
            subscriptions.confirm(queue, made_id)
            seen = subscriptions.get(queue, made_id)
        except SubscriptionDoesNotExist:
            if time.monotonic() - began < 2 * unit:
                raise
            return False
        if time.monotonic() - began >= 2 * unit:
            return False
        ensure_equal(seen, Subscription(made_id, queue, _HOOK, 2 * unit, {"changed": True}, True), "SUB-005", "in time")
        elapse(env, created + 2 * unit - time.monotonic())
        env.see(
            lambda: [each.id for each in subscriptions.list(queue).items],
            lambda ids: ids == [lasting],
            "SUB-005",
            f"ids listed after the ttl of one is over, expected {[lasting]}",
        )
        _is_unknown(env.storage, queue, made_id, "SUB-005")
        again = subscriptions.create(queue, subscriber=_HOOK)
        ensure(again not in (None, made_id), "SUB-005", f"create after one ended returned {again!r}, expected a new id")
        ensure_equal(subscriptions.exists(queue, str(again)), True, "SUB-005", "exists of one made after another ended")
        return True

    paced(scenario)


@check("SUB-006")
def subscriptions_go_with_their_queue(env: Env) -> None:
    """``queues.delete`` drops the subscriptions of that queue alone, registered or not; ``purge`` keeps them."""
    subscriptions = env.storage.subscriptions
    registered, unregistered, kept = env.queue(), env.queue(), env.queue()
    env.storage.queues.create(registered)
    queues = (registered, unregistered, kept)
    ids = {queue: _create(env.storage, (env.project, queue)) for queue in queues}
    for queue in queues:
        subscriptions.create(queue, subscriber=f"{_HOOK}/2", ttl=3600)
        env.storage.messages.post(queue, [NewMessage(1)])
        env.storage.messages.purge(queue)
        ensure_equal(len(subscriptions.list(queue).items), 2, "SUB-006", "subscriptions of a queue after purge")
    for queue in (registered, unregistered):
        env.storage.queues.delete(queue)
        _is_unknown(env.storage, queue, ids[queue], "SUB-006")
        ensure_equal([*subscriptions.list(queue).items], [], "SUB-006", "subscriptions of a queue that was deleted")
        again = subscriptions.create(queue, subscriber=_HOOK)
        ensure(again not in (None, ids[queue]), "SUB-006", f"create after queues.delete returned {again!r}")
    ensure_equal(subscriptions.exists(kept, ids[kept]), True, "SUB-006", "exists on a queue that was not deleted")


@check("SUB-008")
def subscription_wrong_input(env: Env) -> None:
    """Wrong names, subscribers, options, ttls, ids, limits and markers are refused, and nothing is written."""
    queue, subscriptions = env.queue(), _untyped(env.storage.subscriptions)
    made_id = subscriptions.create(queue, subscriber=_HOOK)
    methods = {
        "create": partial(subscriptions.create, subscriber=f"{_HOOK}/2"),
        "get": partial(subscriptions.get, subscription_id=made_id),
        "get_with_subscriber": partial(subscriptions.get_with_subscriber, subscriber=_HOOK),
        "exists": partial(subscriptions.exists, subscription_id=made_id),
        "list": subscriptions.list,
        "update": partial(subscriptions.update, subscription_id=made_id, options={}),
        "confirm": partial(subscriptions.confirm, subscription_id=made_id),
        "delete": partial(subscriptions.delete, subscription_id=made_id),
    }
    for what, method in methods.items():
        for name in BAD_NAMES:
            ensure_raises(InvalidQueueName, "SUB-008", f"subscriptions.{what} on {name!r}", partial(method, name))
        wrong = partial(method, queue, project="p" * 257)
        ensure_raises(InvalidProject, "SUB-008", f"subscriptions.{what} with a wrong project", wrong)
    addresses = ("", "x", "example.org", "https:", "https: //x", "//x", ":x", f"https://{'x' * 2041}", "https://\ud800")
    for subscriber in (*addresses, "https://x\0", "https://x\ny", "https://x y", 5, None, b"https://x"):
        for what in ("create", "get_with_subscriber"):
            wrong = partial(getattr(subscriptions, what), queue, subscriber=subscriber)
            ensure_raises(InvalidSubscription, "SUB-008", f"subscriptions.{what} for {str(subscriber)[:40]!r}", wrong)
    bad_options: tuple[Any, ...] = (
        None,
        [],
        "x",
        5,
        {1: 2},
        {"a": {1}},
        {"a": float("nan")},
        {"a": b"x"},
        {"a": "x" * 16_384},
    )
    for options in bad_options:
        wrong = partial(subscriptions.update, queue, made_id, options=options)
        ensure_raises(InvalidSubscription, "SUB-008", f"update with the options {str(options)[:40]}", wrong)
        if options is not None:
            wrong = partial(subscriptions.create, queue, subscriber=f"{_HOOK}/2", options=options)
            ensure_raises(InvalidSubscription, "SUB-008", f"create with the options {str(options)[:40]}", wrong)
    for ttl in (0, 0.0009, -1, "60", True, float("nan"), float("inf"), 10 * 365 * 24 * 3600 + 1):
        wrong = partial(subscriptions.create, queue, subscriber=f"{_HOOK}/2", ttl=ttl)
        ensure_raises(InvalidDuration, "SUB-008", f"create with the ttl {ttl!r}", wrong)
    for odd in (5, None, b"x"):
        for what in ("get", "exists", "confirm", "delete"):
            wrong = partial(getattr(subscriptions, what), queue, odd)
            ensure_raises(InvalidId, "SUB-008", f"subscriptions.{what} of the id {odd!r}", wrong)
    for marker in (5, "x", "é" * 24, "\ud800" * 24):
        wrong = partial(subscriptions.list, queue, marker=marker)
        ensure_raises(InvalidMarker, "SUB-008", f"subscriptions.list, marker={marker!r}", wrong)
    ensure_raises(InvalidLimit, "SUB-008", "subscriptions.list, limit=0", partial(subscriptions.list, queue, limit=0))
    _shows(env, queue, [Subscription(made_id, queue, _HOOK)], "SUB-008")


@check("SUB-008")
def subscription_secrets_are_never_shown(env: Env) -> None:
    """Neither a subscriber nor options, which may hold secrets, show in an error, a repr or a log."""
    secret, queue = f"hunter2{new_id()}", env.queue()
    subscriptions: Any = env.storage.subscriptions
    subscriber = f"https://user:{secret}@example.org/{secret}"
    with log_texts() as texts:
        made_id = subscriptions.create(queue, subscriber=subscriber, options={"token": secret})
        found = subscriptions.get(queue, made_id)
        texts += [repr(found), str(found), repr(subscriptions.list(queue))]
        for call in (
            partial(subscriptions.get_with_subscriber, queue, f"{subscriber}/other"),
            partial(subscriptions.get_with_subscriber, queue, f"no uri {secret}"),
            partial(subscriptions.create, queue, subscriber=f"{subscriber} "),
            partial(subscriptions.create, queue, subscriber=f"{subscriber}{'x' * 2048}"),
            partial(subscriptions.create, queue, subscriber=subscriber, options=[secret]),
            partial(subscriptions.create, queue, subscriber=subscriber, options={"a": f"{secret}\ud800"}),
            partial(subscriptions.update, queue, made_id, options={"a": {secret}}),
            partial(subscriptions.update, queue, made_id, options={"a": secret * 2000}),
        ):
            raised = ensure_raises(Exception, "SUB-008", "a call with a secret that cannot be done", call)
            texts.append(error_text(raised))
        for text in texts:
            ensure(secret not in text, "SUB-008", f"a secret shows in: {text}")


def _untyped(controller: Any) -> Any:
    return controller


def _create(storage: Storage, pair: tuple[str, str]) -> str:
    project, queue = pair
    made_id = storage.subscriptions.create(queue, subscriber=_HOOK, options={"of": [*pair]}, project=project)
    ensure(made_id is not None, "SUB-004", f"create on {queue!r} of {project!r}, where nobody has one, returned None")
    return str(made_id)


def _is_unknown(storage: Storage, queue: str, unknown: str, requirement: str, **options: Any) -> None:
    """To every method an id is one that does not exist, and deleting it changes nothing."""
    subscriptions: Any = storage.subscriptions
    ensure_equal(subscriptions.exists(queue, unknown, **options), False, requirement, "exists of an unknown id")
    for what, call in (
        ("get", partial(subscriptions.get, queue, unknown)),
        ("update", partial(subscriptions.update, queue, unknown, options={"changed": 1})),
        ("confirm", partial(subscriptions.confirm, queue, unknown)),
    ):
        seen = f"{what} of an unknown subscription"
        ensure_raises(SubscriptionDoesNotExist, requirement, seen, partial(call, **options))
    subscriptions.delete(queue, unknown, **options)


def _shows(env: Env, queue: str, expected: list[Subscription], requirement: str) -> None:
    subscriptions = env.storage.subscriptions
    for one in expected:
        ensure_equal(subscriptions.get(queue, one.id), one, requirement, "the subscription, by get")
        found = subscriptions.get_with_subscriber(queue, one.subscriber)
        ensure_equal(found, one, requirement, "the subscription, by get_with_subscriber")
        ensure_equal(subscriptions.exists(queue, one.id), True, requirement, "exists of a subscription that is there")
    listed = sorted(subscriptions.list(queue, limit=100).items, key=lambda each: each.id)
    ensure_equal(listed, sorted(expected, key=lambda each: each.id), requirement, "the queue's subscriptions, listed")
