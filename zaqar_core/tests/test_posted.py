"""Queues that are posted to while another client deletes them: no acknowledged message is where no listing shows it."""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import pytest

import zaqar_core
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_core import NewMessage, Storage
from zaqar_core.contract import QueueKey, Record, Space
from zaqar_core.errors import OutcomeUnknown, StorageClosed, StorageFull, StorageUnavailable
from zaqar_core.kit import remaining
from zaqar_core.posted import PostedQueues


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
    assert other.queues.count() == 4
    storage.is_alive()
    assert other.queues.count() == 8
    for _ in range(36):
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
    [record] = caplog.records
    assert record.getMessage() == (
        "cannot tell whether a queue that this process posted to is still registered: StorageUnavailable: the control "
        "plane is down"
    )
    reads.fail = None
    clock.now += 5
    storage.messages.stats("q")
    assert names(other) == ["q"]


def test_close_closes_whatever_looking_again_raises(
    uri: str, other: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (StorageUnavailable("the control plane is down"), ValueError("an error"), KeyboardInterrupt()):
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
        with pytest.raises(StorageClosed):
            storage.is_alive()
        other.messages.purge("q")
    assert "the control plane is down" in caplog.text


def test_close_has_one_deadline_of_which_looking_again_gets_a_share(
    uri: str, other: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = zaqar_core.connect(uri, metadata_ttl=5, timeout=8)
    deleted_under(storage, other)
    left: dict[str, float] = {}
    records = storage.driver.records
    assert records is not None
    get, close = records.get, storage.driver.close

    def seen_get(space: Space, key: str) -> Record | None:
        left["get"] = remaining(60)
        return get(space, key)

    def seen_close() -> None:
        left["close"] = remaining(60)
        close()

    monkeypatch.setattr(records, "get", seen_get)
    monkeypatch.setattr(storage.driver, "close", seen_close)
    storage.close()
    assert 0 < left["get"] <= 2 < left["close"] <= 8


def test_close_does_not_wait_for_a_dead_server_once_for_each_queue(
    uri: str, other: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = zaqar_core.connect(uri, metadata_ttl=5, timeout=2)
    deleted_under(storage, other, *(f"q{n}" for n in range(10)))

    def silent(*_: object) -> None:
        time.sleep(remaining(60))
        raise StorageUnavailable("no answer")

    monkeypatch.setattr(storage.driver.records, "get", silent)
    began = time.monotonic()
    storage.close()
    assert time.monotonic() - began < 1.5


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


def test_another_thread_may_settle_the_last_post_at_any_bytecode(storage: Storage, clock: Clock) -> None:
    posted = storage._context.posted
    assert posted is not None
    codes = {PostedQueues.look_again.__code__, PostedQueues._due.__code__}
    at = total = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal total
        if frame.f_code not in codes:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            total += 1
            if total == at:
                posted._posts.clear()  # as another thread does
        return trace

    while total >= at:
        at, total = at + 1, 0
        storage.queue("q").post(1)
        clock.now += 5
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            assert storage.messages.stats("q").total == at
        finally:
            sys.settrace(before)
        posted._latest.clear()
    assert at > 20


@pytest.mark.parametrize("error", [StorageFull("full"), IndexError("an error in the driver"), ValueError("another")])
def test_a_queue_that_always_fails_delays_no_other_and_harms_no_operation(
    storage: Storage,
    other: Storage,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    others = [f"q{n}" for n in range(10)]
    deleted_under(storage, other, "fails", *others)
    refuse(monkeypatch, storage, "fails", error)
    for _ in range(4):
        clock.now += 5
        assert storage.messages.stats("fails").total == 1
        storage.is_alive()
    assert names(other) == sorted(others)
    assert str(error) in caplog.text


def test_close_tries_every_queue_once(
    storage: Storage, other: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted_under(storage, other, "a", "fails", "z")
    tried = refuse(monkeypatch, storage, "fails", StorageFull("full"))
    storage.close()
    assert names(other) == ["a", "z"]
    assert tried == ["fails"]


def test_failures_do_not_pile_up(
    storage: Storage, other: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted_under(storage, other)
    refuse(monkeypatch, storage, "q", StorageFull("full"))
    for _ in range(10):
        storage.queue("another").post(1)
        clock.now += 5
        storage.is_alive()
    assert storage._context.posted is not None
    assert len(storage._context.posted._posts) <= 2


def test_a_post_interrupted_before_its_end_is_noted_is_noted_all_the_same(
    storage: Storage, other: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        storage.queue("q").post("before")
    clock.now += 5
    storage.is_alive()  # settles what was noted
    other.queues.delete("q")
    posted = storage._context.posted
    assert posted is not None
    notes: list[object] = []
    note = posted.note

    def interrupted_after_the_post(queue: QueueKey) -> None:
        notes.append(queue)
        if len(notes) == 2:
            raise KeyboardInterrupt
        note(queue)

    monkeypatch.setattr(posted, "note", interrupted_after_the_post)
    with pytest.raises(KeyboardInterrupt):
        storage.queue("q").post("after")
    clock.now += 5
    storage.is_alive()
    assert names(other) == ["q"]


def refuse(monkeypatch: pytest.MonkeyPatch, storage: Storage, queue: str, error: Exception) -> list[str]:
    """Let the registration of one queue fail, and return how often it was tried."""
    records = storage.driver.records
    assert records is not None
    insert = records.insert
    tried: list[str] = []

    def refused(space: Space, key: str, *given: Any, **options: Any) -> Any:
        if key == queue:
            tried.append(key)
            raise error
        return insert(space, key, *given, **options)

    monkeypatch.setattr(records, "insert", refused)
    return tried
