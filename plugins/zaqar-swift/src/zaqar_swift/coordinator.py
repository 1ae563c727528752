"""The coordinator: a Redis beside Swift, which does the one thing that Swift cannot, an atomic compare-and-set.

A lock would not do: its holder may be suspended for longer than the lock lasts, and then go on writing. A
compare-and-set that comes too late changes nothing.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from zaqar_core.contract import new_id
from zaqar_core.errors import (
    IncompatibleStorage,
    InvalidInput,
    InvalidOption,
    OutcomeUnknown,
    StorageClosed,
    StorageUnavailable,
)
from zaqar_core.kit import resolve
from zaqar_core.uri import Uri
from zaqar_swift.errors import (
    coordinator_broken,
    coordinator_refused,
    is_reply_of_redis,
    is_time_out,
    odd_coordinator,
)
from zaqar_swift.forks import renew_in_child
from zaqar_swift.options import ensure_certificates

_SWAP: Final = (files("zaqar_swift") / "swap.lua").read_text("utf-8")
_OLDEST: Final = (6, 2)
_VERSION: Final = re.compile(r"(\d{1,4})\.(\d{1,4})")
_DATABASE: Final = re.compile(r"[0-9]{1,9}")
_PORT: Final = 6379
_LEAST: Final = 0.001
"""Seconds: what a socket is given when time is up, since 0 means something else to it."""
_WRITE: Final = "write coordinator=redis://user:password@host:6379/0, percent-encoded within a URI"


class Change(NamedTuple):
    """From one value to another, b"" being none. ``keep_for``: after so many ms the new one may go."""

    old: bytes
    new: bytes
    keep_for: int


class Coordinator:
    """One server, and the keys on it that belong to one store. Methods raise ``StorageError`` by their ``deadline``.

    What was not there is b"" in what is read. A change that raises ``OutcomeUnknown`` may have been made.
    """

    def __init__(self, text: str, prefix: str) -> None:
        """Nothing is connected yet. Raises ``InvalidOption``."""
        self._make, self.where, self._secret = _maker(text)
        self._stem = f"zaqar-swift:{prefix}:"
        self.identity_key = f"{self._stem}identity"
        self._identity = ""
        self._closed = False
        renew_in_child(self)

    def renew(self) -> None:
        # The child closes its copies of the sockets without a word to the server, as their objects go.
        self._idle: list[Any] = []

    def identity(self, deadline: float) -> str | None:
        """The identity of its store, or None if it has none yet."""
        found = self._call(deadline, "GET", self.identity_key)
        if found is not None and not isinstance(found, bytes):
            raise odd_coordinator(self.where)
        return None if found is None else found.decode("utf-8", "replace")

    def settle_identity(self, deadline: float) -> str:
        """The identity of its store, which it is given now if it had none."""
        self._call(deadline, "SET", self.identity_key, new_id(), "NX", changes=True)
        return str(self.identity(deadline))

    def belongs_to(self, identity: str) -> None:
        """Read and change from now on only as long as it is this one's."""
        self._identity = identity

    def read(self, keys: Sequence[str], deadline: float) -> dict[str, bytes]:
        """The values of the keys at one moment."""
        found = self._call(deadline, "MGET", self.identity_key, *map(self._key, keys))
        if not isinstance(found, list) or len(found) != 1 + len(keys):
            raise odd_coordinator(self.where)
        identity, *values = found
        if identity != self._identity.encode():
            raise self._another()
        return {key: value or b"" for key, value in zip(keys, values, strict=True)}

    def swap(self, changes: Mapping[str, Change], deadline: float) -> bool:
        """Make all of the changes, at one moment, or none if a key has another value than its change begins with.

        Whether they were made. No two changes may ever have the same new value but where they mean the same.
        """
        keys = [self.identity_key, *map(self._key, changes)]
        values = [part for change in changes.values() for part in change]
        reply = self._call(deadline, "EVAL", _SWAP, len(keys), *keys, self._identity, *values, changes=True)
        if reply not in (-1, 0, 1):
            raise odd_coordinator(self.where)
        if reply < 0:
            raise self._another()
        return bool(reply)

    def shortcomings(self, deadline: float) -> list[str]:
        """Why it may lose data; empty if it does not. Raises if it cannot be used at all."""
        try:
            said = self._call(deadline, "INFO")
        except OutcomeUnknown:
            raise
        except StorageUnavailable as error:
            self._call(deadline, "GET", self.identity_key)  # raises if it is more than INFO that does not work
            return [f"INFO is refused, so it is unknown whether it may lose data: {error}"]
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else ""
        lines = (line.partition(":") for line in text.splitlines())
        info = {name: value for name, colon, value in lines if colon}
        version = info.get("redis_version", "")  # of Valkey that of Redis that it is compatible with
        numbers = _VERSION.match(version)
        if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST:
            raise IncompatibleStorage(f"{self.where} is Redis {version}; use 6.2 or later, or Valkey")
        if info.get("cluster_enabled") == "1":
            raise InvalidOption(f"{self.where} is a node of a cluster; name a single server by the option coordinator")
        if info.get("role", "master") != "master":
            raise StorageUnavailable(f"{self.where} is a replica; name its primary by the option coordinator")
        gaps = []
        if info.get("aof_enabled") != "1":
            gaps.append("appendonly is not yes: it forgets everything when it ends")
        if info.get("maxmemory_policy") != "noeviction":
            gaps.append("maxmemory-policy is not noeviction: it evicts keys when memory is short")
        return gaps

    def ping(self, deadline: float) -> None:
        """Raises unless it answers, and is the one that it belongs to."""
        self.read((), deadline)

    def close(self) -> None:
        """Twice is once."""
        self._closed = True
        self._drop_idle()

    def _key(self, key: str) -> str:
        return f"{self._stem}{key}"

    def _another(self) -> IncompatibleStorage:
        return another_coordinator(self.where, self.identity_key, self._identity)

    def _call(self, deadline: float, *command: Any, changes: bool = False) -> Any:
        """The reply. All commands may be sent twice, so a connection that the server had closed is no error."""
        sent = False
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
        while True:
            before = sent
            connection = self._take()
            fresh = connection is None
            try:
                if connection is None:
                    connection = self._connect(deadline)
                else:
                    connection._sock.settimeout(_left(deadline))  # which redis-py has no public way to
                connection.send_command(*parts, check_health=False)
                sent = True
                reply = connection.read_response()
            except Exception as error:
                self._drop(connection)
                self._redact(error)
                if is_reply_of_redis(error) and not (before and changes):
                    raise coordinator_refused(error, self.where) from error
                late = is_time_out(error)
                if late:
                    self._drop_idle()  # if one died silently, the others did too
                if fresh or late or time.monotonic() >= deadline:
                    raise coordinator_broken(error, self.where, unknown=sent and changes) from error
            except BaseException:
                self._drop(connection)  # its reply will not be read
                raise
            else:
                self._give_back(connection)
                return reply

    def _connect(self, deadline: float) -> Any:
        connection = self._make(deadline)
        connection.connect()
        connection._sock.settimeout(_left(deadline))
        return connection

    def _take(self) -> Any:
        if self._closed:
            raise StorageClosed("the storage is closed; connect again")
        with suppress(IndexError):
            return self._idle.pop()
        return None

    def _give_back(self, connection: Any) -> None:
        self._idle.append(connection)
        if self._closed:
            self._drop_idle()

    def _drop_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._drop(self._idle.pop())

    def _redact(self, error: Exception) -> None:
        """Take the password out of what a server says: one that knows no AUTH repeats what it was given."""
        for secret in filter(None, (self._secret, repr(self._secret)[1:-1])):
            error.args = tuple(str(each).replace(secret, "***") for each in error.args)

    def _drop(self, connection: Any) -> None:
        if connection is not None:
            connection.disconnect()


