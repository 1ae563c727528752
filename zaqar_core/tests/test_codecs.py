"""Codecs: what bodies go through on their way to the datastore and back."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaqar_core.codecs import GROUP, Codec, Codecs
from zaqar_core.encoding import encode
from zaqar_core.errors import CodecError, InvalidBody, InvalidInput

Install = Callable[..., None]


class Zlib:
    name = "zlib"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Tag:
    """Puts its name in front, and takes nothing back that does not start with it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def encode(self, data: bytes) -> bytes:
        return f"<{self.name}>".encode() + data

    def decode(self, data: bytes) -> bytes:
        mark = f"<{self.name}>".encode()
        if not data.startswith(mark):
            raise LookupError(f"not mine: {data!r}")
        return data[len(mark) :]


class Returns:
    """Gives the same, whatever it gets; an exception is raised."""

    name = "odd"

    def __init__(self, result: object) -> None:
        self._result = result

    def _give(self, data: bytes) -> Any:
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result

    encode = decode = _give


def test_without_codecs_the_bytes_are_stored_as_they_are() -> None:
    assert Codecs().encode(b'{"n":1}') == b'{"n":1}'
    assert Codecs().decode(b'{"n":1}') == b'{"n":1}'


def test_codecs_are_applied_in_the_order_given_and_named_in_front() -> None:
    assert Codecs([Tag("a"), Tag("b")]).encode(b"1") == b"\0a,b\0<b><a>1"


@settings(deadline=None, derandomize=True, database=None)
@given(data=st.binary(), names=st.lists(st.sampled_from(["a", "b", "z-1.x_", "zlib"]), unique=True))
def test_any_bytes_but_a_leading_mark_come_back_through_any_chain(data: bytes, names: list[str]) -> None:
    chain = Codecs(Zlib() if name == "zlib" else Tag(name) for name in names)
    if names or not data.startswith(b"\0"):
        assert chain.decode(chain.encode(data)) == data


def test_a_body_is_read_in_the_order_in_which_it_was_written_whatever_the_reader_s() -> None:
    written = Codecs([Tag("a"), Tag("b")]).encode(b"1")
    for order in ("ab", "ba", "xbya"):
        assert Codecs(Tag(name) for name in order).decode(written) == b"1"


def test_codecs_read_what_was_written_before_there_were_any() -> None:
    assert Codecs([Zlib()]).decode(b'{"n":1}') == b'{"n":1}'


@pytest.mark.parametrize("reader", [[], [Tag("a")], [Tag("b")], [Tag("c")]])
def test_a_codec_that_the_reader_lacks_is_named_with_what_to_do(reader: list[Codec]) -> None:
    written = Codecs([Tag("a"), Tag("b")]).encode(b"1")
    missing = "a" if [codec.name for codec in reader] == ["b"] else "b"
    with pytest.raises(CodecError, match=rf"codec '{missing}'; connect with codecs=\['{missing}'\]"):
        Codecs(reader).decode(written)


@pytest.mark.parametrize(
    "damaged", [b"\0", b"\0\0", b"\0a", b"\0,\0<a>1", b"\0a,\0<a>1", b"\0\xff\0<a>1", b"\0A\0<a>1"]
)
def test_a_damaged_mark_is_an_error_and_never_passed_on(damaged: bytes) -> None:
    with pytest.raises(CodecError):
        Codecs([Tag("a")]).decode(damaged)


def test_no_json_begins_with_the_mark_of_codecs() -> None:
    for value in ("\0", ["\0"], {"\0": 1}, 0, None):
        assert encode(value, "body", InvalidBody)[:1] != b"\0"


@pytest.mark.parametrize("step", ["encode", "decode"])
def test_what_a_codec_raises_becomes_a_codec_error_with_its_cause_and_without_its_text(step: str) -> None:
    cause = RuntimeError("the body is SECRET")
    with pytest.raises(CodecError, match=rf"codec 'odd' failed to {step} a body: RuntimeError; ") as raised:
        getattr(Codecs([Returns(cause)]), step)(b"\0odd\0SECRET")
    assert raised.value.__cause__ is cause
    assert "SECRET" not in str(raised.value)


def test_damaged_bytes_are_the_codec_s_failure_to_decode() -> None:
    chain = Codecs([Zlib()])
    with pytest.raises(CodecError, match="'zlib' failed to decode") as raised:
        chain.decode(chain.encode(b"1")[:-3])
    assert isinstance(raised.value.__cause__, zlib.error)


