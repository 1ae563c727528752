"""Death in the midst of calls: of clients, of the datastore, of its primary; loss of power; and fork."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle

from zaqar_conformance import judge
from zaqar_conformance.check import NotRun, check, ensure
from zaqar_conformance.checks._aftermath import Aftermath
from zaqar_conformance.checks._clients import Busy, of_queue, recorders, rngs, settle_time, settled
from zaqar_conformance.checks._doomed import LEASES, Deleting, Doomed, arguments_of
from zaqar_conformance.env import Env
from zaqar_conformance.recorder import Recorder
from zaqar_core import Capability, Storage
from zaqar_core.errors import StorageError

_LONG_LEASES = (60.0, 600.0)
_ROUNDS = 5
_MOMENTS = (0.05, 0.1)

# --- Clients ------------------------------------------------------------------------------------------


@check("FAI-005", thorough=True)
def killed_clients_lose_nothing(env: Env) -> None:
    """Processes are killed at random moments, whatever they hold: all they were told of is there, and comes back."""
    if not env.declares(Capability.MULTI_PROCESS):
        env.note("not tried with processes: the driver does not declare MULTI_PROCESS")
        return
    queue, batches = env.queue(), env.queue("batches")
    survivor = _busy(env, queue, 1)[0]
    for number in range(2):
        with Doomed(env, 3, f"killed-{number}", arguments_of(env, queue, batches, LEASES, tolerant=False)) as doomed:
            for child in env.rng.sample(doomed.children, len(doomed.children)):
                doomed.at_work(child, env.rng.randint(5, 40), "FAI-005")
                doomed.kill(child)
                for _ in range(5):
                    survivor.step()
            doomed.kill()
    for each in (queue, batches):
        _demand_all_comes_back(env, each)


@check("FAI-005", thorough=True)
def vanished_clients_lose_nothing(env: Env) -> None:
    """Clients are closed in the midst of calls, or forgotten, whatever they hold: all messages are there, come back."""
    queue = env.queue()
    for _ in range(3):
        clients = [env.connect() for _ in range(4)]
        busy = _busy(env, queue, 8, clients)
        steps = [env.rng.randint(3, 25) for _ in busy]

        def work(
            index: int, busy: list[Busy | Deleting] = busy, steps: list[int] = steps, clients: list[Storage] = clients
        ) -> None:
            client = index % 4
            with suppress(StorageError):  # closed by the other thread of this client
                for _ in range(steps[index]):
                    busy[index].step()
            if index < 4 and client % 2:
                clients[client].close()

        env.threads(len(busy), work)
    _demand_all_comes_back(env, queue)


def _busy(env: Env, queue: str, count: int, storages: Sequence[Storage] = ()) -> list[Busy | Deleting]:
    """Clients that work at random, with leases that end soon, and delete."""
    done = len(env.history.operations)
    pops = 0.15 if env.declares(Capability.POP) else 0.0
    clients = [Recorder(each.storage, env.history, f"{each.name}/{done}") for each in recorders(env, count, storages)]
    if not env.declares(Capability.CLAIMS):
        return [Deleting(client, queue) for client in clients]
    pairs = zip(clients, rngs(env, count), strict=True)
    return [Busy(client, rng, queue, posts=0.6, pops=pops, leases=LEASES) for client, rng in pairs]


def _demand_all_comes_back(env: Env, queue: str) -> None:
    """No acknowledged message is lost; once the leases are over, all are active again and can be worked off."""
    settled(env)
    reader = Recorder(env.storage, env.history, f"reader-{queue}")
    delayed = env.declares(Capability.DELAY)

    def look() -> tuple[set[str], set[str]]:
        found = reader.list_all(queue, include_claimed=True, include_delayed=delayed)
        return {message.id for message in found}, {message.id for message in reader.list_all(queue)}

    found, _ = look()
    judge.demand("FAI-005", judge.lost(of_queue(env, queue), found))
    left, _ = env.wait_for(
        look,
        lambda seen: seen[0] == seen[1],
        "FAI-005",
        "(all messages, those active) of a queue whose clients died: expected the same once their claims are over",
        within=max(LEASES) + settle_time(env) + 5.0,
    )
    judge.demand("FAI-005", judge.lost(of_queue(env, queue), left))
    if env.declares(Capability.CLAIMS):
        _claim_all(env, queue, left)


def _claim_all(env: Env, queue: str, expected: set[str]) -> None:
    """A new client can claim all of them, and delete them."""
    client, claimed, patience = env.connect(), set[str](), time.monotonic() + settle_time(env)
    while claimed != expected or time.monotonic() < patience:
        claim = client.claims.create(queue, ttl=300, grace=0, limit=client.limits.max_messages_per_claim)
        if claim.id is None and time.monotonic() >= patience:
            break
        if claim.id is None:
            time.sleep(0.01)
        else:
            ids = [message.id for message in claim.messages]
            refused = client.messages.bulk_delete(queue, ids, claim_ids=[claim.id])
            ensure(not refused, "FAI-005", f"{len(refused)} messages of a live claim could not be deleted")
            claimed.update(ids)
    seen = f"{len(expected - claimed)} of {len(expected)} messages left by clients that died cannot be claimed"
    ensure(expected <= claimed, "FAI-005", seen)


# --- The datastore ------------------------------------------------------------------------------------


@check("FAI-006", destructive=True, thorough=True)
def acknowledged_work_survives_the_death_of_the_datastore(env: Env) -> None:
    """``kill -9`` at random moments amid posts, claims, deletions and records: what was told is there, all is whole."""
    if env.target.embedded:
        _hurt(env, "FAI-006", lambda doomed: doomed.kill())
    else:
        comes_back = cycle((True, True, False))
        _hurt(env, "FAI-006", lambda doomed: _kill_server(env, doomed, comes_back=next(comes_back)))


@check("FAI-008", destructive=True, thorough=True)
def acknowledged_work_survives_the_promotion_of_a_replica(env: Env) -> None:
    """The primary dies at a random moment amid posts, claims, deletions and records, and a replica takes over."""
    if env.target.embedded:
        if not env.declares(Capability.FAILOVER_SAFE):
            raise NotRun("an embedded backend has no replica to promote")
        env.note("an embedded backend has no replicas: the requirement holds as it stands")
        return
    _hurt(env, "FAI-008", lambda doomed: _promote(env, doomed), rounds=1)


def _kill_server(env: Env, doomed: Doomed, *, comes_back: bool) -> None:
    """``comes_back``: at once, so that clients see it, and may try again what they do not know the outcome of."""
    env.target.kill()
    if not comes_back:
        doomed.drain()
    env.target.restart()
    if comes_back:
        _go_on(env, doomed)


def _promote(env: Env, doomed: Doomed) -> None:
    env.target.fail_over()
    _go_on(env, doomed)


def _go_on(env: Env, doomed: Doomed) -> None:
    """Let clients go on for a moment, and then no more."""
    time.sleep(env.rng.choice(_MOMENTS))
    doomed.kill()


def _hurt(env: Env, requirement: str, hurt: Callable[[Doomed], None], rounds: int = _ROUNDS) -> None:
    """Let processes work, hurt the datastore (or kill them), and look; again and again."""
    embedded = env.target.embedded
    queue = env.queue()
    env.storage.messages.stats(queue)
    arguments = arguments_of(env, queue, "", _LONG_LEASES, tolerant=not embedded)
    count = 2 if env.declares(Capability.MULTI_PROCESS) else 1
    if embedded:
        env.storage.close()  # or this process would be one that uses the datastore and lives on
    for number in range(rounds):
        batches = env.queue("batches")
        with Doomed(env, count, f"round-{number}", {**arguments, "batches": batches}) as doomed:
            doomed.at_work(env.rng.choice(doomed.children), env.rng.randint(5, 60), requirement)
            hurt(doomed)
        with env.connect() as storage:
            aftermath = Aftermath(env, storage, requirement)
            aftermath.demand_messages(queue)
            aftermath.demand_batches(batches)
            aftermath.demand_queues()
