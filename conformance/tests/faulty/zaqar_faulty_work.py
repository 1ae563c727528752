"""What worker processes are made to do."""

from __future__ import annotations

import os
import time
from typing import Any

from zaqar_conformance.check import Violation
from zaqar_conformance.processes import ChildProcess, Worker
from zaqar_core import NewMessage


def work(worker: Worker, text: str) -> dict[str, Any]:
    print("what a client prints does not disturb the protocol")  # noqa: T201
    with worker.history.call(worker.name, "messages.post", "queue", count=1) as call:
        call.result = worker.storage.messages.post("queue", [NewMessage(text)])
    return {"text": text, "project": worker.storage.project, "random": worker.rng.random()}


def say_forever(worker: Worker) -> None:
    number = 0
    while True:
        worker.say(number)
        number += 1


def say(worker: Worker, count: int) -> int:
    for number in range(count):
        worker.say(number)
    return count


def violate(worker: Worker) -> None:
    if worker.index == 1:
        for number in range(3):
            with worker.history.call(worker.name, "messages.post", "queue", count=number) as call:
                call.result = []
        history = worker.history.operations
        raise Violation("MSG-001", "seen in a worker", history, history[1:2])


def break_check(worker: Worker) -> None:
    raise LookupError("a mistake in the suite")


def leak(worker: Worker) -> None:
    worker.storage.messages.post("queue", [NewMessage(1)])
    worker.storage.messages.first("queue")


def lack(worker: Worker) -> None:
    worker.storage.messages.pop("queue", limit=1)


def die(worker: Worker) -> None:
    os.write(2, b"last words\n")
    os._exit(7)


def hang(worker: Worker) -> None:
    time.sleep(3600)


def breed(worker: Worker) -> None:
    ChildProcess("zaqar_faulty_work:hang", {}, "", {}, 0)
