"""Observers and codecs: what extends every backend; the one cannot fail an operation, the other does."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from zaqar_conformance.check import Violation, check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._installed import installation
from zaqar_conformance.checks._support import ids_of, listed
from zaqar_conformance.env import Env
from zaqar_core import Capability, Codec, Message, NewMessage
from zaqar_core.errors import CodecError, InvalidBody, MessageDoesNotExist
from zaqar_core.observers import GROUP, ObservedOperation, hookimpl, register, unregister

_SECRET = "S3CR3T"  # noqa: S105

_Seen = tuple[str, int | None, type[BaseException] | None]


class _Recorder:
    """Writes down what it is shown of one queue."""

    def __init__(self, queue: str) -> None:
        self.seen: list[_Seen] = []
        self.projects: set[str | None] = set()
        self.seconds: list[float] = []
        self.shown: list[str] = []
        self._queue = queue
        self._started: list[ObservedOperation] = []

    @hookimpl
    def operation_started(self, operation: ObservedOperation) -> None:
        if operation.queue == self._queue:
            self._started.append(operation)

    @hookimpl
    def operation_finished(
        self, operation: ObservedOperation, count: int | None, seconds: float, error: BaseException | None
    ) -> None:
        if operation in self._started:  # by identity: the same object in both
            self._started.remove(operation)
            self.seen.append((operation.name, count, None if error is None else type(error)))
            self.projects.add(operation.project)
            self.seconds.append(seconds)
            self.shown.append(repr(operation))


class _Failing:
    @hookimpl
    def operation_started(self) -> None:
        raise RuntimeError("started")

    @hookimpl
    def operation_finished(self) -> None:
        raise RuntimeError("finished")


@check("OBS-001")
def observers_see_each_operation_once(env: Env) -> None:
    """Each operation is shown once: its name, project, queue, count, seconds and error, wrong input among them."""
    queue = env.queue()
    recorder = _Recorder(queue)
    with _registered(recorder):
        handle = env.storage.queue(queue)
        handle.post_many([NewMessage(1), NewMessage(2)])
        with handle.claim() as claim:
            next(iter(claim)).delete()
        env.storage.messages.list(queue)
        env.storage.queues.exists(queue)
        _fails("OBS-001", MessageDoesNotExist, partial(env.storage.messages.get, queue, "absent"))
        _fails("OBS-001", InvalidBody, partial(env.storage.messages.post, queue, [NewMessage(object())]))
        env.storage.queues.delete(queue)
    expected: list[_Seen] = [
        ("messages.post", 2, None),
        ("claims.create", 2, None),
        ("messages.delete", 1, None),
        ("claims.delete", None, None),
        ("messages.list", 1, None),
        ("queues.exists", None, None),
        ("messages.get", None, MessageDoesNotExist),
        ("messages.post", None, InvalidBody),
        ("queues.delete", None, None),
    ]
    ensure_equal(recorder.seen, expected, "OBS-001", "what an observer was shown: operation, count, error")
    ensure_equal(recorder.projects, {env.storage.project}, "OBS-001", "the projects it was shown")
    ensure(min(recorder.seconds) >= 0, "OBS-001", f"an operation took {min(recorder.seconds)} seconds")


@check("OBS-002")
def observers_that_raise_stop_nothing(env: Env) -> None:
    """Beside an observer that raises, operations and other observers go on as ever; the log names it, not each time."""
    queue = env.queue()
    before, failing, after = _Recorder(queue), _Failing(), _Recorder(queue)
    with _log("zaqar_core.observers") as said, _registered(before), _registered(failing), _registered(after):
        try:
            [message_id] = env.storage.messages.post(queue, [NewMessage("here")])
            body = env.storage.messages.get(queue, message_id).body
        except RuntimeError as error:
            raise Violation("OBS-002", f"what an observer raised reached the caller: {error!r}") from error
        raised = _fails("OBS-002", MessageDoesNotExist, partial(env.storage.messages.get, queue, "absent"))
    ensure_equal(body, "here", "OBS-002", "the body read beside an observer that raises")
    ensure(raised.__context__ is None, "OBS-002", f"the operation's error got the context {raised.__context__!r}")
    for recorder in (before, after):
        names = [name for name, *_ in recorder.seen]
        ensure_equal(names, ["messages.post", "messages.get", "messages.get"], "OBS-002", "what another observer saw")
    named = [text for text in said if "_Failing" in text]
    ensure_equal(len(named), 1, "OBS-002", f"how often the log named the observer, of {said}")


_LOADING = """
import logging, zaqar_core