@pytest.mark.parametrize("step", ["encode", "decode"])
@pytest.mark.parametrize("result", [None, "text", bytearray(b"1")])
def test_a_codec_that_returns_no_bytes_is_refused(step: str, result: object) -> None:
    kind = type(result).__name__
    with pytest.raises(CodecError, match=rf"codec 'odd' returned {kind} from {step}; it must return bytes"):
        getattr(Codecs([Returns(result)]), step)(b"\0odd\0")


def test_an_interrupt_in_a_codec_is_no_error_of_the_codec() -> None:
    with pytest.raises(KeyboardInterrupt):
        Codecs([Returns(KeyboardInterrupt())]).encode(b"1")


def test_two_codecs_of_one_name_are_refused() -> None:
    with pytest.raises(CodecError, match="two codecs of one name"):
        Codecs([Tag("a"), Tag("b"), Tag("a")])


@pytest.mark.parametrize("name", ["", "A", "a b", "a,b", "a\0", "é", "-a", "a\n", 5, None])
def test_a_codec_name_that_the_mark_cannot_carry_is_refused(name: Any) -> None:
    with pytest.raises(CodecError, match=r"codec name .* rename it"):
        Codecs([Tag(name)])


@pytest.mark.parametrize("codecs", ["zlib", b"bytes", Zlib(), None, 5])
def test_codecs_that_are_no_list_are_wrong_input(codecs: Any) -> None:
    with pytest.raises(InvalidInput, match="pass a list of names and codecs"):
        Codecs(codecs)


@pytest.mark.parametrize("codec", [None, 5, object(), zlib, b"bytes", ("zlib",)])
def test_what_is_no_codec_is_wrong_input(codec: Any) -> None:
    with pytest.raises(InvalidInput, match="is not a codec: it lacks name, encode or decode"):
        Codecs([Zlib(), codec])


def test_a_class_is_refused_before_it_meets_a_body() -> None:
    with pytest.raises(InvalidInput, match="is a class; pass an instance"):
        Codecs([Zlib])  # type: ignore[list-item]  # what this is about


# --- found by name --------------------------------------------------------------------------------

SOURCE = """
class Plain:
    def __init__(self, name="plain"):
        self.name = name
    def encode(self, data):
        return data[::-1]
    decode = encode

def other():
    return Plain("another")

def broken():
    raise RuntimeError("no key in the environment")
"""


def test_a_codec_is_found_by_the_name_under_which_a_distribution_offers_it(install: Install) -> None:
    install("codec-dist", GROUP, {"plain": "codec_module:Plain"}, codec_module=SOURCE)
    chain = Codecs(["plain", Tag("a")])
    assert chain.encode(b"12") == b"\0plain,a\0<a>21"
    assert chain.decode(b"\0plain,a\0<a>21") == b"12"


def test_an_unknown_codec_name_raises_with_those_that_are_installed(install: Install) -> None:
    with pytest.raises(CodecError, match="no codec is called 'plan'; installed are: none;"):
        Codecs(["plan"])
    install("codec-dist", GROUP, {"plain": "codec_module:Plain", "aged": "codec_module:Aged"}, codec_module=SOURCE)
    with pytest.raises(CodecError, match="no codec is called 'plan'; installed are: aged, plain;"):
        Codecs(["plan"])


def test_two_distributions_of_one_codec_name_are_both_named(install: Install) -> None:
    for dist in ("first-dist", "second-dist"):
        install(dist, GROUP, {"plain": "codec_module:Plain"}, codec_module=SOURCE)
    with pytest.raises(CodecError, match="first-dist and second-dist both offer a codec 'plain'"):
        Codecs(["plain"])


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("codec_module:broken", RuntimeError),
        ("codec_module:Missing", AttributeError),
        ("no_such_module_anywhere:Plain", ModuleNotFoundError),
        ("codec_module:SOURCE", TypeError),
    ],
)
def test_a_codec_that_cannot_be_loaded_is_named_and_its_cause_chained(
    install: Install, value: str, cause: type[Exception]
) -> None:
    install("codec-dist", GROUP, {"plain": value}, codec_module=f"{SOURCE}\nSOURCE = 'no callable'")
    with pytest.raises(CodecError, match="codec 'plain' is installed but cannot be loaded") as raised:
        Codecs(["plain"])
    assert type(raised.value.__cause__) is cause


def test_a_codec_that_calls_itself_otherwise_is_refused_since_its_bodies_could_not_be_read(install: Install) -> None:
    install("codec-dist", GROUP, {"plain": "codec_module:other"}, codec_module=SOURCE)
    with pytest.raises(CodecError, match="installed as 'plain' calls itself 'another'"):
        Codecs(["plain"])
