"""Ids of messages and claims: ``<number>-<token>``, the number to find the row by, the token so that none is guessed.

The number is never used twice; 72 random bits keep an id unique should the file be lost and begun anew.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from os import urandom
from string import ascii_letters, digits

_TOKEN_BYTES = 9
_TOKEN_LENGTH = 12
# Fifteen hexadecimal digits stay below SQLite's largest integer.
_TOKEN_CHARACTERS = f"{ascii_letters}{digits}-_".encode()
_ID = re.compile(r"(0|[1-9a-f][0-9a-f]{0,14})-[A-Za-z0-9_-]{12}")


def new_tokens(count: int) -> list[str]:
    """``count`` random tokens."""
    text = urlsafe_b64encode(urandom(_TOKEN_BYTES * count)).decode("ascii")
    return [text[start : start + _TOKEN_LENGTH] for start in range(0, len(text), _TOKEN_LENGTH)]


def to_id(seq: int, token: str | bytes) -> str:
    """The id of the row ``seq``. ``token``: as it is made (text) or stored (bytes)."""
    return f"{seq:x}-{token if isinstance(token, str) else _token_of(token)}"


def _token_of(stored: bytes) -> str:
    """Of a damaged token, what can still be part of an id, and is the same each time."""
    if len(stored) == _TOKEN_LENGTH and not stored.translate(None, _TOKEN_CHARACTERS):
        return stored.decode()
    return re.sub(rb"[^A-Za-z0-9_-]", b"_", stored)[:_TOKEN_LENGTH].ljust(_TOKEN_LENGTH, b"_").decode()


def seq_of(some_id: str) -> int | None:
    """The row that the id may name, or None if it cannot be an id of ours."""
    match = _ID.fullmatch(some_id)
    return int(match[1], 16) if match else None


def seqs_of(some_ids: Iterable[str]) -> list[int]:
    """The rows that the ids may name, without what cannot be an id of ours."""
    return [seq for seq in map(seq_of, some_ids) if seq is not None]
