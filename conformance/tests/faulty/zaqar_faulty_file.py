"""The reference driver in a file, for many processes, with faults to choose that a crash or a fork brings to light."""

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

from zaqar_conformance.reference import ReferenceDriver
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_conformance.reference.state import Item, QueueState, State
from zaqar_conformance.target import Target
from zaqar_core import Capability
from zaqar_core.contract import Driver, EncodedMessage, QueueKey, Refusal, Space, StoredClaim, new_id
from zaqar_core.errors import OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri, read_options

LATE = 6
"""How many posts are acknowledged, with the fault "late", before they are stored."""


@dataclass(frozen=True)
class Options:
    """``fault``: see where it is asked for. ``without``: capabilities not to declare, by comma."""

    fault: str = ""
    without: str = ""


class FileState(State):
    """What ``State`` is, read from the file when its lock is taken and written back when it is let go."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__()
        self.path = path
        self.fault = fault
        self.lock = FileLock(self)  # type: ignore[assignment]
        self.stored: dict[QueueKey, bytes] = {}
        self.sessions: dict[str, int] = {}

    def load(self) -> bytes:
        self._queues = {}
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return b""
        self.records, self.stored, self._last, self.sessions = pickle.loads(data)
        return data

    def dump(self, before: bytes) -> None:
        for key, queue in self._queues.items():
            if self.fault == "forgets":  # claims are not stored
                queue.leases = {}
            self.stored[key] = pickle.dumps(queue)
        data = pickle.dumps((self.records, self.stored, self._last, self.sessions))
        if data != before:
            store(self.path, data, self.fault)

    def queue(self, key: QueueKey, now: int) -> QueueState:
        if key in self.stored and key not in self._queues:
            self._queues[key] = pickle.loads(self.stored[key])
        return super().queue(key, now)

    def purge(self, key: QueueKey) -> None:
        self.stored.pop(key, None)
        super().purge(key)


def store(path: Path, data: bytes, fault: str = "") -> None:
    """Replace the file whole. With the fault "nosync" it may not be on the disk; "direct" needs no fsync."""
    fresh = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | (os.O_DSYNC if fault == "direct" else 0)
    with os.fdopen(os.open(fresh, flags, 0o600), "wb", buffering=0) as file:
        file.write(data)
        if fault not in ("nosync", "direct"):
            os.fsync(file.fileno())
    fresh.replace(path)


class FileLock:
    """Held by one thread of one process.

    With "speaks", which is no fault, its holder speaks for a session whose calls are numbered, as in TLS. With the
    fault "keeps" a forked child goes on with its parent's session; with "hangs", with its lock, which is taken.
    """

    def __init__(self, state: FileState) -> None:
        self.skip = False
        self._state = state
        self._depth = 0
        self._before = b""
        self._count = 0
        self._session = new_id()
        self._threads = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._threads.acquire()
        self._depth += 1
        if self._depth > 1:
            return
        try:
            self._down(StorageUnavailable)
            self._file = os.open(self._state.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._before = self._state.load()
            try:
                self._speak()
            except BaseException:
                self._unlock()
                raise
        except BaseException:
            self._depth -= 1
            self._threads.release()
            raise

    def __exit__(self, *error: object) -> None:
        try:
            if self._depth == 1:
                try:
                    if not self.skip:
                        self._state.dump(self._before)
                finally:
                    self.skip = False
                    self._unlock()
                self._down(OutcomeUnknown)
        finally:
            self._depth -= 1
            self._threads.release()
        if not self._depth:
            time.sleep(0.001)  # flock is unfair: whoever asks again at once gets it again

    def _speak(self) -> None:
        if self._state.fault not in ("speaks", "keeps"):
            return
        if self._state.sessions.get(self._session, 0) != self._count:
            raise StorageUnavailable(f"call {self._count} of session {self._session} is out of turn")
        self._count = self._state.sessions[self._session] = self._count + 1

    def _unlock(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)  # for a child that inherited it, too
        os.close(self._file)

    def _down(self, error: type[Exception]) -> None:
        if self._state.path.with_suffix(".down").exists():
            raise error("the server is gone")

    def before_fork(self) -> None:
        if self._state.fault == "hangs":
            self._threads.acquire()

    def after_fork_in_parent(self) -> None:
        if self._state.fault == "hangs":
            self._threads.release()

    def after_fork_in_child(self) -> None:
        if self._state.fault == "hangs":
            self._threads = threading.Lock()  # type: ignore[assignment]
            self._threads.acquire()
            return
        self._threads = threading.RLock()
        self._depth = 0
        if self._state.fault != "keeps":
            self._count, self._session = 0, new_id()


_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _each(step: str) -> None:
    for lock in list(_locks):
        getattr(lock, step)()


os.register_at_fork(
    before=lambda: _each("before_fork"),
    after_in_parent=lambda: _each("after_fork_in_parent"),
    after_in_child=lambda: _each("after_fork_in_child"),
)


class FileMessages(ReferenceMessages):
    _state: FileState

    def __init__(self, state: FileState) -> None:
        super().__init__(state)
        self._late: list[tuple[QueueKey, Item]] = []
        self._posts = 0

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        if self._state.fault == "halves":  # a batch is stored message by message
            return [super(FileMessages, self).post(queue, [each], client_id=client_id)[0] for each in messages]
        with self._state.lock:
            ids = super().post(queue, messages, client_id=client_id)
            if self._state.fault == "late":  # posts are kept in memory for a while
                items = self._state.queue(queue, self._state.now()).items
                self._late += [(queue, items.pop(each)) for each in ids if each in items]
                self._posts += 1
                if self._posts % LATE == 0:
                    for key, item in self._late:
                        self._state.queue(key, self._state.now()).items[item.id] = item
                    self._late.clear()
            return ids

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        with self._state.lock:
            self._state.lock.skip = self._state.fault == "revives"  # type: ignore[attr-defined]
            return super().delete(queue, message_ids, claim_ids=claim_ids)


class FileClaims(ReferenceClaims):
    _state: FileState

    def __init__(self, state: FileState) -> None:
        super().__init__(state)
        self.held: list[tuple[QueueKey, str]] = []

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        with self._state.lock:
            made = super().create(queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=max_claim_count)
            if self._state.fault == "takes":  # a claim deletes
                for message in made.messages:
                    del self._state.queue(queue, self._state.now()).items[message.id]
            self.held += [(queue, message.id) for message in made.messages]
            return made

    def drop(self) -> None:
        """Delete what was claimed through this."""
        with self._state.lock:
            for queue, message in self.held:
                self._state.queue(queue, self._state.now()).items.pop(message, None)


class FileRecords(ReferenceRecords):
    _state: FileState

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        if self._state.fault != "gap":
            return super().replace(space, key, value, version=version, nonce=nonce)
        if not self.delete(space, key, version=version):
            return None
        time.sleep(0.03)  # in which the record is not there
        return self.insert(space, key, value, nonce=nonce)


class FileDriver(ReferenceDriver):
    possible_capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability) - {
        Capability.SUBSCRIPTIONS,
        Capability.FLAT_STATS,
        Capability.HIGH_THROUGHPUT,
    }
    claims: FileClaims

    def __init__(self, state: FileState, options: Options) -> None:
        super().__init__(state)
        self.messages = FileMessages(state)
        self.claims = FileClaims(state)
        self.records = FileRecords(state)
        self._options = options

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        options = read_options(Options, uri)
        state = FileState(Path(uri.path), options.fault)
        with state.lock:
            return cls(state, options)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.possible_capabilities - {Capability[name] for name in self._options.without.split(",") if name}

    def health(self) -> Mapping[str, object]:
        return {}

    def close(self) -> None:
        if self._options.fault == "closes":  # what its claims hold goes with a client
            self.claims.drop()


class FileTarget(Target):
    """Embedded; or, with ``embedded`` false, as if a server kept the file."""

    name = "filed"
    scheme = "filed"
    embedded = True
    query = ""
    loses = 0
    """How many messages the death of the server loses."""
    pids: ClassVar[Sequence[int]] = ()

    def start(self, workspace: Path) -> str:
        self._path = workspace / "store"
        return f"filed://{self._path}?{self.query}"

    def stop(self) -> None:
        """The file goes with the workspace."""

    def kill(self) -> None:
        self._path.with_suffix(".down").touch()

    def restart(self) -> None:
        state = FileState(self._path, "")
        data = state.load()
        for key in list(state.stored) if self.loses else ():
            items = state.queue(key, state.now()).items
            for message in list(items)[-self.loses :]:
                del items[message]
        state.dump(data)
        self._path.with_suffix(".down").unlink()

    def fail_over(self) -> None:
        if not self.replicated:
            super().fail_over()
        self.kill()
        time.sleep(0.05)  # a call under way has ended
        self.restart()

    def durability_gaps(self, driver: Driver) -> list[str]:
        return []

    def traced_pids(self) -> Sequence[int]:
        return self.pids
