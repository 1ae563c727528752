"""Connections to one server: one for each operation under way, kept for the next, given up in the child of a fork."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol

import redis.exceptions as theirs

from zaqar_core.errors import StorageClosed, StorageUnavailable
from zaqar_redis import errors

_LEAST: Final = 0.001
"""Seconds: what a socket is given when time is up, since 0 means something else to it."""


class RedisConnection(Protocol):
    """What is used of redis-py's connections, whose methods are not typed."""

    socket_connect_timeout: float
    socket_timeout: float

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_command(self, *command: Any) -> list[bytes]: ...
    def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    def read_response(self) -> Any: ...


class Connections:
    """At most ``limit`` connections to one server, called ``where`` in error messages.

    ``make`` makes one, unconnected, by a deadline; ``check`` looks whether one just connected will do. Both raise
    redis-py's errors.
    """

    def __init__(
        self,
        make: Callable[[float], RedisConnection],
        where: str,
        *,
        limit: int,
        check: Callable[[RedisConnection], None] | None = None,
    ) -> None:
        self.where = where
        self._make = make
        self._check = check
        self._limit = limit
        self._closed = False
        self._start()
        _all.add(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self._limit)
        self._idle: list[RedisConnection] = []

    def execute(self, *command: Any, deadline: float) -> Any:
        """Send one command, once, and return the reply, by ``deadline`` of ``time.monotonic()``.

        Raises ``OutcomeUnknown`` if it was sent and not answered; redis-py's ``NoScriptError`` as it is; else an error
        that means that nothing was done, ``TryAgain`` where it may work at once.
        """
        slots = self._slots
        if not slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StorageUnavailable(
                f"all {self._limit} connections to {self.where} are in use; raise max_connections. Nothing was done"
            )
        try:
            return self._execute(command, deadline)
        finally:
            slots.release()

    def _execute(self, command: tuple[Any, ...], deadline: float) -> Any:
        connection = self._take()
        sent = False
        try:
            if connection is None:
                connection = self._connect(deadline)
            _set_timeout(connection, deadline)
            connection.send_packed_command(connection.pack_command(*command), check_health=False)
            sent = True
            return connection.read_response()
        except theirs.NoScriptError:
            raise
        except errors.REPLIES as error:
            raise errors.refused(error, self.where) from error
        except (theirs.RedisError, OSError) as error:
            if sent:
                raise errors.not_answered(error, self.where) from error
            raise errors.not_sent(error, self.where) from error
        except BaseException:
            if connection is not None:
                connection.disconnect()  # nobody would read the reply
            raise
        finally:
            if connection is not None:
                self._give_back(connection)

    def _take(self) -> RedisConnection | None:
        """A connection on which nothing is pending, or None if one is to be made."""
        while True:
            with self._lock:
                if self._closed:
                    raise StorageClosed("the storage is closed; connect again")
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if _is_quiet(connection):
                return connection
            connection.disconnect()

    def _connect(self, deadline: float) -> RedisConnection:
        connection = None
        try:
            connection = self._make(deadline)
            _connect_by(connection, deadline)
            if self._check is not None:
                self._check(connection)
        except (theirs.RedisError, OSError) as error:
            if connection is not None:
                connection.disconnect()
            raise errors.not_connected(error, self.where) from error
        return connection

    def _give_back(self, connection: RedisConnection) -> None:
        if _socket(connection) is None:
            return
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.disconnect()

    def forget(self) -> None:
        """Close what is idle: those connections lead to a server that is no longer the right one."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.disconnect()

    def close(self) -> None:
        """Close what is idle; the rest as it is given back. Twice is once."""
        with self._lock:
            self._closed = True
        self.forget()


class _Timed:
    """A socket whose reads end by a deadline, all together; redis-py allows each part of a reply the same time anew."""

    def __init__(self, wire: socket.socket, deadline: float) -> None:
        self._wire = wire
        self.end_by(deadline)

    def end_by(self, deadline: float) -> None:
        self._deadline = deadline
        self._wire.settimeout(max(_LEAST, deadline - time.monotonic()))  # sending keeps to it as a whole

    def recv_into(self, buffer: bytearray) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("time is up")
        self._wire.settimeout(left)
        return self._wire.recv_into(buffer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)


def _connect_by(connection: Any, deadline: float) -> None:
    connection.socket_connect_timeout = connection.socket_timeout = max(_LEAST, deadline - time.monotonic())
    make = connection._connect
    connection._connect = lambda: _Timed(make(), deadline)
    try:
        connection.connect()
    finally:
        del connection._connect  # which refers to the connection: it would outlive a fork


def _socket(connection: RedisConnection) -> _Timed | None:
    # redis-py has no public way to it that its oldest supported version has as well.
    wire: _Timed | None = connection._sock  # type: ignore[attr-defined]
    return wire


def _set_timeout(connection: RedisConnection, deadline: float) -> None:
    wire = _socket(connection)
    if wire is not None:
        wire.end_by(deadline)


def _is_quiet(connection: RedisConnection) -> bool:
    """Whether the server has neither closed it nor sent anything that nobody asked for."""
    wire = _socket(connection)
    if wire is None:
        return False
    poll = select.poll()
    poll.register(wire, select.POLLIN)
    return not poll.poll(0)


_all: weakref.WeakSet[Connections] = weakref.WeakSet()


def _abandon() -> None:
    # The child closes its copies of the sockets without a word to the server, as their objects go.
    for connections in list(_all):
        connections._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon)
