"""A client that stops itself (SIGSTOP) before one of its requests: ``stopping.py JSON``. It prints what it did.

The JSON says ``uri``, ``queue``, ``work``, ``ttl`` (of the claim) and ``step`` (before which request it stops, 0 being
the first one of the work itself). ``compare``: whether the coordinator compares; false shows what would be without.
"""

# ruff: noqa: T201 - what is printed is the result

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from threading import Lock, get_ident
from typing import Any

from zaqar_core.contract import QueueKey
from zaqar_core.errors import StorageError
from zaqar_core.uri import Uri
from zaqar_swift import coordinator
from zaqar_swift.driver import SwiftDriver

GRACE = 7_200.0
"""Seconds: longer than Swift keeps a message unasked, so that there is a request for that too."""


def main() -> None:
    told = json.loads(sys.argv[1])
    if not told["compare"]:
        blind = coordinator._SWAP.replace("if not expected then", "if false then")
        assert blind != coordinator._SWAP
        coordinator._SWAP = blind  # type: ignore[misc]
    driver = SwiftDriver.open(Uri.parse(told["uri"]), connect_timeout=20, timeout=60)
    try:
        done = Work(driver, QueueKey(*told["queue"]), told["ttl"], told["step"]).run(told["work"])
    except StorageError as error:
        done = {"error": str(error)}
    print(json.dumps(done), flush=True)
    os._exit(0)


class Work:
    def __init__(self, driver: SwiftDriver, queue: QueueKey, ttl: float, step: int) -> None:
        self._driver = driver
        self._queue = queue
        self._ttl = ttl
        self._step = step

    def run(self, work: str) -> dict[str, Any]:
        """What was claimed, under which claim; what was popped or deleted; what was refused."""
        if work == "claim":
            self._watch()
            return self._claim()
        if work == "pop":
            self._watch()
            return {"taken": [message.id for message in self._driver.messages.pop(self._queue, limit=10)]}
        done = self._claim()
        claim_id, ids = done["claim"], done["held"]
        self._watch()
        if work == "delete":
            refused = self._driver.messages.delete(self._queue, ids, claim_ids=[claim_id])
            return {"taken": sorted(set(ids) - set(refused))}
        if work == "renew":
            done["renewed"] = self._driver.claims.update(self._queue, claim_id, ttl=self._ttl, grace=GRACE)
        else:
            self._driver.claims.release(self._queue, claim_id)
        return done

    def _claim(self) -> dict[str, Any]:
        claim = self._driver.claims.create(self._queue, ttl=self._ttl, grace=GRACE, limit=10)
        return {"claim": claim.id, "held": [message.id for message in claim.messages]}

    def _watch(self) -> None:
        """Count the requests to the coordinator and to Swift, and stop before the one asked for."""
        number, lock = count(), Lock()

        def counted(send: Callable[..., Any]) -> Callable[..., Any]:
            def stopping(*arguments: Any, **options: Any) -> Any:
                with lock:
                    if next(number) == self._step:
                        signal.pthread_kill(get_ident(), signal.SIGSTOP)  # before this thread does anything more
                return send(*arguments, **options)

            return stopping

        store, asked = self._driver._store, self._driver._coordinator
        assert asked is not None
        store._until = counted(store._until)  # type: ignore[method-assign]
        asked._call = counted(asked._call)  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
