"""How many messages one claim takes where the number of tries is limited."""

from __future__ import annotations

import pytest

from zaqar_core import kit


@pytest.mark.parametrize(
    ("counts", "most", "taken"),
    [
        ([], 3, 0),
        ([0, 1, 0], 3, 3),
        ([0, 1, 2, 0], 3, 2),
        ([2, 0, 2], 3, 1),
        ([3, 4, 2, 0], 3, 3),
        ([3, 0, 2, 3], 3, 2),
        ([3, 3], 3, 2),
        ([0, 0], 2, 2),
        ([1, 1], 2, 1),
        ([0, 1, 0], 1, 3),
        ([0, 7, 0], None, 3),
    ],
    ids=[
        "nothing",
        "healthy",
        "ends before a last try",
        "a last try alone",
        "used-up messages come along",
        "a healthy message between ends the claim",
        "only used-up messages",
        "two tries, none used",
        "two tries, one used",
        "a single try spares none",
        "no maximum",
    ],
)
def test_a_message_on_its_last_try_is_taken_alone(counts: list[int], most: int | None, taken: int) -> None:
    assert kit.taken_together(counts, most) == taken


def test_counts_are_read_only_as_far_as_needed() -> None:
    counts = iter([2, 0, 0])
    assert kit.taken_together(counts, 3) == 1
    assert list(counts) == [0, 0]
