"""Many clients at once in the control plane: no entry names a pool that is gone, and no rule is broken in passing."""

from __future__ import annotations

import time
from contextlib import suppress

from zaqar_conformance.check import Violation, check, ensure, ensure_equal
from zaqar_conformance.checks._clients import settled
from zaqar_conformance.checks._control import LESSER, PLAIN, Plane, control_plane, entry_of
from zaqar_conformance.checks._control_clients import OWNERS, entries, racing, together
from zaqar_conformance.checks._doomed import a_moment
from zaqar_conformance.env import Env
from zaqar_conformance.processes import ChildProcess
from zaqar_core import Capability
from zaqar_core.errors import PoolInUse

_HERE = "zaqar_conformance.checks._control_clients"
_NAMES = 20

# --- one winner ---------------------------------------------------------------------------------------


@check("POO-008", thorough=True)
def of_many_creators_of_a_pool_one_is_told_so(env: Env) -> None:
    """Eight clients create the same pools at once, with and without a flavor: one is told True, and the pool is its."""
    with control_plane(env) as plane:
        flavor = plane.flavor()
        for where in ("", flavor):
            names = [plane.pool_name() for _ in range(_NAMES // 3)]
            for name, told in zip(names, racing(env, names, "pools.create", pools=[], flavor=where), strict=True):
                what = (
                    f"how many of 8 clients that create pool {name!r} at once, in the flavor {where!r}, are told True"
                )
                ensure_equal(told.count(True), 1, "POO-008", what)
                seen = plane.storage.pools.get(name)
                expected = (told.index(True), where)
                ensure_equal(
                    (seen.weight, seen.flavor), expected, "POO-008", "weight and flavor, as the winner gave them"
                )


@check("CAT-005", thorough=True)
def of_many_inserters_of_an_entry_one_is_told_so(env: Env) -> None:
    """Eight clients insert the same queues' entries at once, each with another pool: one is told True, and has it."""
    with control_plane(env) as plane:
        pools = [plane.pool() for _ in range(8)]
        queues = [env.queue() for _ in range(_NAMES)]
        for queue, told in zip(queues, racing(env, queues, "catalogue.insert", pools=pools), strict=True):
            what = f"how many of 8 clients that insert the entry of {queue!r} at once are told True"
            ensure_equal(told.count(True), 1, "CAT-005", what)
            ensure_equal(
                entry_of(env.storage, queue), pools[told.index(True)], "CAT-005", "the pool that the entry names"
            )


@check("SUB-007", thorough=True)
def of_many_creators_of_a_subscription_one_gets_an_id(env: Env) -> None:
    """Eight clients create a subscription for the same subscriber at once: one gets an id, and it is that one's."""
    queues = [env.queue() for _ in range(_NAMES)]
    for queue, told in zip(queues, racing(env, queues, "subscriptions.create", pools=[]), strict=True):
        ids = [each for each in told if each is not None]
        ensure_equal(len(ids), 1, "SUB-007", "how many of 8 clients that create one subscription at once get an id")
        [seen] = env.storage.subscriptions.list(queue).items
        ensure_equal((seen.id, seen.options), (ids[0], {"of": told.index(ids[0])}), "SUB-007", "the one subscription")


# --- rules that span records --------------------------------------------------------------------------


@check("CAT-006", thorough=True)
def no_entry_names_a_pool_that_is_gone(env: Env) -> None:
    """Eight clients keep entries while four delete pools, which are made again: no entry dangles, none is lost."""
    with control_plane(env) as plane:
        pools = [plane.pool() for _ in range(OWNERS + 1)]  # the last is never deleted
        done = together(env, 12, "entries", pools=pools, slots=36)
        gone, left = sum(times for times, _ in done), [kept for _, kept in done]
        env.note(f"pools went {gone} times")
        settled(env)
        found = {entry.queue: entry.pool for entry in entries(env.storage)}
        for expected in left:
            for queue, pool in expected.items():
                ensure_equal(
                    found.get(queue), pool, "CAT-006", "the pool of an entry that was acknowledged, at the end"
                )
        own = {queue: pool for queue, pool in found.items() if queue.startswith("own-")}
        ensure_equal(len(own), sum(map(len, left)), "CAT-006", f"entries left that only one client used: {own}")
        _ends_in_order(plane, pools, "CAT-006")


@check("CAT-007", thorough=True)
def killed_clients_leave_no_entry_of_a_pool_that_is_gone(env: Env) -> None:
    """Processes that keep entries, and that delete and make pools, are killed: nothing dangles, is lost, or stuck."""
    if not env.declares(Capability.MULTI_PROCESS):
        env.note("not tried with processes: the driver does not declare MULTI_PROCESS")
        return
    with control_plane(env) as plane:
        for number in range(4):
            pools = [plane.pool() for _ in range(2)]
            work = f"{_HERE}:churn_until_killed"
            names = [f"r{number}-{index}" for index in range(2)]
            with (
                env.child(work, pools=pools, role="pools", name="") as deleter,
                env.child(work, pools=pools, role="entries", name=names[0]) as one,
                env.child(work, pools=pools, role="entries", name=names[1]) as other,
            ):
                told: dict[str, list[str]] = {}
                for child in env.rng.sample([deleter, one, other], 3):
                    _hear(env, child, told, env.rng.randint(4, 60))
                    time.sleep(a_moment(env.rng))  # it has only just begun the next call
                    child.kill()
                for child in (deleter, one, other):
                    _hear(env, child, told, None)
            settled(env)
            for queue, possible in told.items():
                seen = entry_of(env.storage, queue) or ""
                what = f"the entry of {queue!r} names {seen!r}; as its client was told, expected one of {possible}"
                ensure(seen in possible, "CAT-007", what)
            for queue in list(told)[-4:]:  # of what was under way
                _insert_anew(plane, queue)
            _ends_in_order(plane, pools, "CAT-007")


def _hear(env: Env, child: ChildProcess, told: dict[str, list[str]], most: int | None) -> None:
    """Take in what a client says it is doing, so many times, or to its end."""
    for heard, said in enumerate(child.lines(), 1):
        if said:
            queue, possible = said
            told[queue] = possible
        if heard == most:
            return
    ensure(most is None, "CAT-007", "a client ended before it was killed", env.history.operations)


def _insert_anew(plane: Plane, queue: str) -> None:
    pool = plane.pool()
    made = plane.storage.catalogue.insert(queue, pool)
    expected = entry_of(plane.storage, queue)
    ensure_equal(expected == pool, made, "CAT-007", f"insert for {queue!r}, whose client was killed, made the entry")
    plane.storage.catalogue.delete(queue)
    ensure_equal(entry_of(plane.storage, queue), None, "CAT-007", "the pool of an entry that was deleted")


def _ends_in_order(plane: Plane, pools: list[str], requirement: str) -> None:
    """A quiet catalogue names pools that are there; they go as soon as it does not, and can be made again."""
    storage = plane.storage
    for pool in pools:
        named = [entry.queue for entry in entries(storage) if entry.pool == pool]
        exists = storage.pools.exists(pool)
        ensure(exists or not named, requirement, f"entries of {named} name the pool {pool!r}, which is gone")
        try:
            storage.pools.delete(pool)
        except PoolInUse as error:
            if not named:
                raise Violation(requirement, f"no entry names the pool, yet its deletion said: {error}") from error
        else:
            ensure(not named, requirement, f"the pool {pool!r} was deleted though entries of {named} name it")
        for queue in named:
            storage.catalogue.delete(queue)
        storage.pools.delete(pool)
        ensure_equal(storage.pools.create(pool, uri=PLAIN), True, requirement, "create of a pool that was deleted")
        queue = plane.env.queue()
        ensure_equal(storage.catalogue.insert(queue, pool), True, requirement, "insert of an entry of that pool")
        storage.catalogue.delete(queue)


@check("FLA-007", thorough=True)
def flavors_stay_equal_and_whole(env: Env) -> None:
    """Five clients put pools of two kinds into two flavors, of which a sixth deletes one: no rule is broken."""
    with control_plane(env) as plane:
        kinds = [("plain", PLAIN), ("lesser", LESSER)]
        pools = [plane.pool(f"{kind}-{number}", uri=uri) for number in range(3) for kind, uri in kinds]
        flavors = [plane.flavor(), plane.flavor()]
        entered = together(env, len(pools), "flavors", pools=pools, flavors=flavors, seconds=1.5)
        env.note(f"pools entered a flavor {sum(entered)} times")
        settled(env)
        for name in pools:
            with suppress(PoolInUse):
                flavor = env.storage.pools.get(name).flavor if env.storage.pools.exists(name) else ""
                known = not flavor or env.storage.flavors.exists(flavor)
                ensure(known, "FLA-007", f"the pool {name!r} is in the flavor {flavor!r}, which is gone")
        for flavor in flavors:
            members = [pool.name for pool in env.storage.pools.get_pools_by_flavor(flavor)]
            unequal = {"plain" in name for name in members} == {True, False}
            ensure(not unequal, "FLA-007", f"unequal pools are in one flavor: {members}")
            env.storage.flavors.update(flavor, pools=[])
        uris = dict(kinds)
        for kind, uri in uris.items():
            fresh = plane.pool(f"{kind}-fresh", uri=uri, flavor=flavors[kind == "plain"])
            expected = (fresh,)
            seen = env.storage.flavors.get(flavors[kind == "plain"]).pools
            ensure_equal(seen, expected, "FLA-007", "the pools of a flavor that was emptied, and which one joined")


@check("FLA-008", thorough=True)
def deletions_at_once_leave_a_flavor_a_pool(env: Env) -> None:
    """Four clients delete the four pools of a flavor at the same moment, again and again: one pool stays at least."""
    with control_plane(env) as plane:
        flavors = [plane.flavor() for _ in range(8)]
        pools = [[plane.pool(flavor=flavor) for _ in range(4)] for flavor in flavors]
        gone = together(env, 4, "delete", pools=pools)
        settled(env)
        for number, flavor in enumerate(flavors):
            went = [name for name, told in zip(pools[number], gone, strict=True) if told[number]]
            members = [pool.name for pool in env.storage.pools.get_pools_by_flavor(flavor)]
            expected = sorted(set(pools[number]) - set(went))
            ensure_equal(sorted(members), expected, "FLA-008", f"pools left of a flavor after the deletion of {went}")
            ensure(members, "FLA-008", f"the flavor {flavor!r} has no pool left: {went} were all deleted at once")
