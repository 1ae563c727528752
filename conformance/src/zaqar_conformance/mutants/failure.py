"""Mutants that fail wrongly: connecting, closing, waiting, dying; in a file where many processes are needed."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

from zaqar_conformance.mutants.file import FileDriver, FileLock, FileState
from zaqar_conformance.mutants.pauses import round_trip
from zaqar_conformance.mutants.zoo import control, mutant
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.driver import ReferenceDriver
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_conformance.reference.state import Item, QueueState, State
from zaqar_core import kit
from zaqar_core.contract import EncodedMessage, QueueKey, Refusal, Space, StoredClaim, StoredMessage, new_id
from zaqar_core.errors import OutcomeUnknown, StorageUnavailable
from zaqar_core.uri import Uri

T = TypeVar("T")

# --- connecting and closing ---------------------------------------------------------------------------------------


@mutant("FAI-001")
class ClientsErrorsGetOut(ReferenceDriver):
    """Where nothing answers the client's own exception leaves the driver."""

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        try:
            return super().open(uri, connect_timeout=connect_timeout, timeout=timeout)
        except StorageUnavailable:
            raise ConnectionRefusedError(111, "Connection refused") from None


@mutant("FAI-001")
class CausesAreSwallowed(ReferenceDriver):
    """Where nothing answers the error does not say why: no cause is chained."""

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        try:
            return super().open(uri, connect_timeout=connect_timeout, timeout=timeout)
        except StorageUnavailable as error:
            raise StorageUnavailable(str(error)) from None


@mutant("FAI-001")
class NobodyIsAsked(ReferenceDriver):
    """Opening connects to nothing: whether there is a datastore shows at the first call."""

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        try:
            return super().open(uri, connect_timeout=connect_timeout, timeout=timeout)
        except StorageUnavailable:
            return cls(cls.state_class())


@mutant("FAI-003")
class ClosingTwiceFails(ReferenceDriver):
    """``close`` of what is closed raises."""

    def close(self) -> None:
        if vars(self).setdefault("closed", False):
            raise RuntimeError("connection already closed")
        vars(self)["closed"] = True


@mutant("FAI-003")
class OneClientClosesAll(ReferenceDriver):
    """Clients of one process share a connection, and the first that closes takes it away."""

    def close(self) -> None:
        self.state.queue = _gone  # type: ignore[method-assign]


def _gone(key: QueueKey, now: int) -> QueueState:
    raise StorageUnavailable("the connection is closed")


@mutant("FAI-004")
class ThreadsShareArguments(ReferenceMessages):
    """A call leaves its arguments in the driver object, where another thread's overwrite them."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        self._client_id = client_id
        round_trip()
        return super().post(queue, messages, client_id=self._client_id)


@mutant("FAI-004")
class ThreadsShareReplies(ReferenceMessages):
    """Threads share one connection without a lock: a reply goes to whoever reads first."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._replies: list[list[str]] = []

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        self._replies.append(super().post(queue, messages, client_id=client_id))
        round_trip()
        return self._replies.pop()


@mutant("FAI-013", "FAI-014")
class CallsHoldAPlainLock(ReferenceMessages):
    """A post holds a lock of ``threading``, which an exception leaves taken and a call in its midst waits for."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._lock = threading.Lock()

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        taken = self._lock.acquire(timeout=1.0)
        if not taken:
            raise StorageUnavailable("another post was under way until the timeout")
        try:
            return super().post(queue, messages, client_id=client_id)
        finally:
            self._lock.release()


@mutant("FAI-013")
class UnreadRepliesAreReadLater(ReferenceMessages):
    """A reply that an exception kept from being read is taken for that of the next request."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._replies: list[list[str]] = []

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        self._replies.append(super().post(queue, messages, client_id=client_id))
        return self._read()

    def _read(self) -> list[str]:
        while not len(self._replies):
            round_trip()
        sizes = [len(reply) for reply in list(self._replies)]
        return self._replies.pop(min(len(sizes) - 1, 0))


