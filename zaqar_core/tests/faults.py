"""A client whose calls to its driver are counted, and fail at a chosen one: before it took effect, or after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from zaqar_conformance.reference import ReferenceDriver
from zaqar_core import Storage, connect
from zaqar_core.contract import Record, RecordStore, Space
from zaqar_core.errors import IncompatibleStorage, OutcomeUnknown, StorageUnavailable

T = TypeVar("T")

DOWN, DOWN_FOR_GOOD, UNKNOWN_BEFORE, UNKNOWN_AFTER = "down", "down for good", "unknown, before", "unknown, after"
DAMAGED, DAMAGED_FOR_GOOD = "damaged", "damaged for good"
WAYS = (DOWN, DOWN_FOR_GOOD, UNKNOWN_BEFORE, UNKNOWN_AFTER, DAMAGED, DAMAGED_FOR_GOOD)


class Faults:
    """``calls``: the names of the calls since ``fail``. ``on_call`` runs before each."""

    def __init__(self) -> None:
        self.on_call: Callable[[str], object] = lambda name: None
        self.fail(0, DOWN)

    def fail(self, at: int, way: str) -> None:
        """Let the call of this number, counted from 1 and from now on, fail; 0: none."""
        self.calls: list[str] = []
        self._at = at
        self._way = way

    def run(self, name: str, call: Callable[[], T]) -> T:
        """Count a call and make it, or let it fail."""
        self.calls.append(name)
        self.on_call(name)
        number = len(self.calls)
        if self._at and (number == self._at or (self._way in (DOWN_FOR_GOOD, DAMAGED_FOR_GOOD) and number > self._at)):
            if self._way in (DOWN, DOWN_FOR_GOOD):
                raise StorageUnavailable(f"no server at call {number}, {name}")
            if self._way in (DAMAGED, DAMAGED_FOR_GOOD):
                raise IncompatibleStorage(f"damage at call {number}, {name}")
            if self._way == UNKNOWN_AFTER:
                call()
            raise OutcomeUnknown(f"the connection broke at call {number}, {name}")
        return call()


class Controller:
    """The messages or claims of a driver."""

    def __init__(self, inner: object, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._inner, name)
        label = f"{type(self._inner).__name__.removeprefix('Reference').lower()}.{name}"
        return lambda *args, **kwargs: self._faults.run(label, lambda: method(*args, **kwargs))


class Records(RecordStore):
    """The records of a driver; what the contract implements over the other methods is made of counted calls."""

    def __init__(self, inner: RecordStore, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    def get(self, space: Space, key: str) -> Record | None:
        return self._run("get", lambda: self._inner.get(space, key))

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        return self._run("insert", lambda: self._inner.insert(space, key, value, nonce=nonce, ttl=ttl))

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        return self._run("replace", lambda: self._inner.replace(space, key, value, version=version, nonce=nonce))

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        return self._run("delete", lambda: self._inner.delete(space, key, version=version))

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        return self._run("scan", lambda: self._inner.scan(space, prefix=prefix, after=after, limit=limit))

    def count(self, space: Space, *, prefix: str = "") -> int:
        return self._run("count", lambda: self._inner.count(space, prefix=prefix))

    def _run(self, name: str, call: Callable[[], T]) -> T:
        return self._faults.run(f"records.{name}", call)


class FaultyDriver(ReferenceDriver):
    """The reference driver with counted calls."""

    def __init__(self, state: Any) -> None:
        super().__init__(state)
        self.faults = Faults()
        self.messages = Controller(self.messages, self.faults)  # type: ignore[assignment]  # it has the same methods
        self.claims = Controller(self.claims, self.faults)  # type: ignore[assignment]  # it has the same methods
        assert self.records is not None
        self.records = Records(self.records, self.faults)


@contextmanager
def faulty(uri: str, monkeypatch: Any, **settings: Any) -> Iterator[tuple[Storage, Faults]]:
    """A client of a store in memory, and what its calls to it come to."""
    with monkeypatch.context() as patch:
        patch.setattr("zaqar_core.storage.load_driver", lambda scheme: FaultyDriver)
        storage = connect(uri, **settings)
    assert isinstance(storage.driver, FaultyDriver)
    with storage:
        yield storage, storage.driver.faults
