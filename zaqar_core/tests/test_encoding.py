"""JSON values to bytes and back: what comes back equals what was given, or was refused."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict, namedtuple
from enum import IntEnum, StrEnum
from math import isfinite
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaqar_core.encoding import MAX_DEPTH, decode, encode, parse, shown
from zaqar_core.errors import IncompatibleStorage, InvalidBody, InvalidInput, InvalidMetadata
from zaqar_core.validation import items

steady = settings(deadline=None, derandomize=True, database=None, max_examples=100)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
JUNK = (
    st.binary()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(categories=["Cs"]), min_size=1)
    | st.sets(st.integers())
    | st.tuples(st.integers())
    | st.dictionaries(st.integers() | st.none() | st.booleans() | st.text(st.characters(categories=["Cs"])), st.none())
)
MIXED = st.recursive(
    SCALARS | JUNK, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def encoded(value: object) -> bytes:
    return encode(value, "the body", InvalidBody)


def has_junk(value: object) -> bool:
    if isinstance(value, list):
        return any(map(has_junk, value))
    if isinstance(value, dict):
        return any(not isinstance(key, str) or has_junk(key) or has_junk(child) for key, child in value.items())
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return not isfinite(value)
    return not isinstance(value, int | None)


def nested(levels: int, inside: object = None) -> Any:
    for _ in range(levels):
        inside = [inside]
    return inside


@steady
@given(VALUES)
def test_any_json_value_comes_back_the_same_in_type_sign_and_key_order(value: object) -> None:
    # By their texts: 1 == 1.0 == True and 0.0 == -0.0, but no two of them look the same.
    assert repr(decode(encoded(value))) == repr(value)


@steady
@given(MIXED)
def test_any_value_at_all_either_comes_back_the_same_or_is_refused_with_its_place(value: object) -> None:
    try:
        data = encoded(value)
    except InvalidBody as error:
        refused = str(error)
    else:
        refused = ""
        assert repr(decode(data)) == repr(value)
    assert refused.startswith("the body") == (refused != "") == has_junk(value)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        0,
        2**63,
        -(2**64),
        10**4299,
        5e-324,
        1.7976931348623157e308,
        0.1,
        "",
        "\0\x1f\x7f",
        "\u2028\uffff\U0010ffff",
    ],
)
def test_the_far_ends_of_json_come_back_the_same(value: object) -> None:
    assert repr(decode(encoded({"": [value]}))) == repr({"": [value]})


def test_the_bytes_are_compact_utf_8_with_keys_in_the_order_given() -> None:
    assert encoded({"b": ["é", 1.5, None], "a": True}) == '{"b":["é",1.5,null],"a":true}'.encode()


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Names(list[str]):
    pass


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        ({Colour.RED: Colour.RED}, {"red": "red"}),
        (Level.HIGH, 3),
        (OrderedDict(a=1), {"a": 1}),
        (Names(["a"]), ["a"]),
    ],
)
def test_a_subclass_that_equals_its_plain_value_comes_back_as_that(value: object, plain: object) -> None:
    assert repr(decode(encoded(value))) == repr(plain)


class Strict(list[int]):
    """Equal to its own kind only."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Strict and super().__eq__(other)

    __hash__ = None


def test_a_subclass_that_would_not_come_back_equal_is_refused() -> None:
    with pytest.raises(InvalidBody, match="would not come back equal"):
        encoded({"a": Strict([1])})


Point = namedtuple("Point", "x y")  # noqa: PYI024


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "is nan; JSON knows only finite numbers"),
        (float("-inf"), "is -inf; JSON knows only finite numbers"),
        (b"bytes", "is of type bytes; JSON has"),
        ((1, 2), "is of type tuple; JSON has"),
        (Point(1, 2), "is of type Point; JSON has"),
        ({1}, "is of type set; JSON has"),
        ("a\ud800b", "has a lone surrogate, which is not valid text; remove it or encode the bytes (base64)"),
        ("\ud83d\ude00", "has a lone surrogate"),
        ({1: 2}, "has the key 1, of type int; JSON keys are strings: convert it"),
        ({None: 2}, "has the key None, of type NoneType"),
        ({True: 2}, "has the key True, of type bool"),
        ({"\udfff": 2}, "has the key '\\udfff' with a lone surrogate, which is not valid text; remove it"),
        pytest.param(10**5000, "is an integer of too many digits to be read back; send it as a string", id="huge"),
    ],
)
def test_what_is_no_json_is_refused_saying_where_why_and_what_to_do(value: object, why: str) -> None:
    for whole, where in (
        (value, "the body"),
        ([0, value], "the body[1]"),
        ({"a": {"b": [value]}}, "the body['a']['b'][0]"),
        # What is right beside it is not blamed.
        ({"x": [1, "é", None, {}], "a": value, "y": 2.5}, "the body['a']"),
    ):
        with pytest.raises(InvalidBody, match=re.escape(f"{where} {why}")):
            encoded(whole)


def test_the_error_is_of_the_class_asked_for_and_names_what_was_asked() -> None:
    with pytest.raises(InvalidMetadata, match=r"^metadata is nan"):
        encode(float("nan"), "metadata", InvalidMetadata)


