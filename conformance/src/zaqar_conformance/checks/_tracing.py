"""System calls of processes, seen by strace: whether what a client was told is done was on the disk before.

A client marks in its own trace where a call begins and ends, by asking for files that are not there. strace writes
down one call after the other, of all processes that it traces: what it wrote between the marks happened between them.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2"})
_SYNCS = frozenset({"fsync", "fdatasync"})
_ALL_SYNCS = frozenset({"sync", "syncfs"})
_OPENS = frozenset({"open", "openat", "openat2", "creat"})
_HIDDEN = frozenset({"io_uring_enter", "io_submit"})
_MARKS = ("access", "faccessat", "faccessat2")
_TRACED = ",".join(f"?{name}" for name in (*_MARKS, *_WRITES, *_SYNCS, *_ALL_SYNCS, *_OPENS, *_HIDDEN, "msync"))

_CALL = re.compile(r"(\d+) +(?:(\w+)\(|<\.\.\. \w+ resumed>)(.*)")
_UNFINISHED = " <unfinished ...>"
_FILE = re.compile(r"\d+<(/.*?)>")
_OPENED = re.compile(r"= \d+<(/.*?)>$")
_SYNCHRONOUS = re.compile(r"\bO_D?SYNC\b|\bRWF_D?SYNC\b")
_DONE = re.compile(r"= 0$")
_ANYBODY = 2**64 - 1
_PR_SET_PTRACER = 0x59616D61
_O_DSYNC = getattr(os, "O_DSYNC", 0)
_ATTACHING = 10.0


class Untraceable(Exception):
    """These processes cannot be traced here; the message says why."""


@contextmanager
def traced(pids: Sequence[int], output: Path) -> Iterator[None]:
    """While this lasts the system calls of the processes go to ``output``. Raises ``Untraceable``."""
    program = shutil.which("strace")
    if program is None:
        raise Untraceable("strace is not installed")
    attach = [part for pid in pids for part in ("-p", str(pid))]
    command = [program, "-f", "-y", "-qq", "-s", "8", "-e", f"trace={_TRACED}", "-e", "signal=none"]
    process = subprocess.Popen(
        [*command, "-o", str(output), *attach],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _ATTACHING
        while not all(_is_traced(pid) for pid in pids):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Untraceable(f"strace may not: {_last_words(process)}")
            time.sleep(0.01)
        yield
    finally:
        _end(process)


def let_trace() -> None:
    """Let any process of this user trace this one, where the system allows only its ancestors to (Yama)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANYBODY), 0, 0, 0)


def marked(token: str, number: int, call: Callable[[], T]) -> T:
    """Do the call, between marks of this number in the trace of this thread."""
    os.access(f"/{token}/begin/{number}", os.F_OK)
    result = call()
    os.access(f"/{token}/end/{number}", os.F_OK)
    return result


@dataclass
class Window:
    """What happened between two marks. ``hidden``: by ways that cannot be followed."""

    written: set[str] = field(default_factory=set)
    synchronised: set[str] = field(default_factory=set)
    hidden: bool = False

    @property
    def safe(self) -> bool:
        """Whether a file was synchronised after it had been written to, or nothing can be said."""
        return bool(self.synchronised) or self.hidden


def windows(lines: Iterable[str], token: str, synchronous: Iterable[str] = ()) -> dict[int, Window]:
    """What a trace shows, by the marks' number. ``synchronous``: files that are open with O_SYNC or O_DSYNC already.

    A file that is synchronised though no file was written to may have been written to through memory: that counts.
    """
    found: dict[int, Window] = {}
    direct = set(synchronous)
    begun: dict[str, tuple[str, str]] = {}
    mark = re.compile(rf'"/{re.escape(token)}/(begin|end)/(\d+)"')
    window: Window | None = None
    for line in lines:
        match = _CALL.match(line)
        if match is None:
            continue
        pid, name, rest = match[1], match[2], match[3]
        if name is None:  # the rest of a call that began before
            name, start = begun.pop(pid, ("", ""))
            rest = start + rest
        elif marks := mark.search(rest):
            window = found.setdefault(int(marks[2]), Window()) if marks[1] == "begin" else None
            continue
        elif window is not None and name in _WRITES:
            window.written.update(_FILE.findall(rest)[:1])
        if rest.endswith(_UNFINISHED):
            begun[pid] = name, rest.removesuffix(_UNFINISHED)
        elif name in _OPENS and _SYNCHRONOUS.search(rest):
            direct.update(_OPENED.findall(rest))
        elif window is not None:
            _take(window, name, rest.rstrip(), direct)
    return found


def _take(window: Window, name: str, text: str, direct: set[str]) -> None:
    """Take in a call that has ended."""
    file = next(iter(_FILE.findall(text)), "")
    if name in _HIDDEN:
        window.hidden = True
    elif name in _WRITES:
        if file in direct or (file and _SYNCHRONOUS.search(text)):
            window.synchronised.add(file)
    elif not _DONE.search(text):
        pass
    elif name in _ALL_SYNCS or (name == "msync" and "MS_SYNC" in text):
        window.synchronised.add("(all)" if name in _ALL_SYNCS else "(memory)")
    elif name in _SYNCS and (file in window.written or not window.written):
        window.synchronised.add(file)


def synchronous_files(pids: Iterable[int]) -> set[str]:
    """The files that the processes have open with O_SYNC or O_DSYNC."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
                with suppress(OSError):
                    flags = re.search(r"^flags:\s*(\d+)", entry.read_text(), re.MULTILINE)
                    if flags and int(flags[1], 8) & _O_DSYNC:
                        found.add(str(Path(f"/proc/{pid}/fd/{entry.name}").readlink()))
    return found


def _is_traced(pid: int) -> bool:
    """Whether all threads of the process are being traced, or it has ended: a server's own come and go."""
    try:
        states = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/status")]
    except OSError:
        return False
    return not any(re.search(r"^TracerPid:\s*0$", state, re.MULTILINE) for state in states)


def _last_words(process: subprocess.Popen[bytes]) -> str:
    process.kill()
    _, errors = process.communicate()
    return errors.decode(errors="replace").strip()[-200:] or "it did not attach in time"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let go of the traced processes, which go on."""
    process.terminate()
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
