"""Where Swift is and how to be let in, read from the URI."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Final, Literal

from zaqar_core.errors import InvalidOption, InvalidUri
from zaqar_core.uri import Uri, read_options
from zaqar_swift.packing import INLINE

MOST_CONNECTIONS: Final = 1_000
MOST_CONTAINERS: Final = 1_024

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HOSTS: Final = re.compile(r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the URI.

    ``auth``: how to log in: ``v1`` (tempauth and its like), or at Keystone with a password (``v3``) or an application
    credential (``application_credential``); ``auto``: the path of the URI tells v1 from v3.
    ``project``, ``project_domain``, ``user_domain``: whose account it is, for ``v3``.
    ``cloud``: of a ``clouds.yaml``, where the URI has no host. ``region``, ``interface``: of several endpoints, which;
    not for ``v1``, which has one.
    ``prefix``: what the names of the containers start with; another prefix is another store.
    ``containers``: over how many the queues are spread; it is settled when the store is first opened, 4 unless given.
    ``connections``: how many requests one driver has under way at once; further ones wait.
    ``inline_bytes``: up to how many bytes a message or record is kept in its object's content type, which listings
    show; 0: never, so that all contents are data, which Swift can encrypt.
    ``coordinator``: the URI of a Redis that decides which claim holds which message; "": none. It is settled when the
    store is first opened.
    ``tls_ca``: a file with the certificates to trust, "" for those of the system. ``tls_verify``: whether the
    certificate and host name are checked.
    """

    auth: Literal["auto", "v1", "v3", "application_credential"] = "auto"
    project: str = ""
    project_domain: str = "Default"
    user_domain: str = "Default"
    cloud: str = ""
    region: str = ""
    interface: Literal["public", "internal", "admin"] = "public"
    prefix: str = "zaqar"
    containers: int | None = None
    connections: int = 16
    inline_bytes: int = INLINE
    coordinator: str = field(default="", repr=False)
    tls_ca: str = ""
    tls_verify: bool = True

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise InvalidOption(
                f"option prefix={self.prefix!r} is not 1 to 64 letters, digits, '_', '.' or '-'; choose another"
            )
        for name, least, most in (
            ("containers", 1, MOST_CONTAINERS),
            ("connections", 1, MOST_CONNECTIONS),
            ("inline_bytes", 0, INLINE),
        ):
            number = getattr(self, name)
            if number is not None and not least <= number <= most:
                raise InvalidOption(f"option {name}={number} is outside {least} to {most}; choose one inside")


@dataclass(frozen=True, slots=True)
class Login:
    """What to log in with, at ``url``. ``user``: a name, or the id of an application credential."""

    kind: Literal["v1", "v3", "application_credential"]
    url: str
    user: str
    secret: str = field(repr=False)


def options_of(uri: Uri) -> Options:
    """Raises ``InvalidOption``."""
    options = read_options(Options, uri)
    if options.tls_ca:
        ensure_certificates(options.tls_ca, "option tls_ca:")
    if options.cloud and uri.hosts:
        raise InvalidOption("option cloud is for swift:/// without a host; leave out the one or the other")
    return options


def ensure_certificates(path: str, said: str) -> None:
    """Raises ``InvalidOption`` unless there are certificates. ``said``: where the path was written."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:  # errors of TLS are OSErrors; U+0000 in the path is a ValueError
        raise InvalidOption(
            f"{said} {path!r} is not a file of certificates ({error}); write the path of a PEM file"
        ) from error


def login_of(uri: Uri, options: Options) -> Login | None:
    """None where the URI names no host: then ``clouds.yaml`` and the environment say. Raises ``InvalidUri``."""
    if not uri.hosts:
        if uri.authority or uri.path.strip("/"):
            raise InvalidUri(f"{uri} has no host; write swift://user:password@host/auth/v1.0, or swift:///?cloud=NAME")
        if uri.scheme != "swift":
            raise InvalidUri(f"{uri} has no host; write swift:/// to use clouds.yaml or the OS_ variables")
        return None
    if not _HOSTS.fullmatch(uri.hosts):
        raise InvalidUri(f"{uri}: expected a host and port, got {uri.hosts!r}; write for example swift.example.com")
    if uri.username is None or uri.password is None:
        raise InvalidUri(f"{uri} has no user or no password; write swift://user:password@{uri.hosts}{uri.path}")
    kind = _kind_of(uri) if options.auth == "auto" else options.auth
    scheme = "http" if uri.scheme.endswith("+http") else "https"
    if kind == "v3" and not options.project:
        raise InvalidOption("the option project is missing, which Keystone needs with a password; add project=NAME")
    if kind == "v1" and (options.region or options.interface != "public"):
        raise InvalidOption(
            "options region and interface are for Keystone, which knows several endpoints; leave them out, or log in "
            "there, at .../v3"
        )
    return Login(kind, f"{scheme}://{uri.hosts}{uri.path}", uri.username, uri.password)


def _kind_of(uri: Uri) -> Literal["v1", "v3"]:
    path = uri.path.rstrip("/")
    if re.search(r"/v1(\.0)?$", path):
        return "v1"
    if path.endswith("/v3"):
        return "v3"
    raise InvalidUri(
        f"{uri}: its path ends neither in /v1.0 nor in /v3, so the driver cannot tell how to log in; "
        "write the URL of the authentication, or add auth=v1, v3 or application_credential"
    )