def another_coordinator(where: str, key: str, identity: str) -> IncompatibleStorage:
    """What to raise where the coordinator is not the one that the store was made with, or has lost its data."""
    return IncompatibleStorage(
        f"{where} is not the coordinator of this store; name the one that is. If it has lost its data: end all "
        f"claimers, wait until their claims have ended, and tell it whose it is: SET {key} {identity}"
    )


def _left(deadline: float) -> float:
    return max(_LEAST, deadline - time.monotonic())


def _maker(text: str) -> tuple[Any, str, str]:
    """What makes a connection by a deadline, what to call the server, and its password, "" for none."""
    try:
        uri = Uri.parse(text)
    except InvalidInput as error:
        raise InvalidOption(f"option coordinator: {error}; {_WRITE}") from error
    shown = f"option coordinator={uri}"
    if uri.scheme not in ("redis", "rediss"):
        raise InvalidOption(f"{shown} has neither the scheme redis nor rediss; {_WRITE}")
    authority = uri.options.get("tls_ca", "")
    if uri.options and (uri.scheme == "redis" or uri.options.keys() != {"tls_ca"}):
        raise InvalidOption(f"{shown} has other options than rediss:// with tls_ca; leave them out")
    if authority:
        ensure_certificates(authority, "option coordinator with tls_ca:")
    address = urlsplit(f"//{uri.hosts}")
    database = uri.path.strip("/") or "0"
    try:
        host, port = address.hostname, address.port or _PORT
    except ValueError:
        host = None
    if not host or not resolve.is_host(host) or "," in uri.hosts or not _DATABASE.fullmatch(database):
        raise InvalidOption(f"{shown} is not one host, its port and the number of a database; {_WRITE}")
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise InvalidOption(f"{shown} needs redis-py; pip install 'zaqar-swift[redis]'") from error
    settings = {
        "host": host,
        "port": port,
        "db": database.lstrip("0") or 0,  # as text, since hiredis does not take whole numbers safely
        "username": uri.username,
        "password": uri.password,
        "protocol": 2,
    }

    class Connection(redis.Connection):
        """One that looks its host up, and tries its addresses, by one deadline."""

        deadline = 0.0

        def _connect(self) -> Any:
            wire = resolve.connect(address.hostname or "", port, self.deadline)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return wire

    class EncryptedConnection(redis.SSLConnection, Connection):
        """The same, within TLS."""

    kind: Any = Connection
    if uri.scheme == "rediss":
        kind = EncryptedConnection
        settings["ssl_ca_certs"] = authority or None

    def make(deadline: float) -> Any:
        connection = kind(socket_timeout=_left(deadline), retry=Retry(NoBackoff(), 0), **settings)
        connection.deadline = deadline
        return connection

    return make, f"the coordinator {uri.scheme}://{uri.hosts}/{database}", uri.password or ""
