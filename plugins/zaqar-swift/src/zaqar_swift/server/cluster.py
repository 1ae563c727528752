"""All servers of a small Swift in this process, which eventlet must have patched."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final

import eventlet
from eventlet import wsgi
from swift.common import storage_policy, utils
from swift.common.wsgi import SwiftHttpProtocol, loadapp

from zaqar_swift.server import CONTROL, HOST, passes
from zaqar_swift.server import configuration as files

_LONGEST_REQUEST_LINE: Final = 8_192

warnings.filterwarnings("ignore", message="capitalize_response_headers is disabled")


class Cluster:
    """A proxy, and for each replica and spare an account, a container and an object server, not serving yet."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        replicas: int,
        spares: int,
        away: Collection[int],
        token_life: int,
        pipeline: str,
        settings: str,
        tls: Path | None,
    ) -> None:
        """``spares``: they get the copies of replicas that do not answer. ``away``: they do not serve until healed.

        ``pipeline``, ``settings``: the proxy's filters and their sections. ``tls``: its key and certificates.
        """
        self._folder = folder
        self._away = away
        logging.basicConfig(filename=folder / "swift.log")
        files.write_swift_conf(folder)
        utils.set_swift_dir(str(folder))
        storage_policy.reload_storage_policies()
        listener = eventlet.listen((HOST, port), reuse_port=False)  # or two clusters would share it unsaid
        self.port: int = listener.getsockname()[1]
        self._listener = eventlet.wrap_ssl(listener, certfile=str(tls), server_side=True) if tls else listener
        listeners = [{kind: eventlet.listen((HOST, 0)) for kind in files.KINDS} for _ in range(replicas + spares)]
        for kind in files.KINDS:  # the sockets come first: rings name their ports, servers read the rings
            files.write_ring(folder, kind, [each[kind].getsockname()[1] for each in listeners], replicas)
        self._replicas = [_Replica(folder, number, each) for number, each in enumerate(listeners)]
        self._proxy = _app(files.write_proxy(folder, token_life=token_life, pipeline=pipeline, settings=settings))

    def start(self) -> None:
        """Serve."""
        for replica in self._replicas:
            replica.start()
        for number in self._away:
            self.fail(number)
        eventlet.spawn(_serve, self._listener, self._answer)

    def expire(self) -> None:
        """One pass of the expirer: what has expired leaves the disk and the listings."""
        passes.expire(self._folder, len(self._replicas))

    def update(self) -> None:
        """One pass of updaters and replicators: objects and listings learn what a server has missed."""
        passes.update(self._folder, [replica.ports for replica in self._replicas])

    def fail(self, number: int) -> None:
        """The servers of a replica take no more connections; what it stores stays."""
        self._replicas[number].stop()

    def heal(self, number: int) -> None:
        """End ``fail``."""
        self._replicas[number].start()

    def _answer(self, env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = env["PATH_INFO"]
        if not path.startswith(CONTROL):
            answer: Iterable[bytes] = self._proxy(env, start_response)
            return answer
        action, _, number = path.removeprefix(CONTROL).partition("/")
        work = {"expire": self.expire, "update": self.update, "fail": self.fail, "heal": self.heal}.get(action)
        if work is None or env["REQUEST_METHOD"] != "POST":
            start_response("404 Not Found", [])
            return [b"POST expire, update, fail/N or heal/N"]
        work(*([int(number)] if number else []))  # type: ignore[operator]
        start_response("204 No Content", [])
        return []


class _Replica:
    """The three servers of one replica, each on the port that the rings name."""

    def __init__(self, folder: Path, number: int, listeners: dict[str, Any]) -> None:
        self._listeners = listeners
        self.ports = {kind: listener.getsockname()[1] for kind, listener in listeners.items()}
        self._apps = {kind: _app(files.write_backend(folder, kind, number)) for kind in files.KINDS}
        self._serving: list[Any] = []

    def start(self) -> None:
        if self._serving:
            return
        for kind, port in self.ports.items():
            listener = self._listeners.pop(kind, None) or eventlet.listen((HOST, port))
            self._serving.append((eventlet.spawn(_serve, listener, self._apps[kind]), listener))

    def stop(self) -> None:
        for thread, listener in self._serving:
            thread.kill()
            listener.close()
        self._serving = []


def _app(conf: Path) -> Any:
    return loadapp(str(conf), global_conf={"log_name": conf.stem})


def _serve(listener: Any, app: Any) -> None:
    # On loopback a reply is one small part and one larger, which would wait 40 ms for the other end to acknowledge.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wsgi.server(
        listener,
        app,
        utils.NullLogger(),
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,
        url_length_limit=_LONGEST_REQUEST_LINE,
    )
