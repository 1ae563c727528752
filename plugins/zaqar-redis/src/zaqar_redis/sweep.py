"""What has expired is removed here, in steps that never keep others waiting for long."""

from __future__ import annotations

import logging
import re
import time
from typing import Final

from zaqar_redis import scripts
from zaqar_redis.connections import Connections
from zaqar_redis.queues import Queues

_log = logging.getLogger(__name__)
_KEYS_A_STEP: Final = 500
_KEY: Final = re.compile(r"(?P<stem>.*:(?P<kind>[qr]):\{[^{}]*\}):(?P<name>[a-z-]+)")


def everything(queues: Queues, deadline: float) -> int:
    """Remove what has expired, as far as the time allows; how many things."""
    return sum(_all_of(queues, server, deadline) for server in queues.server.primaries(deadline))


def _all_of(queues: Queues, server: Connections, deadline: float) -> int:
    removed = 0
    cursor = b"0"
    while time.monotonic() < deadline:
        reply = queues.server.optional(
            "SCAN", cursor, "MATCH", f"{queues.prefix}:*", "COUNT", _KEYS_A_STEP, on=server, deadline=deadline
        )
        if not (isinstance(reply, list) and len(reply) == 2 and isinstance(reply[1], list)):
            _log.warning("%s does not let gc look for keys (SCAN): queues settle when they are next used", server.where)
            break
        cursor, keys = reply
        for key in keys:
            removed += _sweep(queues, key.decode("utf-8", "replace"), deadline)
        if cursor == b"0":
            break
    return removed


def _sweep(queues: Queues, key: str, deadline: float) -> int:
    found = _KEY.fullmatch(key)
    if found is None or not key.startswith(f"{queues.prefix}:{found['kind']}:"):
        return 0
    match found["kind"], found["name"]:
        case "q", "expiry" | "dedup-ends":
            return _settle(queues, scripts.SETTLE, found["stem"], deadline)
        case "r", "ends":
            return _settle(queues, scripts.RECORD_SETTLE, found["stem"], deadline)
    return 0


def _settle(queues: Queues, script: scripts.Script, stem: str, deadline: float) -> int:
    removed = 0
    while time.monotonic() < deadline:
        settled, gone = queues.server.run(script, stem, deadline=deadline)
        removed += gone
        if settled:
            break
    return removed
