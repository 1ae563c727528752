"""A TCP proxy on loopback: counts round trips, cuts connections where it hurts, holds replies back.

Made for protocols in which a client sends a request and waits for the reply. A request begins with what a client sends
first, or after a reply.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 64 * 1024
_POLL: Final = 0.2
_LISTEN: Final = 128
_CONNECT_LIMIT: Final = 5.0


class Cut(Enum):
    """Where a connection breaks."""

    BEFORE_REQUEST = auto()
    """The server gets nothing of the request."""
    INSIDE_REQUEST = auto()
    """The server gets the first half of the request's first part."""
    AFTER_REQUEST = auto()
    """The server gets the request and answers; the client gets nothing."""
    INSIDE_REPLY = auto()
    """The client gets the first half of the reply's first part."""


class Proxy:
    """Passes connections to ``127.0.0.1:port`` on to ``127.0.0.1:target_port``, once entered as a context.

    ``tls``: clients have to speak TLS; the server behind need not.
    """

    def __init__(self, target_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._target = ("127.0.0.1", target_port)
        self._tls = tls
        self._lock = threading.Lock()
        self._round_trips = 0
        self._cuts: list[Cut] = []
        self._delay = 0.0
        self._stop = threading.Event()
        self._links: list[_Link] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_LISTEN)
        self._listener.settimeout(_POLL)
        self.port: int = self._listener.getsockname()[1]

    @property
    def round_trips(self) -> int:
        """How many requests clients have begun."""
        return self._round_trips

    def cut(self, where: Cut, times: int = 1) -> None:
        """Break so many connections, each at its next request."""
        with self._lock:
            self._cuts += [where] * times

    @property
    def cuts_left(self) -> int:
        """Of those asked for, how many have not happened."""
        return len(self._cuts)

    def forget_cuts(self) -> None:
        """Cut nothing more."""
        with self._lock:
            self._cuts.clear()

    def delay(self, seconds: float) -> None:
        """Hold every part of a reply back for so long; 0 ends it."""
        self._delay = seconds

    def drop_all(self) -> None:
        """Break every connection there is, now."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.drop()
            link.join()

    def __enter__(self) -> Self:
        self._acceptor = threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._acceptor.join()
        self._listener.close()
        self.drop_all()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            link = _Link(self, client)
            with self._lock:
                self._links = [each for each in self._links if each.open]
                self._links.append(link)
                link.start()  # before anybody sees it in the list

    def _connect(self, client: socket.socket) -> tuple[socket.socket, socket.socket]:
        """The client's connection, as it is to be used, and one to the server."""
        if self._tls is not None:
            client.settimeout(_CONNECT_LIMIT)
            client = self._tls.wrap_socket(client, server_side=True)
        return client, socket.create_connection(self._target, timeout=_CONNECT_LIMIT)

    def _begun(self) -> Cut | None:
        with self._lock:
            self._round_trips += 1
            return self._cuts.pop(0) if self._cuts else None


class _Link:
    """One connection of a client and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.open = True
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self._answered = True
        self._cut: Cut | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def drop(self) -> None:
        """Break both connections."""
        for each in filter(None, (self._client, self._server)):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        self._thread.join()

    def _serve(self) -> None:
        try:
            self._client, server = self._proxy._connect(self._client)
        except OSError:
            self._client.close()
        else:
            self._server = server
            self._pump(server)
        self.open = False

    def _pump(self, server: socket.socket) -> None:
        for each in (self._client, server):
            each.settimeout(None)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = threading.Thread(target=self._run, args=(self._replies, server), daemon=True)
        replies.start()
        self._run(self._requests, server)
        replies.join()
        self._client.close()
        server.close()

    def _run(self, work: Callable[[socket.socket], None], server: socket.socket) -> None:
        with suppress(OSError):
            work(server)
        self.drop()

    def _requests(self, server: socket.socket) -> None:
        while part := self._client.recv(_CHUNK):
            if self._answered:
                self._answered = False
                self._cut = self._proxy._begun()
                if self._cut is Cut.BEFORE_REQUEST:
                    return
                if self._cut is Cut.INSIDE_REQUEST:
                    server.sendall(part[: len(part) // 2])
                    return
            server.sendall(part)

    def _replies(self, server: socket.socket) -> None:
        while part := server.recv(_CHUNK):
            if self._proxy._delay:
                self._proxy._stop.wait(self._proxy._delay)
            if self._cut is Cut.AFTER_REQUEST:
                return
            if self._cut is Cut.INSIDE_REPLY:
                self._client.sendall(part[: len(part) // 2])
                return
            self._answered = True
            self._client.sendall(part)
