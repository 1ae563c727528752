"""Clients that change the control plane at once, in processes or threads, and judge what each of them alone can know.

What a client knows for sure is what nobody else may change: an entry that it made and that others leave alone names a
pool that is there; a pool that it deleted and that only it makes again is named by no entry.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

from zaqar_conformance.check import ensure, ensure_equal
from zaqar_conformance.checks._clients import at_slots, in_threads
from zaqar_conformance.checks._control import LESSER, PLAIN, entry_of, pages
from zaqar_conformance.checks._relay import relayed
from zaqar_conformance.env import Env
from zaqar_conformance.processes import Worker
from zaqar_core import Capability, Storage
from zaqar_core.errors import (
    FlavorDoesNotExist,
    PoolCapabilitiesMismatch,
    PoolDoesNotExist,
    PoolInUse,
    QueueNotMapped,
)

Say = Callable[[Any], None]
_HERE = "zaqar_conformance.checks._control_clients"
_SLOT = 0.025
"""Seconds between two moments at which clients meet."""
_WIDE_SLOT = 0.05
"""The same where what they do takes several calls."""
_APART = 0.002
_REST = 0.004
"""Seconds, at most, by which some then come later than others."""
_LONG_SLOT = 0.1
"""The same where each first opens a pool's backend."""
OWNERS = 3
"""How many clients delete and re-create a pool of their own, of which nobody else makes one."""


def together(env: Env, clients: int, role: str, **arguments: Any) -> list[Any]:
    """Run ``role(storage, rng, index, **arguments)`` in processes, or in threads where only one process may work."""
    arguments = {"role": role, **arguments}
    if env.declares(Capability.MULTI_PROCESS):
        return env.processes(clients, f"{_HERE}:in_process", arguments)
    env.note("tried in threads: the driver does not declare MULTI_PROCESS")
    storages = [env.storage, env.connect()]
    return env.threads(
        clients, lambda index: _run(storages[index % 2], random.Random(f"{env.seed}/{index}"), index, **arguments)
    )


def in_process(worker: Worker, **arguments: Any) -> Any:
    """In a process: a role."""
    return _run(worker.storage, worker.rng, worker.index, **arguments)


def racing(env: Env, names: list[str], what: str, **arguments: Any) -> list[list[Any]]:
    """Eight clients call ``what`` with each name at the same moment; for each name what they were told."""
    arguments = {"names": names, "what": what, **arguments}
    if env.declares(Capability.MULTI_PROCESS):
        each = [told for two in env.processes(4, f"{_HERE}:race", arguments) for told in two]
    else:
        each = env.threads(8, lambda index: _race(env.connect(), index, **arguments))
    return [[told[number] for told in each] for number in range(len(names))]


def race(worker: Worker, **arguments: Any) -> list[list[Any]]:
    """In a process: two threads that race with those of others."""
    return in_threads(2, lambda index: _race(worker.storage, 2 * worker.index + index, **arguments))


def _race(storage: Storage, index: int, names: list[str], what: str, pools: list[str], flavor: str = "") -> list[Any]:
    told: list[Any] = [None] * len(names)
    period = _LONG_SLOT if what == "pools.create" else _WIDE_SLOT

    met, apart = False, 0.0

    def meet(step: str, moment: str) -> None:
        """Come together half a period on, when all have looked, and write at once, or one well after the other."""
        nonlocal met
        if (step, moment) == ("records.insert", "before") and not met:
            met = True
            at_slots(1, period / 2, lambda _: time.sleep(index * apart))

    storage = relayed(storage, storage, [], meet)

    def call(number: int) -> None:
        nonlocal met, apart
        met, apart = False, _APART * (number % 2)
        name = names[number]
        match what:
            case "pools.create":
                told[number] = storage.pools.create(name, uri=PLAIN, weight=index, flavor=flavor)
            case "catalogue.insert":
                told[number] = storage.catalogue.insert(name, pools[index])
            case _:
                told[number] = storage.subscriptions.create(
                    name, subscriber="https://example.org", options={"of": index}
                )

    at_slots(len(names), period, call)
    return told


