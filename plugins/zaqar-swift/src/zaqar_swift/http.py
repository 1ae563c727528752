"""Connections of the HTTP clients that are used here, made and read by one deadline.

requests knows time-outs of single steps: it looks names up for as long as that takes, gives each address of a name the
whole time, and begins anew for each part of a reply.
"""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import Any, Final

import requests
import swiftclient.client as swift
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from zaqar_core.kit import resolve

_PART: Final = 256 * 1024
_LEAST: Final = 0.001
"""Seconds: what a socket is given when time is up, since 0 means something else to it."""


class Limit:
    """When the request under way must have ended: ``moment``, of ``time.monotonic()``."""

    moment = 0.0

    def left(self) -> float:
        return max(_LEAST, self.moment - time.monotonic())


def session(limit: Limit) -> requests.Session:
    """A session that connects, and waits for the head of each reply, by the limit."""
    made = requests.Session()
    adapter = _Adapter(limit)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


class SwiftConnection(swift.HTTPConnection):  # type: ignore[misc]
    """One of swiftclient's, which keeps its socket and reads a reply by ``limit``, however slowly it comes."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.limit = Limit()
        self.request_session.mount(f"{self.parsed_url.scheme}://", _Adapter(self.limit))

    def request(self, *arguments: Any, **named: Any) -> Any:
        self.requests_args["timeout"] = self.limit.left()
        return super().request(*arguments, **named)

    def getresponse(self) -> Any:
        response = super().getresponse()
        raw, end = response.raw, response.read

        def read() -> bytes:
            parts = []
            while part := raw.read1(_PART, decode_content=True):
                parts.append(part)
                if time.monotonic() >= self.limit.moment:
                    raise requests.ReadTimeout("the reply goes on after the time given")
                wire = getattr(raw.connection, "sock", None)
                if wire is not None:
                    wire.settimeout(self.limit.left())
            end()
            return b"".join(parts)

        response.read = read
        return response


class _Adapter(HTTPAdapter):
    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)
        self._limit_connections(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **named: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **named)
        if not proxy.lower().startswith("socks"):
            self._limit_connections(manager)
        return manager

    def _limit_connections(self, manager: Any) -> None:
        manager.pool_classes_by_scheme = {
            "http": partial(_pool, HTTPConnectionPool, partial(_Plain, self._limit)),
            "https": partial(_pool, HTTPSConnectionPool, partial(_Encrypted, self._limit)),
        }


def _pool(kind: Any, connection: Any, *arguments: Any, **named: Any) -> Any:
    pool = kind(*arguments, **named)
    pool.ConnectionCls = connection
    return pool


class _Plain(HTTPConnection):
    def __init__(self, limit: Limit, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limit = limit

    def _new_conn(self) -> socket.socket:
        return _connected(self, self._limit)

    def getresponse(self) -> Any:
        self.timeout = self._limit.left()
        return super().getresponse()


class _Encrypted(HTTPSConnection):
    def __init__(self, limit: Limit, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limit = limit

    def _new_conn(self) -> socket.socket:
        return _connected(self, self._limit)

    def getresponse(self) -> Any:
        self.timeout = self._limit.left()
        return super().getresponse()


def _connected(connection: HTTPConnection, limit: Limit) -> socket.socket:
    """A socket for the connection, or the error that urllib3 raises where there is none."""
    try:
        wire = resolve.connect(connection._dns_host.strip("[]"), connection.port, limit.moment)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, str(error)) from error
    except (OSError, OverflowError) as error:
        raise NewConnectionError(connection, str(error)) from error
    for option in connection.socket_options or ():
        wire.setsockopt(*option)
    return wire
