"""The reference driver where its clock is set forward and back: positions go on, and new durations run true."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zaqar_conformance.reference import ReferenceDriver
from zaqar_core import NewMessage, Storage, connect
from zaqar_core.contract import new_id

YEARS = 10 * 365 * 86_400_000


class Clock:
    """Milliseconds, set as a test likes."""

    now = 1_000_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(clock: Clock) -> Iterator[Storage]:
    with connect(f"memory://{new_id()}") as opened:
        driver = opened.driver
        assert isinstance(driver, ReferenceDriver)
        driver.state.now = lambda: clock.now
        yield opened


def listed(storage: Storage) -> list[object]:
    return [message.body for message in storage.messages.list("q").items]


def test_what_is_given_after_a_correction_runs_true(storage: Storage, clock: Clock) -> None:
    clock.now += YEARS
    storage.messages.post("q", [NewMessage("wrong year", ttl=1000)])
    clock.now -= YEARS
    storage.messages.purge("q")
    storage.messages.post("q", [NewMessage("work", ttl=60)])
    storage.claims.create("q", ttl=0.5, grace=0)
    storage.messages.post("q", [NewMessage("brief", ttl=0.5), NewMessage("soon", ttl=60, delay=0.5)])
    assert listed(storage) == ["brief"]
    clock.now += 500
    assert listed(storage) == ["work", "soon"]


def test_markers_and_ages_survive_a_correction(storage: Storage, clock: Clock) -> None:
    storage.messages.post("q", [NewMessage("delayed", ttl=60, delay=5)])
    clock.now += YEARS // 1000
    storage.messages.post("q", [NewMessage("wrong year", ttl=1000)])
    page = storage.messages.list("q")
    clock.now -= YEARS // 1000
    storage.messages.post("q", [NewMessage("later", ttl=60)])
    behind = storage.messages.list("q", marker=page.marker).items
    assert [message.body for message in behind] == ["later"]
    assert all(message.age >= 0 for message in storage.messages.list("q").items)


def test_a_delay_that_a_wrong_clock_ended_stays_ended(storage: Storage, clock: Clock) -> None:
    storage.messages.post("q", [NewMessage("delayed", ttl=7200, delay=3600)])
    clock.now += 3_600_000
    assert listed(storage) == ["delayed"]
    clock.now -= 3_600_000
    assert listed(storage) == ["delayed"]
