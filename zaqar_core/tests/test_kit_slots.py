"""Slots: at most so many holders, whatever exception arrives between whichever bytecodes."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from zaqar_conformance.bytecodes import Interruption, interrupt, run_at
from zaqar_core.errors import StorageUnavailable
from zaqar_core.kit import Slot, Slots

_SOON = 0.5


def _use(slots: Slots, seconds: float = _SOON) -> None:
    slot = slots.take(time.monotonic() + seconds)
    try:
        pass
    finally:
        slot.give_back()


def test_an_exception_at_any_bytecode_loses_no_slot() -> None:
    slots, at, kept = Slots(1, "the lock"), 1, []

    def interrupted() -> bool:
        try:
            return interrupt(lambda: _use(slots), at)
        except Interruption as error:
            kept.append(error)  # and with it the frame that took the slot
            raise

    while interrupted():
        _use(slots, seconds=0.0)
        at += 1
    assert at > 50


def test_a_slot_stays_with_a_frame_that_still_runs() -> None:
    slots = Slots(1, "the lock")
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        slot = slots.take(time.monotonic() + _SOON)
        try:
            taken.set()
            done.wait(30)
        finally:
            slot.give_back()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert taken.wait(30)
        with pytest.raises(StorageUnavailable, match="the lock was in use until the timeout"):
            _use(slots, seconds=0.1)
    finally:
        done.set()
        thread.join()
    _use(slots, seconds=0.0)


def test_a_reentrant_taker_is_told_without_waiting() -> None:
    slots = Slots(1, "the lock")
    slot = slots.take(time.monotonic() + _SOON)
    try:
        with pytest.raises(StorageUnavailable, match="a call that this one interrupted"):
            _use(slots, seconds=3600)
    finally:
        slot.give_back()


def test_a_reentrant_taker_gets_another_slot() -> None:
    slots = Slots(2, "the connections")
    slot = slots.take(time.monotonic() + _SOON)
    try:
        _use(slots, seconds=0.0)
    finally:
        slot.give_back()


@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_holders_than_slots(limit: int) -> None:
    slots = Slots(limit, "the lock")
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for number in range(500):
            slot = slots.take(time.monotonic() + 60)
            try:
                inside.append(number)
                if number % 50 == 0:
                    time.sleep(0)  # lets another thread in, if that is possible
                most.append(len(inside))
                inside.pop()
            finally:
                slot.give_back()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 4000
    assert max(most) <= limit


def test_one_of_many_takers_inherits_a_lost_slot() -> None:
    slots = Slots(1, "the lock")
    for _ in range(50):
        _lose(slots)
        holders: list[int] = []
        most: list[int] = []

        def work(holders: list[int] = holders, most: list[int] = most) -> None:
            slot = slots.take(time.monotonic() + 60)
            try:
                holders.append(1)
                time.sleep(0)
                most.append(len(holders))
                holders.pop()
            finally:
                slot.give_back()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1, 1, 1, 1]


def _lose(slots: Slots) -> None:
    slots.take(time.monotonic() + _SOON)


def test_what_a_call_held_goes_when_it_ends_without_the_garbage_collector() -> None:
    class Result:
        pass

    slots = Slots(1, "the lock")

    def use() -> weakref.ref[Result]:
        result = Result()
        slot = slots.take(time.monotonic() + _SOON)
        try:
            return weakref.ref(result)
        finally:
            slot.give_back()

    gc.disable()
    try:
        assert use()() is None
    finally:
        gc.enable()


def test_holders_are_those_whose_frames_still_run() -> None:
    slots, at, seen = Slots(2, "the lock"), 1, set[int]()
    while interrupt(lambda: _use(slots), at):
        seen.update(slots.holders())
        _use(slots)
        at += 1
    assert seen == set()
    first, second = slots.take(time.monotonic()), slots.take(time.monotonic())
    assert slots.holders() == {0: sys._getframe(), 1: sys._getframe()}
    first.give_back()
    assert slots.holders() == {1: sys._getframe()}
    second.give_back()
    assert slots.holders() == {}


def test_a_taker_whose_knowledge_is_old_takes_nothing_from_the_next_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its look at the holder and its taking, that one gives back, ends, and another takes."""
    slots, took = Slots(1, "the lock"), []
    is_free = Slot.is_free
    taken, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        slot = slots.take(time.monotonic() + 60)
        taken.set()
        go_on.wait(60)
        slot.give_back()

    def next_holder() -> None:
        slot = slots.take(time.monotonic() + 60)
        took.append("next")
        done.wait(60)
        slot.give_back()

    def late(self: Slot) -> bool:
        monkeypatch.setattr(Slot, "is_free", is_free)
        go_on.set()
        threads[0].join()
        threads[1].start()
        while not took:
            time.sleep(0)
        return is_free(self)

    threads = [threading.Thread(target=first), threading.Thread(target=next_holder)]
    threads[0].start()
    assert taken.wait(60)
    monkeypatch.setattr(Slot, "is_free", late)
    with pytest.raises(StorageUnavailable, match="in use until the timeout"):
        _use(slots, seconds=0.1)
    done.set()
    threads[1].join()
    _use(slots, seconds=0.0)


