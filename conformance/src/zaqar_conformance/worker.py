"""The program that a worker process runs: read the job, connect, wait for "go", work, report. See ``processes``.

It dies with the process that started it, however that one ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import sys
import threading
from dataclasses import asdict
from importlib import import_module
from typing import Any

WORKER = "ZAQAR_CONFORMANCE_WORKER"
"""Set in a worker's environment: one that imports a module which itself starts a run would multiply without end."""


def main() -> None:
    """Speak the protocol on the standard streams; whatever else is printed goes to the standard error."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lock = threading.Lock()

    def reply(**frame: Any) -> None:
        with lock:
            replies.write(json.dumps(frame).encode() + b"\n")
            replies.flush()

    job = json.loads(sys.stdin.readline())
    signals: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(signals,), name="parent", daemon=True).start()
    sys.path[:] = job["path"]
    # Only now: the suite may lie on the path that the job brings.
    from zaqar_conformance.outcomes import judge
    from zaqar_conformance.processes import Worker
    from zaqar_core import connect

    worker: Worker | None = None
    module, _, name = job["work"].partition(":")
    try:
        function = getattr(import_module(module), name, None)
        if function is None:
            raise LookupError(f"module {module} has no function {name}")
        worker = Worker(
            job["index"],
            lambda **overrides: connect(**{**job["settings"], **overrides}),
            job["settings"]["project"],
            job["seed"],
            job["arguments"],
            lambda value: reply(said=value),
        )
        reply(ready=True)
        within = signals.get()["go"]
        faulthandler.dump_traceback_later(max(0.1, within - 1.0))
        value = function(worker, **job["arguments"])
        operations = [asdict(operation) for operation in worker.history.operations]
        reply(done=value, operations=operations)
    except BaseException as error:
        judgement = judge(error, module)
        recorded = judgement.history or (worker.history.operations if worker else ())
        offending = {id(operation) for operation in judgement.offending}
        failed = {
            "outcome": judgement.outcome,
            "message": judgement.message,
            "requirement": judgement.requirement,
            "method": judgement.method,
            "details": judgement.details,
            "foreign": judgement.foreign,
            "offending": [place for place, operation in enumerate(recorded) if id(operation) in offending],
        }
        reply(failed=failed, operations=[asdict(operation) for operation in recorded])
    finally:
        faulthandler.cancel_dump_traceback_later()
        if worker is not None:
            worker.close()


def _listen(signals: queue.Queue[dict[str, Any]]) -> None:
    """Pass on what the parent says; its end is this process's."""
    for line in sys.stdin:
        signals.put(json.loads(line))
    os._exit(1)


if __name__ == "__main__":
    main()
