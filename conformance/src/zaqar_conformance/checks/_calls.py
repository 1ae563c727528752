"""Every method of a client, ready to be called; and whether calls end in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from zaqar_conformance.check import ensure
from zaqar_conformance.env import Env
from zaqar_core import Capability, NewMessage, Storage
from zaqar_core.errors import StorageUnavailable

CACHED = 600.0
"""The ``metadata_ttl`` of clients of a datastore that is hurt: what they know of a queue, from a second post on, they
need not ask again, so that a call comes to the method that is meant."""

Call = tuple[str, Callable[[], object]]


def hasty(env: Env) -> float:
    """A ``timeout``, in seconds: short, but what is made ready beforehand has to be done in it, too."""
    return env.target.call_timeout / 20


def longest(timeout: float) -> float:
    """Seconds that a call may take: a second look after an unknown outcome as long again, a busy machine one more."""
    return 2 * timeout + 1.0


def calls_of_a_client_each(env: Env, **options: Any) -> list[Call]:
    """Every method of every controller, each of a client of its own with a short ``timeout``, on things that exist.

    ``options``: what those clients connect with besides.
    """
    calls: list[Call] = []
    makers = [message_calls, queue_calls, storage_calls]
    if env.declares(Capability.CLAIMS):
        makers.append(claim_calls)
    for make in makers:
        count = len(make(env.storage, env))
        connect = partial(env.connect, **{"timeout": hasty(env), "metadata_ttl": CACHED, **options})
        calls.extend(make(connect(), env)[index] for index in range(count))
    return calls


def message_calls(storage: Storage, env: Env) -> list[Call]:
    queue, messages = env.queue(), storage.messages
    [message_id], [other] = (messages.post(queue, [NewMessage(number)]) for number in (1, 2))
    calls: list[Call] = [
        ("messages.post", lambda: messages.post(queue, [NewMessage(3)])),
        ("messages.post to an unknown queue", lambda: messages.post(env.queue(), [NewMessage(3)])),
        ("messages.get", lambda: messages.get(queue, message_id)),
        ("messages.bulk_get", lambda: messages.bulk_get(queue, [message_id, other])),
        ("messages.list", lambda: messages.list(queue)),
        ("messages.first", lambda: messages.first(queue)),
        ("messages.stats", lambda: messages.stats(queue)),
        ("messages.delete", lambda: messages.delete(queue, message_id)),
        ("messages.bulk_delete", lambda: messages.bulk_delete(queue, [other])),
        ("messages.purge", lambda: messages.purge(queue)),
    ]
    if env.declares(Capability.POP):
        calls.append(("messages.pop", lambda: messages.pop(queue)))
    return calls


def claim_calls(storage: Storage, env: Env) -> list[Call]:
    queue, claims = env.queue(), storage.claims
    for number in (1, 2):
        storage.messages.post(queue, [NewMessage(number)])
    claim_id = env.see(
        lambda: claims.create(queue, ttl=600, grace=0, limit=1).id,
        lambda found: found is not None,
        "FAI-002",
        "the id of a claim on a queue of two messages, expected one",
    )
    held = str(claim_id)
    return [
        ("claims.create", lambda: claims.create(queue)),
        ("claims.get", lambda: claims.get(queue, held)),
        ("claims.update", lambda: claims.update(queue, held)),
        ("claims.delete", lambda: claims.delete(queue, held)),
    ]


def queue_calls(storage: Storage, env: Env) -> list[Call]:
    if env.storage.control.records is None:
        return []
    queue, new, gone, queues = env.queue(), env.queue(), env.queue(), storage.queues
    for name in (queue, gone):
        queues.create(name)
    return [
        ("queues.create", lambda: queues.create(new)),
        ("queues.exists", lambda: queues.exists(queue)),
        ("queues.get_metadata", lambda: queues.get_metadata(queue)),
        ("queues.set_metadata", lambda: queues.set_metadata(queue, {"a": 1})),
        ("queues.stats", lambda: queues.stats(queue)),
        ("queues.list", queues.list),
        ("queues.count", queues.count),
        ("queues.delete", lambda: queues.delete(gone)),
    ]


def storage_calls(storage: Storage, env: Env) -> list[Call]:
    return [("is_alive", storage.is_alive), ("health", storage.health), ("gc", storage.gc)]


# --- in time ------------------------------------------------------------------------------------------


def all_end_in_time(calls: list[Call], timeout: float, *, served: bool = False) -> None:
    """Run them at once, in a thread each; each ends in time with ``StorageUnavailable`` or an answer.

    ``timeout``: what their clients connected with. ``served``: with an answer, for there is time enough.
    """
    ended: dict[str, str | None] = {}

    def run(what: str, call: Callable[[], object]) -> None:
        began = time.monotonic()
        problem = None
        try:
            call()
        except StorageUnavailable as error:
            if served:
                problem = f"expected an answer, got {type(error).__name__}: {error}"
        except BaseException as error:
            problem = f"expected StorageUnavailable or an answer, got {type(error).__name__}: {error}"
        took = time.monotonic() - began
        if took > longest(timeout):
            problem = f"it ended after {took:.1f} s"
        ended[what] = problem

    threads = [threading.Thread(target=run, args=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + longest(timeout) + 1
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    problems = [f"{what}: {problem}" for what, problem in ended.items() if problem]
    problems += [f"{what}: it did not end at all" for what, _ in calls if what not in ended]
    within = "on a slow network" if served else f"with timeout={timeout}, while the datastore serves nobody"
    ensure(not problems, "FAI-002", f"{len(problems)} of {len(calls)} methods, {within}: " + "; ".join(problems))
