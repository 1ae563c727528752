"""Whether the call that set something is still under way: what an exception left behind belongs to no frame."""

from __future__ import annotations

import sys
from types import FrameType


def is_on_stack(wanted: FrameType) -> bool:
    """Whether this thread is still inside ``wanted``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame is wanted:
            return True
        frame = frame.f_back
    return False
