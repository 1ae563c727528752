"""Connections to host names by a deadline: looking the name up, and all of its addresses, take no longer together.

``getaddrinfo`` cannot be interrupted, so names are looked up in separate threads: at most ``_WORKERS`` of them, and one
for each name, however often a name server that does not answer is asked.

No lock is held anywhere: an exception at any bytecode leaves nothing that the next call cannot use.
"""

from __future__ import annotations

import _thread
import os
import re
import socket
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any, Final

_WORKERS: Final = 8
_LEAST: Final = 0.001
"""Seconds: what a socket is given when time is up, since 0 means something else to it."""
_LONGEST_NAME: Final = 253
_LITERAL: Final = re.compile(r"[0-9.]{1,15}|[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9_.-]{1,32})?")
_LABEL: Final = re.compile(rb"[A-Za-z0-9_-]{1,63}")

Address = tuple[socket.AddressFamily, Any]
"""A family, and an address as its sockets take it."""


def is_host(text: str) -> bool:
    """Whether it can be a host's name (also an international one, or with underscores) or its IP address.

    ``Uri.parse`` checks hosts with it, and what cannot be a host is never looked up. What ends like an IPv4 address has
    to be one.
    """
    if _literals(text, 0):
        return True
    if not 0 < len(text) <= _LONGEST_NAME + 1:
        return False
    try:
        name = text.encode("idna").removesuffix(b".")
    except UnicodeError:
        return False
    labels = name.split(b".")
    looks_like_address = len(labels) > 1 and labels[-1].isdigit()
    return len(name) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels)) and not looks_like_address


def connect(host: str, port: int, deadline: float) -> socket.socket:
    """A TCP connection to ``host``, by ``deadline`` of ``time.monotonic()``.

    Its addresses are tried one after the other, each for a fair share of the time that is left. The socket has no more
    than the rest of it as its timeout.

    Raises:
        OSError: The name is unknown, no address takes the connection, or (``TimeoutError``) time is up.
    """
    addresses = resolve(host, port, deadline)
    failure: OSError | None = None
    try:
        for number, (family, address) in enumerate(addresses):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                wire = _connect(family, address, left / (len(addresses) - number))
            except OSError as error:
                failure = error
            else:
                wire.settimeout(max(_LEAST, deadline - time.monotonic()))
                return wire
        if failure is None:
            raise TimeoutError(f"time was up before {host} could be tried")
        if len(addresses) > 1:
            kind = TimeoutError if isinstance(failure, TimeoutError) else ConnectionError
            raise kind(f"none of the {len(addresses)} addresses of {host} takes connections: {failure}") from failure
        raise failure
    finally:
        del failure  # or it would hold itself, by its traceback and this frame


def resolve(host: str, port: int, deadline: float) -> list[Address]:
    """The addresses of ``host``, in the order in which to try them; never none.

    Raises:
        OSError: The name is unknown, or (``TimeoutError``) no answer came by ``deadline`` of ``time.monotonic()``.
    """
    if found := _literals(host, port):
        return found
    if not is_host(host):
        raise socket.gaierror(socket.EAI_NONAME, f"{host[:80]!r} cannot be the name of a host")
    lookup = _state.lookups.setdefault((host, port), _Lookup(host, port))
    answered: SimpleQueue[None] = SimpleQueue()
    lookup.waiting.append(answered)
    # Every caller does both, because the one before may have been interrupted in between; doing it twice does no harm.
    _state.requests.put(lookup)
    _start_worker()
    try:
        if lookup.answer is None:
            answered.get(timeout=max(0.0, deadline - time.monotonic()))
    except Empty:
        busy = "" if lookup.taken else f": {len(_state.workers)} other lookups are under way, as many as may be"
        raise TimeoutError(f"the name {host} could not be looked up in time{busy}") from None
    finally:
        lookup.waiting.remove(answered)
    answer = lookup.answer
    if isinstance(answer, list) and answer:
        return answer
    raise socket.gaierror(socket.EAI_NONAME, f"the name {host} cannot be looked up: {answer or 'no address'}")


class _Lookup:
    """One lookup, and the calls that wait for its answer."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.taken: dict[int, int] = {}
        """The worker that looks it up."""
        self.waiting: list[SimpleQueue[None]] = []
        self.answer: list[Address] | Exception | None = None

    def run(self, state: _State) -> None:
        """In a worker's thread, which no signal interrupts."""
        me = threading.get_ident()
        if self.answer is not None or not self.waiting or self.taken.setdefault(0, me) != me:
            return
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            answer: list[Address] | Exception = _addresses(found)
        except Exception as error:
            answer = error.with_traceback(None)
        state.lookups.pop((self.host, self.port), None)  # first, so that later calls look it up again
        self.answer = answer
        for each in list(self.waiting):
            each.put(None)


class _State:
    """What a process has."""

    def __init__(self) -> None:
        self.lookups: dict[tuple[str, int], _Lookup] = {}
        self.requests: SimpleQueue[_Lookup] = SimpleQueue()
        self.workers: dict[int, int] = {}


_state = _State()


def _forget() -> None:
    global _state  # noqa: PLW0603 - the child of a fork has none of the threads
    _state = _State()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _start_worker() -> None:
    # Not threading.Thread, whose start takes locks that an exception could leave taken, and which an exiting process
    # would wait for.
    try:
        _thread.start_new_thread(_work, (_state,))
    except RuntimeError as error:
        raise OSError(f"no thread could be started to look the name up: {error}") from error


def _work(state: _State) -> None:
    """Look up what is requested, unless enough others do."""
    me = threading.get_ident()
    while not state.requests.empty():
        number = next((each for each in range(_WORKERS) if state.workers.setdefault(each, me) == me), None)
        if number is None:
            return
        try:
            while True:
                state.requests.get_nowait().run(state)
        except Empty:
            pass
        finally:
            state.workers.pop(number)


def _connect(family: socket.AddressFamily, address: Any, seconds: float) -> socket.socket:
    wire = socket.socket(family, socket.SOCK_STREAM)
    try:
        wire.settimeout(max(_LEAST, seconds))
        wire.connect(address)
    except BaseException:
        wire.close()
        raise
    return wire


def _literals(host: str, port: int) -> list[Address]:
    """What an IP address means; nothing for a name, or what is neither."""
    if not _LITERAL.fullmatch(host):
        return []
    try:
        return _addresses(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except (OSError, ValueError, OverflowError):
        return []


def _addresses(found: list[Any]) -> list[Address]:
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))
