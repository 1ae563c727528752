"""Units of time, ids and keys: what scripts and driver agree on."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from os import urandom
from typing import Final
from urllib.parse import quote

from zaqar_core.contract import QueueKey, Space

_ID_BYTES: Final = 9
_ID_LENGTH: Final = 12
_ID: Final = re.compile(r"[A-Za-z0-9_-]{12}")


def new_ids(count: int) -> list[str]:
    """``count`` ids of 72 random bits, in URL-safe characters. An id is what the server keeps, as it stands."""
    text = urlsafe_b64encode(urandom(_ID_BYTES * count)).decode("ascii")
    return [text[start : start + _ID_LENGTH] for start in range(0, len(text), _ID_LENGTH)]


def is_id(text: str) -> bool:
    """Whether this driver may have given it."""
    return _ID.fullmatch(text) is not None


def to_ms(seconds: float) -> int:
    """Whole milliseconds; at least one unless ``seconds`` is 0."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


def to_us(seconds: float) -> int:
    """Microseconds, in whole milliseconds."""
    return to_ms(seconds) * 1000


def queue_stem(prefix: str, queue: QueueKey) -> str:
    """What the names of all keys of a queue start with. The braces let a cluster keep them in one slot."""
    return f"{prefix}:q:{{{_escaped(queue.project)}/{_escaped(queue.name)}}}"


def space_stem(prefix: str, space: Space) -> str:
    """What the names of all keys of a space of records start with."""
    return f"{prefix}:r:{{{_escaped(space.kind)}/{_escaped(space.project)}}}"


def layout_key(prefix: str) -> str:
    """The key that says by which rules the others are laid out."""
    return f"{prefix}:{{layout}}"


def _escaped(name: str) -> str:
    """Without slashes and braces, and reversible, so that no two names give one text."""
    return quote(name, safe="")
