"""A driver closed in the middle of operations, and a claim that runs out of time: no other claimer waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from zaqar_core.contract import QueueKey
from zaqar_core.errors import StorageClosed, StorageUnavailable
from zaqar_swift import choosing
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.names import CLAIMS

OpenDriver = Callable[..., SwiftDriver]
Post = Callable[..., list[str]]


def claims_of(driver: SwiftDriver, queue: QueueKey) -> list[str]:
    """The ids of the claims that are stored."""
    place = driver._queues.place(queue)
    rows = driver._store.page(place.container, place.prefix + CLAIMS, driver._store.deadline())
    return [row.name.removeprefix(place.prefix + CLAIMS) for row in rows]


def is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except StorageClosed:
        return True
    return False


def test_close_lets_a_running_claim_end(
    open_driver: OpenDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses new operations meanwhile; the next claimer does not wait."""
    driver, other = open_driver(), open_driver()
    ids = post(driver, 2)
    is_choosing, go = threading.Event(), threading.Event()
    look = choosing.Choice._look

    def late(*arguments: Any) -> Any:
        is_choosing.set()
        assert go.wait(60)
        return look(*arguments)

    with monkeypatch.context() as patched, ThreadPoolExecutor(2) as pool:
        patched.setattr(choosing.Choice, "_look", late)
        claiming = pool.submit(driver.claims.create, queue, ttl=60, grace=0, limit=1)
        try:
            assert is_choosing.wait(20)
            closing = pool.submit(driver.close)
            until = time.monotonic() + 10
            while not is_refused(driver.ping):
                assert time.monotonic() < until
            assert not closing.done()
        finally:
            go.set()
        claim = claiming.result()
        closing.result()
    assert [message.id for message in claim.messages] == ids[:1]
    assert claims_of(other, queue) == [claim.id]
    assert [message.id for message in other.claims.create(queue, ttl=60, grace=0, limit=2).messages] == ids[1:]


def test_close_waits_no_longer_than_the_timeout(open_driver: OpenDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = open_driver(timeout=0.5)
    has_begun, go = threading.Event(), threading.Event()

    def hang(_: float) -> dict[str, str]:
        has_begun.set()
        assert go.wait(60)
        return {}

    monkeypatch.setattr(driver._store, "account", hang)
    with ThreadPoolExecutor(1) as pool:
        pinging = pool.submit(driver.ping)
        try:
            assert has_begun.wait(20)
            began = time.monotonic()
            driver.close()
            assert time.monotonic() - began < 10
        finally:
            go.set()
        assert type(pinging.exception()) in {StorageUnavailable, type(None)}


def test_close_within_an_operation_does_not_wait_for_it(
    open_driver: OpenDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a finalizer may call it, in whichever thread it runs."""
    driver = open_driver(timeout=30)
    account = driver._store.account

    def close_first(deadline: float) -> dict[str, str]:
        driver.close()
        return account(deadline)

    monkeypatch.setattr(driver._store, "account", close_first)
    began = time.monotonic()
    with pytest.raises(StorageClosed):
        driver.ping()
    assert time.monotonic() - began < 15


def test_a_claim_that_runs_out_of_time_while_choosing_is_withdrawn(
    open_driver: OpenDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, other = open_driver(timeout=1), open_driver()
    ids = post(other, 1)

    def until_time_is_up(_: Any, __: Any, claim_id: str, ___: Any, ____: Any, deadline: float) -> None:
        assert claim_id in claims_of(other, queue)
        assert not threading.Event().wait(max(0.0, deadline - time.monotonic()))

    with monkeypatch.context() as patched:
        patched.setattr(choosing.Choice, "_look", until_time_is_up)
        with pytest.raises(StorageUnavailable):
            driver.claims.create(queue, ttl=60, grace=0, limit=1)
    until = time.monotonic() + 20
    while claims_of(other, queue):
        assert time.monotonic() < until
    assert [message.id for message in other.claims.create(queue, ttl=60, grace=0, limit=2).messages] == ids
