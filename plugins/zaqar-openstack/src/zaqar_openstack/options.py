"""What the URI says, in the words of OpenStack Zaqar's own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from zaqar_core.errors import InvalidOption, InvalidUri
from zaqar_core.limits import Limits
from zaqar_core.uri import Uri, read_options

Settings = Mapping[tuple[str, str], Any]
"""Values of OpenStack Zaqar's options, by group and name."""


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """Options of ``openstack+redis://``; names and defaults of the second and third are OpenStack Zaqar's.

    ``socket_timeout``: seconds, of one command; None: the ``timeout`` of ``connect`` (OpenStack Zaqar's own: 0.1).
    ``max_reconnect_attempts``: how often it tries an operation, whatever that does, while the connection breaks.
    ``reconnect_sleep``: seconds between the first and second try; each later pause is twice the one before.
    ``master``: the primary's name, where the hosts are Sentinels.
    ``max_messages_per_post``: how many messages one post may have; None: as many as ``connect`` says. OpenStack Zaqar
    knows no limit, and fails at 3 999; with a lower one, what comes after it can be seen.
    """

    socket_timeout: float | None = None
    max_reconnect_attempts: int = 10
    reconnect_sleep: float = 1.0
    master: str = ""
    max_messages_per_post: int | None = None


@dataclass(frozen=True, slots=True)
class SwiftOptions:
    """Options of ``openstack+swift://``.

    ``auth_url``: where Keystone is. ``management``: ``host:port`` of a Redis server without a password, in which
    OpenStack Zaqar registers the queues.
    """

    auth_url: str
    management: str


def settings_of(uri: Uri, *, timeout: float) -> Settings:
    """OpenStack Zaqar's settings for a URI. Raises ``InvalidUri``, ``InvalidOption``."""
    return _redis(uri, timeout) if uri.scheme == "openstack+redis" else _swift(uri, timeout)


def limits_of(uri: Uri) -> Limits | None:
    """What narrows the facade's limits."""
    most = read_options(RedisOptions, uri).max_messages_per_post if uri.scheme == "openstack+redis" else None
    return None if most is None else Limits(max_messages_per_post=most)


def _redis(uri: Uri, timeout: float) -> Settings:
    options = read_options(RedisOptions, uri)
    if not uri.hosts:
        raise InvalidUri(f"{uri} names no server; write openstack+redis://host:6379/0")
    if options.max_reconnect_attempts < 1:
        raise InvalidOption(f"option max_reconnect_attempts={options.max_reconnect_attempts} is below 1; write 1")
    if options.max_messages_per_post is not None and options.max_messages_per_post < 1:
        raise InvalidOption(f"option max_messages_per_post={options.max_messages_per_post} is below 1; leave it out")
    database = uri.path.strip("/") or "0"
    if not (database.isascii() and database.isdecimal()):
        raise InvalidUri(f"{database!r} in {uri} is not the number of a database; write openstack+redis://host:6379/0")
    query = {"socket_timeout": options.socket_timeout or timeout, "dbid": database}
    if options.master:
        query["master"] = options.master
    settings: dict[tuple[str, str], Any] = {
        ("drivers", "message_store"): "redis",
        ("drivers", "management_store"): "redis",
    }
    for group in ("drivers:message_store:redis", "drivers:management_store:redis"):
        settings[group, "uri"] = f"redis://{uri.authority}?{urlencode(query)}"
        settings[group, "max_reconnect_attempts"] = options.max_reconnect_attempts
        settings[group, "reconnect_sleep"] = options.reconnect_sleep
    return settings


def _swift(uri: Uri, timeout: float) -> Settings:
    options = read_options(SwiftOptions, uri)
    if not (uri.username and uri.password and uri.path.strip("/")):
        raise InvalidUri(f"{uri} lacks user, password or project; write openstack+swift://user:password@/project")
    if "@" in options.management:
        raise InvalidOption(
            "option management has an '@', and would show a password; write host:port of a Redis server"
        )
    return {
        ("drivers", "message_store"): "swift",
        ("drivers", "management_store"): "redis",
        ("drivers:message_store:swift", "uri"): f"swift://{uri.authority}{uri.path}",
        ("drivers:message_store:swift", "auth_url"): options.auth_url,
        ("drivers:management_store:redis", "uri"): f"redis://{options.management}?socket_timeout={timeout}",
    }