def _run(storage: Storage, rng: random.Random, index: int, role: str, **arguments: Any) -> Any:
    roles: dict[str, Callable[..., Any]] = {"entries": _entries, "flavors": _flavors, "delete": _delete_together}
    return roles[role](storage, rng, index, **arguments)


# --- the catalogue and pools that go ------------------------------------------------------------------


def _entries(
    storage: Storage, rng: random.Random, index: int, pools: list[str], slots: int
) -> tuple[int, dict[str, str]]:
    """The first own a pool, which they delete and make again; one deletes any; the rest put entries into these pools.

    All do so at the same moments. How often a pool went, and the entries left, with their pools.
    """
    gone, left = 0, dict[str, str]()

    def call(slot: int) -> None:
        nonlocal gone
        time.sleep(rng.uniform(0.0, _REST))
        if index < OWNERS:
            gone += any(delete_and_make_again(storage, pools[index]) for _ in range(4))
        elif index == OWNERS:
            with suppress(PoolInUse):
                storage.pools.delete(pools[slot % OWNERS])
        else:
            target = pools[(slot + index) % OWNERS]
            pool = _keep_entry(storage, rng, f"own-{index}-{slot}", target, pools[-1])
            left.update({f"own-{index}-{slot}": pool} if pool else {})
            _meddle(storage, rng, f"shared-{slot % 2}", target)

    at_slots(slots, _WIDE_SLOT, call)
    return gone, left


def delete_and_make_again(storage: Storage, pool: str) -> bool:
    """What its owner does with a pool: delete it, see that no entry names it, make it again. Whether it went."""
    try:
        storage.pools.delete(pool)
    except PoolInUse:
        time.sleep(0.001)  # in which those who use it may let go
        return False
    _no_entry_names(storage, pool)
    storage.pools.create(pool, uri=PLAIN)
    return True


def _no_entry_names(storage: Storage, pool: str) -> None:
    dangling = [entry.queue for entry in entries(storage) if entry.pool == pool]
    ensure(not dangling, "CAT-006", f"entries of {dangling} name the pool {pool!r}, whose deletion was acknowledged")
    ensure_equal(storage.pools.exists(pool), False, "CAT-006", "exists of a pool that was deleted, nobody making it")


def entries(storage: Storage) -> list[Any]:
    """All entries of the project."""
    return [entry for page in pages(storage.catalogue.list, limit=100) for entry in page.items]


def _keep_entry(storage: Storage, rng: random.Random, queue: str, target: str, stable: str) -> str | None:
    """Let an entry that nobody else touches name a pool that may go, and look; the pool that it is left with."""
    pool = None
    try:
        if rng.random() < 0.5:
            ensure_equal(storage.catalogue.insert(queue, target), True, "CAT-006", "insert of a queue's first entry")
        else:
            storage.catalogue.insert(queue, stable)
            pool = stable
            storage.catalogue.update(queue, target)
        pool = target
    except PoolDoesNotExist:
        pass
    look(storage, queue, pool)
    if pool is not None and rng.random() < 0.1:
        storage.catalogue.update(queue, stable)
        look(storage, queue, stable)
        return stable
    storage.catalogue.delete(queue)
    look(storage, queue, None)
    return None


def look(storage: Storage, queue: str, pool: str | None) -> None:
    """An acknowledged entry is there, and so is its pool."""
    what = f"the pool that the entry of {queue!r} names, which nobody else changes"
    ensure_equal(entry_of(storage, queue), pool, "CAT-006", what)
    if pool is not None:
        ensure(storage.pools.exists(pool), "CAT-006", f"the entry of {queue!r} names the pool {pool!r}, which is gone")


