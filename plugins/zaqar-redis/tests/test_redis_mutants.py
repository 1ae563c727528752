"""Broken on the wire, this driver is caught by the suite's checks of the wire: they can fail, on a real server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from zaqar_conformance.engine import run
from zaqar_conformance.outcomes import Outcome
from zaqar_core.errors import StorageUnavailable
from zaqar_redis import server
from zaqar_redis.scripts import POP, Effect, Script
from zaqar_redis.server import Server
from zaqar_redis.target import RedisTarget

ONCE = "what_is_cut_off_happened_once_or_not_at_all"
AT_RANDOM = "cuts_at_random_lose_and_double_nothing"
SLOW = "a_slow_network_ends_every_method_in_time"

call, until = Server._call, Server._until


def unanswered_is_sent_again(self: Server, script: Script, *rest: Any) -> Any:
    return call(self, replace(script, effect=Effect.REPEATABLE), *rest)


def unanswered_pops_are_sent_again(self: Server, script: Script, *rest: Any) -> Any:
    return call(self, replace(script, effect=Effect.REPEATABLE) if script is POP else script, *rest)


def unknown_is_called_not_done(*_: object) -> Exception:
    return StorageUnavailable("it was not done")


def replies_are_waited_for(self: Server, deadline: float, *rest: Any, **options: Any) -> Any:
    return until(self, deadline + 60, *rest, **options)


@pytest.mark.parametrize(
    ("where", "name", "broken", "check", "requirement"),
    [
        (Server, "_call", unanswered_is_sent_again, ONCE, "FAI-012"),
        (Server, "_call", unanswered_pops_are_sent_again, AT_RANDOM, "FAI-012"),
        (server, "_final", unknown_is_called_not_done, ONCE, "FAI-012"),
        (Server, "_until", replies_are_waited_for, SLOW, "FAI-002"),
    ],
)
def test_a_driver_broken_on_the_wire_is_caught(
    where: Any, name: str, broken: Callable[..., Any], check: str, requirement: str
) -> None:
    with patch.object(where, name, broken):
        [result] = run(RedisTarget(), only=[check]).checks
    assert (result.outcome, result.requirement) == (Outcome.FAILED, requirement), result.message
