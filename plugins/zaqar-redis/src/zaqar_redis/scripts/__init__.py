"""The Lua scripts, each a file of its own. The server runs a script atomically."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum, auto
from importlib.resources import files
from typing import Final


class Effect(Enum):
    """What a script does to what others see."""

    NONE = auto()
    """Nothing: it reads, and works in what time has changed."""
    REPEATABLE = auto()
    """Done twice it answers and leaves the same as done once."""
    ONCE = auto()
    """Done twice it would do something else."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it. ``keys``: what all keys that it may touch are called behind their stem."""

    name: str
    text: str
    sha: str
    effect: Effect
    keys: tuple[str, ...] = ()


KEYS: Final = {
    "queue": (
        *("clock", "order", "delayed", "claimed", "expiry", "bodies", "holders", "claims", "ends"),
        *("dedup", "dedup-ends"),
    ),
    "space": ("names", "versions", "values", "ends"),
    "open": ("check",),
}
"""By the script that begins with them."""


def _script(*names: str, effect: Effect = Effect.NONE) -> Script:
    """The files of these names, one behind the other."""
    text = "\n".join(files(__name__).joinpath(f"{name}.lua").read_text("utf-8") for name in names)
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(names[-1], text, sha, effect, KEYS[names[0]])


OPEN: Final = _script("open")

POST: Final = _script("queue", "post", effect=Effect.ONCE)
GET: Final = _script("queue", "get")
LIST: Final = _script("queue", "list")
FIRST: Final = _script("queue", "ends", "first")
STATS: Final = _script("queue", "ends", "stats")
DELETE: Final = _script("queue", "delete", effect=Effect.REPEATABLE)
POP: Final = _script("queue", "pop", effect=Effect.ONCE)
PURGE: Final = _script("queue", "purge", effect=Effect.REPEATABLE)
SETTLE: Final = _script("queue", "settle")
CLAIM: Final = _script("queue", "claim", effect=Effect.ONCE)
CLAIMED: Final = _script("queue", "claimed")
RENEW: Final = _script("queue", "renew", effect=Effect.REPEATABLE)
RELEASE: Final = _script("queue", "release", effect=Effect.REPEATABLE)

RECORD_GET: Final = _script("space", "record-get")
RECORD_INSERT: Final = _script("space", "record-insert", effect=Effect.ONCE)
RECORD_REPLACE: Final = _script("space", "record-replace", effect=Effect.ONCE)
RECORD_DELETE: Final = _script("space", "record-delete", effect=Effect.ONCE)
RECORD_DELETE_ALL: Final = _script("space", "record-delete-all", effect=Effect.ONCE)
RECORD_SCAN: Final = _script("space", "record-scan")
RECORD_COUNT: Final = _script("space", "record-count")
RECORD_SETTLE: Final = _script("space", "record-settle")
