"""The host's clock and the units of time: the one place that reads it."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Milliseconds since 1970 by the operating system. They may jump; the database's own clock never goes back."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1_000_000


def to_ms(seconds: float) -> int:
    """Whole milliseconds; at least one unless ``seconds`` is 0."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0
