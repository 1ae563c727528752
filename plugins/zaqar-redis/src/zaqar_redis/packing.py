"""What the server stores of a message, and replies of scripts turned into messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]

from zaqar_core.contract import NO_HEADERS, StoredMessage

_ID_ENDS: Final = 12
_MOMENT_ENDS: Final = 19
_NO_CLAIM: Final = "." * _ID_ENDS
_UNREADABLE: Final = b"\xc1"
"""Starts neither JSON nor what codecs wrote, so the bytes behind it are never taken for a body."""
_UNKNOWN_TTL: Final = 86_400_000_000
"""Microseconds: shown where the stored ttl cannot be read, and long enough for a dead letter to be looked at."""


def packed_client(client_id: str) -> bytes:
    """A client as it stands in a stored message."""
    packed: bytes = msgpack.packb(client_id)
    return packed


def packed_rest(ttl: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """What follows the client in a stored message. The script puts the moment of the post in front of both.

    ``ttl``: in microseconds.
    """
    packed: bytes = msgpack.packb(ttl) + msgpack.packb(dict(headers) or None) + msgpack.packb(body)
    return packed


def packed_document(nonce: str, value: bytes) -> bytes:
    """A record's nonce and value."""
    packed: bytes = msgpack.packb((nonce, value))
    return packed


def document_of(packed: bytes | None) -> tuple[str, bytes]:
    """Nonce and value of a record.

    Of one that is missing, damaged or another program's the value is ``_UNREADABLE`` and the bytes that are stored: the
    core, which cannot read them, raises ``IncompatibleStorage`` and names the record, and can delete or replace it.
    """
    packed = packed or b""
    with suppress(ValueError, TypeError):
        nonce, value = msgpack.unpackb(packed)
        if type(nonce) is str and type(value) is bytes:
            return nonce, value
    return "", _UNREADABLE + packed


def messages_of(
    now: int,
    ids: Sequence[bytes],
    holders: Sequence[bytes | None],
    claims: Sequence[bytes | None],
    bodies: Sequence[bytes | None],
) -> list[StoredMessage]:
    """The messages of a reply. ``claims``: of each what is known of the claim that holds it; empty if none is held."""
    return [
        message_of(now, message_id.decode(), holder_of(holder, claim), packed)
        for message_id, holder, claim, packed in zip(ids, holders, claims or [None] * len(ids), bodies, strict=True)
    ]


def message_of(now: int, message_id: str, holder: Holder, packed: bytes | None) -> StoredMessage:
    """One message. ``now``: in microseconds.

    What is stored may be damaged or another program's. Then its body is ``_UNREADABLE`` and the bytes that are stored.
    """
    claim_id, lives_until, count = holder
    try:
        posted, client_id, ttl, headers, body = msgpack.unpackb(packed)
        sound = type(posted) is type(ttl) is int and type(client_id) is str and type(body) is bytes
    except (ValueError, TypeError):
        sound = False
    if not sound or (headers is not None and not _is_headers(headers)):
        posted, client_id, ttl, headers, body = _known_of(now, packed or b"")
    return StoredMessage(
        id=message_id,
        body=body,
        ttl=max(ttl, lives_until - posted) // 1000 / 1000,
        age=age_of(now, posted),
        client_id=client_id,
        claim_id=claim_id,
        claim_count=count,
        headers=headers or NO_HEADERS,
    )


def _known_of(now: int, packed: bytes) -> tuple[int, str, int, Mapping[str, str] | None, bytes]:
    """What is known of a message that cannot be read: moment of the post, client, ttl, headers; and its bytes."""
    missing: list[Any] = [None] * 4
    posted, client_id, ttl, headers, *_ = [*_first_parts(packed), *missing]
    return (
        posted if type(posted) is int else now,
        client_id if type(client_id) is str else "",
        ttl if type(ttl) is int and ttl > 0 else _UNKNOWN_TTL,
        headers if _is_headers(headers) else None,
        _UNREADABLE + packed,
    )


def _first_parts(packed: bytes) -> Iterator[Any]:
    """Those of a message that stand before what cannot be read."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(packed)
    with suppress(ValueError, TypeError, msgpack.UnpackException):
        for _ in range(unpacker.read_array_header()):
            yield unpacker.unpack()


def _is_headers(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and all(type(name) is type(text) is str for name, text in value.items())
    )


def age_of(now: int, began: int) -> float:
    """Seconds since that moment; 0 if the server's clock has gone back behind it."""
    return max(0, now - began) / 1_000_000


class Holder(NamedTuple):
    """What is known of a message's claims: the one that holds it, until when claims let it live, how many took it."""

    claim_id: str | None
    lives_until: int
    claim_count: int


_NEVER_CLAIMED: Final = Holder(None, 0, 0)


def holder_of(packed: bytes | None, claim: bytes | None = None) -> Holder:
    """As the server stores it; None for a message that was never claimed. ``claim``: of the claim that holds it."""
    if packed is None:
        return _NEVER_CLAIMED
    try:
        claim_id, count = packed[:_ID_ENDS].decode(), int(packed[_MOMENT_ENDS:])
    except ValueError:  # damaged
        return _NEVER_CLAIMED
    lives_until = int.from_bytes(packed[_ID_ENDS:_MOMENT_ENDS])
    if claim is not None:
        lives_until = max(lives_until, claim_of(claim).lives_until)
    return Holder(None if claim_id == _NO_CLAIM else claim_id, lives_until, count)


class Claim(NamedTuple):
    """What is known of a claim; times in microseconds."""

    messages: int
    began: int
    ttl: int
    lives_until: int


def claim_of(packed: bytes) -> Claim:
    """As the server stores it."""
    return Claim(*map(int, packed.split(b":")))