def test_a_slot_given_back_meanwhile_is_no_reason_to_speak_of_an_interrupted_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = Slots(1, "the lock")
    tries = iter([False])
    attempt = slots._try
    monkeypatch.setattr(slots, "_try", lambda mine: next(tries, None) is None and attempt(mine))
    _use(slots)


def test_who_waits_longest_is_next() -> None:
    slots, order = Slots(1, "the lock"), []

    def work(number: int) -> None:
        slot = slots.take(time.monotonic() + 60)
        try:
            order.append(number)
        finally:
            slot.give_back()

    slot = slots.take(time.monotonic())
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        while len(slots._waiting) < number:
            time.sleep(0)
    slot.give_back()
    _use(slots, seconds=60)  # which came last
    for thread in threads:
        thread.join()
    assert order == [*range(8)]


def test_an_exception_while_waiting_keeps_no_place_in_the_queue(held: Slots) -> None:
    def wait() -> None:
        with pytest.raises(StorageUnavailable):
            _use(held, seconds=0.0)

    at = 1
    while interrupt(wait, at):
        assert held._first_waiter() is None
        at += 1
    assert at > 100


def test_a_call_inside_of_one_that_waits_is_told_without_waiting(held: Slots) -> None:
    seen = []

    def inside() -> None:
        if held._waiting:
            with pytest.raises(StorageUnavailable, match="a call that this one interrupted"):
                _use(held, seconds=60)
            seen.append(at)

    def wait() -> None:
        with pytest.raises(StorageUnavailable):
            _use(held, seconds=0.0)

    at = 1
    while run_at(wait, at, inside):
        at += 1
    assert len(seen) > 20


def test_a_generator_cannot_take_a_slot() -> None:
    slots = Slots(1, "the lock")

    def block() -> Iterator[None]:
        slot = slots.take(time.monotonic())
        try:
            yield
        finally:
            slot.give_back()

    with pytest.raises(RuntimeError, match="block can be suspended"):
        next(block())
    _use(slots, seconds=0.0)


def test_a_slot_taken_by_a_helper_cannot_be_given_back_elsewhere() -> None:
    slots = Slots(1, "the lock")

    def helper() -> Slot:
        return slots.take(time.monotonic())

    slot = helper()
    with pytest.raises(RuntimeError, match="another frame than the one that took it"):
        slot.give_back()


@pytest.fixture
def held() -> Iterator[Slots]:
    """Slots of which another thread holds the only one."""
    slots = Slots(1, "the lock")
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        slot = slots.take(time.monotonic())
        taken.set()
        done.wait(60)
        slot.give_back()

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(60)
    yield slots
    done.set()
    thread.join()
