"""An exception before any bytecode of any operation, as a signal handler raises it, leaves nothing broken in the core.

After each, a later operation works, has all of its time, and is seen once by observers. The backend is in memory, and
so has no lock or connection that could be lost; those are for the drivers' own tests.
"""

from __future__ import annotations

import inspect
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import zaqar_core
from zaqar_conformance.bytecodes import interrupt
from zaqar_core import NewMessage, Queue, Storage, kit, observers
from zaqar_core.contract import QueueKey
from zaqar_core.models import QueueStats
from zaqar_core.observers import hookimpl, register

TIMEOUT = 3600.0
DEAD_LETTERS = {"_max_claim_count": 2, "_dead_letter_queue": "dead"}
STEP = 5
"""Each operation is interrupted at every bytecode, in so many tests that take turns."""


class Recorder:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def operation_started(self, operation: Any) -> None:
        self.seen.append(f"{operation.name} started")

    @hookimpl
    def operation_finished(self, operation: Any) -> None:
        self.seen.append(f"{operation.name} finished")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(observers, "_process", observers._Process())
    observers._process.loaded = True
    recorder = Recorder()
    register(recorder)
    return recorder


@pytest.fixture
def storage(recorder: Recorder) -> Iterator[Storage]:
    with zaqar_core.connect(f"memory://{secrets.token_hex(8)}", timeout=TIMEOUT, metadata_ttl=60) as storage:
        storage.pools.create("pool", uri=f"memory://{secrets.token_hex(8)}")
        storage.flavors.create("flavor", pools=["pool"])
        storage.catalogue.insert("mapped", "pool")
        storage.queues.create("q", DEAD_LETTERS)
        yield storage


class World:
    """What each operation finds, made anew for each: every part of it may be half gone."""

    def __init__(self, storage: Storage, operation: str) -> None:
        self.storage = storage
        self.ids: list[str] = []
        self.claim = self.subscription = ""
        kind = operation.partition(".")[0]
        if kind in ("messages", "claims", "handle"):
            self._post(tried=operation == "claims.create")
        if kind == "subscriptions":
            storage.subscriptions.create("q", subscriber="mailto:a@b")
            self.subscription = storage.subscriptions.get_with_subscriber("q", "mailto:a@b").id

    def _post(self, *, tried: bool) -> None:
        """Three messages, of which the oldest may have had its tries; and one in another queue that is claimed."""
        messages, claims = self.storage.messages, self.storage.claims
        for queue in ("q", "dead", "claimed"):
            messages.purge(queue)
        self.ids = messages.post("q", [NewMessage(1)])
        for _ in range(2 if tried else 0):
            claims.delete("q", claims.create("q").id or "")
        self.ids += messages.post("q", [NewMessage(2), NewMessage(3, headers={"a": "b"})])
        messages.post("claimed", [NewMessage(4)])
        self.claim = claims.create("claimed").id or ""


Call = Callable[[Storage, World], object]


def in_a_block(queue: Queue) -> None:
    with queue.claim(limit=1) as claimed:
        for message in claimed:
            claimed.renew()
            message.delete()


def consume(queue: Queue) -> None:
    for message in queue.consume(wait=0):
        message.release()
        break


