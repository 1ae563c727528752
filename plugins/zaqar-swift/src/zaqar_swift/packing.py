"""What is stored of messages, claims and records, and how.

A listing gives each object's content type, so that is where things are kept, as text, while they are small enough: then
one request shows a whole page of messages with their bodies, or all claims of a queue. What is larger is the object's
data. Swift keeps a content type with the object's other metadata, in all at most 4 KiB on some file systems.
"""

from __future__ import annotations

import json
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar
from zlib import crc32

from zaqar_core.contract import NO_HEADERS
from zaqar_swift.errors import not_ours

T = TypeVar("T")

INLINE: Final = 1_536
"""So many bytes, 2 048 characters, go into a content type, unless another number is given."""

_TYPE: Final = "zaqar/"
_ELSEWHERE: Final = "zaqar-data/"
_CHECK: Final = 4
_MESSAGE: Final = struct.Struct(">Q8s")
_AVAILABLE: Final = struct.Struct(">Q")
_LENGTHS: Final = struct.Struct(">HI")
_RECORD: Final = struct.Struct(">QHH")


class Packed(NamedTuple):
    """An object to store: its content type and its data, which is empty where all is in the type."""

    content_type: str
    data: bytes


class Content(NamedTuple):
    """What an object holds: ``head`` whatever its size, ``rest`` None where that is the object's data."""

    head: bytes
    rest: bytes | None


class Head(NamedTuple):
    """What every listing says of a message. ``posted``, ``available``: microseconds since 1970.

    ``client``: the digest of the client that posted it. ``available``: None if it is the position in the message's id.
    """

    posted: int
    client: bytes
    available: int | None


class Sent(NamedTuple):
    """A message as it was posted. ``posted``, ``available``: as of ``Head``."""

    posted: int
    client_id: str
    headers: Mapping[str, str]
    body: bytes
    available: int | None = None


class Entry(NamedTuple):
    """What a claim says of one message. Times are microseconds since 1970.

    ``times``: how often the message had been claimed, this time included. ``lives_until``: how long it lives at least.
    ``kept_until``: before that Swift does not remove it, in seconds. ``held``: it was not released.
    ``moved_at``, ``moved_to``: when it was last released with a delay, 0 for never, and its position since.
    ``available``: when it becomes available after that; 0 if that is ``moved_to``.
    """

    id: str
    times: int
    lives_until: int
    kept_until: int
    held: bool = True
    moved_at: int = 0
    moved_to: int = 0
    available: int = 0


class ClaimObject(NamedTuple):
    """A claim as it is stored. ``began`` and ``ends``: microseconds since 1970; ``ttl``: microseconds.

    ``choosing``: the claimer has yet to say which messages it takes; ``ends`` is 0 once it is released.
    """

    began: int
    ttl: int
    ends: int
    choosing: bool
    entries: tuple[Entry, ...]


class State(NamedTuple):
    """What the coordinator says of a message that was ever claimed, popped or deleted.

    ``claim_id``: the last claim, or what tells this deletion from others. ``ends``: when that claim does, in
    microseconds. ``gone``: it was deleted or popped. ``entry``: what the claims say of it.
    """

    claim_id: str
    ends: int
    gone: bool
    entry: Entry


class RecordObject(NamedTuple):
    """A record as it is stored. ``expires``: microseconds since 1970, 0 for never."""

    expires: int
    version: str
    nonce: str
    value: bytes


def pack_message(sent: Sent, client_digest: bytes, inline: int) -> Packed:
    """``inline``: up to how many bytes a content type is to hold, as below."""
    client = sent.client_id.encode()
    headers = json.dumps(dict(sent.headers)).encode() if sent.headers else b""
    rest = _LENGTHS.pack(len(client), len(headers)) + client + headers + sent.body
    available = b"" if sent.available is None else _AVAILABLE.pack(sent.available)
    return _pack(_MESSAGE.pack(sent.posted, client_digest) + available, rest, inline)


