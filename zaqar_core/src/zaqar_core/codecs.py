"""What changes bodies on their way to the datastore and back: compression, encryption. Bytes in, bytes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from zaqar_core import validation
from zaqar_core.body import Undecodable
from zaqar_core.encoding import parse, shown
from zaqar_core.errors import CodecError, InvalidInput
from zaqar_core.hiding import said
from zaqar_core.plugins import offered, owner
from zaqar_core.signals import is_from_handler

GROUP = "zaqar_core.codecs"
"""The entry-point group in which a distribution offers a codec: a name, and a class or function that makes one."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")
_NAMES = re.compile(rb"[a-z0-9][a-z0-9_.-]*(,[a-z0-9][a-z0-9_.-]*)*")
_MOST = 100
_REMEDIES = {"encode": "nothing was written: repair it", "decode": "connect with what it was written with"}
_MARK = b"\0"
# JSON never starts with a NUL byte, so a body that does was written by codecs, whose names follow:
# NUL, names with commas in the order they were applied, NUL, the bytes.


class Codec(Protocol):
    """One reversible change of bytes, shared by threads.

    What it raises becomes a ``CodecError``, except what a signal handler raises while it runs.
    """

    name: str
    """Lower-case letters, digits, ``_``, ``.`` and ``-``; stored with each body, so it never changes."""

    def encode(self, data: bytes) -> bytes:
        """The bytes to store."""

    def decode(self, data: bytes) -> bytes:
        """The bytes that ``encode`` was given."""


class Codecs:
    """The codecs of a connection, applied in order to what is posted, and undone as each body says."""

    def __init__(self, codecs: Iterable[Codec | str] = ()) -> None:
        self._chain = _chain(codecs)
        self._by_name = {codec.name: codec for codec in self._chain}
        if len(self._by_name) < len(self._chain):
            raise CodecError("two codecs of one name; name each once")
        self._prefix = _MARK + ",".join(self._by_name).encode() + _MARK

    def encode(self, data: bytes) -> bytes:
        """Apply all codecs. Raises ``CodecError``."""
        if not self._chain:
            return data
        for codec in self._chain:
            data = _run(codec.name, "encode", codec.encode, data)
        return self._prefix + data

    def decode(self, data: bytes) -> bytes:
        """Undo the codecs that a stored body names; one written without codecs is returned as it is."""
        if not data.startswith(_MARK):
            return data
        names, end, data = data[1:].partition(_MARK)
        if not end or not _NAMES.fullmatch(names):
            raise CodecError(
                "the names of the codecs in front of a body are damaged, or another program wrote it; look at the "
                "message's raw bytes"
            )
        for name in reversed(names.decode().split(",")):
            codec = self._by_name.get(name)
            if codec is None:
                raise CodecError(
                    f"a body was written with the codec {shown(name)}; connect with codecs=[{shown(name)}] to read it"
                )
            data = _run(name, "decode", codec.decode, data)
        return data

    def read(self, data: bytes) -> Any:
        """The value of a stored body, or an ``Undecodable`` that says why there is none."""
        try:
            return parse(self.decode(data))
        except CodecError as error:
            return Undecodable(str(error), error.__cause__)
        except ValueError as error:
            return Undecodable(
                f"the {len(data)} bytes of a body cannot be read: {error}; they are damaged, or another program wrote "
                "them"
            )


def _chain(codecs: Any) -> tuple[Codec, ...]:
    """The codecs, those named found. Raises ``InvalidInput`` for what is none, ``CodecError`` for a bad one."""
    if not isinstance(codecs, Iterable) or isinstance(codecs, str | bytes):
        raise InvalidInput(f"codecs is {shown(codecs)}; pass a list of names and codecs")
    given = validation.items(codecs, "codecs", _MOST, InvalidInput)
    if len(given) > _MOST:
        raise InvalidInput(f"codecs has more than {_MOST} codecs; name each that is needed once")
    chain = tuple(_find(codec) if isinstance(codec, str) else codec for codec in given)
    for codec in chain:
        _check(codec)
    return chain


def _check(codec: Any) -> None:
    if isinstance(codec, type):
        raise InvalidInput(f"{shown(codec)} is a class; pass an instance of it, or the name of an installed codec")
    try:
        complete = all(hasattr(codec, part) for part in ("name", "encode", "decode"))
        name = codec.name if complete else None
    except Exception as error:
        raise InvalidInput(
            f"codec {shown(codec)} fails with {type(error).__name__} when its name is read: repair it"
        ) from error
    if not complete:
        raise InvalidInput(f"{shown(codec)} is not a codec: it lacks name, encode or decode; pass a zaqar_core.Codec")
    if not isinstance(name, str) or not _NAME.match(name):
        raise CodecError(
            f"invalid codec name {shown(name)}: only lower-case letters, digits, '_', '.' and '-' are allowed, and a "
            "letter or digit comes first; rename it"
        )


def _run(name: str, step: str, function: Callable[[bytes], bytes], data: bytes) -> bytes:
    try:
        result: object = function(data)
    except Exception as error:
        if is_from_handler(error):
            raise
        raise CodecError(
            f"codec {name!r} failed to {step} a body: {type(error).__name__}; {_REMEDIES[step]}"
        ) from error
    if not isinstance(result, bytes):
        raise CodecError(
            f"codec {name!r} returned {type(result).__name__} from {step}; it must return bytes: repair it"
        )
    return result


def _find(name: str) -> Codec:
    installed = offered(GROUP)
    found = [entry for entry in installed if entry.name == name]
    if not found:
        known = ", ".join(sorted(entry.name for entry in installed)) or "none"
        raise CodecError(f"no codec is called {shown(name)}; installed are: {known}; install its distribution")
    if len(found) > 1:
        owners = " and ".join(sorted(map(owner, found)))
        raise CodecError(f"{owners} both offer a codec {name!r}; uninstall all but one, or pass the object itself")
    try:
        codec: Codec = found[0].load()()
    except BaseException as error:  # one that would end the process while it is imported is broken too
        if isinstance(error, KeyboardInterrupt) or is_from_handler(error):
            raise
        raise CodecError(
            f"codec {name!r} is installed but cannot be loaded: {type(error).__name__}: {said(error)}; reinstall its "
            "distribution"
        ) from error
    if getattr(codec, "name", name) != name:
        raise CodecError(f"the codec installed as {name!r} calls itself {codec.name!r}; report it to its authors")
    return codec
