"""Cost against depth: the interval of a median, and what a backend that looks at every message shows in each state."""

from __future__ import annotations

import math
import random
from contextlib import closing
from pathlib import Path

import pytest

from zaqar_conformance.check import Undecided, Violation
from zaqar_conformance.checks.cost import depth_of_active_messages_costs_little, interval, judge_round_trips
from zaqar_conformance.costs import BOUND, NOT_COUNTED, deep_enough
from zaqar_conformance.engine import run
from zaqar_conformance.env import Env
from zaqar_conformance.mutants.zoo import find
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.target import Target, find_target
from zaqar_core.contract import QueueKey


@pytest.mark.parametrize(
    ("count", "left_out"),
    [(11, 0), (12, 0), (16, 1), (36, 7)],  # 2 P(X <= 7 of 36) = 0.0004, 2 P(X <= 8) = 0.0012
)
def test_the_interval_leaves_out_as_many_as_it_may(count: int, left_out: int) -> None:
    ratios = [float(each) for each in range(count)]
    random.Random(count).shuffle(ratios)
    assert interval(ratios) == (left_out, count - 1 - left_out)


def test_ten_measurements_say_nothing() -> None:
    assert interval([1.0] * 10) == (0.0, math.inf)


def test_the_interval_misses_the_median_as_seldom_as_promised() -> None:
    rng = random.Random(7)
    missed = 0
    for _ in range(4000):
        low, high = interval([rng.lognormvariate(0, 1) for _ in range(36)])
        missed += not low <= 1.0 <= high
    assert missed <= 12


def test_queues_are_compared_that_lie_on_one_server() -> None:
    asked: list[tuple[QueueKey, QueueKey]] = []

    def third(self: Target, one: QueueKey, other: QueueKey) -> bool:
        asked.append((one, other))
        return len(asked) == 3

    memory: Target = type("Cluster", (type(find_target("memory")),), {"on_one_server": third})()
    (result,) = run(memory, only=["depth_of_active_messages_costs_little"], depth=101).checks
    assert result.outcome is not Outcome.ERROR, result.message
    assert len({one for one, _ in asked}) == 1
    assert len({other for _, other in asked}) == 3


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        ("throughput-is-boasted", "depth_of_active_messages_costs_little"),
        ("flat-stats-are-boasted", "depth_costs_statistics_little"),
    ],
)
def test_what_is_cheap_at_less_than_the_targets_depth_is_not_proven(mutant: str, check: str) -> None:
    """And at that depth it is: with as many ahead as beside it, nothing costs more."""
    report = run(find(mutant).target(), only=[check], depth=101)
    (result,) = report.checks
    assert result.outcome is Outcome.UNDECIDED
    assert "101 ahead, and the target's own number is 4,000" in result.message, result.message
    assert result.costs
    assert report.exit_code == 3
    shallow: Target = type("Shallow", (type(find_target("memory")),), {"depth": 101})()
    (result,) = run(shallow, only=[check]).checks
    assert result.outcome is Outcome.OBSERVED, result.message


def test_what_is_dear_at_less_than_the_targets_depth_is_a_failure() -> None:
    boaster = find("throughput-is-boasted").target()
    (result,) = run(boaster, only=["depth_of_active_messages_costs_little"], depth=3_999).checks
    assert result.outcome is Outcome.FAILED, result.message


def test_a_depth_that_is_compared_with_itself_is_refused() -> None:
    assert deep_enough(101) == 101
    with pytest.raises(ValueError, match=r"100 is too few.*100 messages ahead; take 101"):
        deep_enough(100)
    boaster = find("throughput-is-boasted").target()
    (result,) = run(boaster, only=["depth_of_active_messages_costs_little"], depth=100).checks
    assert result.outcome is Outcome.ERROR
    assert "100 is too few" in result.message


def test_what_takes_too_long_to_fill_is_undecided_and_no_hanging_call(tmp_path: Path) -> None:
    hurried: Target = type("Hurried", (type(find_target("memory")),), {"check_limit": 0.0})()
    env = Env(hurried, hurried.start(tmp_path), seed="1", depth=1000)
    with closing(env), pytest.raises(Undecided, match="too long to post 100 messages"):
        depth_of_active_messages_costs_little(env)


@pytest.mark.parametrize("state", ["active", "claimed", "delayed"])
def test_a_backend_that_looks_at_every_message_breaks_the_promise_in_every_state(state: str) -> None:
    boaster = find("throughput-is-boasted").target()
    (result,) = run(boaster, only=[f"depth_of_{state}_messages_costs_little"]).checks
    assert (result.outcome, result.requirement) == (Outcome.FAILED, "CAP-003"), result.message
    assert "times the cost with 100" in result.message
    assert {cost.depth for cost in result.costs} == {100, 1000, 4000}
    deepest = [cost for cost in result.costs if cost.depth == 4000]
    assert any(cost.low is not None and cost.low > BOUND for cost in deepest)
    assert all(cost.ratio == 1.0 for cost in result.costs if cost.depth == 100)


def test_where_there_is_no_wire_the_report_says_so() -> None:
    (result,) = run(find_target("memory"), only=["depth_of_active_messages_costs_little"], depth=200).checks
    assert f"{NOT_COUNTED} (the backend is in the client's process, so there are none)." in result.notes
    assert {cost.operation for cost in result.costs} == {"post", "list", "claim", "delete", "pop"}
    assert {cost.state for cost in result.costs} == {"active"}
    assert {cost.round_trips for cost in result.costs} == {None}


@pytest.mark.parametrize(("operation", "number"), [("list", "CAP-003"), ("stats", "STA-005")])
def test_round_trips_are_counted_exactly(operation: str, number: str) -> None:
    judge_round_trips({100: {operation: 2.0}, 4000: {operation: 3.0}}, 4000)
    judge_round_trips({}, 4000)
    with pytest.raises(Violation, match=f"{operation} takes 4 round trips with 4,000 ahead, and 2 with 100") as raised:
        judge_round_trips({100: {operation: 2.0}, 4000: {operation: 4.0}}, 4000)
    assert raised.value.requirement == number
