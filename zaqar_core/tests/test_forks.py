"""A fork in the middle of a call: the core tells drivers."""

from __future__ import annotations

from zaqar_conformance.forks import fork_at
from zaqar_core import kit


def test_a_driver_is_told_of_a_fork_only_within_the_call_that_was_forked() -> None:
    def call() -> bool:
        with kit.time_limit(5):
            return kit.forked()

    def then(outcome: object) -> str:
        return f"{outcome} {kit.forked()} {call()}"

    said, at = set(), 1
    while forked := fork_at(call, at, then):
        assert forked.outcome is False
        said.add(forked.said)
        at += 3
    assert said == {"False False False", "True False False"}
