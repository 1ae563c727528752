"""A process that kills what this one started once this one has ended, however it ended, even by ``kill -9``.

What is guarded dies with all its descendants and all members of its session, whether it runs or is paused. A process
that cannot act for itself (paused, or a server that knows nothing of us) needs another one that does.

This file is also the program that the watchdog runs: it imports the standard library only.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_POLL: Final = 0.5
"""Seconds between two looks whether the owner is alive; a forked child of it may keep the pipe open longer."""
_ROUNDS: Final = 20
"""How many times the watchdog kills, for what is started meanwhile by what it has not reached yet."""


class Watchdog:
    """One process beside this one, started with the first process that is guarded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def guard(self, pid: int) -> None:
        """Kill this process, its descendants and its session's members when the calling process has ended."""
        self._say(f"guard {pid} {_birth(pid)}")

    def release(self, pid: int) -> None:
        """Forget a process that has ended: its number may be another's soon."""
        if self._owner == os.getpid():  # a forked child's processes are its parent's
            self._say(f"release {pid} 0")

    def _say(self, line: str) -> None:
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._owner = os.getpid()
                # A session of its own: what ends this process from a terminal must not end it too.
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__, str(os.getpid())],
                    stdin=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
                atexit.register(self._close, self._process)
            assert self._process.stdin is not None
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def _close(self, process: subprocess.Popen[str]) -> None:
        if self._owner == os.getpid() and process.stdin is not None:
            process.stdin.close()
            process.wait()


def family(pid: int) -> list[int]:
    """The process and all that descend from it, as it is at this moment; only the process itself without /proc."""
    children: dict[int, list[int]] = {}
    for each, parent, _ in _processes():
        children.setdefault(parent, []).append(each)
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def runs(pid: int) -> bool:
    """Whether there is such a process that has not ended, waited for or not."""
    try:
        return _fields(Path(f"/proc/{pid}/stat"))[0] not in "ZX"
    except OSError:
        return False


def send_signal(pids: Iterable[int], number: int) -> None:
    """Send it to those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _processes() -> Iterable[tuple[int, int, int]]:
    """The number, the parent and the session of every process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            fields = _fields(stat)
            yield int(stat.parent.name), int(fields[1]), int(fields[3])


def _birth(pid: int) -> str:
    """When it started, by which it differs from a later process of the same number; "0" if that is not known."""
    try:
        return _fields(Path(f"/proc/{pid}/stat"))[19]
    except OSError:
        return "0"


def _fields(stat: Path) -> list[str]:
    """State, parent and so on: what follows the name, which may hold anything."""
    return stat.read_text("utf-8", "replace").rpartition(")")[2].split()


# --- the program ---------------------------------------------------------------------------------------


def main(owner: int) -> None:
    """Read what to guard from the standard input until that ends or the owner does; then kill what is guarded."""
    guarded: dict[int, str] = {}
    unread = b""
    while True:
        gone = os.getppid() != owner
        if select.select([0], [], [], 0 if gone else _POLL)[0]:
            part = os.read(0, 65_536)
            if not part:
                break
            *lines, unread = (unread + part).split(b"\n")
            for line in lines:
                action, pid, birth = line.decode().split()
                if action == "guard":
                    guarded[int(pid)] = birth
                else:
                    guarded.pop(int(pid), None)
        elif gone:
            break
    for _ in range(_ROUNDS):
        left = _doomed(guarded)
        if not left:
            break
        send_signal(left, signal.SIGSTOP)  # or those that it has not reached yet would start others
        send_signal(left, signal.SIGKILL)
        time.sleep(0.02)


def _doomed(guarded: dict[int, str]) -> Sequence[int]:
    """What is guarded and still runs, without processes that only have the number of one that is gone."""
    if not Path("/proc/self/stat").exists():
        return list(guarded)
    ours = {pid for pid, birth in guarded.items() if not runs(pid) or _birth(pid) == birth}
    # As long as a session has members, no other process gets its number.
    found = {pid for pid, _, session in _processes() if session in ours or pid in ours}
    found |= {each for pid in list(found) for each in family(pid)}
    return sorted(pid for pid in found if runs(pid) and pid != os.getpid())


watchdog = Watchdog()
"""The one of this process; a forked child gets its own."""

if __name__ == "__main__":
    main(int(sys.argv[1]))
