"""What many clients did, and when: the operations that a checker judges afterwards."""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["ok", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one client.

    ``client``: who called, unique over threads and processes. ``name``: the method, such as ``claims.create``.
    ``arguments`` and ``result``: JSON values. ``start`` and ``end``: nanoseconds of the machine's monotonic clock,
    the same for all its processes. ``outcome``: "ok"; "refused": an error that means nothing happened; "unknown": it
    may have happened, and ``end`` says only when the client gave up.
    """

    client: str
    name: str
    queue: str
    arguments: dict[str, Any]
    start: int
    end: int
    outcome: Outcome
    result: Any = None


class Call:
    """An operation under way; set ``result`` before it ends."""

    def __init__(self) -> None:
        self.result: Any = None


class History:
    """Records the operations of many threads, and takes in those of other processes."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._lock = threading.Lock()

    @contextmanager
    def call(self, client: str, name: str, queue: str, **arguments: Any) -> Iterator[Call]:
        """Record one operation. ``OutcomeUnknown`` makes its outcome "unknown", any other error "refused"."""
        from zaqar_core.errors import OutcomeUnknown

        call = Call()
        outcome: Outcome = "ok"
        start = time.monotonic_ns()
        try:
            yield call
        except OutcomeUnknown:
            outcome = "unknown"
            raise
        except BaseException:
            outcome = "refused"
            raise
        finally:
            self.add(Operation(client, name, queue, arguments, start, time.monotonic_ns(), outcome, call.result))

    def add(self, operation: Operation) -> None:
        """Take in an operation that has ended."""
        with self._lock:
            self._operations.append(operation)

    def extend(self, operations: Iterable[Operation]) -> None:
        """Take in operations recorded elsewhere."""
        with self._lock:
            self._operations.extend(operations)

    @property
    def operations(self) -> list[Operation]:
        """All operations so far, by start."""
        with self._lock:
            return sorted(self._operations, key=lambda operation: operation.start)


def telling(length: int, offending: Sequence[int], most: int) -> list[int]:
    """Which operations of a history to show, at most so many: what offends and what is nearest; else the last ones."""
    if length <= most:
        return list(range(length))
    if not offending:
        return list(range(length - most, length))
    ordered = sorted(offending)

    def distance(index: int) -> int:
        place = bisect_left(ordered, index)
        return min(abs(index - each) for each in ordered[max(0, place - 1) : place + 1])

    return sorted(sorted(range(length), key=distance)[:most])


def to_lines(operations: Iterable[Operation]) -> str:
    """The history format: one JSON object a line, the fields of ``Operation``."""
    return "".join(json.dumps(asdict(operation), ensure_ascii=False) + "\n" for operation in operations)


def from_lines(text: str) -> list[Operation]:
    """Read what ``to_lines`` wrote."""
    return [Operation(**json.loads(line)) for line in text.splitlines() if line.strip()]
