"""The metadata cache: how old what it says may be, and what its own changes do to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zaqar_conformance.bytecodes import interrupt
from zaqar_core.contract import QueueKey
from zaqar_core.errors import StorageUnavailable
from zaqar_core.metadata import MetadataCache
from zaqar_core.records import QueueRecords

ORDERS = QueueKey("acme", "orders")


class Queues(QueueRecords):
    """What is there, and who asked for it. ``meanwhile`` runs between the reading and its return."""

    def __init__(self) -> None:
        self.there: dict[QueueKey, dict[str, Any]] = {ORDERS: {"_max_claim_count": 1}}
        self.reads: list[QueueKey] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def get_metadata(self, queue: QueueKey) -> dict[str, Any] | None:
        self.reads.append(queue)
        found = self.there.get(queue)
        self.meanwhile()
        return found


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("zaqar_core.metadata.time", clock)
    return clock


def test_metadata_is_read_once_and_again_when_its_time_is_over(clock: Clock) -> None:
    queues = Queues()
    cache = MetadataCache(queues, 5)
    assert cache.get(ORDERS) == {"_max_claim_count": 1}
    queues.there[ORDERS] = {"_max_claim_count": 2}
    clock.now += 4.999
    assert cache.get(ORDERS) == {"_max_claim_count": 1}
    clock.now += 0.001
    assert cache.get(ORDERS) == {"_max_claim_count": 2}
    assert len(queues.reads) == 2


def test_its_time_counts_from_before_the_reading(clock: Clock) -> None:
    queues = Queues()
    cache = MetadataCache(queues, 5)

    def take_long() -> None:
        clock.now += 4

    queues.meanwhile = take_long
    cache.get(ORDERS)
    clock.now += 1
    cache.get(ORDERS)
    assert len(queues.reads) == 2


def test_that_a_queue_is_not_registered_is_remembered_too(clock: Clock) -> None:
    queues = Queues()
    queues.there.clear()
    cache = MetadataCache(queues, 5)
    assert cache.get(ORDERS) is cache.get(ORDERS) is None
    assert len(queues.reads) == 1


def test_a_time_of_zero_remembers_nothing(clock: Clock) -> None:
    queues = Queues()
    cache = MetadataCache(queues, 0)
    assert cache.get(ORDERS) == {"_max_claim_count": 1}
    queues.there[ORDERS] = {"_max_claim_count": 2}
    assert cache.get(ORDERS) == {"_max_claim_count": 2}


def test_queues_of_one_name_in_two_projects_are_two(clock: Clock) -> None:
    queues = Queues()
    cache = MetadataCache(queues, 5)
    other = ORDERS._replace(project="other")
    assert (cache.get(ORDERS), cache.get(other)) == ({"_max_claim_count": 1}, None)
    cache.forget(other)
    cache.get(ORDERS)
    assert queues.reads == [ORDERS, other]


def test_a_change_of_ours_is_seen_at_once(clock: Clock) -> None:
    queues = Queues()
    cache = MetadataCache(queues, 5)
    cache.get(ORDERS)
    queues.there[ORDERS] = {"_max_claim_count": 2}
    cache.forget(ORDERS)
    assert cache.get(ORDERS) == {"_max_claim_count": 2}


def test_what_was_read_before_a_change_of_ours_does_not_outlive_it(clock: Clock) -> None:
    queues = Queues()
    cache = MetadataCache(queues, 5)

    def change() -> None:
        queues.meanwhile = lambda: None
        queues.there[ORDERS] = {"_max_claim_count": 2}
        cache.forget(ORDERS)

    queues.meanwhile = change
    assert cache.get(ORDERS) == {"_max_claim_count": 1}  # it was, when it was read
    assert cache.get(ORDERS) == {"_max_claim_count": 2}


def test_a_reading_that_fails_is_not_remembered(clock: Clock) -> None:
    queues = Queues()
    cache = MetadataCache(queues, 5)

    def fail() -> None:
        raise StorageUnavailable("no server")

    queues.meanwhile = fail
    with pytest.raises(StorageUnavailable):
        cache.get(ORDERS)
    queues.meanwhile = lambda: None
    assert cache.get(ORDERS) == {"_max_claim_count": 1}


def test_the_cache_does_not_grow_without_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zaqar_core.metadata._MOST_ENTRIES", 3)
    queues = Queues()
    cache = MetadataCache(queues, 5)
    keys = [QueueKey("acme", str(number)) for number in range(4)]
    for key in keys:
        cache.get(key)
    for key in reversed(keys):
        cache.get(key)
    assert queues.reads == [*keys, *keys[2::-1]]


def test_queues_that_share_a_generation_forget_together_and_read_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zaqar_core.metadata._GENERATIONS", 1)
    queues = Queues()
    cache = MetadataCache(queues, 5)
    cache.get(ORDERS)
    cache.forget(ORDERS._replace(name="another"))
    assert cache.get(ORDERS) == {"_max_claim_count": 1}
    assert queues.reads == [ORDERS, ORDERS]


def test_an_exception_at_any_bytecode_of_a_change_leaves_nothing_to_repair(clock: Clock) -> None:
    at, interrupted = 0, True
    while interrupted:
        at += 1
        queues = Queues()
        cache = MetadataCache(queues, 5)
        cache.get(ORDERS)

        def change(cache: MetadataCache = cache, queues: Queues = queues) -> None:
            try:
                queues.there[ORDERS] = {"_max_claim_count": 2}
            finally:
                cache.forget(ORDERS)
            cache.get(ORDERS)

        interrupted = interrupt(change, at)
        clock.now += 5
        assert cache.get(ORDERS) == queues.there[ORDERS]
        queues.there[ORDERS] = {"_max_claim_count": 3}
        cache.forget(ORDERS)
        assert cache.get(ORDERS) == {"_max_claim_count": 3}
    assert at > 50
