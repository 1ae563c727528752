"""Where the server is and how to speak to it, read from the URI."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from zaqar_core.errors import InvalidOption, InvalidUri
from zaqar_core.uri import Uri, read_options

DEFAULT_PORT: Final = 6379
MOST_CONNECTIONS: Final = 10_000

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PORT: Final = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a ``redis:`` URI.

    ``prefix``: what the names of all keys start with; queues under another prefix are other queues.
    ``protocol``: of the two that Redis speaks, RESP2 or RESP3.
    ``max_connections``: how many operations one driver has under way at once; further ones wait.
    """

    prefix: str = "zaqar"
    protocol: Literal[2, 3] = 2
    max_connections: int = 64

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise InvalidOption(
                f"option prefix={self.prefix!r} is not 1 to 64 letters, digits, '_', '.', ':' or '-'; choose another"
            )
        if not 1 <= self.max_connections <= MOST_CONNECTIONS:
            raise InvalidOption(
                f"option max_connections={self.max_connections} is outside 1 to {MOST_CONNECTIONS}; choose one inside"
            )


@dataclass(frozen=True, slots=True)
class Address:
    """One server: ``host`` and ``port``, or the ``path`` of a Unix socket."""

    host: str = "localhost"
    port: int = DEFAULT_PORT
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


def options_of(uri: Uri) -> Options:
    """Raises ``InvalidOption``."""
    return read_options(Options, uri)


def address_of(uri: Uri) -> Address:
    """The server of a ``redis:`` URI. Raises ``InvalidUri``."""
    if "," in uri.hosts:
        raise InvalidUri(f"{uri} names several servers; write one: redis://host:6379/0")
    return read_address(uri.hosts, DEFAULT_PORT)


def read_address(text: str, default_port: int) -> Address:
    """``host``, ``host:port`` or ``[address]:port``; without a host it is this machine. Raises ``InvalidUri``."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidUri(f"{text!r} is no host and port; write an IPv6 address in brackets: [::1]:6379")
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise InvalidUri(f"{text!r} has no port from 1 to 65535; write for example host:{default_port}")
    return Address(host or "localhost", int(port))


def database_of(uri: Uri) -> int:
    """The number of the database in the path; 0 if there is none. Raises ``InvalidUri``."""
    text = uri.path.strip("/")
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidUri(f"the path {uri.path!r} is no number of a database; write for example redis://host:6379/0")
    return int(text)