def test_a_long_key_is_cut_in_the_error() -> None:
    with pytest.raises(InvalidBody) as raised:
        encoded({"k" * 10_000: b""})
    assert "k..." in str(raised.value)
    assert len(str(raised.value)) < 300


# --- depth ----------------------------------------------------------------------------------------


def hung_up(body: object) -> list[Any]:
    """The same depth, with more brackets beside it than may nest."""
    assert isinstance(body, list)
    return [*body, *([] for _ in range(200)), "[{" * 200]


@pytest.mark.parametrize("inside", [1, "text", [], {}, {"a": 1}, "[{" * 200])
def test_arrays_and_objects_nest_as_deep_as_allowed_whatever_is_in_and_beside_them(inside: object) -> None:
    own = 1 if isinstance(inside, list | dict) else 0
    deepest = nested(MAX_DEPTH - own, inside)
    for body in (deepest, hung_up(deepest)):
        assert decode(encoded(body)) == body
    for body in ([deepest], hung_up([deepest]), {"a": deepest}):
        with pytest.raises(InvalidBody, match=rf"nests deeper than {MAX_DEPTH} levels"):
            encoded(body)


def test_what_is_wrong_at_the_deepest_level_allowed_is_named_and_not_the_depth() -> None:
    with pytest.raises(InvalidBody, match="is nan"):
        encoded(nested(MAX_DEPTH, float("nan")))


def test_what_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["a"] = [loop, loop]
    with pytest.raises(InvalidBody, match="or contains itself"):
        encoded(loop)


def test_no_depth_is_too_deep_to_be_refused() -> None:
    with pytest.raises(InvalidBody, match="nests deeper"):
        encoded(nested(200_000))


# --- what was found in the datastore --------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\x80",
        b'"\xff"',
        pytest.param(b"[" * 100_000, id="deep"),
        b"1 2",
        b"'a'",
        b"\0a\0",
        b"[NaN]",
    ],
)
def test_bytes_that_are_no_json_are_incompatible_storage_with_their_cause(data: bytes) -> None:
    with pytest.raises(IncompatibleStorage, match=rf"^{len(data)} bytes in the datastore are not JSON") as raised:
        decode(data)
    assert raised.value.__cause__ is not None


def test_the_error_of_damaged_bytes_does_not_show_them() -> None:
    with pytest.raises(IncompatibleStorage) as raised:
        decode(b"hunter2")
    assert "hunter2" not in str(raised.value)


# --- values in error messages ---------------------------------------------------------------------


class Hostile:
    def __repr__(self) -> str:
        raise InvalidInput("not today")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a'b", '"a\'b"'),
        ("x" * 78, repr("x" * 78)),
        ("x" * 79, "'" + "x" * 76 + "..."),
        (Hostile(), "<Hostile, whose repr fails with InvalidInput>"),
        pytest.param(10**5000, "<int with more digits than Python shows>", id="huge"),
    ],
)
def test_a_value_is_shown_short_and_never_fails(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(shown(value)) <= 80


def test_what_a_signal_handler_raises_while_plain_data_is_read_passes_as_it_is() -> None:
    """A job's time limit is not a wrong body, and not a wrong list of messages."""

    class Limit(Exception):
        pass

    def read(at: int) -> BaseException | None:
        left = at

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            frame.f_trace_opcodes = True
            left -= event == "opcode"
            if left == 0 and event == "opcode":
                raise Limit
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            encode({"a": [1, "x", None]}, "body", InvalidBody)
            items([1, 2], "messages", 5, InvalidBody)
        except (Limit, InvalidBody) as error:
            return error
        finally:
            sys.settrace(before)
        return None if left > 0 else Limit()

    at, seen = 1, []
    while (error := read(at)) is not None:
        seen.append(type(error).__name__)
        at += 1
    assert at > 50
    assert set(seen) == {"Limit"}


@pytest.mark.parametrize("padding", [0, 2000], ids=["short", "long"])
@pytest.mark.parametrize(
    "number",
    ["1e309", "1E309", "-1e+309", "1e0000309", "1.5e309", "9" * 309 + ".0", "9" * 250 + "e60", "9" * 210 + ".5e+99"],
    ids=lambda number: f"{number[:9]} ({len(number)})",
)
def test_a_number_larger_than_any_float_is_refused_in_bodies_of_any_length(number: str, padding: int) -> None:
    with pytest.raises(ValueError, match="a number is larger than any float"):
        parse(f'["{"x" * padding}", {number}]'.encode())


@pytest.mark.parametrize("number", ["1e308", "1e-400", "1.5", "0.1e10", "9" * 308 + ".0", "0." + "1" * 400])
def test_long_bodies_read_as_short_ones_do(number: str) -> None:
    [short], [_, long] = parse(f"[{number}]".encode()), parse(f'["{"x" * 2000}", {number}]'.encode())
    assert short == long == float(number)


def test_a_text_that_looks_like_a_large_number_is_a_text() -> None:
    values = ["1e309" * 1000, "9" * 1000]
    assert parse(encode(values, "body", InvalidBody)) == values
