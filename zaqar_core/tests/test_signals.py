"""What a signal handler raises in code of drivers, codecs and observers reaches the caller as it is."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint
from types import FrameType
from typing import Any

import pytest

from zaqar_conformance.reference import ReferenceDriver
from zaqar_core import NewMessage, connect, observers
from zaqar_core.errors import CodecError
from zaqar_core.signals import is_from_handler


class TimeLimit(Exception):
    """What a task queue's soft time limit raises."""


class Handlers:
    def method(self, number: int, frame: FrameType | None) -> None:
        raise TimeLimit

    __call__ = method


def function(number: int, frame: FrameType | None) -> None:
    raise TimeLimit


def exit_(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


@pytest.fixture
def install() -> Iterator[Callable[[Any], object]]:
    before = signal.getsignal(signal.SIGTERM)
    yield partial(signal.signal, signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


def interrupted(*_: object, **__: object) -> Any:
    """Other people's code, in the middle of which a signal comes."""
    signal.raise_signal(signal.SIGTERM)
    return b""


class Interrupted:
    name = "interrupted"
    encode = decode = interrupted
    operation_started = observers.hookimpl(lambda self, operation: interrupted())


class Decoding:
    name = "decoding"

    def __init__(self, decode: Callable[[bytes], bytes] = interrupted) -> None:
        self.decode = decode

    def encode(self, data: bytes) -> bytes:
        return data


class Finished:
    @observers.hookimpl
    def operation_finished(self, operation: object) -> None:
        interrupted()


def uri() -> str:
    return f"memory://{secrets.token_hex(8)}"


def an_encoding(_: pytest.MonkeyPatch) -> None:
    connect(uri(), codecs=[Interrupted()]).messages.post("q", [NewMessage(1)])


def a_decoding(_: pytest.MonkeyPatch) -> None:
    storage = connect(uri(), codecs=[Decoding()])
    storage.messages.post("q", [NewMessage(1)])
    storage.messages.list("q")


def an_observer_s_start(_: pytest.MonkeyPatch) -> None:
    observers.register(Interrupted())
    connect(uri()).messages.stats("q")


def an_observer_s_end(_: pytest.MonkeyPatch) -> None:
    observers.register(Finished())
    connect(uri()).messages.stats("q")


def the_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReferenceDriver, "open", interrupted)
    connect(uri())


def an_observer_s_import(monkeypatch: pytest.MonkeyPatch) -> None:
    observers._process.loaded = False
    monkeypatch.setattr(observers, "offered", entry_points)
    connect(uri())


def a_codec_s_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zaqar_core.codecs.offered", entry_points)
    connect(uri(), codecs=["imported"])


def a_driver_s_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zaqar_core.registry.installed", lambda: {"imported": entry_points("")})
    connect("imported://x")


def looking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = connect(uri())
    storage.messages.post("q", [NewMessage(1)])
    monkeypatch.setattr(storage.driver.records, "get", interrupted)
    storage.close()


class Entry(EntryPoint):
    load = interrupted


def entry_points(group: str) -> list[EntryPoint]:
    return [Entry("imported", "none:none", group)]


EVERYWHERE = [
    an_encoding,
    a_decoding,
    an_observer_s_start,
    an_observer_s_end,
    the_opening,
    an_observer_s_import,
    a_codec_s_import,
    a_driver_s_import,
    looking_again,
]


@pytest.fixture(autouse=True)
def no_observers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "_process", observers._Process())
    observers._process.loaded = True


@pytest.mark.parametrize("where", EVERYWHERE)
@pytest.mark.parametrize(("handler", "error"), [(function, TimeLimit), (exit_, SystemExit)])
def test_what_a_handler_raises_reaches_the_caller(
    where: Callable[[pytest.MonkeyPatch], None],
    handler: Any,
    error: type[BaseException],
    install: Callable[[Any], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(handler)
    with pytest.raises(error):
        where(monkeypatch)


@pytest.mark.parametrize(
    "handler",
    [
        function,
        lambda number, _: function(number, None),
        partial(function),
        partial(partial(function)),
        Handlers().method,
        Handlers(),
    ],
    ids=["function", "lambda", "partial", "partial of a partial", "method", "callable object"],
)
def test_handlers_of_every_kind_are_recognised(handler: Any, install: Callable[[Any], object]) -> None:
    install(handler)
    with pytest.raises(TimeLimit) as raised:
        interrupted()
    assert is_from_handler(raised.value)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL, signal.default_int_handler, function])
def test_the_same_error_from_elsewhere_is_not_a_handler_s(handler: Any, install: Callable[[Any], object]) -> None:
    install(handler)

    def decode(_: object) -> bytes:
        raise TimeLimit

    storage = connect(uri(), codecs=[Decoding(decode)])
    storage.messages.post("q", [NewMessage(1)])
    [message] = storage.messages.pop("q")
    with pytest.raises(CodecError, match="TimeLimit"):
        _ = message.body
