"""What operations cost against depth: measured by ``checks.cost``, shown by the report."""

from __future__ import annotations

from dataclasses import dataclass

BOUND = 1.5
"""How many times as much a deep queue may cost as a shallow one."""

SHALLOW = 100
"""How many messages are ahead on the queue that the others are compared with."""

NOT_COUNTED = "Round trips: not counted"
"""How the note of a check begins that says why not."""


def deep_enough(depth: int) -> int:
    """The depth. Raises ``ValueError`` if there is nothing to compare it with."""
    if depth <= SHALLOW:
        raise ValueError(
            f"{depth} is too few: cost is compared with that of {SHALLOW} messages ahead; take {SHALLOW + 1} at least"
        )
    return depth


@dataclass(frozen=True, slots=True)
class Cost:
    """What one operation costs with ``depth`` messages ahead, all of them ``state`` (such as "claimed").

    ``milliseconds``: the median. ``ratio``: the median of its times by those of the same operation on the shallowest
    queue, measured beside it; ``low`` and ``high``: the interval of that median. ``round_trips``: the median. None:
    not known.
    """

    operation: str
    state: str
    depth: int
    milliseconds: float
    ratio: float | None
    low: float | None
    high: float | None
    round_trips: float | None
