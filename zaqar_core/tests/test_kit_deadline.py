"""One deadline for a call of a ``Storage``, and none that outlives it."""

from __future__ import annotations

import time

import pytest

import zaqar_core
from zaqar_conformance.bytecodes import interrupt
from zaqar_core.kit import deadline, remaining, time_limit


def test_without_the_core_a_driver_has_its_own_timeout() -> None:
    assert remaining(60) == pytest.approx(60, abs=1)


def test_all_calls_of_a_block_share_one_deadline() -> None:
    with time_limit(5):
        first = deadline(60)
        assert deadline(3600) == first
        assert remaining(60) <= 5


def test_a_block_inside_another_ends_no_later_and_leaves_the_outer_one() -> None:
    with time_limit(50):
        outer = deadline(60)
        with time_limit(5):
            assert remaining(60) <= 5
        assert deadline(60) == outer
        with time_limit(500):
            assert deadline(60) == outer
        assert deadline(60) == outer
    assert remaining(60) > 50


def test_a_deadline_in_the_past_leaves_no_time() -> None:
    with time_limit(0):
        time.sleep(0.001)
        assert remaining(60) == 0


def test_an_exception_at_any_bytecode_leaves_no_deadline_behind() -> None:
    def limited() -> None:
        with time_limit(0):
            time.sleep(0.001)
            deadline(60)

    at = 1
    while interrupt(limited, at):
        assert remaining(60) > 50
        at += 1
    assert at > 10


def test_a_storage_sets_it_for_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    with zaqar_core.connect("memory://deadline", timeout=7) as storage:
        seen: list[float] = []
        monkeypatch.setattr(storage.driver, "ping", lambda: seen.append(remaining(60)))
        assert storage.is_alive()
        assert seen
        assert 0 < seen[0] <= 7
