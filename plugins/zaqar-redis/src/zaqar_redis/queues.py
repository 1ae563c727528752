"""Scripts on one queue: which keys, and which server has them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from zaqar_core import kit
from zaqar_core.contract import QueueKey
from zaqar_redis.scripts import Script
from zaqar_redis.server import Server
from zaqar_redis.units import queue_stem

_STEMS_KEPT: Final = 4096


class Queues:
    """Runs scripts on queues and on spaces of records."""

    def __init__(self, server: Server, prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self.timeout = server.timeout
        self.stem = lru_cache(_STEMS_KEPT)(lambda queue: queue_stem(prefix, queue))

    def deadline(self) -> float:
        """The moment, by ``time.monotonic()``, at which an operation that begins now must have ended."""
        return kit.deadline(self.timeout)

    def run(self, script: Script, queue: QueueKey, *arguments: Any, deadline: float | None = None) -> Any:
        """What the script answers for this queue."""
        return self.server.run(script, self.stem(queue), *arguments, deadline=deadline)
