"""What the suite's targets offer besides starting servers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zaqar_conformance.check import NotRun
from zaqar_conformance.engine import run
from zaqar_conformance.outcomes import Outcome
from zaqar_redis.target import RedisClusterTarget, RedisSentinelTarget, RedisTarget


def test_the_suite_counts_the_round_trips_of_one_server() -> None:
    (result,) = run(RedisTarget(), only=["depth_of_claimed_messages_costs_little"], depth=2_000).checks
    assert result.outcome in (Outcome.PASSED, Outcome.UNDECIDED), (
        result.message
    )  # that is of time; round trips are sure
    deep = {cost.operation: cost.round_trips for cost in result.costs if cost.depth == 2_000}
    shallow = {cost.operation: cost.round_trips for cost in result.costs if cost.depth == 100}
    # The suite's clients ask for the queue's metadata before a post and a claim.
    assert deep == shallow == {"post": 2, "list": 1, "claim": 2, "delete": 1, "pop": 1}


@pytest.mark.parametrize("target", [RedisClusterTarget(), RedisSentinelTarget()])
def test_where_clients_learn_other_addresses_nothing_is_counted(target: RedisClusterTarget) -> None:
    with pytest.raises(NotRun, match="has not one server"):
        target.proxied("redis+cluster://127.0.0.1:1")


def test_only_the_targets_need_redis_py() -> None:
    program = """
import sys
sys.modules["redis"] = None
import zaqar_redis.driver
try:
    import zaqar_redis.target
except ImportError as error:
    assert "pip install 'zaqar-redis[suite]'" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True)
