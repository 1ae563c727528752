"""URIs of backends, and the typed options that a driver reads from them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from ipaddress import IPv6Address
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from zaqar_core.encoding import shown
from zaqar_core.errors import InvalidOption, InvalidUri
from zaqar_core.kit.resolve import is_host
from zaqar_core.terminal import printable

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,63}\Z")
_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[\w.-]*))(?::(?P<port>[0-9]{0,5}))?\Z")
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_SECRET = re.compile(
    r"pass|pwd|secret|token|keys?\Z|credential|authori[sz]ation|bearer|cookie|signature|sig\Z|private|jwt",
    re.IGNORECASE,
)
_SECRET_WORDS = ("password", "passwd", "passphrase", "secret", "token", "credential", "signature")
_HIDDEN = "***"
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Uri:
    """A backend's address: ``scheme://user:password@host:port/path?option=value``.

    ``scheme`` names the driver; ``options`` are its options, decoded, as text.
    ``authority`` is the undecoded text between ``//`` and the path (several hosts are the driver's to split);
    ``path`` is decoded. ``str()`` and ``repr()`` hide user and password, the value of an option that sounds like a
    secret, and in an option that is a URI those of that one.
    """

    scheme: str
    authority: str = field(repr=False)
    path: str
    options: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str, extra: Mapping[str, object] | None = None) -> Uri:
        """Read ``text``; ``extra`` adds options. Raises ``InvalidUri``, ``InvalidOption``.

        What could be read in two ways is refused, since one of them may show a password as a host, a path or an
        option: in a user name or password ``/``, ``?``, ``#`` and ``%`` have to be percent-encoded, behind the hosts
        ``@`` and ``#``. No error shows more of the text than its scheme.
        """
        if not isinstance(text, str):
            raise InvalidUri(f"a URI is a string, not {type(text).__name__}; write scheme://...")
        scheme, colon, rest = str.__str__(text).partition("://")
        if not colon or not _SCHEME.match(scheme):
            # The text is not echoed: what is no URI may well be a password.
            raise InvalidUri(
                "a URI starts with a scheme in lower case and '://'; write for example sqlite:///queues.db"
            )
        uri = f"the {scheme} URI"
        if _CONTROL.search(rest):
            raise InvalidUri(f"{uri} contains a control character; remove it, or write it as %0A or the like")
        if "#" in rest:
            raise InvalidUri(f"{uri} has a fragment ('#...'); write a literal '#' as %23")
        before, _, query = rest.partition("?")
        authority, slash, path = before.partition("/")
        user, _, hosts = authority.rpartition("@")
        if "@" in path or "@" in query:
            raise InvalidUri(
                f"{uri} has an '@' behind a '/' or '?'; write '@' as %40, and in a user name or password also write "
                "'/' as %2F, '?' as %3F, '#' as %23 and '%' as %25"
            )
        if not all(map(_is_host_and_port, hosts.split(","))):
            raise InvalidUri(
                f"{uri} has an invalid host or port; write host, host:port or [IPv6 address]:port, separate several "
                "with commas, and write user and password before an '@'"
            )
        decoded = _decoded(path)
        pairs = _pairs(query)
        if decoded is None or pairs is None or _decoded(user) is None:
            raise InvalidUri(
                f"{uri} cannot be read; percent-encode it as UTF-8, and write options as ?name=value&name=value"
            )
        options: dict[str, str] = {}
        for name, value in [*pairs, *((name, _as_text(name, value)) for name, value in (extra or {}).items())]:
            if options.setdefault(name, value) != value:
                raise InvalidOption(f"option {shown(name)} is given twice with different values; give it once")
        return cls(scheme, authority, slash + decoded, options)

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

    def secrets(self) -> frozenset[str]:
        """What ``str()`` hides, but for the user: the password, options that sound like a secret, and an option's own.

        The password decoded, and as it is written.
        """
        found = {self.password or "", self.authority.rpartition("@")[0].partition(":")[2]}
        for name, value in self.options.items():
            if _is_secret(name):
                found.add(value)
            elif (inner := _inner(value)) is not None:
                found |= inner.secrets()
            elif _is_address(value):
                found.add(value)
        return frozenset(found - {""})

    def __str__(self) -> str:
        user = f"{_HIDDEN}@" if "@" in self.authority else ""
        options = "&".join(f"{name}={_shown(name, value)}" for name, value in self.options.items())
        return printable(f"{self.scheme}://{user}{self.hosts}{self.path}" + (f"?{options}" if options else ""))


class _Options(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


OptionsT = TypeVar("OptionsT", bound=_Options)


def read_options(options: type[OptionsT], uri: Uri) -> OptionsT:
    """Make the dataclass ``options`` from the URI's options: str, int, float, bool, Literal or ``... | None`` fields.

    Raises ``InvalidOption`` for one that is unknown (with the closest match), missing or of a wrong value, which it
    shows unless the field's name sounds like a secret or the field is declared with ``repr=False``.
    """
    hints = get_type_hints(options)
    known = {option.name: option for option in fields(options)}
    for name in uri.options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(sorted(known)) or 'none'}"
            raise InvalidOption(f"the {uri.scheme} driver has no option {shown(name)}; {hint}")
    for name, option in known.items():
        if name not in uri.options and option.default is MISSING and option.default_factory is MISSING:
            raise InvalidOption(f"the {uri.scheme} driver needs the option {name!r}; add {name}=... to the URI")
    return options(**{name: _convert(known[name], text, hints[name]) for name, text in uri.options.items()})


def _decoded(text: str) -> str | None:
    """The text without its percent-encoding; None if that is not UTF-8."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:  # whose text shows the bytes: nothing is raised in here
        return None