class Say(logging.Handler):
    def emit(self, record):
        cause = record.exc_info and record.exc_info[1]
        print("LOG", record.name, " ".join(record.getMessage().split()), repr(cause))

logging.getLogger("zaqar_core.observers").addHandler(Say())
for _ in range(2):
    zaqar_core.connect("memory://conformance").queue("q").post(1)
"""

_OBSERVERS = """
from zaqar_core.observers import hookimpl

class Fine:
    @hookimpl
    def operation_finished(self, operation):
        print("SEEN", operation.name)

class Broken:
    def __init__(self):
        raise RuntimeError("broken on purpose")

class Misspelt:
    @hookimpl
    def operation_ended(self): ...
"""


@check("OBS-003")
def observers_are_loaded_each_by_itself(env: Env) -> None:
    """Of several installed observers those that cannot be loaded are named once with the cause, the others work."""
    broken = {
        "b-missing": ("no_such_module_anywhere:Observer", "ModuleNotFoundError"),
        "c-broken": ("{module}:Broken", "broken on purpose"),
        "d-misspelt": ("{module}:Misspelt", "operation_ended"),
    }
    entries = {
        "a-fine": "{module}:Fine",
        "e-fine": "{module}:Fine",
        **{name: value[0] for name, value in broken.items()},
    }
    path = os.pathsep.join(place for place in sys.path if place)
    with installation() as installed:
        installed.add("some-observers", entries, source=_OBSERVERS, group=GROUP)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([sys.path[0], path])}
        command = [sys.executable, "-c", _LOADING]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False
        )
    ensure(not done.returncode, "OBS-003", f"a process with broken observers failed: {done.stderr[-1000:]}")
    lines = done.stdout.splitlines()
    seen = [line for line in lines if line == "SEEN messages.post"]
    ensure_equal(len(seen), 4, "OBS-003", "posts that the two whole observers saw, of two posts")
    for name, (_, cause) in broken.items():
        logged = [line for line in lines if line.startswith("LOG zaqar_core.observers") and name in line]
        ensure_equal(len(logged), 1, "OBS-003", f"how often the log named the observer {name!r}")
        ensure(cause in logged[0], "OBS-003", f"the log of {name!r} does not tell the cause {cause!r}: {logged[0]}")


@check("OBS-004")
def observers_are_shown_nothing_secret(env: Env) -> None:
    """No body, header, id or client id is shown to an observer."""
    queue = env.queue()
    recorder = _Recorder(queue)
    with env.connect(client_id=f"client-{_SECRET}") as storage, _registered(recorder):
        [message_id] = storage.messages.post(queue, [NewMessage(_SECRET, headers={"h": _SECRET})])
        claim = storage.claims.create(queue)
        storage.messages.delete(queue, message_id, claim_id=claim.id)
    ensure_equal(len(recorder.shown), 3, "OBS-004", "operations shown")
    for secret in (_SECRET, message_id, str(claim.id)):
        ensure(not any(secret in text for text in recorder.shown), "OBS-004", f"an observer was shown {secret!r}")


class _Reversing:
    name = "conformance-reversing"

    def __init__(self, broken: Sequence[str] = ()) -> None:
        self._broken = broken

    def encode(self, data: bytes) -> bytes:
        return self._turn("encode", data)

    def decode(self, data: bytes) -> bytes:
        return self._turn("decode", data)

    def _turn(self, step: str, data: bytes) -> bytes:
        if step in self._broken:
            raise LookupError(step)
        return data[::-1]


@check("OBS-005")
def codecs_bring_bodies_back(env: Env) -> None:
    """Bodies posted through a codec come back equal, beside those posted without; without it its name is told."""
    queue = env.queue()
    codec: Codec = _Reversing()
    with env.connect(codecs=[codec]) as storage:
        env.storage.messages.post(queue, [NewMessage("plain")])
        [message_id] = storage.messages.post(queue, [NewMessage({"a": ["coded"]})])
        bodies = [message.body for message in storage.messages.list(queue).items]
    ensure_equal(bodies, ["plain", {"a": ["coded"]}], "OBS-005", "bodies posted with and without a codec")
    unread = env.storage.messages.get(queue, message_id)
    raised = ensure_raises(CodecError, "OBS-005", "the body read without the codec", lambda: unread.body)
    ensure(codec.name in str(raised), "OBS-005", f"the error does not name the codec: {raised}")


@check("OBS-005")
def codecs_that_fail_store_nothing(env: Env) -> None:
    """A codec that fails stops a post with ``CodecError``, the cause chained, and nothing was stored."""
    queue = env.queue()
    with env.connect(codecs=[_Reversing(["encode"])]) as storage:
        raised = ensure_raises(
            CodecError, "OBS-005", "post", lambda: storage.messages.post(queue, [NewMessage(1), NewMessage(2)])
        )
        ensure(type(raised.__cause__) is LookupError, "OBS-005", f"the cause of a failed post: {raised.__cause__!r}")
        ensure_equal(storage.messages.stats(queue).total, 0, "OBS-005", "messages stored by a post whose codec failed")


@check("OBS-005")
def a_body_that_cannot_be_decoded_spoils_nothing(env: Env) -> None:
    """Two such bodies among others: every read delivers all; the bad ones have ``raw``; one is deleted, one popped."""
    queue = env.queue()
    with env.connect(codecs=[_Reversing()]) as writer, env.connect(codecs=[_Reversing(["decode"])]) as reader:
        ids: list[str] = []
        for storage in (env.storage, writer, writer, env.storage):
            ids += storage.messages.post(queue, [NewMessage(len(ids), headers={"n": str(len(ids))})])
        _see_undecodable(reader.messages.list(queue).items, ids, "list")
        _see_undecodable(listed(env, queue, storage=reader, limit=1), ids, "pages of one message")
        _see_undecodable(reader.messages.bulk_get(queue, ids), ids, "bulk_get")
        if Capability.CLAIMS in reader.capabilities:
            claim = reader.claims.create(queue, ttl=60, grace=0)
            _see_undecodable(claim.messages, ids, "claims.create")
            _see_undecodable(reader.claims.get(queue, claim.id or "").messages, ids, "claims.get")
            reader.claims.delete(queue, claim.id or "")
        reader.messages.delete(queue, ids[1])
        rest = [ids[0], *ids[2:]]
        if Capability.POP in reader.capabilities:
            popped = reader.messages.pop(queue, 10)
            ensure_equal(ids_of(popped), rest, "OBS-005", "popped, two bodies of them decodable")


def _see_undecodable(messages: Sequence[Message], ids: list[str], what: str) -> None:
    """Four messages in order; the two in the middle have bytes instead of a body."""
    ensure_equal(
        [message.id for message in messages], ids, "OBS-005", f"the ids of {what}, with two undecodable bodies"
    )
    headers = [message.headers.get("n") for message in messages]
    ensure_equal(headers, ["0", "1", "2", "3"], "OBS-005", f"the headers of {what}")
    has_raw = [message.raw is not None for message in messages]
    ensure_equal(has_raw, [False, True, True, False], "OBS-005", f"which messages of {what} have raw")
    ensure_equal([messages[0].body, messages[3].body], [0, 3], "OBS-005", f"the bodies of {what} that can be decoded")
    for message in messages[1:3]:
        raised = ensure_raises(CodecError, "OBS-005", f"the body of {what}", partial(getattr, message, "body"))
        ensure(type(raised.__cause__) is LookupError, "OBS-005", f"the cause of a failed read: {raised.__cause__!r}")


def _fails(requirement: str, error: type[Exception], call: Callable[[], object]) -> Exception:
    return ensure_raises(error, requirement, f"an operation that raises {error.__name__}", call)


@contextmanager
def _registered(observer: object) -> Iterator[None]:
    register(observer)
    try:
        yield
    finally:
        unregister(observer)


@contextmanager
def _log(name: str) -> Iterator[list[str]]:
    """What a logger says meanwhile, which nobody else is told."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, handler = logging.getLogger(name), Keep()
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)
