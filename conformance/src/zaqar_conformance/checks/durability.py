"""Loss of power: by the settings, and by the synchronisation calls where they can be traced."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from zaqar_conformance.check import Violation, check, ensure
from zaqar_conformance.checks._tracing import (
    Untraceable,
    Window,
    let_trace,
    marked,
    synchronous_files,
    traced,
    windows,
)
from zaqar_conformance.env import Env
from zaqar_conformance.processes import Worker, WorkerResult
from zaqar_conformance.recorder import Recorder
from zaqar_core import Capability, NewMessage
from zaqar_core.contract import new_id

T = TypeVar("T")

_PATIENCE = 60.0
_NOTHING_SEEN = "by the settings alone"


@check("FAI-007")
def acknowledged_work_is_on_disk_before_the_reply(env: Env) -> None:
    """The settings leave no gap; each post, claim, deletion synchronises what it wrote before it returns (strace)."""
    gaps = env.target.durability_gaps(env.driver)
    ensure(not gaps, "FAI-007", f"a loss of power loses what was acknowledged: {'; '.join(gaps)}")
    if not env.target.embedded and not env.target.traced_pids():
        env.note(f"{_NOTHING_SEEN}: the target names no process to trace")
        return
    token = f"zaqar-conformance-{new_id()}"
    queue = env.queue()
    records = env.storage.control.records is not None
    chosen = {"claims": env.declares(Capability.CLAIMS), "pops": env.declares(Capability.POP), "records": records}
    if env.target.embedded:
        env.storage.close()  # a driver may let one process in at a time
    with tempfile.TemporaryDirectory(prefix="zaqar-conformance-") as folder:
        flag, output = Path(folder, "go"), Path(folder, "trace")
        work = f"{__name__}:work_between_marks"
        with env.child(work, within=_PATIENCE, queue=queue, token=token, flag=str(flag), **chosen) as child:
            next(child.lines())
            pids = [child.pid, *env.target.traced_pids()]  # now: a server may have a process for each connection
            try:
                with traced(pids, output):
                    synchronous = synchronous_files(pids)
                    flag.touch()
                    result = child.result(time.monotonic() + _PATIENCE)
            except Untraceable as reason:
                env.note(f"{_NOTHING_SEEN}: {reason}")
                return
        with output.open(errors="replace") as lines:
            found = windows(lines, token, synchronous)
    _judge(env, result, found)


def _judge(env: Env, result: WorkerResult, found: dict[int, Window]) -> None:
    env.history.extend(result.operations)
    hidden = sum(number not in found or found[number].hidden for number in range(len(result.operations)))
    if hidden:
        env.note(f"{_NOTHING_SEEN} for {hidden} of {len(result.operations)} calls: they cannot be followed")
    for number, operation in enumerate(result.operations):
        window = found.get(number)
        if window is not None and not window.safe:
            wrote = ", ".join(sorted(window.written)) or "no file"
            seen = f"{operation.name} returned before a file that it wrote to was synchronised (it wrote to {wrote})"
            raise Violation("FAI-007", seen, [operation])
    env.note(f"strace saw {len(result.operations) - hidden} calls synchronise what they wrote before they returned")


def work_between_marks(
    worker: Worker, queue: str, token: str, flag: str, *, claims: bool, pops: bool, records: bool
) -> None:
    """In a process: do all that writes, each call between marks in the trace, once the flag is there."""
    let_trace()
    client = Recorder(worker.storage, worker.history, worker.name)
    worker.storage.messages.post(queue, [NewMessage("first")])  # which registers the queue
    worker.say("ready")
    over = time.monotonic() + _PATIENCE
    while not Path(flag).exists() and time.monotonic() < over:
        time.sleep(0.01)

    def do(call: Callable[[], T]) -> T:
        return marked(token, len(worker.history.operations), call)

    for size in (2, 20):
        ids = do(partial(client.post, queue, size))
        do(partial(client.delete, queue, ids[0]))
        do(partial(client.bulk_delete, queue, ids[1:4]))
    if pops:
        do(partial(client.pop, queue, 2))
    if claims:
        claim = do(partial(client.claim, queue, ttl=300, limit=6))
        claim_id, held = str(claim.id), [message.id for message in claim.messages]
        if held:
            do(partial(client.update, queue, claim_id, ttl=600))
            do(partial(client.delete, queue, held[0], claim_id=claim_id))
            do(partial(client.bulk_delete, queue, held[1:3], claim_ids=[claim_id]))
            do(partial(client.release, queue, claim_id))
    if records:
        do(partial(client.create_queue, f"{queue}-new"))
        do(partial(client.delete_queue, f"{queue}-new"))
