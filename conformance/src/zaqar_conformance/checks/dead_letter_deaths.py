"""Checks of dead letters whose mover dies between its steps: on one backend, and from one backend to another."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from zaqar_conformance.check import check, ensure, ensure_equal
from zaqar_conformance.checks._relay import relayed
from zaqar_conformance.checks._support import LONG, listed
from zaqar_conformance.env import Env
from zaqar_conformance.processes import Worker
from zaqar_core import Capability, NewMessage, Storage, connect
from zaqar_core.contract import new_id

STEPS = (
    ("claims.create", "after"),
    ("messages.post", "before"),
    ("messages.post", "after"),
    ("messages.delete", "before"),
    ("messages.delete", "after"),
)
"""The moments of a move at which its mover may be gone."""
_LEASES = (0.2, 4.0)
"""Seconds for which the mover claims, at least and at most: time to move all in half of it (a move heeds its claim's
end), and over before the next claim can finish.
"""
_BODIES = ["first", "second", "third"]


class Gone(BaseException):
    """The mover is no more: nothing after this runs, and nothing that it held is given back."""


@check("DLQ-004", thorough=True)
def dead_letters_outlive_a_killed_mover(env: Env) -> None:
    """Processes that move dead letters are killed after every step: no message is lost, the next claim goes on."""
    if not env.declares(Capability.MULTI_PROCESS):
        env.note("not tried with processes: the driver does not declare MULTI_PROCESS")
        return
    lease = _lease(env)
    for step in STEPS:
        queue, dead = _poisoned(env, env.storage)
        with env.child(f"{__name__}:move_and_be_killed", queue=queue, step=list(step), lease=lease) as child:
            ensure_equal([*child.lines()], [list(step)], "DLQ-004", "the steps that the mover told of before it died")
        _ensure_kept(env, env.storage, queue, dead, f"killed {step[1]} {step[0]}")


def move_and_be_killed(worker: Worker, queue: str, step: list[str], lease: float) -> None:
    """In a process of its own: claim, and be killed at the step."""

    def watch(name: str, moment: str) -> None:
        if [name, moment] == step:
            worker.say(step)
            os.kill(os.getpid(), signal.SIGKILL)

    mover = relayed(worker.storage, worker.storage, [], watch)
    mover.claims.create(queue, ttl=lease, grace=60, limit=10)


@check("DLQ-004", thorough=True, waits=True)
def dead_letters_outlive_a_vanished_mover(env: Env) -> None:
    """Clients that move dead letters vanish after every step: no message is lost, the next claim goes on."""
    lease = _lease(env)
    for step in STEPS:
        queue, dead = _poisoned(env, env.storage)
        _vanish(env.storage, env.connect(), (), queue, step, lease)
        _ensure_kept(env, env.storage, queue, dead, f"gone {step[1]} {step[0]}")


@check("DLQ-005")
def dead_letters_move_to_another_backend(env: Env) -> None:
    """Dead letters move to a queue in another backend, and back from there, with body, headers and client id."""
    with connect(f"memory://{new_id()}", project=env.project) as reference:
        for source, target in ((env.storage, reference), (reference, env.storage)):
            queue, dead = env.queue(), env.queue("dead")
            mover = relayed(source, target, [dead], _nothing)
            mover.queues.create(queue, {"_max_claim_count": 1, "_dead_letter_queue": dead})
            mover.messages.post(queue, [NewMessage({"n": 1}, headers={"a": "b"})], client_id="somebody")
            claim = mover.claims.create(queue, ttl=60, grace=0)
            mover.claims.delete(queue, str(claim.id))
            ensure_equal(mover.claims.create(queue, ttl=60, grace=0).id, None, "DLQ-005", "the id of the second claim")
            found = [
                (letter.body, letter.headers, letter.client_id) for letter in target.messages.list(dead, limit=10).items
            ]
            expected = [({"n": 1}, {"a": "b"}, "somebody")]
            ensure_equal(found, expected, "DLQ-005", "dead letters in the other backend")
            ensure_equal(source.messages.stats(queue).total, 0, "DLQ-005", "messages left in the first backend")


@check("DLQ-004", "DLQ-005", thorough=True, waits=True)
def dead_letters_outlive_a_mover_between_backends(env: Env) -> None:
    """Clients that move dead letters from one backend to another vanish after every step: no message is lost."""
    lease = _lease(env)
    with _another_backend(env) as other:
        for source, target in ((env.storage, other), (other, env.storage)):
            for step in STEPS:
                dead = env.queue("dead")
                both = relayed(source, target, [dead], _nothing)
                queue, _ = _poisoned(env, both, dead)
                _vanish(source, target, [dead], queue, step, lease)
                _ensure_kept(env, both, queue, dead, f"gone {step[1]} {step[0]}, between two backends")


@contextmanager
def _another_backend(env: Env) -> Iterator[Storage]:
    """A second datastore: of the same kind where that is a file of its own, else the reference."""
    with ExitStack() as stack:
        if env.target.embedded and env.target.disposable:
            target = env.target.fresh()
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="zaqar-conformance-"))
            stack.callback(target.stop)
            uri = target.start(Path(folder))
        else:
            uri = f"memory://{new_id()}"
        yield stack.enter_context(connect(uri, project=env.project, metadata_ttl=0))


def _poisoned(env: Env, storage: Storage, dead: str = "") -> tuple[str, str]:
    """A queue of messages that have been claimed as often as they may, and the name of its dead letter queue."""
    queue, dead = env.queue(), dead or env.queue("dead")
    storage.queues.create(queue, {"_max_claim_count": 1, "_dead_letter_queue": dead})
    storage.messages.post(queue, [NewMessage(body, ttl=LONG) for body in _BODIES])
    claim = storage.claims.create(queue, ttl=60, grace=0, limit=10)
    ensure_equal(len(claim.messages), len(_BODIES), "CLM-001", "messages claimed for the first time")
    storage.claims.delete(queue, str(claim.id))
    return queue, dead


def _lease(env: Env) -> float:
    """How long the mover claims on this backend: many times as long as a claim takes."""
    began = time.monotonic()
    env.storage.claims.create(env.queue(), ttl=60)
    least, most = _LEASES
    return min(max(least, 40 * (time.monotonic() - began)), most)


def _vanish(
    first: Storage,
    second: Storage,
    elsewhere: list[str] | tuple[str, ...],
    queue: str,
    step: object,
    lease: float,
) -> None:
    """Claim, as a client that is gone at this step."""

    def watch(name: str, moment: str) -> None:
        if (name, moment) == step:
            raise Gone

    with suppress(Gone):
        relayed(first, second, elsewhere, watch).claims.create(queue, ttl=lease, grace=60, limit=10)


def _ensure_kept(env: Env, storage: Storage, queue: str, dead: str, how: str) -> None:
    """Each message is in one of the queues, or in both; then a claim finishes the move, doubling none if it can."""
    kept = Counter(body for each in (queue, dead) for body in _bodies(env, storage, each))
    what = f"messages in the two queues after their mover was {how}"
    ensure(set(kept) == set(_BODIES), "DLQ-004", f"{what}: expected each of {_BODIES} at least once, got {dict(kept)}")

    def finish() -> int:
        claim = storage.claims.create(queue, ttl=60, grace=60, limit=10)
        ensure_equal([*claim.messages], [], "DLQ-004", f"messages handed out after their mover was {how}")
        return storage.messages.stats(queue).total

    env.wait_for(finish, lambda left: left == 0, "DLQ-004", f"messages left in their queue after their mover was {how}")
    letters = Counter(_bodies(env, storage, dead))
    most = 1 if Capability.IDEMPOTENT_POST in storage.capabilities else 2
    ensure(
        set(letters) == set(_BODIES) and max(letters.values()) <= most,
        "DLQ-004",
        f"dead letters once a claim has gone on where a mover was {how}: expected each of {_BODIES} "
        f"{'once' if most == 1 else 'once or twice'}, got {dict(letters)}",
    )


def _bodies(env: Env, storage: Storage, queue: str) -> list[str]:
    messages = listed(env, queue, storage=storage, include_claimed=True, include_delayed=True)
    return [message.body for message in messages]


def _nothing(name: str, moment: str) -> None:
    """Watches nothing."""