OPERATIONS: dict[str, Call] = {
    "messages.post": lambda s, w: s.messages.post("q", [NewMessage({"n": 1}, ttl=60, delay=1, headers={"a": "b"})]),
    "messages.get": lambda s, w: s.messages.get("q", w.ids[1]),
    "messages.bulk_get": lambda s, w: s.messages.bulk_get("q", w.ids),
    "messages.list": lambda s, w: s.messages.list("q", include_claimed=True),
    "messages.first": lambda s, w: s.messages.first("q"),
    "messages.delete": lambda s, w: s.messages.delete("q", w.ids[1]),
    "messages.bulk_delete": lambda s, w: s.messages.bulk_delete("q", w.ids),
    "messages.pop": lambda s, w: s.messages.pop("q", 3),
    "messages.stats": lambda s, w: s.messages.stats("q"),
    "messages.purge": lambda s, w: s.messages.purge("q"),
    "claims.create": lambda s, w: s.claims.create("q"),
    "claims.get": lambda s, w: s.claims.get("claimed", w.claim),
    "claims.update": lambda s, w: s.claims.update("claimed", w.claim),
    "claims.delete": lambda s, w: s.claims.delete("claimed", w.claim, delay=1),
    "queues.create": lambda s, w: s.queues.create("new"),
    "queues.exists": lambda s, w: s.queues.exists("q"),
    "queues.get_metadata": lambda s, w: s.queues.get_metadata("q"),
    "queues.set_metadata": lambda s, w: s.queues.set_metadata(
        "q", {"_max_claim_count": 2, "_dead_letter_queue": "dead"}
    ),
    "queues.update_metadata": lambda s, w: s.queues.update_metadata("q", {"_max_claim_count": 2}),
    "queues.delete": lambda s, w: s.queues.delete("new"),
    "queues.list": lambda s, w: s.queues.list(detailed=True),
    "queues.count": lambda s, w: s.queues.count(),
    "queues.stats": lambda s, w: s.queues.stats("q"),
    "subscriptions.create": lambda s, w: s.subscriptions.create("q", subscriber="mailto:a@b"),
    "subscriptions.get": lambda s, w: s.subscriptions.get("q", w.subscription),
    "subscriptions.get_with_subscriber": lambda s, w: s.subscriptions.get_with_subscriber("q", "mailto:a@b"),
    "subscriptions.exists": lambda s, w: s.subscriptions.exists("q", "absent"),
    "subscriptions.list": lambda s, w: s.subscriptions.list("q"),
    "subscriptions.update": lambda s, w: s.subscriptions.update("q", w.subscription, options={}),
    "subscriptions.confirm": lambda s, w: s.subscriptions.confirm("q", w.subscription),
    "subscriptions.delete": lambda s, w: s.subscriptions.delete("q", w.subscription),
    "pools.create": lambda s, w: s.pools.create("pool", uri="memory://pool"),
    "pools.get": lambda s, w: s.pools.get("pool"),
    "pools.exists": lambda s, w: s.pools.exists("pool"),
    "pools.update": lambda s, w: s.pools.update("pool", weight=7),
    "pools.delete": lambda s, w: s.pools.delete("absent"),
    "pools.list": lambda s, w: s.pools.list(),
    "pools.get_pools_by_flavor": lambda s, w: s.pools.get_pools_by_flavor("flavor"),
    "flavors.create": lambda s, w: s.flavors.create("empty"),
    "flavors.get": lambda s, w: s.flavors.get("flavor"),
    "flavors.exists": lambda s, w: s.flavors.exists("flavor"),
    "flavors.update": lambda s, w: s.flavors.update("flavor", pools=["pool"]),
    "flavors.delete": lambda s, w: s.flavors.delete("empty"),
    "flavors.list": lambda s, w: s.flavors.list(),
    "catalogue.insert": lambda s, w: s.catalogue.insert("q", "pool"),
    "catalogue.get": lambda s, w: s.catalogue.get("mapped"),
    "catalogue.exists": lambda s, w: s.catalogue.exists("q"),
    "catalogue.update": lambda s, w: s.catalogue.update("mapped", "pool"),
    "catalogue.delete": lambda s, w: s.catalogue.delete("q"),
    "catalogue.list": lambda s, w: s.catalogue.list(),
    "storage.is_alive": lambda s, w: s.is_alive(),
    "storage.health": lambda s, w: s.health(),
    "storage.gc": lambda s, w: s.gc(),
    "handle.post": lambda s, w: s.queue("q").post(1),
    "handle.list": lambda s, w: s.queue("q").list(),
    "handle.pop": lambda s, w: s.queue("q").pop(),
    "handle.claim": lambda s, w: in_a_block(s.queue("q")),
    "handle.consume": lambda s, w: consume(s.queue("q")),
}


# A generator that is interrupted while it is closed cannot raise: Python says that it ignores the exception.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("turn", range(STEP))
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_an_exception_at_any_bytecode_breaks_no_later_operation(
    storage: Storage, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, operation: str, turn: int
) -> None:
    deadlines: list[float] = []
    messages = storage.driver.messages
    assert messages is not None
    stats = messages.stats

    def watched(queue: QueueKey) -> QueueStats:
        deadlines.append(kit.deadline(1.0))
        return stats(queue)

    monkeypatch.setattr(messages, "stats", watched)
    at, interrupted = 1 + turn, True
    while interrupted:
        world = World(storage, operation)
        interrupted = interrupt(partial(OPERATIONS[operation], storage, world), at)
        at += STEP
        recorder.seen.clear()
        before = time.monotonic()
        storage.messages.stats("q")
        assert deadlines[-1] >= before + TIMEOUT, "it has less than all of its time"
        assert recorder.seen == ["messages.stats started", "messages.stats finished"]
        [message_id] = storage.messages.post("check", [NewMessage(at)])
        assert storage.messages.get("check", message_id).body == at
        storage.messages.delete("check", message_id)
        assert storage.queues.exists("q")


def test_every_public_operation_is_interrupted(storage: Storage) -> None:
    names = {
        f"{controller}.{name}"
        for controller in ("messages", "claims", "subscriptions", "queues", "pools", "flavors", "catalogue")
        for name, method in inspect.getmembers(type(getattr(storage, controller)), inspect.isfunction)
        if not name.startswith("_") and hasattr(method, "__wrapped__")
    }
    assert names - OPERATIONS.keys() == set()
