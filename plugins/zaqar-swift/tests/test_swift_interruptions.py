"""Exceptions, and calls of the driver's own, in the middle of a call, as of a signal handler: they lose nothing."""

from __future__ import annotations

import gc
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from types import FrameType
from typing import Any

import pytest

from zaqar_conformance.bytecodes import interrupt
from zaqar_core.contract import QueueKey, Space, StoredPage, new_id
from zaqar_core.errors import StorageClosed, StorageUnavailable
from zaqar_core.uri import Uri
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.server import uri
from zaqar_swift.workers import Call, NotDone, Workers

OpenDriver = Callable[..., SwiftDriver]
Post = Callable[..., list[str]]

SAMPLES = 12
"""Interruptions of each operation, which have some hundred bytecodes in the caller's thread."""


def operations(driver: SwiftDriver, queue: QueueKey, post: Post) -> dict[str, Callable[[], object]]:
    space = Space("queues", queue.project)

    def list_all() -> StoredPage:
        return driver.messages.list(
            queue, marker=None, limit=10, exclude_client=None, include_claimed=True, include_delayed=True
        )

    def claim_id() -> str:
        return str(driver.claims.create(queue, ttl=0.05, grace=0, limit=1).id)

    return {
        "post": lambda: post(driver, 3, ttl=5.0),
        "list": list_all,
        "get": lambda: driver.messages.get(queue, [message.id for message in list_all().items]),
        "stats": lambda: driver.messages.stats(queue),
        "first": lambda: driver.messages.first(queue, newest=True),
        "claim": claim_id,
        "get a claim": lambda: driver.claims.get(queue, claim_id()),
        "renew": lambda: driver.claims.update(queue, claim_id(), ttl=0.05, grace=0),
        "release": lambda: driver.claims.release(queue, claim_id()),
        "delete": lambda: driver.messages.delete(queue, post(driver, ttl=5.0), claim_ids=None),
        "pop": lambda: driver.messages.pop(queue, limit=2),
        "insert": lambda: driver.records.insert(space, new_id(), b"1", nonce="n"),
        "scan": lambda: driver.records.scan(space, limit=5),
        "delete all": lambda: driver.records.delete_all(space),
        "gc": driver.gc,
        "ping": driver.ping,
        "purge": lambda: driver.messages.purge(queue),
    }


def bytecodes(call: Callable[[], object]) -> int:
    """How many the calling thread runs in the call."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def samples(count: int) -> Sequence[int]:
    return sorted(random.sample(range(1, count), min(SAMPLES, count - 1)))


def test_after_an_exception_at_any_bytecode_all_works(open_either: OpenDriver, queue: QueueKey, post: Post) -> None:
    """With one connection, which nothing may keep: whatever is interrupted, the next calls are as ever."""
    driver = open_either(connections=1, timeout=20)
    for name, call in operations(driver, queue, post).items():
        for at in samples(bytecodes(call)):
            interrupt(call, at)
            other = QueueKey(queue.project, new_id())
            driver.ping()
            assert driver.claims.create(other, ttl=1, grace=0, limit=1).id is None, (name, at)
        ids = post(driver, 2, ttl=60.0)
        assert {message.id for message in driver.messages.get(queue, ids)} == set(ids), name
    driver.messages.purge(queue)
    ids = post(driver, 2, ttl=60.0)
    claimed = driver.claims.create(queue, ttl=60, grace=0, limit=2)
    assert [message.id for message in claimed.messages] == ids


def test_opening_and_closing_may_be_interrupted_anywhere(server: Any) -> None:
    where = Uri.parse(uri(server.port))
    opened: list[SwiftDriver] = []  # so that finalizers run outside of what is traced: Python drops their exceptions

    def open_and_close() -> None:
        opened.append(SwiftDriver.open(where, connect_timeout=20, timeout=20))
        opened[-1].close()

    def finalize() -> None:
        for driver in opened:
            driver.close()
        opened.clear()
        gc.collect()

    gc.disable()
    try:
        for at in samples(bytecodes(open_and_close)):
            finalize()
            interrupt(open_and_close, at)
        finalize()
        open_and_close()
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["post", "claim", "pop", "release", "gc", "insert"])
def test_a_call_in_the_middle_of_another_works(open_either: OpenDriver, queue: QueueKey, post: Post, name: str) -> None:
    """As one of a signal handler, on the same queue and with the only connection."""
    driver = open_either(connections=1, timeout=20)
    post(driver, 2)
    calls = operations(driver, queue, post)
    left = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            left -= 1
            if left == 0:
                calls["post"]()
                calls["claim"]()
        return trace

    before = sys.gettrace()
    for at in samples(bytecodes(calls[name])):
        left = at
        sys.settrace(trace)
        try:
            calls[name]()
        finally:
            sys.settrace(before)
        assert left <= 0


def test_a_call_that_was_given_up_is_not_done_later() -> None:
    done: SimpleQueue[int] = SimpleQueue()
    gate = threading.Event()
    workers = Workers(1)
    busy = Call(gate.wait)
    workers.start(busy)
    with pytest.raises(StorageUnavailable, match="nothing was done"):
        workers.run(lambda: done.put(1), time.monotonic() + 0.05)
    interrupted = Call(lambda: done.put(2))
    workers.start(interrupted)
    assert interrupted.give_up()
    gate.set()
    assert busy.result(time.monotonic() + 20)
    workers.run(lambda: done.put(3), time.monotonic() + 20)
    assert done.get_nowait() == 3
    assert done.empty()


def test_what_takes_longer_than_its_caller_waits_is_told_apart_from_what_never_began() -> None:
    gate = threading.Event()
    with pytest.raises(NotDone):
        Workers().run(gate.wait, time.monotonic() + 0.05)
    gate.set()


def test_workers_that_are_closed_do_nothing_more() -> None:
    workers = Workers(1)
    begun, gate = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return gate.wait()

    busy, waiting = Call(work), Call(lambda: 1)
    workers.start(busy)
    workers.start(waiting)
    assert begun.wait(20)
    workers.close()
    gate.set()
    assert busy.result(time.monotonic() + 20)
    with pytest.raises(StorageClosed):
        waiting.result(time.monotonic() + 20)
    with pytest.raises(StorageClosed):
        workers.run(gate.is_set, time.monotonic() + 20)


def test_many_callers_share_few_workers() -> None:
    workers = Workers(3)
    calls = [Call(partial(divmod, number, 7)) for number in range(2_000)]

    def start_each_fourth(first: int) -> None:
        for call in calls[first::4]:
            workers.start(call)

    threads = [threading.Thread(target=start_each_fourth, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    assert [call.result(time.monotonic() + 20) for call in calls] == [divmod(each, 7) for each in range(2_000)]
    for thread in threads:
        thread.join()
