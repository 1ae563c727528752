"""Connections to one server: one for each operation under way, kept for the next, given up in the child of a fork.

No lock is held anywhere, and a connection in use is in no list: an exception at any bytecode (a signal handler's) loses
at most that connection, which closes as its object goes.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

import hiredis

from zaqar_core import kit
from zaqar_core.errors import StorageClosed
from zaqar_redis import errors
from zaqar_redis.wire import Connection

FAILURES: Final = (hiredis.HiredisError, OSError)
"""What connecting and asking raise."""


class Connections:
    """At most ``limit`` connections to one server, called ``where`` in error messages.

    ``make`` makes one by a deadline, and raises ``FAILURES``.
    """

    def __init__(self, make: Callable[[float], Connection], where: str, *, limit: int) -> None:
        self.where = where
        self._make = make
        self._limit = limit
        self._closed = False
        self._start()
        _all.add(self)

    def _start(self) -> None:
        self._slots = kit.Slots(self._limit, f"each of the {self._limit} connections to {self.where} (max_connections)")
        self._idle: deque[Connection] = deque()
        """The one that was used last is at the right."""

    def execute(self, request: bytes, deadline: float) -> object:
        """Send one request, once, and return the reply, by ``deadline`` of ``time.monotonic()``.

        Raises ``OutcomeUnknown`` if it was sent and not answered; else an error that means that nothing was done.
        """
        slots = self._slots
        slot = slots.take(deadline)
        try:
            return self._execute(request, deadline, slots)
        finally:
            slot.give_back()
            del slot  # or it would hold itself, by this frame

    def _execute(self, request: bytes, deadline: float, slots: kit.Slots) -> object:
        began = time.monotonic()
        sent = answered = False
        connection = self._take() or self._connect(deadline)
        try:
            # Asked only now that there is a connection: one that was made before a fork is cut off in the child.
            if self._is_forked(slots):
                raise errors.forked(self.where, sent=False)
            connection.send(request, deadline)
            sent = True
            reply = connection.receive(deadline)
            answered = True
            return reply
        except hiredis.ReplyError as error:
            answered = True
            raise errors.refused(error, self.where) from error
        except FAILURES as error:
            if self._is_forked(slots):
                raise errors.forked(self.where, sent=sent) from error
            self._drop_older(began)
            if sent:
                raise errors.not_answered(error, self.where) from error
            raise errors.not_sent(error, self.where) from error
        finally:
            if answered and not self._is_forked(slots):
                self._give_back(connection)
            else:
                connection.close()

    def _is_forked(self, slots: kit.Slots) -> bool:
        """Whether this is the child of a fork, which came since the call took one of these ``slots``, or before."""
        return slots is not self._slots or kit.forked()

    def _take(self) -> Connection | None:
        """A connection on which nothing is pending, or None if one is to be made."""
        if self._closed:
            raise StorageClosed("the storage is closed; connect again")
        try:
            while True:
                connection = self._idle.pop()
                if connection.is_quiet():
                    return connection
                connection.close()
        except IndexError:
            return None

    def _connect(self, deadline: float) -> Connection:
        try:
            return self._make(deadline)
        except FAILURES as error:
            if isinstance(error, ConnectionAbortedError) and kit.forked():
                raise errors.forked(self.where, sent=False) from error
            raise errors.not_connected(error, self.where) from error

    def _give_back(self, connection: Connection) -> None:
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._closed:
            self.forget()

    def _drop_older(self, moment: float) -> None:
        """Close what has been idle since before ``moment``: one such connection was dead, so the others may be."""
        for _ in range(len(self._idle)):
            try:
                connection = self._idle.popleft()
            except IndexError:
                return
            if connection.idle_since < moment:
                connection.close()
            else:
                self._idle.append(connection)

    def forget(self) -> None:
        """Close what is idle: those connections lead to a server that is no longer the right one."""
        self._drop_older(float("inf"))

    def close(self) -> None:
        """Close what is idle; the rest as it is given back. Twice is once."""
        self._closed = True
        self.forget()


_all: weakref.WeakSet[Connections] = weakref.WeakSet()


def _abandon() -> None:
    # The child's copies of the sockets are cut off from the server already; they close as their objects go.
    for connections in list(_all):
        connections._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon)
