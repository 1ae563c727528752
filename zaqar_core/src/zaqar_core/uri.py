"""URIs of backends, and the typed options that a driver reads from them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

from zaqar_core.errors import InvalidOption, InvalidUri

_STRAY = re.compile(r"[\x00-\x1f\x7f]")  # urlsplit drops some of these without a word
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
_SECRET = re.compile(r"pass|pwd|secret|token|key\Z|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Uri:
    """A backend's address: ``scheme://user:password@host:port/path?option=value``.

    ``scheme`` names the driver; ``options`` are its options, decoded, as text.
    ``authority`` is the undecoded text between ``//`` and the path (several hosts are the driver's to split);
    ``path`` is decoded. ``str()`` and ``repr()`` hide the password and options that sound like secrets, and in an
    option that is a URI those of that one.
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
            raise InvalidUri(
                "a URI starts with a scheme in lower case and '://'; write for example sqlite:///queues.db"
            )
        if _STRAY.search(text):
            raise InvalidUri(
                f"the {scheme} URI contains a control character; remove it, or write it as %0A or the like"
            )
        try:
            parts = urlsplit(text)
            path = unquote(parts.path, errors="strict")
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
        except ValueError as error:
            raise InvalidUri(
                f"the {scheme} URI cannot be read: {type(error).__name__}; check it for stray characters"
            ) from None
        if "#" in text:
            raise InvalidUri(f"the {scheme} URI has a fragment ('#...'); write a literal '#' as %23")
        if "@" in parts.path and ":" in parts.netloc and "@" not in parts.netloc:
            # A password cut in two by its '/' would be shown as host and path.
            raise InvalidUri(
                f"the {scheme} URI has an '@' behind a '/'; write '/' in a password as %2F, '@' in a path as %40"
            )
        options: dict[str, str] = {}
        for name, value in [*pairs, *((name, _as_text(name, value)) for name, value in (extra or {}).items())]:
            if options.setdefault(name, value) != value:
                raise InvalidOption(f"option {name!r} is given twice with different values; give it once")
        return cls(scheme, parts.netloc, path, options)

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
        name = self.username or ""
        user = f"{name}:***@" if self.password is not None else f"{name}@" if name else ""
        shown = "&".join(f"{name}={_shown(name, value)}" for name, value in self.options.items())
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


def _shown(name: str, value: str) -> str:
    """An option's value without its secrets."""
    if _SECRET.search(name):
        return "***"
    if "://" in value or "@" in value:
        try:
            return str(Uri.parse(value))
        except (InvalidUri, InvalidOption):
            return "***"  # it may be a URI that was written wrongly
    return value


def _as_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return str.__str__(value)  # a member of an enumeration by its value, as the number below
    if isinstance(value, int | float):
        return (int if isinstance(value, int) else float).__repr__(value)
    raise InvalidOption(f"option {name!r} is a {type(value).__name__}; pass a string, number or bool, or leave it out")


def _convert(name: str, text: str, kind: Any) -> object:
    shown = "***" if _SECRET.search(name) else repr(_shown(name, text))
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    if get_origin(kind) is Literal:
        for choice in get_args(kind):
            if text.lower() == str(choice).lower():
                return choice
        raise InvalidOption(
            f"option {name}={shown} is none of {', '.join(map(str, get_args(kind)))}; choose one of them"
        )
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise InvalidOption(f"option {name}={shown} is not true or false; write one of them")
        return text.lower() in ("true", "1", "yes")
    try:
        value: object = kind(text)
    except ValueError:
        value = None
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        noun = {int: "a whole number", float: "a finite number"}.get(kind, f"a {kind.__name__}")
        raise InvalidOption(f"option {name}={shown} is not {noun}; write one")
    return value
