"""The handle: waiting for messages, consuming them, and what leaving the ``with`` block does.

Beneath it is a driver whose claims come from a script and that writes down what it is asked; the clock is the test's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from zaqar_conformance.reference import ReferenceDriver
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.state import State
from zaqar_core import ClaimedMessage, Message, Queue, Storage
from zaqar_core.codecs import Codecs
from zaqar_core.contract import ClaimController, QueueKey, Refusal, StoredClaim, StoredMessage
from zaqar_core.errors import (
    ClaimDoesNotExist,
    InvalidDuration,
    OutcomeUnknown,
    StorageUnavailable,
)
from zaqar_core.limits import Limits

Batch = Sequence[str] | Exception


class Clock:
    """Time passes when somebody sleeps, or says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.speed = 1

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds * self.speed


class Claims(ClaimController):
    """Gives out the batches of its script, one a claim, and nothing after those."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.batches: list[Batch] = []
        self.asked: list[float] = []
        self.takes = 0.0
        self.opens = 0.0
        self.calls: list[object] = []
        self.release_error: Exception | None = None
        self.lives = True

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        self.asked.append(self.clock.now)
        self.clock.now += self.takes
        batch = self.batches.pop(0) if self.batches and self.clock.now >= self.opens else []
        if isinstance(batch, Exception):
            raise batch
        name = f"c{len(self.asked)}" if batch else None
        held = [StoredMessage(text, _body(text), 60.0, 0.0, "me", name, 1, {}) for text in batch]
        return StoredClaim(name, ttl, 0.0, held)

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        raise AssertionError("not asked for")

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        self.calls.append(("update", claim_id, ttl, grace))
        self.clock.now += self.takes
        return self.lives

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        self.calls.append(("release", claim_id, message_ids, delay))
        if self.release_error is not None:
            raise self.release_error


def _body(name: str) -> bytes:
    return b"\0unknown\0" if name.startswith("bad") else b"1"


class Messages(ReferenceMessages):
    def __init__(self, calls: list[object]) -> None:
        super().__init__(State())
        self.calls = calls
        self.refusals: dict[str, Refusal] = {}

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        self.calls.append(("delete", *message_ids, claim_ids))
        return self.refusals


class Driver(ReferenceDriver):
    def __init__(self, claims: Claims) -> None:
        super().__init__(State())
        self.claims = claims
        self.messages = Messages(claims.calls)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("zaqar_core.handle.time", clock)
    return clock


@pytest.fixture
def claims(clock: Clock) -> Claims:
    return Claims(clock)


@pytest.fixture
def driver(claims: Claims) -> Driver:
    return Driver(claims)


@pytest.fixture
def orders(driver: Driver) -> Iterator[Queue]:
    settings: dict[str, Any] = {"project": "p", "client_id": "me", "limits": Limits(), "codecs": Codecs()}
    with Storage(
        driver, driver, schemes=("test", "test"), **settings, metadata_ttl=0, connect_timeout=5, timeout=10
    ) as storage:
        yield storage.queue("orders")


def released(claim: str, ids: list[str] | None = None, delay: float = 0.0) -> tuple[object, ...]:
    return ("release", claim, ids, delay)


# --- wait=  -------------------------------------------------------------------------------------------


def test_without_wait_it_asks_once(orders: Queue, claims: Claims, clock: Clock) -> None:
    claim = orders.claim()
    assert (claim.id, len(claim), len(claims.asked), clock.slept) == (None, 0, 1, [])


def test_with_wait_what_is_there_comes_at_once(orders: Queue, claims: Claims, clock: Clock) -> None:
    claims.batches = [["m1", "m2"]]
    claim = orders.claim(wait=20)
    assert [message.id for message in claim] == ["m1", "m2"]
    assert (len(claims.asked), clock.slept) == (1, [])


def test_with_wait_it_asks_until_something_comes(orders: Queue, claims: Claims, clock: Clock) -> None:
    claims.batches = [[], [], [], ["m1"]]
    assert len(orders.claim(wait=20)) == 1
    assert (len(claims.asked), len(clock.slept)) == (4, 3)


@pytest.mark.parametrize("wait", [0.001, 0.5, 20, 100])
def test_nothing_comes_for_exactly_as_long_as_asked_and_it_looks_a_last_time_at_the_end(
    orders: Queue, claims: Claims, clock: Clock, wait: float
) -> None:
    claim = orders.claim(wait=wait)
    assert claim.id is None
    assert clock.now == pytest.approx(1000 + wait)
    assert claims.asked[-1] == clock.now


def test_pauses_begin_short_double_and_stay_below_one_and_a_half_seconds(
    orders: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)
    orders.claim(wait=30)
    pauses = clock.slept[:-1]  # the last is what was left
    assert pauses[:6] == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.64])
    assert set(pauses[6:]) == {1.0}


def test_pauses_are_spread_by_half_to_either_side(orders: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def highest(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    monkeypatch.setattr("random.uniform", highest)
    orders.claim(wait=10)
    assert set(asked) == {(0.5, 1.5)}
    assert max(clock.slept) == 1.5


def test_time_that_the_datastore_takes_counts_as_waiting(orders: Queue, claims: Claims, clock: Clock) -> None:
    claims.takes = 5
    orders.claim(wait=4)
    assert (len(claims.asked), clock.slept) == (1, [])


def test_an_error_ends_the_waiting(orders: Queue, claims: Claims) -> None:
    claims.batches = [[], StorageUnavailable("gone"), ["m1"]]
    with pytest.raises(StorageUnavailable, match="gone"):
        orders.claim(wait=20)
    assert len(claims.asked) == 2


@pytest.mark.parametrize("wait", [-1, float("nan"), float("inf"), 86_401, None, "5", True])
def test_a_wait_that_is_no_duration_is_refused_before_anything_is_asked(
    orders: Queue, claims: Claims, wait: Any
) -> None:
    with pytest.raises(InvalidDuration, match="wait is"):
        orders.claim(wait=wait)
    assert claims.asked == []


# --- leaving the block ------------------------------------------------------------------------------


def test_leaving_releases_the_claim_once_if_something_is_left(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1", "m2"]]
    with orders.claim() as claim:
        next(iter(claim)).delete()
        claims.calls.clear()
    assert claims.calls == [released("c1")]
    claim.release()
    assert claims.calls == [released("c1")]


def test_leaving_asks_nothing_if_nothing_is_left(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1", "m2"], []]
    with orders.claim() as claim:
        for message in claim:
            message.delete()
    with orders.claim():
        pass
    assert claims.calls == [("delete", "m1", ["c1"]), ("delete", "m2", ["c1"])]


def test_a_message_given_back_alone_is_not_given_back_again(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1", "m2"], ["m3"]]
    with orders.claim() as claim:
        first, second = claim
        first.release(delay=5)
        second.delete()
    with orders.claim() as claim:
        next(iter(claim)).release()
    assert claims.calls == [
        released("c1", ["m1"], 5.0),
        ("delete", "m2", ["c1"]),
        released("c2", ["m3"]),
    ]


def test_release_with_a_delay_is_for_all_that_is_left(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1", "m2"]]
    with orders.claim() as claim:
        claim.release(delay=7)
    assert claims.calls == [released("c1", None, 7.0)]


def test_a_message_that_could_not_be_deleted_is_released(orders: Queue, claims: Claims, driver: Driver) -> None:
    claims.batches = [["m1"]]
    cast("Messages", driver.messages).refusals = {"m1": Refusal.CLAIM_DOES_NOT_EXIST}
    with orders.claim() as claim:
        with pytest.raises(ClaimDoesNotExist, match="no live claim 'c1'"):
            next(iter(claim)).delete()
        claims.calls.clear()
    assert claims.calls == [released("c1")]


def test_an_error_in_the_block_releases_and_goes_on(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1"]]
    with pytest.raises(ZeroDivisionError), orders.claim():
        raise ZeroDivisionError
    assert claims.calls == [released("c1")]


def test_a_release_that_fails_does_not_hide_the_block_s_error_and_is_logged(
    orders: Queue, claims: Claims, caplog: pytest.LogCaptureFixture
) -> None:
    claims.batches, claims.release_error = [["m1"]], StorageUnavailable("gone")
    with caplog.at_level(logging.WARNING), pytest.raises(ZeroDivisionError, match="the block's"), orders.claim():
        raise ZeroDivisionError("the block's")
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("zaqar_core.handle", "a claim on a queue could not be released: gone")
    ]


def test_a_release_that_fails_after_a_good_block_is_raised_and_can_be_tried_again(
    orders: Queue, claims: Claims
) -> None:
    claims.batches, claims.release_error = [["m1"]], OutcomeUnknown("gone")
    with pytest.raises(OutcomeUnknown), orders.claim() as claim:
        pass
    claims.release_error = None
    claim.release()
    assert claims.calls == [released("c1"), released("c1")]


def test_what_is_no_error_of_the_project_is_never_swallowed(orders: Queue, claims: Claims) -> None:
    claims.batches, claims.release_error = [["m1"]], RuntimeError("a bug in the driver")
    with pytest.raises(RuntimeError, match="a bug in the driver") as raised, orders.claim():
        raise ZeroDivisionError
    assert isinstance(raised.value.__context__, ZeroDivisionError)


# --- renewal ----------------------------------------------------------------------------------------


def test_a_claim_ends_at_the_earliest_its_ttl_after_it_was_asked_for(
    orders: Queue, claims: Claims, clock: Clock
) -> None:
    claims.takes, claims.batches = 3, [[], ["m1"]]
    claim = orders.claim(ttl=60, wait=20)
    assert claim.ends == claims.asked[1] + 60 < clock.now + 60


def test_renew_moves_the_end_and_passes_on_both_durations(orders: Queue, claims: Claims, clock: Clock) -> None:
    claims.batches = [["m1"]]
    claim = orders.claim(ttl=60)
    clock.now, claims.takes = 1050.0, 3
    claim.renew(ttl=30, grace=5)
    assert claims.calls == [("update", "c1", 30.0, 5.0)]
    assert claim.ends == 1080.0


def test_renew_without_a_ttl_renews_by_what_was_given_last(orders: Queue, claims: Claims, clock: Clock) -> None:
    claims.batches = [["m1"]]
    claim = orders.claim(ttl=3600, grace=600)
    claim.renew()
    assert (claim.ends, claim.ttl) == (4600.0, 3600.0)
    claim.renew(ttl=30)
    assert (claim.ends, claim.ttl) == (1030.0, 30.0)
    claim.renew(grace=5)
    claim.renew()
    assert claims.calls == [
        ("update", "c1", 3600.0, 600.0),
        ("update", "c1", 30.0, 600.0),
        ("update", "c1", 30.0, 5.0),
        ("update", "c1", 30.0, 5.0),
    ]
    assert claim.ends == 1030.0


def test_a_renewal_that_fails_is_not_what_later_ones_go_by(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1"]]
    claim = orders.claim(ttl=60)
    with pytest.raises(InvalidDuration):
        claim.renew(ttl=-1)
    claims.lives = False
    with pytest.raises(ClaimDoesNotExist):
        claim.renew(ttl=500, grace=500)
    claims.lives = True
    claim.renew()
    assert claims.calls[-1] == ("update", "c1", 60.0, 60.0)


def test_renew_of_a_claim_that_has_ended_raises_and_leaves_its_end(orders: Queue, claims: Claims) -> None:
    claims.batches, claims.lives = [["m1"]], False
    claim = orders.claim(ttl=60)
    with pytest.raises(ClaimDoesNotExist, match="no live claim 'c1' on queue 'orders'"):
        claim.renew(ttl=500)
    assert claim.ends == 1060.0


def test_a_claim_of_nothing_renews_and_releases_nothing(orders: Queue, claims: Claims) -> None:
    claim = orders.claim()
    claim.renew()
    claim.release()
    assert claims.calls == []


# --- consume ----------------------------------------------------------------------------------------


def test_consume_yields_claim_by_claim_and_ends_when_nothing_came_for_so_long(
    orders: Queue, claims: Claims, clock: Clock
) -> None:
    claims.batches = [["m1", "m2"], [], ["m3"]]
    seen = []
    for message in orders.consume(wait=5):
        seen.append((message.id, message.claim_id))
        message.delete()
    assert seen == [("m1", "c1"), ("m2", "c1"), ("m3", "c3")]
    assert clock.now >= 1005


def test_consume_releases_what_of_a_claim_was_not_deleted_before_it_asks_again(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1", "m2"]]
    asked_at = []
    for message in orders.consume(wait=0):
        if message.id == "m2":
            message.delete()
        asked_at.append(len(claims.asked))
    assert claims.calls == [("delete", "m2", ["c1"]), released("c1")]
    assert (asked_at, len(claims.asked)) == ([1, 1], 2)


def test_leaving_the_loop_releases_the_rest(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1", "m2"], ["m3"]]
    for message in orders.consume():
        message.delete()
        break
    assert claims.calls == [("delete", "m1", ["c1"]), released("c1")]


def test_leaving_the_loop_is_no_error_if_the_release_fails(
    orders: Queue, claims: Claims, caplog: pytest.LogCaptureFixture
) -> None:
    claims.batches, claims.release_error = [["m1"]], StorageUnavailable("gone")
    for _ in orders.consume():
        break
    assert "could not be released: gone" in caplog.text


def test_messages_whose_claim_has_ended_meanwhile_are_not_yielded(orders: Queue, claims: Claims, clock: Clock) -> None:
    claims.batches = [["m1", "m2"], ["m2"]]
    seen = []
    for message in orders.consume(ttl=60, wait=0):
        seen.append((message.id, message.claim_id))
        clock.now += 60
    assert seen == [("m1", "c1"), ("m2", "c2")]


def test_a_renewed_claim_goes_on_being_consumed(orders: Queue, claims: Claims, clock: Clock) -> None:
    claims.batches = [["m1", "m2"]]
    seen = []
    for message in orders.consume(ttl=60, wait=0):
        clock.now += 59
        message.claim.renew(ttl=60)
        clock.now += 59
        seen.append(message.claim_id)
    assert seen == ["c1", "c1"]


def test_consume_without_wait_never_ends(orders: Queue, claims: Claims, clock: Clock) -> None:
    claims.batches, claims.opens, clock.speed = [["m1"]], 1000 + 3 * 86_400, 3600
    assert next(iter(orders.consume())).id == "m1"
    assert clock.now >= claims.opens


# --- messages that cannot be decoded ------------------------------------------------------------------


def test_consume_leaves_what_cannot_be_decoded_to_the_claim_s_end(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1", "bad1", "m2"], ["bad2"]]
    assert [message.id for message in orders.consume(wait=0)] == ["m1", "bad1", "m2", "bad2"]
    assert claims.calls == [released("c1", ["m1", "m2"])]


@pytest.mark.parametrize("seen", [1, 2], ids=["before it was yielded", "at it"])
def test_leaving_the_loop_releases_the_others_only(orders: Queue, claims: Claims, seen: int) -> None:
    claims.batches = [["m1", "bad", "m2"]]
    for _, message in zip(range(seen), orders.consume(), strict=False):
        last = message
    assert last.claim.id == "c1"
    assert claims.calls == [released("c1", ["m1", "m2"])]


def test_leaving_the_block_releases_the_others_only_and_no_more_than_one_call_may_name(
    orders: Queue, claims: Claims
) -> None:
    claims.batches = [["m1", "bad", "m2", "m3", "m4"]]
    object.__setattr__(orders._claims._context.limits, "max_ids_per_call", 2)
    with orders.claim(limit=5) as claim:
        next(iter(claim)).delete()
    assert claims.calls == [("delete", "m1", ["c1"]), released("c1", ["m2", "m3"]), released("c1", ["m4"])]


def test_what_cannot_be_decoded_is_released_when_told_to(orders: Queue, claims: Claims) -> None:
    claims.batches = [["bad1", "bad2", "m1"], ["bad3", "m2"]]
    with orders.claim() as claim:
        first, second, third = claim
        first.release()
        second.delete()
    assert claims.calls == [released("c1", ["bad1"]), ("delete", "bad2", ["c1"]), released("c1")]
    claims.calls.clear()
    with orders.claim() as claim:
        claim.release()
    assert claims.calls == [released("c2")]
    assert third.raw is None


# --- the message ------------------------------------------------------------------------------------


def test_a_claimed_message_is_a_message_that_says_nothing_of_its_claim(orders: Queue, claims: Claims) -> None:
    claims.batches = [["m1"], ["m1"]]
    claim = orders.claim()
    [message] = claim
    assert isinstance(message, Message)
    assert (message.id, message.body, message.claim_id, message.claim) == ("m1", 1, "c1", claim)
    assert "claim=" not in repr(message)
    assert repr(claim) == "<ClaimedMessages 'c1' of <Queue 'orders'>: 1>"
    other = ClaimedMessage("m1", 1, 60.0, 0.0, "me", "c1", 1, claim=orders.claim())
    assert message == other
