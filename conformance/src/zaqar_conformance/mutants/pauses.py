"""What lies between two calls to a datastore, in which others work."""

from __future__ import annotations

import time


def round_trip() -> None:
    """Wait as long as a quick network takes: what was read before it may no longer be so after it."""
    time.sleep(0.0005)
