"""Keeps out of the logs what swiftclient would write there: a message is its object's content type."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Unlogged(threading.local):
    """Whether this thread sends a request of ours. Others of the process may use swiftclient too, and want its log."""

    now = False


_UNLOGGED = _Unlogged()


@contextmanager
def unlogged() -> Iterator[None]:
    """What swiftclient does in here it logs nowhere, unless it warns."""
    _UNLOGGED.now = True
    try:
        yield
    finally:
        _UNLOGGED.now = False


logging.getLogger("swiftclient").addFilter(lambda record: record.levelno >= logging.WARNING or not _UNLOGGED.now)