def _meddle(storage: Storage, rng: random.Random, queue: str, pool: str) -> None:
    """Change an entry that others change too."""
    with suppress(PoolDoesNotExist, QueueNotMapped):
        match rng.randrange(4):
            case 0:
                storage.catalogue.insert(queue, pool)
            case 1:
                storage.catalogue.update(queue, pool)
            case _:
                storage.catalogue.delete(queue)


def churn_until_killed(worker: Worker, pools: list[str], role: str, name: str) -> None:
    """In a process, without end: delete and make pools, or keep entries, of which each change is told before and after.

    What is told is ``[queue, pools that the entry may name]``, "" standing for none.
    """
    storage, rng = worker.storage, worker.rng
    if role == "pools":
        while True:
            pool = rng.choice(pools)
            with suppress(PoolInUse):
                storage.pools.delete(pool)
                storage.pools.create(pool, uri=PLAIN)
            worker.say([])
    for number in count():
        queue, pool, target = f"{name}-{number}", rng.choice(pools), rng.choice(pools)
        changes: tuple[tuple[Callable[[], object], str, str], ...] = (
            (partial(storage.catalogue.insert, queue, pool), "", pool),
            (partial(storage.catalogue.update, queue, target), pool, target),
            (partial(storage.catalogue.delete, queue), target, ""),
        )
        for change, before, after in changes:
            worker.say([queue, [before, after]])
            try:
                change()
            except PoolDoesNotExist:
                worker.say([queue, [before]])
                break
            worker.say([queue, [after]])


# --- flavors ------------------------------------------------------------------------------------------


def _flavors(
    storage: Storage, rng: random.Random, index: int, pools: list[str], flavors: list[str], seconds: float
) -> int:
    """One deletes and makes flavors; each other moves a pool of its own between them. How often it was let in."""
    until = time.monotonic() + seconds
    if index == 0:
        while time.monotonic() < until:
            _delete_and_make_flavor(storage, flavors[0])
            time.sleep(rng.uniform(0.0, 0.02))
        return 1
    own, uri, entered = pools[index], LESSER if index % 2 else PLAIN, 0
    while time.monotonic() < until:
        flavor = rng.choice(flavors)
        with suppress(PoolCapabilitiesMismatch, FlavorDoesNotExist, PoolDoesNotExist):
            if rng.random() < 0.5:
                storage.pools.update(own, flavor="")
                storage.pools.update(own, flavor=flavor)
            else:
                with suppress(PoolInUse):
                    storage.pools.delete(own)
                storage.pools.create(own, uri=uri, flavor=flavor)
            entered += 1
        _look_around(storage, own, "lesser" if index % 2 else "plain")
        if rng.random() < 0.6 and storage.pools.exists(own):
            storage.pools.update(own, flavor="")
    return entered


def _delete_and_make_flavor(storage: Storage, flavor: str) -> None:
    storage.flavors.delete(flavor)
    members = [pool.name for pool in storage.pools.get_pools_by_flavor(flavor)]
    ensure_equal(members, [], "FLA-007", "the pools of a flavor whose deletion was acknowledged")
    storage.flavors.create(flavor)


def _look_around(storage: Storage, own: str, kind: str) -> None:
    """While a pool is in a flavor, into which nobody else puts it, no pool of the other kind is."""
    with suppress(PoolDoesNotExist):
        flavor = storage.pools.get(own).flavor
        if flavor:
            others = [pool.name for pool in storage.pools.get_pools_by_flavor(flavor) if kind not in pool.name]
            if storage.pools.get(own).flavor == flavor:
                what = (
                    f"the flavor {flavor!r} of the pool {own!r} has the pools {others}, whose capabilities are others"
                )
                ensure(not others, "FLA-007", what)


def _delete_together(storage: Storage, rng: random.Random, index: int, pools: list[list[str]]) -> list[bool]:
    """Delete one pool of each flavor, at the moment when others delete the rest; whether it went."""
    gone = [False] * len(pools)

    def call(number: int) -> None:
        with suppress(PoolInUse):
            storage.pools.delete(pools[number][index])
            gone[number] = True

    at_slots(len(pools), _SLOT, call)
    return gone
