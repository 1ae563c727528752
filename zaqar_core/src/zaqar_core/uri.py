"""URIs of backends, and the typed options that a driver reads from them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

from zaqar_core.errors import InvalidOption, InvalidUri

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
_SECRET = re.compile(r"pass|secret|token|key\Z|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Uri:
    """A backend's address: ``scheme://user:password@host:port/path?option=value``.

    ``authority`` is the undecoded text between ``//`` and the path (several hosts are the driver's to split);
    ``path`` is decoded. ``str()`` and ``repr()`` hide the password and options that sound like secrets.
    """

    scheme: str
    authority: str = field(repr=False)
    path: str
    options: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str, extra: Mapping[str, object] | None = None) -> Uri:
        """Read ``text``; ``extra`` adds options. Raises ``InvalidUri``, ``InvalidOption``."""
        if not isinstance(text, str):
            raise InvalidUri(f"a URI is a string, not {type(text).__name__}; write scheme://...")
        scheme, colon, _ = text.partition("://")
        if not colon or not _SCHEME.match(scheme):
            # The text is not echoed: what is no URI may well be a password.
            raise InvalidUri("a URI starts with a scheme in lower case and '://'; write for example sqlite:///queues.db")
        try:
            parts = urlsplit(text)
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError as error:
            raise InvalidUri(f"the {scheme} URI cannot be read: {type(error).__name__}; check it for stray characters") from None
        if parts.fragment:
            raise InvalidUri(f"the {scheme} URI has a fragment ('#...'); write a literal '#' as %23")
        options: dict[str, str] = {}
        for name, value in [*pairs, *((name, _as_text(value)) for name, value in (extra or {}).items())]:
            if options.setdefault(name, value) != value:
                raise InvalidOption(f"option {name!r} is given twice with different values; give it once")
        return cls(scheme, parts.netloc, unquote(parts.path), options)

    @property
    def username(self) -> str | None:
        """The decoded user name, or None."""
        name = self.authority.rpartition("@")[0].partition(":")[0]
        return unquote(name) or None

    @property
    def password(self) -> str | None:
        """The decoded password, or None."""
        _, colon, password = self.authority.rpartition("@")[0].partition(":")
        return unquote(password) if colon else None

    @property
    def hosts(self) -> str:
        """The authority without user and password: ``host:port``, or several with commas."""
        return self.authority.rpartition("@")[2]

    def __str__(self) -> str:
        user = f"{self.username}:***@" if self.password is not None else f"{self.username}@" if self.username else ""
        shown = "&".join(f"{n}={'***' if _SECRET.search(n) else v}" for n, v in self.options.items())
        return f"{self.scheme}://{user}{self.hosts}{self.path}" + (f"?{shown}" if shown else "")


class _Options(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


OptionsT = TypeVar("OptionsT", bound=_Options)


def read_options(options: type[OptionsT], uri: Uri) -> OptionsT:
    """Make the dataclass ``options`` from the URI's options: str, int, float, bool, Literal or ``... | None`` fields.

    Raises ``InvalidOption`` for one that is unknown (with the closest match), missing or of a wrong value.
    """
    hints = get_type_hints(options)
    known = {option.name: option for option in fields(options)}
    for name in uri.options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(sorted(known)) or 'none'}"
            raise InvalidOption(f"the {uri.scheme} driver has no option {name!r}; {hint}")
    for name, option in known.items():
        if name not in uri.options and option.default is MISSING and option.default_factory is MISSING:
            raise InvalidOption(f"the {uri.scheme} driver needs the option {name!r}; add {name}=... to the URI")
    return options(**{name: _convert(name, text, hints[name]) for name, text in uri.options.items()})


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _convert(name: str, text: str, kind: Any) -> object:
    shown = "***" if _SECRET.search(name) else repr(text)
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    if get_origin(kind) is Literal:
        for choice in get_args(kind):
            if text.lower() == str(choice).lower():
                return choice
        raise InvalidOption(f"option {name}={shown} is none of {', '.join(map(str, get_args(kind)))}; choose one of them")
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise InvalidOption(f"option {name}={shown} is not true or false; write one of them")
        return text.lower() in ("true", "1", "yes")
    try:
        return kind(text)
    except ValueError:
        noun = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise InvalidOption(f"option {name}={shown} is not {noun}; write one") from None
