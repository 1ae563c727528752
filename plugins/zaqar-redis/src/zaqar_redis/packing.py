"""What the server stores of a message, and replies of scripts turned into messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from zaqar_core.contract import NO_HEADERS, StoredMessage

_ID_LENGTH: Final = 12


def packed_client(client_id: str) -> bytes:
    """A client as it stands in a stored message."""
    packed: bytes = msgpack.packb(client_id)
    return packed


def packed_rest(headers: Mapping[str, str], body: bytes) -> bytes:
    """What follows the client in a stored message. The script puts the moment of the post in front."""
    packed_body: bytes = msgpack.packb(body)
    if not headers:
        return _NO_HEADERS + packed_body
    packed_headers: bytes = msgpack.packb(dict(headers))
    return packed_headers + packed_body


_NO_HEADERS: Final[bytes] = msgpack.packb(None)


def packed_document(nonce: str, value: bytes) -> bytes:
    """A record's nonce and value."""
    packed: bytes = msgpack.packb((nonce, value))
    return packed


def document_of(packed: bytes) -> tuple[str, bytes]:
    """Nonce and value of a record."""
    nonce, value = msgpack.unpackb(packed)
    return nonce, value


def messages_of(
    now: int,
    ids: Sequence[bytes],
    expiries: Sequence[bytes],
    holders: Sequence[bytes | None],
    bodies: Sequence[bytes],
    claimed: Sequence[bytes | None] = (),
) -> list[StoredMessage]:
    """The messages of a reply. ``claimed``: of each, whether a claim holds it; empty: none does."""
    messages = []
    for index, (message_id, expiry, holder, packed) in enumerate(zip(ids, expiries, holders, bodies, strict=True)):
        claim_id = holder[:_ID_LENGTH].decode() if holder and claimed and claimed[index] is not None else None
        count = int(holder[_ID_LENGTH:]) if holder else 0
        messages.append(message_of(now, message_id.decode(), int(expiry), claim_id, count, packed))
    return messages


def message_of(
    now: int, message_id: str, expiry: int, claim_id: str | None, count: int, packed: bytes
) -> StoredMessage:
    """One message. ``now``, ``expiry``: in microseconds."""
    posted, client_id, headers, body = unpacked(packed)
    return StoredMessage(
        message_id,
        body,
        (expiry - posted) // 1000 / 1000,
        (now - posted) / 1_000_000,
        client_id,
        claim_id,
        count,
        headers or NO_HEADERS,
    )


def unpacked(packed: bytes) -> Any:
    """Moment of the post, client, headers, body."""
    return msgpack.unpackb(packed, strict_map_key=False)


def claim_and_count(holder: bytes | None) -> tuple[str, int]:
    """The last claim that took a message ("" if none did), and how many did."""
    return (holder[:_ID_LENGTH].decode(), int(holder[_ID_LENGTH:])) if holder else ("", 0)
