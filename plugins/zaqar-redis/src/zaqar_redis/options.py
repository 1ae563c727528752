"""Where the servers are and how to speak to them, read from the URI."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, Literal

from zaqar_core.errors import InvalidOption, InvalidUri
from zaqar_core.kit import resolve
from zaqar_core.uri import Uri, read_options

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
MOST_CONNECTIONS: Final = 10_000

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_TLS: Final = ("rediss", "rediss+sentinel", "rediss+cluster")
_SENTINEL: Final = ("redis+sentinel", "rediss+sentinel")
_ONLY: Final[Mapping[str, Sequence[str]]] = {
    "database": ("redis+unix",),
    "sentinel_username": _SENTINEL,
    "sentinel_password": _SENTINEL,
    "tls_ca": _TLS,
    "tls_cert": _TLS,
    "tls_key": _TLS,
    "tls_verify": _TLS,
}
"""Options that only some schemes take."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the URI.

    ``prefix``: what the names of all keys start with; queues under another prefix are other queues.
    ``protocol``: of the two that Redis speaks, RESP2 or RESP3.
    ``max_connections``: how many operations one driver has under way at one server; further ones wait.
    ``database``: its number, for ``redis+unix``; else it is the path.
    ``sentinel_username``, ``sentinel_password``: of the Sentinels, if they ask.
    ``tls_ca``: a file with the certificates to trust, "" for those of the system. ``tls_cert``, ``tls_key``: files with
    the client's certificate and key. ``tls_verify``: whether the server's certificate and host name are checked.
    """

    prefix: str = "zaqar"
    protocol: Literal[2, 3] = 2
    max_connections: int = 64
    database: int = 0
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_verify: bool = True

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise InvalidOption(
                f"option prefix={self.prefix!r} is not 1 to 64 letters, digits, '_', '.', ':' or '-'; choose another"
            )
        if not 1 <= self.max_connections <= MOST_CONNECTIONS:
            raise InvalidOption(
                f"option max_connections={self.max_connections} is outside 1 to {MOST_CONNECTIONS}; choose one inside"
            )
        if self.database < 0:
            raise InvalidOption(f"option database={self.database} is below 0; write the number of a database")


@dataclass(frozen=True, slots=True)
class Address:
    """One server: ``host`` and ``port``, or the ``path`` of a Unix socket."""

    host: str = "localhost"
    port: int = REDIS_PORT
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


@dataclass(frozen=True, slots=True)
class Place:
    """What a URI points at. ``kind``: one server, Sentinels that know of one, or a cluster; ``addresses``: of these.

    ``service``: what the Sentinels call the server. ``database``: its number there.
    """

    kind: Literal["server", "sentinel", "cluster"]
    addresses: tuple[Address, ...]
    tls: bool = False
    service: str = ""
    database: int = 0


def options_of(uri: Uri) -> Options:
    """Raises ``InvalidOption``."""
    options = read_options(Options, uri)
    for option in fields(options):
        schemes = _ONLY.get(option.name, (uri.scheme,))
        if option.name in uri.options and uri.scheme not in schemes:
            raise InvalidOption(f"option {option.name} is for {' and '.join(schemes)}; leave it out of {uri.scheme}://")
        if not _is_text(uri.options.get(option.name, "")):
            raise InvalidOption(f"option {option.name} contains a surrogate, which is not a character; remove it")
    _check_files(options)
    return options


def _check_files(options: Options) -> None:
    for name in ("tls_ca", "tls_cert", "tls_key"):
        path = getattr(options, name)
        if path and not _is_file(path):
            raise InvalidOption(f"option {name}={path!r} is not a file; write the path of a PEM file")
    if bool(options.tls_cert) != bool(options.tls_key):
        raise InvalidOption("of the options tls_cert and tls_key only one is given; give both, or none")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if options.tls_ca:
            context.load_verify_locations(options.tls_ca)
    except OSError as error:
        raise InvalidOption(
            f"option tls_ca={options.tls_ca!r} holds no certificate that can be read; write the path of a PEM file"
        ) from error
    try:
        if options.tls_cert:
            context.load_cert_chain(options.tls_cert, options.tls_key, password="")  # or it would ask the terminal
    except OSError as error:
        raise InvalidOption(
            f"options tls_cert={options.tls_cert!r} and tls_key={options.tls_key!r} hold no certificate and its "
            "unencrypted key; write the paths of PEM files that belong together"
        ) from error


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # such as a name that is too long
        return False


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def place_of(uri: Uri, options: Options) -> Place:
    """Raises ``InvalidUri``."""
    if not all(map(_is_text, (uri.username or "", uri.password or "", uri.path))):
        raise InvalidUri(f"the {uri.scheme} URI contains a surrogate, which is not a character; remove it")
    kind = uri.scheme.partition("+")[2]
    tls = uri.scheme.startswith("rediss")
    if kind == "unix":
        return Place("server", (_socket_of(uri),), database=options.database)
    if kind == "sentinel":
        service, _, database = uri.path.strip("/").partition("/")
        if not service:
            raise InvalidUri(f"{uri} names no primary; write redis+sentinel://host:{SENTINEL_PORT}/NAME/0")
        return Place("sentinel", _addresses_of(uri, SENTINEL_PORT), tls, service, _number(uri, database))
    if kind == "cluster":
        if uri.path.strip("/") not in ("", "0"):
            raise InvalidUri(f"{uri}: a cluster has no databases but 0; leave the path out")
        return Place("cluster", _addresses_of(uri, REDIS_PORT), tls)
    if "," in uri.hosts:
        raise InvalidUri(f"{uri} names several servers; write one, or redis+sentinel:// or redis+cluster://")
    return Place("server", _addresses_of(uri, REDIS_PORT), tls, database=_number(uri, uri.path.strip("/")))


def _addresses_of(uri: Uri, default_port: int) -> tuple[Address, ...]:
    return tuple(_address(text, default_port) for text in uri.hosts.split(","))


def _address(text: str, default_port: int) -> Address:
    """``host``, ``host:port`` or ``[address]:port``; without a host it is this machine."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidUri(
            f"expected a host and a port, got {text!r}; write an IPv6 address in brackets: [::1]:{default_port}"
        )
    if not resolve.is_host(host or "localhost"):
        raise InvalidUri(
            f"expected the name or the IP address of a host, got {host[:80]!r}; write for example redis.example.org or "
            f"10.0.0.1:{default_port}"
        )
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise InvalidUri(f"{text!r} has no port from 1 to 65535; write for example host:{default_port}")
    return Address(host or "localhost", int(port))


def _socket_of(uri: Uri) -> Address:
    if uri.hosts:
        raise InvalidUri(f"{uri} has a host; write the path behind three slashes: redis+unix:///run/redis.sock")
    if uri.path in ("", "/"):
        raise InvalidUri(f"{uri} names no socket; write its path behind three slashes: redis+unix:///run/redis.sock")
    if "\0" in uri.path:
        raise InvalidUri(f"{uri.path!r} cannot be the name of a file; remove the %00")
    return Address(path=uri.path)


def _number(uri: Uri, text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidUri(
            f"expected the number of a database, got {text!r} in {uri}; write for example redis://host:6379/0"
        )
    return int(text)
