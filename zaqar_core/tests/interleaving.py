"""Clients over one store of records, run step by step: in every order of their calls, or cut off at any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

from zaqar_core import Storage, connect
from zaqar_core.contract import Record, RecordStore, Space, new_id
from zaqar_core.documents import SUBSCRIPTIONS, Documents
from zaqar_core.encoding import decode
from zaqar_core.errors import IncompatibleStorage, OutcomeUnknown, StorageUnavailable

T = TypeVar("T")

_LONGEST_KEY = 192


class Killed(BaseException):
    """The client is dead: none of its further calls arrives."""


class Gate(RecordStore):
    """A client's way to the store. ``step`` runs before each call.

    ``fails(number, write)``: how the call of that number ends: "" (well), "before" or "after" its effect with an
    unknown outcome, "down" or "damaged" (nothing happened), "killed".
    """

    def __init__(self, inner: RecordStore) -> None:
        self.inner = inner
        self.calls = 0
        self.step: Callable[[], object] = lambda: None
        self.fails: Callable[[int, bool], str] = lambda number, write: ""

    def get(self, space: Space, key: str) -> Record | None:
        return self._call(lambda: self.inner.get(space, key), key)

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        return self._call(lambda: self.inner.insert(space, key, value, nonce=nonce, ttl=ttl), key, write=True)

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        return self._call(lambda: self.inner.replace(space, key, value, version=version, nonce=nonce), key, write=True)

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        return self._call(lambda: self.inner.delete(space, key, version=version), key, write=True)

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        return self._call(lambda: self.inner.scan(space, prefix=prefix, after=after, limit=limit), prefix)

    def count(self, space: Space, *, prefix: str = "") -> int:
        return self._call(lambda: self.inner.count(space, prefix=prefix), prefix)

    def _call(self, effect: Callable[[], T], key: str, *, write: bool = False) -> T:
        assert len(key.encode()) <= _LONGEST_KEY, "a key that no driver need take"
        self.calls += 1
        self.step()
        fault = self.fails(self.calls, write)
        if fault == "killed":
            raise Killed
        if fault == "down":
            raise StorageUnavailable("no server")
        if fault == "damaged":
            raise IncompatibleStorage("damaged")
        if fault == "before":
            raise OutcomeUnknown("the connection broke")
        result = effect()
        if fault == "after":
            raise OutcomeUnknown("the connection broke")
        return result


@dataclass
class World:
    """One store, and its clients."""

    uri: str = field(default_factory=lambda: f"memory://{new_id()}")

    def __post_init__(self) -> None:
        self.operator, _ = self.client()

    def client(self) -> tuple[Storage, Gate]:
        """A client, and the gate through which its calls go."""
        storage = connect(self.uri, project="acme", metadata_ttl=0)
        assert storage.control.records is not None
        gate = Gate(storage.control.records)
        storage.control.records = gate
        storage.subscriptions._records = Documents(gate, SUBSCRIPTIONS)
        return storage, gate

    def states(self, kind: str, project: str = "") -> dict[str, Any]:
        """The documents of a kind, as they are stored."""
        records = self.operator.control.records
        assert records is not None
        return {record.key: decode(record.value) for record in records.scan(Space(kind, project), limit=100)}

    def check(self) -> None:
        """The rules that hold at every moment, whoever is in the midst of what."""
        pools, flavors = self.states("pools"), self.states("flavors")
        for queue, entry in self.states("catalogue", "acme").items():
            assert not entry["pool"] or entry["pool"] in pools, f"the entry of {queue} dangles: {entry}, {pools}"
        for name, pool in pools.items():
            assert not pool["flavor"] or pool["flavor"] in flavors, f"the flavor of {name} is gone: {pool}"
            for other in pools.values():
                same = not pool["flavor"] or pool["flavor"] != other["flavor"]
                assert same or pool["capabilities"] == other["capabilities"], f"unequal: {pools}"


Operation = Callable[[Storage], object]


class Interleaving:
    """Runs operations, each a client of its own, one call at a time; ``choose`` says whose is next.

    ``results``: what each returned, or the error that it raised.
    """

    def __init__(self, world: World, operations: Sequence[Operation]) -> None:
        self.world = world
        self.results: list[Any] = [None] * len(operations)
        self._parked = [threading.Semaphore(0) for _ in operations]
        self._go = [threading.Semaphore(0) for _ in operations]
        self._live = set(range(len(operations)))
        self._threads = [
            threading.Thread(target=self._work, args=(index, operation), daemon=True)
            for index, operation in enumerate(operations)
        ]

    def run(self, choose: Callable[[list[int]], int]) -> list[Any]:
        for index, thread in enumerate(self._threads):
            thread.start()
            self._parked[index].acquire()
        while self._live:
            index = choose(sorted(self._live))
            self._go[index].release()
            self._parked[index].acquire()
            self.world.check()
        for thread in self._threads:
            thread.join()
        return self.results

    def _work(self, index: int, operation: Operation) -> None:
        storage, gate = self.world.client()

        def step() -> None:
            self._parked[index].release()
            self._go[index].acquire()

        gate.step = step
        try:
            self.results[index] = operation(storage)
        except BaseException as error:
            self.results[index] = error
        self._live.discard(index)
        self._parked[index].release()


def every_order(
    prepare: Callable[[], World], operations: Sequence[Operation], *, switches: int
) -> Iterator[tuple[World, list[Any]]]:
    """Run the operations on fresh worlds in every order of their calls with at most so many switches between them."""
    prefix: list[int] | None = []
    while prefix is not None:
        taken: list[tuple[int, list[int]]] = []

        def choose(live: list[int], prefix: list[int] = prefix, taken: list[tuple[int, list[int]]] = taken) -> int:
            last = taken[-1][0] if taken else None
            spent = sum(one[0] != other[0] for one, other in pairwise(taken))
            options = [last] if last is not None and last in live else []
            if spent < switches or not options:
                options += [index for index in live if index != last]
            chosen = prefix[len(taken)] if len(taken) < len(prefix) else options[0]
            taken.append((chosen, options))
            return chosen

        world = prepare()
        yield world, Interleaving(world, operations).run(choose)
        prefix = None
        for place in range(len(taken) - 1, -1, -1):
            chosen, options = taken[place]
            left = options[options.index(chosen) + 1 :]
            if left:
                prefix = [each for each, _ in taken[:place]] + left[:1]
                break


@contextmanager
def ends(*errors: type[BaseException]) -> Iterator[None]:
    """One of these errors may come."""
    try:
        yield
    except errors:
        pass
