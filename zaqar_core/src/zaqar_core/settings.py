"""The metadata by which a queue tells the core what to do: names, and what stored values of them must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from zaqar_core import limits as bounds
from zaqar_core.contract import QueueKey
from zaqar_core.documents import QUEUES, damaged


def settings(queue: QueueKey, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a queue's stored metadata that the core acts on and that are set: ``null`` means not set.

    They are of the right type, but may lie outside this client's limits. Raises ``IncompatibleStorage`` for others:
    to go on as if they were not there would lose messages, or dead letters.
    """
    found = {name: metadata[name] for name in NAMES if metadata.get(name) is not None}
    for name, value in found.items():
        expected, fits = NAMES[name]
        if not fits(value):
            raise damaged(QUEUES, queue.project, queue.name, f"expected {name} to be {expected}")
    if found.get("_dead_letter_queue") == queue.name:
        raise damaged(QUEUES, queue.project, queue.name, "its _dead_letter_queue is the queue itself")
    return found


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_queue_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= bounds.MAX_QUEUE_NAME and "\0" not in value


LONGEST: Final = 1e12
"""How many seconds a stored duration may have, whatever the limits of this client are."""
_SECONDS = ("a number of seconds", _is_seconds)
_COUNT = ("a whole number of at least 1", _is_count)

NAMES: Final[Mapping[str, tuple[str, Callable[[object], bool]]]] = {
    "_default_message_ttl": _SECONDS,
    "_default_message_delay": _SECONDS,
    "_max_messages_post_size": _COUNT,
    "_max_claim_count": _COUNT,
    "_dead_letter_queue": ("the name of a queue", _is_queue_name),
    "_dead_letter_queue_messages_ttl": _SECONDS,
    "_flavor": ("the name of a flavor", lambda value: isinstance(value, str)),
}
"""Names that the core knows, each with what its value must be, in words and as a test."""
