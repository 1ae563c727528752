"""Fork: parent and child go on with the driver object that both have, each with connections of its own."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from zaqar_conformance import judge
from zaqar_conformance.check import Violation, check, ensure, ensure_equal
from zaqar_conformance.checks._clients import of_queue, settled
from zaqar_conformance.env import Env
from zaqar_conformance.forks import LIMIT, be_child
from zaqar_conformance.history import History, from_lines, to_lines
from zaqar_conformance.processes import Worker
from zaqar_conformance.recorder import Recorder
from zaqar_core import Capability, Storage
from zaqar_core.errors import ZaqarError

_THREADS = 3
_STEPS = 8
_MOST_STEPS = 400


@check("FAI-010", thorough=True)
def parent_and_child_go_on_after_a_fork(env: Env) -> None:
    """A process forks while its threads are amid calls; the child uses what it inherited; both get all their own."""
    shared, own = env.queue("shared"), env.queue("own")
    exact = env.declares(Capability.CONSISTENT_READS)
    claims = exact and env.declares(Capability.CLAIMS)
    promised = env.declares(Capability.MULTI_PROCESS)
    chosen = {"shared": shared, "own": own, "exact": exact, "claims": claims, "limit": LIMIT if promised else 2}
    env.processes(1, f"{__name__}:fork_amid_calls", chosen)
    settled(env)
    reader = Recorder(env.storage, env.history, "reader")
    found = reader.list_all(shared)
    operations = of_queue(env, shared)
    judge.demand("FAI-010", judge.lost(operations, [message.id for message in found]))
    posted = {message: post.client for post in operations if post.name == "messages.post" for message in post.result}
    told = Counter((str(message.body["by"]), int(message.body["n"])) for message in found)
    twice = [each for each, count in told.items() if count > 1]
    ensure(not twice, "FAI-010", f"{len(twice)} messages were stored more than once, such as {twice[:1]}", operations)
    for message in found:
        poster = posted.get(message.id)
        seen = f"message {message.id}, posted by {message.body['by']}: its id was given to {poster}"
        ensure(poster == message.body["by"], "FAI-010", seen, operations)


def fork_amid_calls(worker: Worker, shared: str, own: str, *, exact: bool, claims: bool, limit: int) -> None:
    """In a process: fork while quiet, then amid the calls of threads; the children work too, one after the other."""
    forker = _Actor(worker.storage, worker.history, "parent", shared, own, exact=exact, claims=claims)
    actors = [
        _Actor(worker.storage, worker.history, f"thread-{index}", shared, own, exact=exact, claims=claims)
        for index in range(_THREADS)
    ]
    forker.step()
    _fork(worker, forker, "quiet", limit)
    with _at_work(actors):
        for number in range(3):
            forker.step()
            _fork(worker, forker, f"busy-{number}", limit, closes=number == 1)
    for actor in [forker, *actors]:
        actor.step()


def _fork(worker: Worker, parent: _Actor, label: str, limit: int, *, closes: bool = False) -> None:
    """Fork a child that works while ``parent`` does, and take in what it did. ``closes``: it closes its driver."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which are what this is about
        pid = os.fork()
    if not pid:
        os.close(read)
        be_child(partial(_work_in_child, parent, f"child-{label}", worker.storage, closes=closes), write, limit)
    os.close(write)
    try:
        for _ in range(_STEPS):
            parent.step()
    finally:
        with os.fdopen(read, encoding="utf-8", errors="replace") as pipe:
            text = pipe.read()
        _, status = os.waitpid(pid, 0)
    how = f"after a fork ({label}) the child, which used the driver object that it inherited,"
    code = os.waitstatus_to_exitcode(status)
    ensure(code != -signal.SIGALRM, "FAI-010", f"{how} was not done after {limit} s:\n{text[-3000:]}")
    ensure(code == 0, "FAI-010", f"{how} ended with code {code}:\n{text[-3000:]}")
    worker.history.extend(from_lines(text))


def _work_in_child(parent: _Actor, name: str, storage: Storage, *, closes: bool) -> str:
    history = History()  # the lock of the parent's may have been held by another thread
    child = parent.named(name, history)
    for _ in range(_STEPS):
        child.step()
    if closes:
        storage.close()
    return to_lines(history.operations)


@contextmanager
def _at_work(actors: list[_Actor]) -> Iterator[None]:
    """While this lasts each of them works in a thread. Raises the first error of theirs."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(actor: _Actor) -> None:
        try:
            for _ in range(_MOST_STEPS):
                if stop.is_set():
                    return
                actor.step()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(actor,), daemon=True) for actor in actors]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(LIMIT)
    stuck = sum(thread.is_alive() for thread in threads)
    ensure(not stuck, "FAI-010", f"{stuck} threads of the parent hang in a call since it forked")
    if errors:
        raise errors[0]


class _Actor:
    """A client that posts to a shared queue, and does all to a queue of its own, where every answer is known."""

    def __init__(
        self, storage: Storage, history: History, name: str, shared: str, own: str, *, exact: bool, claims: bool
    ) -> None:
        self._recorder = Recorder(storage, history, name)
        self._shared = shared
        self._prefix = own
        self._own = f"{own}-{name}"
        self._exact = exact
        self._claims = claims

    def named(self, name: str, history: History) -> _Actor:
        """Another one of the same storage."""
        storage = self._recorder.storage
        return _Actor(storage, history, name, self._shared, self._prefix, exact=self._exact, claims=self._claims)

    def step(self) -> None:
        """Post to both; read, claim and delete one's own."""
        name = self._recorder.name
        try:
            self._recorder.post(self._shared, 2)
            ids = self._recorder.post(self._own, 3)
            if self._exact:
                found = self._recorder.get(self._own, ids)
                self._ensure([message.id for message in found], ids, "messages fetched")
                self._ensure([message.body["by"] for message in found], [name] * 3, "owners of the messages fetched")
                listed = self._recorder.list(self._own, limit=20)
                self._ensure([message.id for message in listed.items], ids, "messages listed")
            held = None
            if self._claims:
                claim = self._recorder.claim(self._own, ttl=300, limit=20)
                self._ensure([message.id for message in claim.messages], ids, "messages claimed")
                held = [str(claim.id)]
            self._ensure(self._recorder.bulk_delete(self._own, ids, claim_ids=held), [], "deletions refused")
        except ZaqarError as error:
            seen = f"{name}, amid forks of its process, got {type(error).__name__}: {error}"
            raise Violation("FAI-010", seen) from error

    def _ensure(self, actual: list[str], expected: list[str], what: str) -> None:
        ensure_equal(actual, expected, "FAI-010", f"{what} of a queue that {self._recorder.name} alone uses")
