"""Values of the contract in the shapes of OpenStack Zaqar, and back.

Times are whole seconds there. What is asked for is rounded up, so that nothing expires or ends before its time by
rounding. It has no headers and no client ids but UUIDs, and does not give those back.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from zaqar_core.contract import NO_HEADERS, EncodedMessage, StoredMessage
from zaqar_core.errors import InvalidBody, Unsupported

_CLIENTS: Final = uuid.UUID("6c1a3a5c-52a1-4f43-9a5f-4a6f2d0a8f11")
"""The name space in which client ids become UUIDs."""


def whole(seconds: float) -> int:
    """The whole seconds that are not less."""
    return math.ceil(seconds)


def client_uuid(client_id: str) -> uuid.UUID:
    """The same for the same client id, another for another."""
    return uuid.uuid5(_CLIENTS, client_id)


def document(message: EncodedMessage) -> dict[str, Any]:
    """What its ``post`` takes. Raises ``Unsupported`` for headers, ``InvalidBody`` for a body that is not JSON."""
    if message.headers:
        raise Unsupported(f"headers {sorted(message.headers)}: messages of OpenStack Zaqar have none; leave them out")
    try:
        body = json.loads(message.body)
    except ValueError as error:
        raise InvalidBody(
            f"a body of {len(message.body)} bytes is not JSON, and OpenStack Zaqar stores nothing else; use no codec"
        ) from error
    return {"body": body, "ttl": whole(message.ttl), "delay": whole(message.delay)}


def stored(message: Mapping[str, Any]) -> StoredMessage:
    """What its methods say of a message."""
    return StoredMessage(
        id=message["id"],
        body=json.dumps(message["body"]).encode(),
        ttl=float(message["ttl"]),
        age=float(message["age"]),
        client_id="",
        claim_id=message.get("claim_id"),
        claim_count=message.get("claim_count", 0),
        headers=NO_HEADERS,
    )


def all_stored(messages: Iterable[Mapping[str, Any]]) -> list[StoredMessage]:
    """The same of several, which may be fetched while they are read."""
    return [stored(message) for message in messages]
