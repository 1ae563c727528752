"""How FAI-013 and FAI-014 spend their time: on all methods alike, and on each in any case."""

from __future__ import annotations

import time

from zaqar_conformance.checks.signals import rounds

PLAN = [("post", [1, 2, 3, 4, 5]), ("list", [6, 7]), ("claim", [8, 9, 10, 11])]


def test_each_method_gets_a_few_bytecodes_when_time_is_up() -> None:
    assert list(rounds(PLAN, until=time.monotonic())) == [
        *[("post", 1), ("list", 6), ("claim", 8)],
        *[("post", 2), ("list", 7), ("claim", 9)],
        *[("post", 3), ("claim", 10)],
    ]


def test_each_method_gets_all_bytecodes_when_there_is_time() -> None:
    tried = list(rounds(PLAN, until=float("inf")))
    assert sorted(at for _, at in tried) == list(range(1, 12))
    assert tried[:3] == [("post", 1), ("list", 6), ("claim", 8)]
