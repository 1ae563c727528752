"""JSON values to bytes and back, so that what comes back equals what was given, or is refused before it is written."""

from __future__ import annotations

import json
import math
from typing import Any

from zaqar_core.errors import InvalidInput

MAX_DEPTH = 128
"""How deeply arrays and objects may nest: far from any parser's own end."""

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(value: object, what: str, error: type[InvalidInput]) -> bytes:
    """``value`` as compact UTF-8 JSON, keys in the order given. Raises ``error``, saying where in ``what`` and why."""
    try:
        text = _encoder.encode(value)
        data = text.encode()
        if json.loads(text) == value and (text.count("[") + text.count("{") <= MAX_DEPTH or _depth(value) <= MAX_DEPTH):
            return data
    except (TypeError, ValueError, RecursionError):
        pass
    raise error(_explain(value, what))


def decode(data: bytes) -> Any:
    """The value that ``encode`` was given."""
    return json.loads(data)


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level and deepest <= MAX_DEPTH + 1:
        deepest += 1
        level = [child for item in level for child in _children(item)]
    return deepest


def _children(item: object) -> list[object]:
    return list(item.values()) if isinstance(item, dict) else list(item) if isinstance(item, list) else []


def _explain(value: object, what: str) -> str:
    """The first thing in ``value`` that is no JSON, found without recursion, so that no depth is too deep."""
    todo: list[tuple[str, object, int]] = [(what, value, 1)]
    while todo:
        where, item, depth = todo.pop()
        if depth > MAX_DEPTH:
            return f"{what} nests deeper than {MAX_DEPTH} levels (or contains itself); flatten it"
        if isinstance(item, dict):
            for key, child in item.items():
                if not isinstance(key, str):
                    return f"{where} has the key {key!r}, a {type(key).__name__}; JSON keys are strings: convert it"
                if _has_surrogate(key):
                    return f"{where} has the key {key!r} with a lone surrogate, which is no text; remove it"
                todo.append((f"{where}[{key!r}]", child, depth + 1))
        elif isinstance(item, list):
            todo.extend((f"{where}[{index}]", child, depth + 1) for index, child in enumerate(item))
        elif isinstance(item, str):
            if _has_surrogate(item):
                return f"{where} has a lone surrogate, which is no text; remove it or encode the bytes (base64)"
        elif isinstance(item, float):
            if not math.isfinite(item):
                return f"{where} is {item!r}; JSON knows only finite numbers: send null or a string"
        elif isinstance(item, int):
            try:
                str(item)
            except ValueError:
                return f"{where} is an integer of too many digits to be read back; send it as a string"
        elif item is not None:
            return f"{where} is a {type(item).__name__}; JSON has null, booleans, numbers, strings, lists and dicts: convert it"
    return f"{what} would not come back equal from JSON; send plain dicts, lists, strings and numbers"


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
