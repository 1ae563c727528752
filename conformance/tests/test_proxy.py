"""The proxy: what it counts, and what client and server see of each cut."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trustme

from zaqar_conformance.proxy import Cut, Proxy, _Link


class Upstream:
    """A server that answers each line with the line, twice as long, and keeps what it got."""

    def __init__(self) -> None:
        self.got = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            pending = b""
            while part := connection.recv(1000):
                self.got += part
                pending += part
                while b"\n" in pending:
                    line, _, pending = pending.partition(b"\n")
                    connection.sendall(line * 2 + b"\n")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@contextmanager
def client_of(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        yield client


def ask(client: socket.socket, line: bytes = b"abc\n") -> bytes:
    """The reply as far as it comes; b"" if the connection breaks before it."""
    reply = b""
    with suppress(ConnectionError):
        client.sendall(line)
        while not reply.endswith(b"\n") and (part := client.recv(1000)):
            reply += part
    return reply


def wait_for(upstream: Upstream, expected: bytes) -> bytes:
    deadline = time.monotonic() + 5
    while upstream.got != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return upstream.got


def test_passes_on_and_counts_requests(upstream: Upstream) -> None:
    with Proxy(upstream.port) as proxy:
        with client_of(proxy) as one, client_of(proxy) as other:
            for client in (one, other, one):
                assert ask(client) == b"abcabc\n"
            big = b"x" * 300_000
            assert ask(one, big + b"\n") == big * 2 + b"\n"
        assert proxy.round_trips == 4
        assert proxy.cuts_left == 0


@pytest.mark.parametrize(
    ("cut", "arrives", "reply"),
    [
        (Cut.BEFORE_REQUEST, b"", b""),
        (Cut.INSIDE_REQUEST, b"ab", b""),
        (Cut.AFTER_REQUEST, b"abc\n", b""),
        (Cut.INSIDE_REPLY, b"abc\n", b"abc"),
    ],
)
def test_cuts_where_it_is_told(upstream: Upstream, cut: Cut, arrives: bytes, reply: bytes) -> None:
    with Proxy(upstream.port) as proxy:
        with client_of(proxy) as client:
            proxy.cut(cut)
            assert proxy.cuts_left == 1
            assert ask(client) == reply
            assert ask(client) == b""
        assert wait_for(upstream, arrives) == arrives
        with client_of(proxy) as client:
            assert ask(client) == b"abcabc\n"
        assert proxy.cuts_left == 0


def test_cuts_can_be_forgotten(upstream: Upstream) -> None:
    with Proxy(upstream.port) as proxy, client_of(proxy) as client:
        proxy.cut(Cut.BEFORE_REQUEST, 5)
        proxy.forget_cuts()
        assert ask(client) == b"abcabc\n"


def test_holds_replies_back(upstream: Upstream) -> None:
    with Proxy(upstream.port) as proxy, client_of(proxy) as client:
        proxy.delay(0.2)
        began = time.monotonic()
        assert ask(client) == b"abcabc\n"
        assert time.monotonic() - began >= 0.2
        proxy.delay(0)


def test_drops_what_is_open_and_goes_on(upstream: Upstream) -> None:
    with Proxy(upstream.port) as proxy:
        with client_of(proxy) as client:
            assert ask(client) == b"abcabc\n"
            proxy.drop_all()
            assert ask(client) == b""
        with client_of(proxy) as client:
            assert ask(client) == b"abcabc\n"


def test_a_server_that_is_gone_is_a_broken_connection(upstream: Upstream) -> None:
    with Proxy(upstream.port) as proxy:
        upstream.close()
        with suppress(ConnectionError), client_of(proxy) as client:
            assert ask(client) == b""
    with pytest.raises(OSError, match=r"."), client_of(proxy):
        pass


def test_speaks_tls_to_clients(upstream: Upstream) -> None:
    authority = trustme.CA()
    outside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(outside)
    inside = ssl.create_default_context()
    authority.configure_trust(inside)
    with Proxy(upstream.port, tls=outside) as proxy:
        with client_of(proxy) as plain, inside.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            assert ask(client) == b"abcabc\n"
        with client_of(proxy) as plain:
            assert ask(plain, b"no TLS at all\n") == b""
        assert proxy.round_trips == 1


def test_a_connection_just_taken_is_dropped_with_the_others(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    start = _Link.start

    def start_late(link: _Link) -> None:
        begun.set()
        time.sleep(0.2)
        start(link)

    monkeypatch.setattr(_Link, "start", start_late)
    with Proxy(upstream.port) as proxy, client_of(proxy) as client:
        assert begun.wait(5)
        proxy.drop_all()
        assert client.recv(1) == b""
