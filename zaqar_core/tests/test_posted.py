"""Queues that are posted to while another client deletes them: no acknowledged message is where no listing shows it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import zaqar_core
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_core import NewMessage, Storage
from zaqar_core.contract import Record, Space
from zaqar_core.errors import OutcomeUnknown, StorageUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Reads:
    """Which queue records were read, and what else shall happen then."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fail: Exception | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def take(self) -> list[str]:
        names, self.names = self.names, []
        return names


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("zaqar_core.metadata.time", clock)
    monkeypatch.setattr("zaqar_core.posted.time", clock)
    return clock


@pytest.fixture
def uri() -> str:
    return f"memory://{secrets.token_hex(8)}"


@pytest.fixture
def other(uri: str) -> Iterator[Storage]:
    """Another client, which remembers nothing."""
    with zaqar_core.connect(uri, metadata_ttl=0) as storage:
        yield storage


@pytest.fixture
def storage(uri: str, clock: Clock) -> Iterator[Storage]:
    with zaqar_core.connect(uri, metadata_ttl=5) as storage:
        yield storage


@pytest.fixture
def reads(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Reads:
    reads = Reads()
    records = storage.driver.records
    assert isinstance(records, ReferenceRecords)
    get = records.get

    def counted(space: Space, key: str) -> Record | None:
        if space.kind == "queues":
            reads.names.append(key)
        if reads.fail is not None:
            raise reads.fail
        record = get(space, key)
        reads.meanwhile()
        return record

    monkeypatch.setattr(records, "get", counted)
    return reads


def names(storage: Storage) -> list[str]:
    return [queue.name for queue in storage.queues.list().items]


def deleted_under(storage: Storage, other: Storage, *queues: str) -> None:
    """Post to queues, let another client delete them, and post again without noticing."""
    for queue in queues or ("q",):
        for _ in range(2):  # the first registers it, the second remembers that it is
            storage.queue(queue).post("before")
        other.queues.delete(queue)
        storage.queue(queue).post("after")
    assert names(other) == []


OPERATIONS: dict[str, Callable[[Storage], object]] = {
    "post": lambda storage: storage.queue("q").post(1),
    "post to another queue": lambda storage: storage.queue("another").post(1),
    "stats": lambda storage: storage.messages.stats("q"),
    "list": lambda storage: storage.messages.list("another"),
    "claim": lambda storage: storage.claims.create("another"),
    "queues.count": lambda storage: storage.queues.count(),
    "pools.list": lambda storage: storage.pools.list(),
    "is_alive": lambda storage: storage.is_alive(),
    "gc": lambda storage: storage.gc(),
}


@pytest.mark.parametrize("operation", list(OPERATIONS.values()), ids=list(OPERATIONS))
def test_the_first_operation_after_metadata_ttl_registers_it(
    storage: Storage, other: Storage, clock: Clock, operation: Callable[[Storage], object]
) -> None:
    deleted_under(storage, other)
    clock.now += 5
    operation(storage)
    assert "q" in names(other)
    assert "after" in [message.body for message in other.messages.list("q", include_claimed=True).items]


def test_close_registers_all_of_them(storage: Storage, other: Storage) -> None:
    queues = [f"q{n}" for n in range(150)]
    deleted_under(storage, other, *queues)
    storage.close()
    assert [queue.name for queue in other.queues.list(limit=1000).items] == sorted(queues)


def test_an_operation_looks_at_some_and_the_next_at_the_rest(storage: Storage, other: Storage, clock: Clock) -> None:
    deleted_under(storage, other, *(f"q{n}" for n in range(150)))
    clock.now += 5
    storage.is_alive()
    assert other.queues.count() == 100
    storage.is_alive()
    assert other.queues.count() == 150


@pytest.mark.parametrize("gone", ["purge", "pop", "delete"])
def test_a_queue_without_messages_stays_deleted(storage: Storage, other: Storage, clock: Clock, gone: str) -> None:
    deleted_under(storage, other)
    if gone == "purge":
        other.messages.purge("q")
    elif gone == "pop":
        assert len(other.messages.pop("q", 10)) == 1
    else:
        other.queues.delete("q")
    clock.now += 5
    storage.is_alive()
    storage.close()
    assert names(other) == []


@pytest.mark.parametrize("state", ["claimed", "delayed"])
def test_messages_that_are_not_active_count_too(storage: Storage, other: Storage, clock: Clock, state: str) -> None:
    for _ in range(2):
        storage.queue("q").post("before")
    other.queues.delete("q")
    storage.queue("q").post("after", delay=60 if state == "delayed" else 0)
    if state == "claimed":
        assert len(other.claims.create("q").messages) == 1
    clock.now += 5
    storage.is_alive()
    assert names(other) == ["q"]


def test_its_new_owner_s_metadata_stay(storage: Storage, other: Storage, clock: Clock) -> None:
    deleted_under(storage, other)
    other.queues.create("q", {"owner": "another"})
    clock.now += 5
    storage.is_alive()
    assert other.queues.get_metadata("q") == {"owner": "another"}


def test_dead_letters_are_posts_too(storage: Storage, other: Storage, clock: Clock) -> None:
    storage.queues.create("q", {"_max_claim_count": 1, "_dead_letter_queue": "dead"})
    for n in range(3):
        storage.queue("q").post(n)
        with storage.queue("q").claim():
            pass
        storage.claims.create("q")
        if n == 1:
            other.queues.delete("dead")
    assert names(other) == ["q"]
    clock.now += 5
    storage.is_alive()
    assert names(other) == ["dead", "q"]


def test_a_post_of_unknown_outcome_is_one_too(
    storage: Storage, other: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = storage.driver.messages
    assert messages is not None
    post = messages.post

    def lost(*given: Any, **options: Any) -> Sequence[str]:
        post(*given, **options)
        other.control.records.delete(Space("queues", ""), "q")  # type: ignore[union-attr]  # it has some
        raise OutcomeUnknown("no answer")

    monkeypatch.setattr(messages, "post", lost)
    with pytest.raises(OutcomeUnknown):
        storage.queue("q").post(1)
    clock.now += 5
    storage.is_alive()
    assert names(other) == ["q"]


def test_posting_all_the_time_reads_no_more_than_before(storage: Storage, reads: Reads, clock: Clock) -> None:
    storage.queue("q").post(0)
    reads.take()
    for _ in range(100):
        storage.queue("q").post(1)
        clock.now += 0.5
    assert len(reads.take()) == 10


def test_a_queue_is_looked_at_once_after_its_posts(storage: Storage, reads: Reads, clock: Clock) -> None:
    for _ in range(3):
        storage.queue("q").post(1)
    reads.take()
    for _ in range(10):
        clock.now += 5
        storage.is_alive()
    assert reads.take() == ["q"]
    storage.close()
    assert reads.take() == []


def test_with_metadata_ttl_0_nothing_is_read_again(uri: str, other: Storage) -> None:
    with zaqar_core.connect(uri, metadata_ttl=0) as storage:
        storage.queue("q").post(1)
        other.queues.delete("q")
        storage.is_alive()
    assert names(other) == []


def test_a_post_that_ends_while_its_queue_is_looked_at_is_looked_at_later(
    storage: Storage, other: Storage, reads: Reads, clock: Clock
) -> None:
    storage.queue("q").post("before")
    clock.now += 5

    def meanwhile() -> None:
        reads.meanwhile = lambda: None
        other.queues.delete("q")
        assert storage.driver.messages is not None
        storage.messages.post("q", [NewMessage("after")])

    reads.meanwhile = meanwhile
    storage.is_alive()
    other.control.records.delete(Space("queues", ""), "q")  # type: ignore[union-attr]  # it has some
    clock.now += 5
    storage.is_alive()
    assert names(other) == ["q"]


def test_what_fails_costs_no_operation_and_is_tried_again(
    storage: Storage, other: Storage, reads: Reads, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    deleted_under(storage, other)
    clock.now += 5
    reads.take()
    reads.fail = StorageUnavailable("the control plane is down")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert storage.messages.stats("q").total == 1
    assert len(reads.take()) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "whether queues that were posted to are still registered is not known: the control plane is down"
    ]
    reads.fail = None
    clock.now += 5
    storage.messages.stats("q")
    assert names(other) == ["q"]


def test_close_closes_whatever_looking_again_raises(
    uri: str, other: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (StorageUnavailable("the control plane is down"), KeyboardInterrupt()):
        storage = zaqar_core.connect(uri, metadata_ttl=5)
        closed: list[int] = []
        deleted_under(storage, other)
        with monkeypatch.context() as patched:
            patched.setattr(storage.driver, "close", lambda closed=closed: closed.append(1))

            def fail(*_: object, error: BaseException = error) -> None:
                raise error

            patched.setattr(storage.driver.records, "get", fail)
            if isinstance(error, KeyboardInterrupt):
                with pytest.raises(KeyboardInterrupt):
                    storage.close()
            else:
                storage.close()
        assert closed == [1]
        other.messages.purge("q")
    assert "the control plane is down" in caplog.text


def test_damaged_metadata_mean_that_it_is_registered(storage: Storage, other: Storage, clock: Clock) -> None:
    storage.queue("q").post(1)
    records = other.control.records
    assert records is not None
    records.delete(Space("queues", ""), "q")
    records.insert(Space("queues", ""), "q", b"damaged", nonce="n")
    clock.now += 5
    storage.is_alive()
    storage.close()
    assert records.get(Space("queues", ""), "q").value == b"damaged"  # type: ignore[union-attr]  # it is there
