"""The host's clock and the units of time: the one place that reads it."""

from __future__ import annotations

import time
from pathlib import Path


class Clock:
    """What time it is for one database."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def now_ms(self) -> int:
        """Milliseconds since 1970 by the operating system. They may jump, forward and back."""
        return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1_000_000 + _ahead.get(self._path, 0)


def set_ahead(path: Path, seconds: float) -> None:
    """For tests: let the clock of the database at ``path`` (absolute, without links) be ahead of the host's.

    It holds for this process, for all drivers that have the file open or will; negative: behind.
    """
    _ahead[path] = round(seconds * 1000)


def to_ms(seconds: float) -> int:
    """Whole milliseconds; at least one unless ``seconds`` is 0."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


_ahead: dict[Path, int] = {}