def _pairs(query: str) -> list[tuple[str, str]] | None:
    """The options of a query in the order given; None if one of them is none."""
    pairs = []
    for part in query.split("&") if query else ():
        name, equals, value = (_decoded(each.replace("+", " ")) for each in part.partition("="))
        if not equals or name is None or value is None or not _OPTION.match(name):
            return None
        pairs.append((name, value))
    return pairs


def _is_host_and_port(text: str) -> bool:
    """Whether it is a host, with or without a port; an empty one is the driver's default."""
    found = _HOST.match(text)
    if not found or int(found["port"] or 0) > _HIGHEST_PORT:
        return False
    if found["address"] is None:
        return not found["name"] or is_host(found["name"])
    try:
        return bool(IPv6Address(found["address"].replace("%25", "%")))
    except ValueError:
        return False


def _is_secret(name: str) -> bool:
    """Whether an option's name sounds like a secret, also misspelt: it may be shown before a driver refuses it."""
    parts = re.split(r"[_.-]", name.lower())
    return bool(_SECRET.search(name)) or any(
        difflib.get_close_matches(part, _SECRET_WORDS, n=1, cutoff=0.8) for part in parts if "secur" not in part
    )


def _shown(name: str, value: str) -> str:
    """An option's value without its secrets."""
    if _is_secret(name):
        return _HIDDEN
    if not _is_address(value):
        return value
    inner = _inner(value)
    return _HIDDEN if inner is None else str(inner)


def _is_address(value: str) -> bool:
    """Whether it is a URI, or may be one that was written wrongly."""
    return "://" in value or "@" in value


def _inner(value: str) -> Uri | None:
    """The URI that an option is, if it can be read."""
    try:
        return Uri.parse(value) if _is_address(value) else None
    except (InvalidUri, InvalidOption):
        return None


def _as_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return str.__str__(value)  # a member of an enumeration by its value, as the number below
    if isinstance(value, int | float):
        try:
            return (int if isinstance(value, int) else float).__repr__(value)
        except ValueError:
            raise InvalidOption(f"option {shown(name)} has too many digits; pass a shorter number") from None
    raise InvalidOption(
        f"option {shown(name)} is a {type(value).__name__}; pass a string, number or bool, or leave it out"
    )


def _convert(option: Field[Any], text: str, kind: Any) -> object:
    name = option.name
    given = shown(_shown(name, text)) if option.repr and not _is_secret(name) else _HIDDEN
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    if get_origin(kind) is Literal:
        for choice in get_args(kind):
            if text.lower() == str(choice).lower():
                return choice
        raise InvalidOption(
            f"option {name}={given} is none of {', '.join(map(str, get_args(kind)))}; choose one of them"
        )
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise InvalidOption(f"option {name}={given} is not true or false; write one of them")
        return text.lower() in ("true", "1", "yes")
    try:
        value: object = kind(text)
    except Exception:  # of any type that a driver's options have
        value = None
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        noun = {int: "a whole number", float: "a finite number"}.get(kind, f"a {kind.__name__}")
        raise InvalidOption(f"option {name}={given} is not {noun}; write one")
    return value