@mutant("FAI-014")
class CallsInCallsAreForbiddenBadly(ReferenceMessages):
    """A post in the middle of a post ends with an error of Python's, not of the contract."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._busy: list[int] = []

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        if threading.get_ident() in self._busy:
            raise RuntimeError("reentrant call inside <client>")
        self._busy.append(threading.get_ident())
        try:
            return super().post(queue, messages, client_id=client_id)
        finally:
            self._busy.clear()


_reply = {"seconds": 0.0}
"""How long each reply of the datastore of the next two takes."""


@contextmanager
def _slowed(target: object, uri: str) -> Iterator[tuple[str, Callable[[float], None]]]:
    def slow_down(seconds: float) -> None:
        _reply["seconds"] = seconds

    yield uri, slow_down


class _Slow:
    """A part of a driver whose calls wait for a reply first."""

    def __init__(self, part: object, left: Callable[[], float]) -> None:
        self._part = part
        self._left = left

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        def call(*arguments: Any, **options: Any) -> Any:
            left = self._left()
            time.sleep(min(left, _reply["seconds"]))
            if left < _reply["seconds"]:
                raise StorageUnavailable("no reply in time")
            return method(*arguments, **options)

        return call


@control("FAI-015", slowed=_slowed)
class SlowServer(ReferenceDriver):
    """A driver of a slow server that keeps to the deadline of the method that calls it."""

    timeout = 0.0

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        opened = super().open(uri, connect_timeout=connect_timeout, timeout=timeout)
        opened.timeout = timeout
        for name in ("messages", "claims", "records"):
            setattr(opened, name, _Slow(getattr(opened, name), opened.left))
        return opened

    def left(self) -> float:
        return kit.remaining(self.timeout)


@mutant("FAI-015", slowed=_slowed)
class EachCallHasItsOwnTimeout(SlowServer):
    """Each call to the datastore may take the whole time-out, however many there are."""

    def left(self) -> float:
        return self.timeout


@mutant("FAI-011")
class OptionsAreIgnored(ReferenceDriver):
    """A URI's options are not looked at: one that is misspelt does nothing."""

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        kept = {name: value for name, value in uri.options.items() if name in ("create", "without")}
        known = Uri(uri.scheme, uri.authority, uri.path, kept)
        return super().open(known, connect_timeout=connect_timeout, timeout=timeout)


@mutant("FAI-011", base=FileDriver)
class WrongOptionsMakeTheFile(FileDriver):
    """The file is made first, and then the options are read."""

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        right = Uri(uri.scheme, uri.authority, uri.path, {})
        with super().open(right, connect_timeout=connect_timeout, timeout=timeout).state.lock:
            pass
        return super().open(uri, connect_timeout=connect_timeout, timeout=timeout)


# --- waiting ------------------------------------------------------------------------------------------------------


class _PatientLock(FileLock):
    def take(self, file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)


@mutant("FAI-002", base=FileDriver)
class LocksAreWaitedForForEver(FileState):
    """A call waits for a lock that another client holds, however long."""

    lock_class: ClassVar[type[FileLock]] = _PatientLock


@mutant("FAI-002", base=FileDriver, embedded=False)
class RetriesHaveNoEnd(ReferenceMessages):
    """A post is tried again until the datastore is back."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        while True:
            try:
                return super().post(queue, messages, client_id=client_id)
            except StorageUnavailable:
                time.sleep(0.05)


_serves = threading.Event()
"""Unset while the datastore of the next mutants stands still."""
_serves.set()
_STILL: dict[str, Any] = {"pause": lambda _: _serves.clear(), "resume": lambda _: _serves.set()}


def _sent_again(work: Callable[[], T]) -> T:
    """The reply of a datastore to which ``work`` is sent once more if it does not answer in time."""
    for _ in range(2):
        if _serves.wait(0.1):
            return work()
        threading.Thread(target=_done_late, args=(work,), daemon=True).start()
    raise OutcomeUnknown("no answer in time")


def _done_late(work: Callable[[], object]) -> None:
    """What was sent lies with the datastore, which does it once it serves again."""
    _serves.wait()
    work()


@mutant("FAI-012", **_STILL)
class WhatIsUnansweredIsSentAgain(ReferenceMessages):
    """A post that is not answered in time is sent again; a datastore that only stood still then does both."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        return _sent_again(partial(super().post, queue, messages, client_id=client_id))


