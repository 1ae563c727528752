"""One connection to one server: hiredis packs requests and reads replies, and each exchange ends by its deadline."""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import time
import weakref
from dataclasses import dataclass, field
from typing import Any, Final

import hiredis

from zaqar_core.kit import resolve
from zaqar_redis.options import Address

_LEAST: Final = 0.001
"""Seconds: what a socket is given when time is up, since 0 means something else to it."""
_CHUNK: Final = 65_536
_NOTHING: Final = object()
_CODE: Final = re.compile(r"[A-Z]{2,}\b")
_ARGUMENTS: Final = re.compile(r"(, *with args\b|\bbeginning with\b).*", re.IGNORECASE | re.DOTALL)
_TELLING: Final = 4
"""Characters: an error that holds the first of a password may show more of it."""
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds, seconds and probes, where the system has them: an idle connection to a machine that is gone is found out."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to begin a conversation: who asks, for which database, in RESP2 or RESP3."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: int = 2
    database: int = 0


class Connection:
    """Connected and logged in. Not for several threads at a time.

    After any exception but ``hiredis.ReplyError`` it may hold an unread reply: close it.
    """

    idle_since = 0.0
    """Moment of ``time.monotonic()``."""
    _wire: socket.socket | None = None

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)

    def ask(self, *command: str | bytes | int, deadline: float) -> Any:
        """The reply to one command.

        Raises:
            hiredis.ReplyError: The server answered with an error.
            hiredis.ProtocolError: It does not speak the protocol.
            OSError: The connection broke, or (``TimeoutError``) time is up.
        """
        self.send(packed(command), deadline)
        return self.receive(deadline)

    def send(self, request: bytes, deadline: float) -> None:
        """Send a request that is packed."""
        wire = self._open()
        rest = memoryview(request)
        while rest:  # sendall of a TLS socket would allow each part the whole time
            wire.settimeout(_left(deadline))
            rest = rest[wire.send(rest) :]

    def receive(self, deadline: float) -> Any:
        """The next reply."""
        wire = self._open()
        while True:
            reply = self._reader.gets()
            if reply is _NOTHING:
                wire.settimeout(_left(deadline))
                data = wire.recv(_CHUNK)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                self._reader.feed(data)
            elif isinstance(reply, hiredis.ReplyError):
                raise reply
            elif not isinstance(reply, hiredis.PushNotification):
                return reply

    def is_quiet(self) -> bool:
        """Whether the server has neither closed it nor sent anything that was not asked for."""
        if self._wire is None or self._reader.has_data():
            return False
        poll = select.poll()
        poll.register(self._wire, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Twice is once."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def __del__(self) -> None:
        if self._wire is not None:  # an exception between two bytecodes, or a fork, has dropped it
            self._wire.close()

    def _open(self) -> socket.socket:
        if self._wire is None:
            raise ConnectionResetError("the connection is closed")
        return self._wire


def connect(address: Address, deadline: float, *, login: Login, tls: ssl.SSLContext | None) -> Connection:
    """A connection by ``deadline``: name, addresses, TLS and login together. Raises like ``Connection.ask``."""
    process = os.getpid()
    wire = _unix(address.path, deadline) if address.path else _tcp(address, deadline)
    try:
        _wires.add(wire)
        if tls is not None:
            secured = tls.wrap_socket(wire, server_hostname=address.host, do_handshake_on_connect=False)
            wire = secured
            _wires.add(wire)
            _ensure_not_forked(process)
            wire.settimeout(_left(deadline))  # of the whole handshake
            secured.do_handshake()
        _ensure_not_forked(process)
        connection = Connection(wire)
        _log_in(connection, login, deadline)
    except BaseException:
        wire.close()
        raise
    return connection


def packed(command: tuple[str | bytes | int, ...]) -> bytes:
    """A command as it is sent. hiredis gets bytes only: an exception while it reads anything else may crash it."""
    arguments: Any = tuple([each if type(each) is bytes else str(each).encode() for each in command])
    request: bytes = hiredis.pack_command(arguments)
    return request


def _log_in(connection: Connection, login: Login, deadline: float) -> None:
    credentials: list[str] = []
    secret = login.password or login.username or ""  # a user without a password may be a token
    if login.username or login.password:
        credentials = [login.username or "default", login.password or ""]
    if login.protocol == 3:
        arguments = ["3", *(["AUTH", *credentials] if credentials else [])]
        _ask_in_secret(connection, "HELLO", *arguments, secret=secret, deadline=deadline)
    elif credentials:
        arguments = credentials if login.username else credentials[1:]
        _ask_in_secret(connection, "AUTH", *arguments, secret=secret, deadline=deadline)
    if login.database:
        connection.ask("SELECT", login.database, deadline=deadline)
    elif login.protocol != 3 and not credentials:
        _greet(connection, deadline)


def _ask_in_secret(connection: Connection, *command: str, secret: str, deadline: float) -> None:
    """Send a command with a secret in it.

    Some servers repeat what they were sent, cut off somewhere: no error, with its causes, may show any of that.
    """
    try:
        connection.ask(*command, deadline=deadline)
        return
    except hiredis.ReplyError as error:
        said = _ARGUMENTS.sub("", str(error))
    if secret and secret[:_TELLING] in said:
        code = found[0] if (found := _CODE.match(said)) and secret[:_TELLING] not in found[0] else "ERR"
        said = f"{code} (the rest of its answer to {command[0]} is left out: it may show the password)"
    raise hiredis.ReplyError(said)


def _greet(connection: Connection, deadline: float) -> None:
    """Have the server show that it is there before the first request, which may be one that must not be sent twice.

    One that does not know PING, or forbids it, is there as well. One that refuses the connection closes it after that.
    """
    try:
        connection.ask("PING", deadline=deadline)
    except hiredis.ReplyError as error:
        try:
            connection.ask("PING", deadline=deadline)
        except hiredis.ReplyError:
            return
        except OSError:
            raise error from None


def _tcp(address: Address, deadline: float) -> socket.socket:
    wire = resolve.connect(address.host, address.port, deadline)
    try:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except BaseException:
        wire.close()
        raise
    return wire


def _unix(path: str, deadline: float) -> socket.socket:
    wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        wire.settimeout(_left(deadline))
        wire.connect(path)
    except BaseException:
        wire.close()
        raise
    return wire


def _ensure_not_forked(process: int) -> None:
    # Asked only now that the socket is in the set: a fork comes either before this or finds it there.
    if os.getpid() != process:
        raise ConnectionAbortedError("this process was forked while the connection was made")


_wires: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _cut_off() -> None:
    """In the child of a fork: nothing that it does with an inherited socket reaches the server, or takes a reply.

    The call that was interrupted may go on with the socket at any bytecode. So the descriptor leads elsewhere from now
    on. It is not closed: a new connection could get the same number.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for wire in list(_wires):
        if wire.fileno() >= 0:
            os.dup2(null, wire.fileno(), inheritable=False)
    os.close(null)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cut_off)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("time is up")
    return max(_LEAST, left)
