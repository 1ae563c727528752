"""Listings that leave out the caller's own messages: they keep their place, whatever they leave out."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from zaqar_core.contract import EncodedMessage, QueueKey, StoredPage
from zaqar_core.errors import StorageUnavailable
from zaqar_swift import messages, queues
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.names import message_name

OpenDriver = Callable[..., SwiftDriver]
Post = Callable[..., list[str]]


def list_without_own(driver: SwiftDriver, queue: QueueKey, marker: str | None = None, limit: int = 1) -> StoredPage:
    """What other clients than the one of ``post`` posted."""
    return driver.messages.list(
        queue, marker=marker, limit=limit, exclude_client="client", include_claimed=False, include_delayed=False
    )


def post_as_another(driver: SwiftDriver, queue: QueueKey, delay: float = 0.0) -> str:
    [some_id] = driver.messages.post(queue, [EncodedMessage(b"1", 600.0, delay=delay)], client_id="another")
    return some_id


def test_a_listing_with_too_many_own_messages_for_one_call_goes_on_in_the_next(
    driver: SwiftDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swift lists four names a second, so that the queue takes longer than the timeout of 20 s."""
    for _ in range(2):
        post(driver, 60)
    theirs = post_as_another(driver, queue)
    real, began, listed = driver._store.page, time.monotonic(), 0

    def now() -> float:
        return began + listed / 4

    def page(container: str, prefix: str, deadline: float, **options: Any) -> Any:
        nonlocal listed
        rows = real(container, prefix, deadline, **options)
        listed += len(rows)
        if now() > deadline:
            raise StorageUnavailable("time was up")
        return rows

    monkeypatch.setattr(driver._store, "page", page)
    monkeypatch.setattr(messages, "_SETTLES_WITHIN", 0)
    monkeypatch.setattr(messages, "_LOOKED_BACK", 8)
    for module in (messages, queues):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=now))
    marker, calls = None, 0
    while True:
        began, listed = time.monotonic(), 0
        found = list_without_own(driver, queue, marker)
        calls += 1
        marker = found.marker
        if found.items or not found.more:
            break
    assert [message.id for message in found.items] == [theirs]
    assert 1 < calls < 10


def test_a_marker_moves_past_own_messages_and_not_past_what_may_be_shown_later(
    driver: SwiftDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_SETTLES_WITHIN", 600_000_000)
    at_first = list_without_own(driver, queue).marker
    post(driver, 2)
    assert list_without_own(driver, queue).marker == at_first, "another client's post may still be listed before"
    monkeypatch.setattr(messages, "_SETTLES_WITHIN", 0)
    delayed = message_name(post_as_another(driver, queue, delay=300.0))
    ids = post(driver, 2)
    driver.messages.post(queue, [EncodedMessage(b"1", 600.0, delay=300.0)], client_id="client")
    empty = list_without_own(driver, queue)
    assert (empty.items, empty.more) == ([], False)
    marker = messages._read_marker(empty.marker)
    assert marker.id == ids[-1]
    assert delayed is not None
    assert marker.at < delayed.position
    later = post_as_another(driver, queue)
    assert [message.id for message in list_without_own(driver, queue, empty.marker).items] == [later]
