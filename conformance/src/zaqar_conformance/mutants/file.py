"""The reference driver in a file, for many processes: the base of mutants that a crash, a fork or a server shows."""

from __future__ import annotations

import fcntl
import os
import pickle
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from zaqar_conformance.reference.driver import ReferenceDriver, undeclared
from zaqar_conformance.reference.state import QueueState, State
from zaqar_conformance.target import Target
from zaqar_core import Capability
from zaqar_core.contract import Driver, QueueKey
from zaqar_core.errors import OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri, read_options


@dataclass(frozen=True)
class FileOptions:
    """``without``: capabilities not to declare, by comma."""

    without: str = ""


class FileLock:
    """Held by one thread of one process, while which the state is what the file says."""

    def __init__(self, state: FileState) -> None:
        self._state = state
        self._depth = 0
        self._before = b""
        self._threads = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        if not self._threads.acquire(timeout=self._state.timeout):
            raise StorageUnavailable(f"other threads kept the lock for {self._state.timeout:g} s; try again")
        self._depth += 1
        if self._depth > 1:
            return
        try:
            self._enter()
        except BaseException:
            self._depth -= 1
            self._threads.release()
            raise

    def _enter(self) -> None:
        self._down(StorageUnavailable)
        self._file = os.open(self._state.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        try:
            self.take(self._file)
            self._before = self._state.load()
            self.entered()
        except BaseException:
            self._let_go()
            raise

    def __exit__(self, *error: object) -> None:
        try:
            if self._depth == 1:
                try:
                    self._state.dump(self._before)
                finally:
                    self._let_go()
                self._down(OutcomeUnknown)
        finally:
            self._depth -= 1
            self._threads.release()
        if not self._depth:
            time.sleep(0.001)  # flock is unfair: whoever asks again at once gets it again

    def take(self, file: int) -> None:
        """Lock the file against other processes."""
        deadline = time.monotonic() + self._state.timeout
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    message = f"others kept {self._state.path} locked for {self._state.timeout:g} s; try again"
                    raise StorageUnavailable(message) from error
            time.sleep(0.0003)

    def entered(self) -> None:
        """The lock is held, and the state loaded."""

    def before_fork(self) -> None:
        pass

    def after_fork_in_parent(self) -> None:
        pass

    def after_fork_in_child(self) -> None:
        self._threads = threading.RLock()
        self._depth = 0

    def _let_go(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)  # for a child that inherited it, too
        os.close(self._file)

    def _down(self, error: type[StorageUnavailable]) -> None:
        if self._state.path.with_suffix(".down").exists():
            raise error("the server is gone") from ConnectionRefusedError(111, "Connection refused")


_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _each(step: str) -> None:
    for lock in list(_locks):
        getattr(lock, step)()


os.register_at_fork(
    before=lambda: _each("before_fork"),
    after_in_parent=lambda: _each("after_fork_in_parent"),
    after_in_child=lambda: _each("after_fork_in_child"),
)


class FileState(State):
    """What ``State`` is, read from the file when its lock is taken and written back when it is let go."""

    lock_class: ClassVar[type[FileLock]] = FileLock

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        super().__init__()
        self.path = path
        self.timeout = timeout
        self.lock = self.lock_class(self)  # type: ignore[assignment]
        self.stored: dict[QueueKey, bytes] = {}
        self.sessions: dict[str, int] = {}

    def load(self) -> bytes:
        """Read the file; its bytes."""
        self._queues = {}
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return b""
        self.records, self.stored, self._last, self.sessions = pickle.loads(data)  # noqa: S301  # its own file
        return data

    def dump(self, before: bytes) -> None:
        """Write the file unless it was ``before`` already what it has to be."""
        for key, queue in self._queues.items():
            self.stored[key] = pickle.dumps(queue)
        data = pickle.dumps((self.records, self.stored, self._last, self.sessions))
        if data != before:
            self.write(data)

    def write(self, data: bytes) -> None:
        """Replace the file whole; it is on the disk then."""
        self._replace(data, 0, sync=True)

    def _replace(self, data: bytes, flags: int, *, sync: bool) -> None:
        fresh = self.path.with_suffix(".new")
        opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o600)
        with os.fdopen(opened, "wb", buffering=0) as file:
            file.write(data)
            if sync:
                os.fsync(file.fileno())
        fresh.replace(self.path)

    def queue(self, key: QueueKey, now: int) -> QueueState:
        if key in self.stored and key not in self._queues:
            self._queues[key] = pickle.loads(self.stored[key])  # noqa: S301
        return super().queue(key, now)

    def purge(self, key: QueueKey) -> None:
        self.stored.pop(key, None)
        super().purge(key)


class FileDriver(ReferenceDriver):
    """URI: the path of the file."""

    possible_capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability) - {
        Capability.SUBSCRIPTIONS,
        Capability.FLAT_STATS,
        Capability.HIGH_THROUGHPUT,
    }
    state_class: ClassVar[type[FileState]] = FileState

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        options = read_options(FileOptions, uri)
        path = Path(uri.path)
        if not path.parent.is_dir():
            raise StorageUnavailable(f"there is no folder {path.parent}; make it") from FileNotFoundError(path.parent)
        state = cls.state_class(path, connect_timeout)
        with state.lock:
            driver = cls(state)
        state.timeout = timeout
        driver.without = undeclared(options.without)
        return driver

    def health(self) -> Mapping[str, object]:
        return {}


class FileTarget(Target):
    """Embedded; or, with ``embedded`` false, as if a server kept the file."""

    scheme = "mutant"
    embedded = True
    loses: ClassVar[int] = 0
    """How many messages the death of the server loses."""
    pids: ClassVar[Sequence[int]] = ()

    def start(self, workspace: Path) -> str:
        self.path = workspace / "store"
        return self.uri()

    def uri(self) -> str:
        """To connect to it, once it has started."""
        raise NotImplementedError

    def stop(self) -> None:
        """The file goes with the workspace."""

    def kill(self) -> None:
        self.path.with_suffix(".down").touch()

    def restart(self) -> None:
        self.pause()  # whatever call is under way ends first
        state = FileState(self.path)
        data = state.load()
        for key in list(state.stored) if self.loses else ():
            items = state.queue(key, state.now()).items
            for message in list(items)[-self.loses :]:
                del items[message]
        state.dump(data)
        self.resume()
        time.sleep(0.1)  # a server takes its time, more than a call
        self.path.with_suffix(".down").unlink()

    def pause(self) -> None:
        self._held = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def resume(self) -> None:
        os.close(self._held)

    def fail_over(self) -> None:
        if not self.replicated:
            super().fail_over()
        self.kill()
        self.restart()

    def durability_gaps(self, driver: Driver) -> list[str]:
        return []

    def traced_pids(self) -> Sequence[int]:
        return self.pids

    def unreachable_uri(self) -> str:
        return self.uri().replace(str(self.path), str(self.path.parent / "no-such-folder" / "store"))