def message_head(head: bytes) -> Head:
    posted, digest = _MESSAGE.unpack_from(head)
    available = _AVAILABLE.unpack_from(head, _MESSAGE.size)[0] if len(head) > _MESSAGE.size else None
    return Head(posted, digest, available)


def message_rest(head: bytes, rest: bytes) -> Sent:
    client, headers = _LENGTHS.unpack_from(rest)
    start = _LENGTHS.size
    middle = start + client
    end = middle + headers
    fields = json.loads(rest[middle:end]) if headers else NO_HEADERS
    known = message_head(head)
    return Sent(known.posted, rest[start:middle].decode(), fields, rest[end:], known.available)


def pack_claim(claim: ClaimObject) -> Packed:
    entries = [tuple(entry) for entry in claim.entries]
    return _pack(b"", json.dumps([*claim[:4], entries], separators=(",", ":")).encode(), INLINE)


def claim_rest(rest: bytes) -> ClaimObject:
    began, ttl, ends, choosing, entries = json.loads(rest)
    return ClaimObject(began, ttl, ends, bool(choosing), tuple(Entry(*entry) for entry in entries))


def pack_state(state: State) -> bytes:
    return json.dumps([*state[:3], *state.entry[1:]], separators=(",", ":")).encode()


def unpack_state(message_id: str, data: bytes) -> State:
    claim_id, ends, gone, *entry = json.loads(data)
    return State(claim_id, ends, gone, Entry(message_id, *entry))


def pack_record(record: RecordObject, inline: int) -> Packed:
    version, nonce = record.version.encode(), record.nonce.encode()
    return _pack(b"", _RECORD.pack(record.expires, len(version), len(nonce)) + version + nonce + record.value, inline)


def record_of(name: str, rest: bytes) -> RecordObject:
    """What the record's object of that name says. Raises ``IncompatibleStorage``."""
    return understood(name, record_rest, rest)


def record_rest(rest: bytes) -> RecordObject:
    expires, version, nonce = _RECORD.unpack_from(rest)
    start = _RECORD.size
    middle = start + version
    end = middle + nonce
    return RecordObject(expires, rest[start:middle].decode(), rest[middle:end].decode(), rest[end:])


def unpack(content_type: str) -> Content | None:
    """What a content type says; None if this driver did not write it."""
    elsewhere = content_type.startswith(_ELSEWHERE)
    if not elsewhere and not content_type.startswith(_TYPE):
        return None
    text = content_type.partition("/")[2]
    try:
        data = urlsafe_b64decode(text)
    except ValueError:
        return None
    if len(data) < _CHECK + 1 or data[:_CHECK] != _check(data[_CHECK:]):
        return None
    start = _CHECK + 1
    end = start + data[_CHECK]
    head, rest = data[start:end], data[end:]
    return Content(head, None if elsewhere else rest)


def content_of(name: str, content_type: str) -> Content:
    """What the object of that name and content type holds. Raises ``IncompatibleStorage``."""
    content = unpack(content_type)
    if content is None:
        raise not_ours(name)
    return content


def understood(name: str, parse: Callable[..., T], *parts: Any) -> T:
    """What ``parse`` makes of the parts of what is called so. Raises ``IncompatibleStorage``."""
    try:
        return parse(*parts)
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise not_ours(name) from error


def _pack(head: bytes, rest: bytes, inline: int) -> Packed:
    begun = bytes([len(head)]) + head
    if _CHECK + len(begun) + len(rest) <= inline:
        return Packed(_TYPE + _text(begun + rest), b"")
    return Packed(_ELSEWHERE + _text(begun), rest)


def _text(data: bytes) -> str:
    return urlsafe_b64encode(_check(data) + data).decode("ascii")


def _check(data: bytes) -> bytes:
    """Shows that a header came whole."""
    return crc32(data).to_bytes(_CHECK)
