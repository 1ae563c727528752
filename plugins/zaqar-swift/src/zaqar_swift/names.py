"""Names of containers and objects, and the ids of messages and claims, which are parts of them.

An id is text whose order, byte by byte, is that of what it holds: where a message stands in its queue comes first.
So a listing of a queue's messages, which Swift sorts by name, is in the queue's order, and what is in an id (when the
message stands, when it expires) need not be stored or fetched.
"""

from __future__ import annotations

import re
import secrets
import time
from base64 import b64decode, b64encode
from hashlib import blake2b
from typing import Final, NamedTuple

from zaqar_core.contract import QueueKey, Space

CLAIMS: Final = "c/"
"""Behind a queue's prefix: its claims, which sort before its messages, so that one listing shows first the ones."""
MESSAGES: Final = "m/"

_STANDARD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SORTED: Final = bytes(sorted(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
_TO_SORTED: Final = bytes.maketrans(_STANDARD, _SORTED)
_TO_STANDARD: Final = bytes.maketrans(_SORTED, _STANDARD)

_ID: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_CLAIM_ID: Final = re.compile(r"[A-Za-z0-9_-]{24}")


class MessageName(NamedTuple):
    """What a message's id holds. Times are microseconds since 1970.

    ``position``: where the message stands: when it becomes available, by the positions of its poster's clock, which
    are never behind the time. ``number``: its place in its post.
    ``delayed``: whether it was posted with a delay. ``expires``: the end of the life that it was posted with.
    """

    position: int
    number: int
    delayed: bool
    expires: int


def message_id(name: MessageName) -> str:
    """An id with 64 random bits: 32 URL-safe characters."""
    return _encode(
        name.position.to_bytes(7)
        + (name.number << 1 | name.delayed).to_bytes(2)
        + name.expires.to_bytes(7)
        + secrets.token_bytes(8)
    )


def message_name(some_id: str) -> MessageName | None:
    """What the id holds, or None if it cannot be a message's."""
    if not _ID.fullmatch(some_id):
        return None
    data = _decode(some_id)
    number = int.from_bytes(data[7:9])
    return MessageName(int.from_bytes(data[:7]), number >> 1, bool(number & 1), int.from_bytes(data[9:16]))


def first_id(position: int) -> str:
    """Lower than the id of every message at that position or behind it, higher than all others'."""
    return _encode(position.to_bytes(7) + bytes(2))[:9]


def new_claim_id(now: int) -> str:
    """An id with 88 random bits: 24 URL-safe characters, the moment first."""
    return _encode(now.to_bytes(7) + secrets.token_bytes(11))


def is_claim_id(some_id: str) -> bool:
    """Whether it may name a claim."""
    return bool(_CLAIM_ID.fullmatch(some_id))


def queue_prefix(queue: QueueKey) -> str:
    """What the names of all objects of a queue start with. Any text is a queue's name, so it is its digest."""
    return f"{_digest(*queue)}/"


def space_prefix(space: Space) -> str:
    """What the names of all records of a space start with."""
    return f"{_digest(*space)}/"


def record_name(space: Space, key: str) -> str:
    """Where a record is: hexadecimal digits keep the order of code points, and are safe in every URL."""
    return space_prefix(space) + key.encode().hex()


def container_number(queue: QueueKey, containers: int) -> int:
    """Which of so many containers holds the queue."""
    return int(_digest(*queue)[:8], 16) % containers


def client_digest(client_id: str) -> bytes:
    """Eight bytes that tell clients apart where there is no room for their ids."""
    return blake2b(client_id.encode(), digest_size=8).digest()


class Tick(NamedTuple):
    """A moment, in microseconds. ``now``: by this machine's clock. ``position``: where a post at that moment stands."""

    now: int
    position: int


class Clock:
    """This machine's clock, and positions, which never repeat and never go back while the driver is open.

    A position is the time plus an offset. Where the clock is found to be behind its last tick, the offset grows by as
    much: so a clock that was ahead for a while and was corrected leaves positions in order, and all that is judged by
    the time itself (lives, delays, leases) right.
    """

    def __init__(self) -> None:
        self._last = _Ticked(Tick(0, 0), 0)

    def now(self) -> int:
        """Microseconds since 1970."""
        return time.time_ns() // 1000

    def tick(self) -> Tick:
        """Now, with a position behind that of every tick before."""
        last = self._last
        while True:
            # What comes after a tick is decided in one call into C, so that threads and signals need no lock.
            while 0 in last.following:
                last = last.following[0]
            now = self.now()
            offset = last.offset + max(0, last.tick.now - now)
            mine = _Ticked(Tick(now, max(last.tick.position + 1, now + offset)), offset)
            if last.following.setdefault(0, mine) is mine:
                self._last = mine
                return mine.tick


class _Ticked:
    """A tick, with the one that follows it, if any, as the value of ``following[0]``."""

    def __init__(self, tick: Tick, offset: int) -> None:
        self.tick = tick
        self.offset = offset
        self.following: dict[int, _Ticked] = {}


def to_us(seconds: float) -> int:
    """Whole milliseconds, in microseconds; at least one unless ``seconds`` is 0."""
    return max(1, round(seconds * 1000)) * 1000 if seconds > 0 else 0


def _digest(first: str, second: str) -> str:
    data = first.encode()
    return blake2b(len(data).to_bytes(4) + data + second.encode(), digest_size=16).hexdigest()


def _encode(data: bytes) -> str:
    return b64encode(data).translate(_TO_SORTED).decode("ascii")


def _decode(text: str) -> bytes:
    return b64decode(text.encode("ascii").translate(_TO_STANDARD))