@mutant("FAI-012", **_STILL)
class ClaimsAreSentAgain(ReferenceClaims):
    """A claim whose reply is lost is made again: the messages of the first are held by nobody."""

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        made = partial(super().create, queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=max_claim_count)
        return _sent_again(made)


@mutant("FAI-012", **_STILL)
class PopsAreSentAgain(ReferenceMessages):
    """A pop whose reply is lost is made again: nobody ever gets the messages of the first."""

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        return _sent_again(partial(super().pop, queue, limit=limit))


# --- dying --------------------------------------------------------------------------------------------------------


@control("FAI-002", "FAI-007", "FAI-010", base=FileDriver)
class FileIsRight(FileState):
    """The reference driver in a file, for many processes."""


@control("FAI-002", base=FileDriver, embedded=False, replicated=True)
class FileOfAServerIsRight(FileState):
    """The file as if a server kept it, which dies, comes back, and has a replica."""


@mutant("FAI-005", base=FileDriver)
class ClaimsTakeAway(ReferenceClaims):
    """A claim takes its messages out of the datastore: they are with the client, and die with it."""

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        with self._state.lock:
            made = super().create(queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=max_claim_count)
            for message in made.messages:
                del self._state.queue(queue, self._state.now()).items[message.id]
            return made


_LATE = 6
"""How many posts are acknowledged before they are stored."""


@mutant("FAI-005", "FAI-006", base=FileDriver)
class PostsAreBuffered(ReferenceMessages):
    """Posts are acknowledged, and written a few at a time."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._late: list[tuple[QueueKey, Item]] = []
        self._posts = 0

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            ids = super().post(queue, messages, client_id=client_id)
            items = self._state.queue(queue, self._state.now()).items
            self._late += [(queue, items.pop(each)) for each in ids if each in items]
            self._posts += 1
            if self._posts % _LATE == 0:
                for key, item in self._late:
                    self._state.queue(key, self._state.now()).items[item.id] = item
                self._late.clear()
            return ids


@mutant("FAI-005", base=FileDriver)
class ClosingDropsWhatIsHeld(FileDriver):
    """What a client has claimed goes when the client does."""

    class _Held(ReferenceClaims):
        def __init__(self, state: State) -> None:
            super().__init__(state)
            self.taken: list[tuple[QueueKey, str]] = []

        def create(
            self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
        ) -> StoredClaim:
            made = super().create(queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=max_claim_count)
            self.taken += [(queue, message.id) for message in made.messages]
            return made

    claims_class: ClassVar[type[ReferenceClaims]] = _Held

    def close(self) -> None:
        assert isinstance(self.claims, self._Held)
        with self.state.lock:
            for queue, message in self.claims.taken:
                self.state.queue(queue, self.state.now()).items.pop(message, None)


@mutant("FAI-006", base=FileDriver)
class BatchesDieInTheMiddle(ReferenceMessages):
    """A batch is written message by message: a crash leaves a part of it."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        return [super(BatchesDieInTheMiddle, self).post(queue, [each], client_id=client_id)[0] for each in messages]


@mutant("FAI-006", base=FileDriver)
class ClaimsAreInMemory(FileState):
    """Claims are not written: a crash forgets them."""

    def dump(self, before: bytes) -> None:
        for queue in self._queues.values():
            queue.leases = {}
        super().dump(before)


class _UnwrittenDeletions(FileState):
    unwritten = False

    def dump(self, before: bytes) -> None:
        if not self.unwritten:
            super().dump(before)
        self.unwritten = False


@mutant("FAI-006", base=FileDriver)
class DeletionsAreLazy(FileDriver):
    """Deletions are acknowledged, and written with whatever is written next."""

    class _Lazy(ReferenceMessages):
        def delete(
            self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
        ) -> dict[str, Refusal]:
            assert isinstance(self._state, _UnwrittenDeletions)
            with self._state.lock:
                self._state.unwritten = True
                return super().delete(queue, message_ids, claim_ids=claim_ids)

    state_class: ClassVar[type[FileState]] = _UnwrittenDeletions
    messages_class: ClassVar[type[ReferenceMessages]] = _Lazy


