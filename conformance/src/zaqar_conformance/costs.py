"""What operations cost against depth: measured by ``checks.cost``, shown by the report."""

from __future__ import annotations

from dataclasses import dataclass

BOUND = 1.5
"""How many times as much a deep queue may cost as a shallow one."""

NOT_COUNTED = "Round trips: not counted"
"""How the note of a check begins that says why not."""


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
