"""Arguments that are not given are as large as the limits allow; those that are given are refused beyond them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

import zaqar_core
from zaqar_core import Limits, Storage
from zaqar_core.errors import ClaimDoesNotExist, InvalidDuration, InvalidInput, InvalidLimit, InvalidMetadata
from zaqar_core.models import NewMessage

NARROW = Limits(
    max_messages_per_post=3,
    max_messages_per_page=2,
    max_messages_per_claim=2,
    max_messages_per_pop=1,
    max_ids_per_call=3,
    max_queues_per_page=2,
    max_message_ttl=50.0,
    max_message_delay=5.0,
    max_claim_ttl=20.0,
    max_claim_grace=4.0,
)


@pytest.fixture
def uri() -> str:
    return f"memory://{secrets.token_hex(8)}"


@pytest.fixture
def storage(uri: str) -> Iterator[Storage]:
    with zaqar_core.connect(uri, limits=NARROW) as storage:
        storage.messages.post("q", [NewMessage(n) for n in range(3)])
        yield storage


def test_listings_show_as_much_as_they_may(storage: Storage) -> None:
    for name in ("a", "b", "c"):
        storage.queues.create(name)
    assert len(storage.messages.list("q").items) == len(storage.queue("q").list().items) == 2
    assert len(storage.queues.list().items) == 2
    assert storage.messages.list("q", limit=None).more


def test_claims_are_as_large_and_as_long_as_they_may(storage: Storage) -> None:
    made = storage.claims.create("q")
    assert (made.ttl, len(made.messages)) == (20.0, 2)
    held = storage.queue("q").claim()
    assert (held.ttl, len(held)) == (20.0, 1)
    held.renew()
    assert storage.claims.get("q", held.id or "").ttl == 20.0
    storage.claims.update("q", made.id or "")
    assert storage.claims.get("q", made.id or "").ttl == 20.0


def test_consume_and_pop_work(storage: Storage) -> None:
    for message in storage.queue("q").consume(wait=0):
        assert message.ttl <= 50
        break
    assert len(storage.messages.pop("q")) == len(storage.queue("q").pop()) == 1


def test_messages_live_as_long_as_they_may(uri: str, storage: Storage) -> None:
    with zaqar_core.connect(uri) as wider:
        wider.queues.set_metadata("q", {"_default_message_ttl": 3600, "_default_message_delay": 600})
    storage.messages.purge("q")
    with zaqar_core.connect(uri, limits=NARROW) as fresh:
        fresh.queue("q").post(1)
        [message] = fresh.messages.list("q", include_delayed=True).items
    assert message.ttl == 50.0
    assert storage.messages.stats("q").delayed == 1


BEYOND: dict[str, Callable[[Storage], object]] = {
    "list": lambda storage: storage.messages.list("q", limit=3),
    "pop": lambda storage: storage.messages.pop("q", 2),
    "pop without a limit": lambda storage: storage.messages.pop("q", None),  # type: ignore[arg-type]  # refused
    "queues": lambda storage: storage.queues.list(limit=3),
    "claim": lambda storage: storage.claims.create("q", limit=3),
    "claim ttl": lambda storage: storage.claims.create("q", ttl=21),
    "claim grace": lambda storage: storage.claims.create("q", grace=5),
    "renewal": lambda storage: storage.claims.update("q", "c", ttl=21),
    "ttl": lambda storage: storage.queue("q").post(1, ttl=51),
    "delay": lambda storage: storage.queue("q").post(1, delay=6),
    "wait": lambda storage: storage.queue("q").claim(wait=86_401),
}


@pytest.mark.parametrize("call", list(BEYOND.values()), ids=list(BEYOND))
def test_what_is_given_is_refused_beyond_the_limits(storage: Storage, call: Callable[[Storage], object]) -> None:
    with pytest.raises((InvalidLimit, InvalidDuration)):
        call(storage)
    assert storage.messages.stats("q").free == 3


def test_other_metadata_can_be_changed_beside_those_beyond_the_limits(uri: str) -> None:
    with zaqar_core.connect(uri) as wide, zaqar_core.connect(uri, limits=NARROW) as narrow:
        beyond = {"_default_message_ttl": 7200, "_default_message_delay": 3500, "_dead_letter_queue_messages_ttl": 7200}
        stored = {**beyond, "_dead_letter_queue": "dead", "_max_claim_count": 3}
        wide.queues.create("q", stored)
        assert narrow.queues.update_metadata("q", {"note": 1}) == {**stored, "note": 1}
        assert narrow.queues.update_metadata("q", remove=["note"]) == stored
        for name, value in beyond.items():
            with pytest.raises(InvalidMetadata, match=name):
                narrow.queues.update_metadata("q", {name: value})
        with pytest.raises(InvalidMetadata, match="make the delay less than the ttl"):
            narrow.queues.update_metadata("q", {"_default_message_ttl": 1})
        assert narrow.queues.update_metadata("q", remove=["_default_message_ttl"])["_default_message_delay"] == 3500
        assert narrow.queues.update_metadata("q", {"note": 2})["note"] == 2


def test_update_without_a_ttl_renews_by_the_claim_s_own(uri: str) -> None:
    with zaqar_core.connect(uri) as storage:
        storage.queue("q").post(1, ttl=10_000)
        claim = storage.claims.create("q", ttl=3600)
        storage.claims.update("q", claim.id or "", grace=0)
        assert storage.claims.get("q", claim.id or "").ttl == 3600
        storage.claims.update("q", claim.id or "", ttl=40)
        storage.claims.update("q", claim.id or "")
        assert storage.claims.get("q", claim.id or "").ttl == 40
        with pytest.raises(ClaimDoesNotExist, match="no live claim 'nosuch'"):
            storage.claims.update("q", "nosuch")


@pytest.mark.parametrize("bound", fields(Limits), ids=lambda bound: bound.name)
@pytest.mark.parametrize("value", [-1, None, "5", True, float("nan"), float("inf")])
def test_what_is_no_bound_is_refused(bound: Any, value: Any) -> None:
    with pytest.raises(InvalidInput, match=rf"{bound.name} is"):
        replace(Limits(), **{bound.name: value})


@pytest.mark.parametrize("bound", fields(Limits), ids=lambda bound: bound.name)
def test_zero_is_a_bound_only_of_what_may_be_left_away(bound: Any) -> None:
    if bound.name in ("max_message_delay", "max_claim_grace"):
        assert getattr(replace(Limits(), **{bound.name: 0}), bound.name) == 0
    else:
        with pytest.raises(InvalidInput, match=rf"{bound.name} is 0"):
            replace(Limits(), **{bound.name: 0})


FLAGS = [
    ("echo", lambda storage, flag: storage.messages.list("q", echo=flag)),
    ("include_claimed", lambda storage, flag: storage.messages.list("q", include_claimed=flag)),
    ("include_delayed", lambda storage, flag: storage.queue("q").list(include_delayed=flag)),
    ("newest", lambda storage, flag: storage.messages.first("q", newest=flag)),
    ("detailed", lambda storage, flag: storage.queues.list(detailed=flag)),
    ("confirmed", lambda storage, flag: storage.subscriptions.confirm("q", "s", confirmed=flag)),
]


@pytest.mark.parametrize("value", [None, "yes", "", 1, 0, []])
@pytest.mark.parametrize(("name", "call"), FLAGS, ids=[name for name, _ in FLAGS])
def test_a_flag_is_true_or_false(
    storage: Storage, name: str, call: Callable[[Storage, object], object], value: object
) -> None:
    with pytest.raises(InvalidInput, match=rf"{name} is .*; pass True or False"):
        call(storage, value)


@pytest.mark.parametrize(
    ("metadata", "message", "told"),
    [
        (
            {"_default_message_delay": 40},
            NewMessage(1, ttl=30),
            "of 40 s (the queue's default) and a ttl of 30 s:",
        ),
        (
            {"_default_message_ttl": 30},
            NewMessage(1, delay=40),
            "of 40 s and a ttl of 30 s (the queue's default):",
        ),
        ({}, NewMessage(1, ttl=30, delay=30), "a delay of 30 s and a ttl of 30 s: the message would expire before"),
    ],
    ids=["default delay", "default ttl", "both given"],
)
def test_a_delay_that_outlasts_a_message_is_refused_and_says_which_is_the_queue_s(
    uri: str, metadata: dict[str, float], message: NewMessage, told: str
) -> None:
    with zaqar_core.connect(uri) as storage:
        storage.queues.create("q", metadata)
        with pytest.raises(InvalidDuration, match=re.escape(told)):
            storage.messages.post("q", [message])
        assert storage.messages.stats("q").total == 0
