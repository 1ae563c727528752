"""Swift as a target of the conformance suite. Nothing else in this package needs zaqar-conformance."""

from __future__ import annotations

import socket
import sys
import urllib.request
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlencode

from zaqar_conformance.proxy import Proxy
from zaqar_conformance.servers import Server, accepts, free_port, redis_program
from zaqar_conformance.target import ServerTarget, TargetError
from zaqar_core.uri import Uri
from zaqar_swift import server as swift


class SwiftTarget(ServerTarget):
    """A Swift of one replica, all its servers in one process."""

    name = "swift"
    scheme = "swift+http"
    # To post a message takes 10 ms, to delete it as long, and many times that where others keep the processors busy.
    depth = 300
    check_limit = 1_800.0
    call_timeout = 30.0
    at_once = 2
    replicas: ClassVar[int] = 1
    settings: ClassVar[tuple[str, ...]] = ()

    def start(self, workspace: Path) -> str:
        self.servers = self.servers or [swift_server(workspace / "swift", *self.settings, replicas=self.replicas)]
        [server] = self.servers
        server.start()
        return swift.uri(server.port)

    def unreachable_uri(self) -> str:
        return swift.uri(free_port())

    def proxied(self, uri: str) -> tuple[Proxy, str]:
        port = int(Uri.parse(uri).hosts.rpartition(":")[2])
        proxy = Proxy(port)  # Swift gives out URLs with the port that it was asked at
        return proxy, uri.replace(f":{port}/", f":{proxy.port}/")


class SwiftCoordinatedTarget(SwiftTarget):
    """A Swift of one replica, and a Redis as coordinator. Both fail together, as if on one machine.

    A proxy counts the requests to Swift, and cuts them, not those to Redis, which take a hundredth of their time.
    """

    name = "swift-coordinated"

    def start(self, workspace: Path) -> str:
        self.servers = self.servers or [
            swift_server(workspace / "swift", replicas=self.replicas),
            redis_server(workspace / "redis", "--appendonly", "yes", "--appendfsync", "no"),
        ]
        for server in self.servers:
            server.start()
        one, other = self.servers
        return f"{swift.uri(one.port)}?{urlencode({'coordinator': coordinator_uri(other.port)})}"


class SwiftReplicatedTarget(SwiftTarget):
    """A Swift of three replicas, each with servers of its own, all in one process."""

    name = "swift-replicated"
    depth = 150  # each request is three there
    at_once = 1
    replicas = 3


class SwiftFailingTarget(SwiftReplicatedTarget):
    """Of three replicas one does not answer; a fourth server takes its place, as in any cluster of more servers."""

    name = "swift-failing"
    settings = ("--away", "2", "--spares", "1")


def coordinator_uri(port: int) -> str:
    """What to write for the option coordinator."""
    return f"redis://{swift.HOST}:{port}/0"


def redis_server(folder: Path, *settings: str, highest: int = 65_535) -> Server:
    """A coordinator that is not started yet, with its files in ``folder``. Raises ``ServerError``."""
    program = redis_program()

    def command(port: int) -> list[str]:
        here = ["--port", str(port), "--bind", swift.HOST, "--dir", str(folder), "--save", ""]
        return [program, *here, *settings]

    return Server(command, folder, takes_commands, highest=highest)


def swift_server(folder: Path, *settings: str, replicas: int = 1) -> Server:
    """A cluster that is not started yet, with its files in ``folder``. Raises ``TargetError``.

    ``settings``: further ones of the command, such as ``"--token-life", "1"``.
    """
    if not swift.installed():
        raise TargetError(swift.REMEDY)

    def command(port: int) -> list[str]:
        program = [sys.executable, "-W", "ignore", "-m", "zaqar_swift.server", "--forever", "--port", str(port)]
        return [*program, "--folder", str(folder), "--replicas", str(replicas), *settings]

    return Server(command, folder, accepts if "--tls" in settings else answers)


def answers(port: int) -> bool:
    """Whether the proxy takes requests."""
    with urllib.request.urlopen(f"http://{swift.HOST}:{port}/healthcheck", timeout=2) as reply:
        return bool(reply.status == 200)


def takes_commands(port: int) -> bool:
    """Whether a Redis has read its data."""
    with socket.create_connection((swift.HOST, port), timeout=2) as wire:
        wire.sendall(b"PING\r\n")
        return wire.recv(64).startswith((b"+PONG", b"-NOAUTH"))


def control(port: int, action: str) -> None:
    """Have the cluster do something: ``expire``, ``update``, ``fail/N``, ``heal/N``."""
    request = urllib.request.Request(f"http://{swift.HOST}:{port}{swift.CONTROL}{action}", method="POST")
    with urllib.request.urlopen(request, timeout=60):  # noqa: S310
        pass
