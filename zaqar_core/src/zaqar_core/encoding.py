"""JSON values to bytes and back, so that what comes back equals what was given, or is refused before it is written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from zaqar_core.errors import IncompatibleStorage, InvalidInput

MAX_DEPTH = 128
"""How deeply arrays and objects may nest: far from any parser's own end."""
_LONGEST_SHOWN = 80

_SCALARS = frozenset({str, int, float, bool, type(None)})
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


_TOO_DEEP = f"arrays and objects nest deeper than {MAX_DEPTH} levels"


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is larger than any float")
    return number


_decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_fast_decoder = json.JSONDecoder(parse_constant=_refuse)  # twice as fast on floats, but reads 1e999 as infinity

# Bytes, from which on looking for large numbers first costs less than checking each one.
_WORTH_A_LOOK = 1000
# What a number too large for a float has, when each digit is written as 0: 200 digits, or an exponent of three.
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789E", b"000000000e")
_MANY_DIGITS = b"0" * 200
_LARGE_EXPONENT = b"0e000"


def encode(value: object, what: str, error: type[InvalidInput]) -> bytes:
    """``value`` as compact UTF-8 JSON, keys in the order given. Raises ``error``, saying where in ``what`` and why."""
    with suppress(ValueError, RuntimeError):  # no code of the application's runs here: others are a signal handler's
        if _is_plain(value, MAX_DEPTH):
            return _encoder.encode(value).encode()
    with suppress(Exception):  # of the application's own classes too
        plain = _builtin(value, MAX_DEPTH)
        text = _encoder.encode(plain)
        if json.loads(text) == plain == value:
            return text.encode()
    raise error(_explain(value, what))


def decode(data: bytes) -> Any:
    """The value that ``encode`` was given. Raises ``IncompatibleStorage`` if it is not JSON."""
    try:
        return parse(data)
    except ValueError as error:
        raise IncompatibleStorage(
            f"{len(data)} bytes in the datastore are not JSON: damaged, changed by a codec with another key, or not "
            "written by this project; find out which before you remove them"
        ) from error


def parse(data: bytes) -> Any:
    """The JSON value in bytes from any writer. Raises ``ValueError``, which says why and quotes nothing."""
    try:
        is_fast = len(data) > _WORTH_A_LOOK and not _may_overflow(data)
        value = (_fast_decoder if is_fast else _decoder).decode(data.decode())
    except UnicodeDecodeError:
        raise ValueError("they are not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"they are not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    return value


def _may_overflow(data: bytes) -> bool:
    """Whether a number in it may be larger than any float; a text that looks like one counts too."""
    shape = data.translate(_DIGITS_AS_ZERO, b"+")
    return _LARGE_EXPONENT in shape or _MANY_DIGITS in shape


def shown(value: object) -> str:
    """``repr`` of any value for an error's message: short, and never an error itself."""
    try:
        text = repr(value)
    except Exception as error:
        if isinstance(value, int):
            return f"<{type(value).__name__} with more digits than Python shows>"
        return f"<{type(value).__name__}, whose repr fails with {type(error).__name__}>"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def has_surrogate(text: str) -> bool:
    """Whether the text holds a half of a surrogate pair, which UTF-8 cannot say."""
    try:
        str.encode(text)
    except UnicodeEncodeError:
        return True
    return False


def _is_plain(value: object, depth: int) -> bool:
    """Whether ``value`` is made of the very types that JSON gives back, and nests no deeper than ``depth``."""
    if type(value) is dict:
        for key in value:
            if type(key) is not str:
                return False
        children: Iterable[object] = value.values()
    elif type(value) is list:
        children = value
    else:
        return type(value) in _SCALARS
    for child in children:
        if type(child) not in _SCALARS and not _is_plain(child, depth - 1):
            return False
    return depth > 0


def _builtin(value: object, depth: int) -> object:
    """The value with each instance of a subclass as one of the type itself, none of whose own methods are called."""
    if isinstance(value, dict | list) and depth == 0:
        raise ValueError("too deep")
    if isinstance(value, dict):
        return {_builtin(key, 1): _builtin(child, depth - 1) for key, child in dict.items(value)}
    if isinstance(value, list):
        return [_builtin(child, depth - 1) for child in list.__iter__(value)]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else value


def _depth(value: object) -> int:
    """How many arrays and objects lie within each other, counted to one more than may."""
    deepest, level = 0, [value] if isinstance(value, dict | list) else []
    while level and deepest <= MAX_DEPTH:
        deepest += 1
        inside = (child for item in level for child in (item.values() if isinstance(item, dict) else item))
        level = [child for child in inside if isinstance(child, dict | list)]
    return deepest


def _explain(value: object, what: str) -> str:
    """The first thing in ``value`` that is not JSON, found without recursion, so that any depth works."""
    todo: list[tuple[str, object, int]] = [(what, value, 1)]
    while todo:
        where, item, depth = todo.pop()
        if depth > MAX_DEPTH and isinstance(item, dict | list):
            return f"{what} nests deeper than {MAX_DEPTH} levels (or contains itself); flatten it"
        if isinstance(item, dict):
            for key, child in dict.items(item):
                problem = _key_problem(key)
                if problem:
                    return f"{where} {problem}"
                todo.append((f"{where}[{shown(key)}]", child, depth + 1))
        elif isinstance(item, list):
            todo.extend((f"{where}[{index}]", child, depth + 1) for index, child in enumerate(list.__iter__(item)))
        else:
            problem = _problem(item)
            if problem:
                return f"{where} {problem}"
    return f"{what} would not come back equal from JSON; send plain dicts, lists, strings and numbers"


def _key_problem(key: object) -> str:
    if not isinstance(key, str):
        return f"has the key {shown(key)}, of type {type(key).__name__}; JSON keys are strings: convert it"
    if has_surrogate(key):
        return f"has the key {shown(key)} with a lone surrogate, which is not valid text; remove it"
    return ""


def _problem(item: object) -> str:
    """What is wrong with a value that holds no others; "" if nothing is."""
    if isinstance(item, str):
        surrogate = "has a lone surrogate, which is not valid text; remove it or encode the bytes (base64)"
        return surrogate if has_surrogate(item) else ""
    if isinstance(item, float):
        return (
            ""
            if math.isfinite(item)
            else f"is {float.__repr__(item)}; JSON knows only finite numbers: send null or a string"
        )
    if isinstance(item, int):
        try:
            int.__repr__(item)
        except ValueError:
            return "is an integer of too many digits to be read back; send it as a string"
        return ""
    if item is None:
        return ""
    return f"is of type {type(item).__name__}; JSON has null, bools, numbers, strings, lists and dicts: convert it"