@mutant("FAI-006", "CAT-007", base=FileDriver)
class ReplaceIsDeleteAndInsert(ReferenceRecords):
    """``replace`` deletes the record, and inserts it again in another call: who is killed between has lost it."""

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        if not self.delete(space, key, version=version):
            return None
        time.sleep(0.08)  # in which the record is not there
        return self.insert(space, key, value, nonce=nonce)


@mutant("FAI-006", base=FileDriver, embedded=False, loses=3)
class TheServerForgetsItsLastWrites(FileState):
    """The server acknowledges before it writes its log: ``kill -9`` loses the last few messages."""


@mutant("FAI-006", base=FileDriver, embedded=False, without="IDEMPOTENT_POST,MULTI_PROCESS")
class RetriesPostTwice(ReferenceMessages):
    """A post whose outcome is unknown is tried again, and stored twice."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        for _ in range(200):
            try:
                with self._state.lock:
                    ids = super().post(queue, messages, client_id=client_id)
                    time.sleep(0.03)  # while the reply is on its way
                return ids
            except StorageUnavailable:
                time.sleep(0.002)
        raise OutcomeUnknown("the server is gone")


@mutant("FAI-007", base=FileDriver)
class NothingIsSynchronised(FileState):
    """Writes are left to the system's cache: ``DURABILITY`` is declared, and no fsync comes before the reply."""

    def write(self, data: bytes) -> None:
        self._replace(data, 0, sync=False)


@mutant("FAI-007", base=FileDriver, durability_gaps=lambda *_: ["it writes once a second"])
class TheServerWritesOnceASecond(FileState):
    """``DURABILITY`` is declared on a server whose settings write to disk once a second."""


@control("FAI-007", base=FileDriver)
class WritesMayBeSynchronousThemselves(FileState):
    """No fsync, but a file opened for synchronous writes."""

    def write(self, data: bytes) -> None:
        self._replace(data, os.O_DSYNC, sync=False)


@mutant("FAI-008", base=FileDriver, embedded=False, replicated=True, loses=3)
class ReplicasAreBehind(FileState):
    """Replication is asynchronous and ``FAILOVER_SAFE`` declared: a promotion loses the last few messages."""


# --- many processes -----------------------------------------------------------------------------------------------


class _ThreadLock(FileLock):
    def take(self, file: int) -> None:
        """Threads are kept apart, processes are not."""


@mutant("FAI-009", base=FileDriver)
class ProcessesAreNotKeptApart(FileState):
    """The lock is one of threads: processes overwrite what others wrote."""

    lock_class: ClassVar[type[FileLock]] = _ThreadLock


class _SessionLock(FileLock):
    """Its holder speaks for a session whose calls are numbered, as in TLS."""

    def __init__(self, state: FileState) -> None:
        self._count = 0
        self._session = new_id()
        super().__init__(state)

    def entered(self) -> None:
        if self._state.sessions.get(self._session, 0) != self._count:
            raise StorageUnavailable(f"call {self._count} of session {self._session} is out of turn")
        self._count = self._state.sessions[self._session] = self._count + 1

    def after_fork_in_child(self) -> None:
        super().after_fork_in_child()
        self._count, self._session = 0, new_id()


@control("FAI-010", base=FileDriver)
class SessionsAreMadeAfterAFork(FileState):
    """Calls of a session are numbered, and a forked child makes a session of its own."""

    lock_class: ClassVar[type[FileLock]] = _SessionLock


class _InheritedSessionLock(_SessionLock):
    def after_fork_in_child(self) -> None:
        FileLock.after_fork_in_child(self)


@mutant("FAI-010", base=FileDriver)
class ForksShareASession(FileState):
    """A forked child goes on with its parent's connection."""

    lock_class: ClassVar[type[FileLock]] = _InheritedSessionLock


class _InheritedLock(FileLock):
    def before_fork(self) -> None:
        self._threads.acquire()

    def after_fork_in_parent(self) -> None:
        self._threads.release()

    def after_fork_in_child(self) -> None:
        self._threads = threading.Lock()  # type: ignore[assignment]
        self._threads.acquire()


@mutant("FAI-010", base=FileDriver)
class ForksInheritALockThatIsHeld(FileState):
    """A forked child waits for a lock that a thread of its parent held."""

    lock_class: ClassVar[type[FileLock]] = _InheritedLock
