"""Models: frozen values with slots, equal by what they hold, and what their reprs show."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
import secrets
from typing import Any

import pytest

import zaqar_core
from zaqar_core import (
    CatalogueEntry,
    Claim,
    Flavor,
    Message,
    MessageRef,
    NewMessage,
    Page,
    Pool,
    QueueEntry,
    QueueStats,
    Subscription,
    models,
)

MESSAGE = Message("m1", {"n": 1}, 300.0, 1.5, "me", headers={"a": "b"})
INSTANCES: list[Any] = [
    NewMessage({"n": 1}),
    MESSAGE,
    Claim("c1", 60.0, 0.0, [MESSAGE]),
    MessageRef("m1", 1.5),
    QueueStats(free=1, total=1, oldest=MessageRef("m1", 1.5)),
    Page([MESSAGE], "m", more=False),
    QueueEntry("orders"),
    Pool("east", "sqlite:///east.db", 100, options={"synchronous": "FULL"}),
    Flavor("gold", ("east",)),
    CatalogueEntry("orders", "east", "acme"),
    Subscription("s1", "orders", "https://example.org/hook"),
]
each = pytest.mark.parametrize("model", INSTANCES, ids=lambda model: type(model).__name__)


def test_every_model_is_here_and_public() -> None:
    found = {kind for _, kind in inspect.getmembers(models, inspect.isclass) if kind.__module__ == models.__name__}
    assert found == {type(model) for model in INSTANCES}
    assert {kind.__name__ for kind in found} <= set(zaqar_core.__all__)


@each
def test_a_model_is_frozen_and_has_no_room_for_more(model: Any) -> None:
    for field in dataclasses.fields(model):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(model, field.name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(model, field.name)
    assert not hasattr(model, "__dict__")


@each
def test_a_model_is_equal_to_its_copies_and_to_nothing_that_differs(model: Any) -> None:
    for again in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again == model
    for field in dataclasses.fields(model):
        assert dataclasses.replace(model, **{field.name: object()}) != model


@each
def test_a_repr_shows_every_field_but_what_may_hold_secrets(model: Any) -> None:
    hidden = {"Pool": {"uri", "options"}, "Subscription": {"subscriber", "options"}}.get(type(model).__name__, set())
    names = [field.name for field in dataclasses.fields(model) if field.name not in hidden]
    assert repr(model) == f"{type(model).__name__}({', '.join(f'{name}={getattr(model, name)!r}' for name in names)})"


def test_headers_by_default_are_empty_and_no_two_messages_share_them() -> None:
    one, other = NewMessage(1), NewMessage(1)
    assert one.headers == {} == Message("m", 1, 1.0, 0.0, "me").headers
    assert one.headers is not other.headers


@pytest.mark.parametrize("headers", [{}, {"a": "b"}], ids=["no headers", "headers"])
def test_what_a_storage_returns_can_be_pickled_copied_and_made_a_dict(headers: dict[str, str]) -> None:
    with zaqar_core.connect(f"memory://{secrets.token_hex(8)}") as storage:
        queue = storage.queue("q")
        for _ in range(2):
            queue.post({"n": 1}, headers=headers)
        page = queue.list()
        claim = storage.claims.create("q", limit=1)
        [claimed] = queue.claim(limit=1)
    for model in (page, page.items[0], claim, claimed):
        for again in (copy.copy(model), copy.deepcopy(model)):
            assert again == model
        pickle.loads(pickle.dumps(model))
    for plain in (page, page.items[0], claim):
        assert pickle.loads(pickle.dumps(plain)) == plain
        assert json.dumps(dataclasses.asdict(plain))
    assert (claimed.headers, type(claimed.headers)) == (headers, dict)


def test_a_new_message_says_nothing_that_was_not_asked_for() -> None:
    assert (NewMessage(1).ttl, NewMessage(1).delay, NewMessage(1).dedup_id) == (None, None, None)
