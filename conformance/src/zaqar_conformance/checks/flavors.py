"""Flavors: of pools that are equal in capabilities, which are read from the pools' drivers."""

from __future__ import annotations

from functools import partial
from typing import Any

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._control import LESSER, PLAIN, Plane, control_plane, listed_after
from zaqar_conformance.checks.pools import BAD_NAMES, TRICKY_ENDS
from zaqar_conformance.env import Env
from zaqar_conformance.reference import ReferenceDriver
from zaqar_core import Capability, Flavor
from zaqar_core.errors import (
    FlavorDoesNotExist,
    InvalidLimit,
    InvalidMarker,
    InvalidPool,
    PoolCapabilitiesMismatch,
    PoolDoesNotExist,
)

_ALL = ReferenceDriver.possible_capabilities
_WITHOUT_POP = _ALL - {Capability.POP}


@check("FLA-001")
def flavor_create_says_true_once(env: Env) -> None:
    """``create`` makes a flavor of pools and says True; again it says False and changes nothing."""
    with control_plane(env) as plane:
        one, other, third = plane.pool("b"), plane.pool("a"), plane.pool("c")
        name = plane.flavor_name()
        ensure_equal(env.storage.flavors.exists(name), False, "FLA-001", "exists of a flavor that was never made")
        created = env.storage.flavors.create(name, pools=[one, other, one])
        ensure_equal(created, True, "FLA-001", "create of a new flavor")
        expected = Flavor(name, (other, one), _ALL)
        _shows(plane, expected, "FLA-001")
        for pools in ([third], []):
            created = env.storage.flavors.create(name, pools=pools)
            ensure_equal(created, False, "FLA-001", f"create of a flavor that exists, with the pools {pools}")
            _shows(plane, expected, "FLA-001")
        ensure_equal(env.storage.pools.get(third).flavor, "", "FLA-001", "the flavor of a pool that is in none")


@check("FLA-001")
def flavor_capabilities_are_those_of_its_pools(env: Env) -> None:
    """A flavor's capabilities are its pools': none without pools, others as soon as other pools are in it."""
    with control_plane(env) as plane:
        empty = plane.flavor()
        _shows(plane, Flavor(empty, (), frozenset()), "FLA-001")
        one, lesser = plane.pool(flavor=empty), plane.pool(uri=LESSER)
        _shows(plane, Flavor(empty, (one,), _ALL), "FLA-001")
        env.storage.flavors.update(empty, pools=[lesser])
        _shows(plane, Flavor(empty, (lesser,), _WITHOUT_POP), "FLA-001")
        env.storage.pools.update(lesser, flavor="")
        _shows(plane, Flavor(empty, (), frozenset()), "FLA-001")
        env.storage.pools.update(one, uri=LESSER, flavor=empty)
        _shows(plane, Flavor(empty, (one,), _WITHOUT_POP), "FLA-001")


@check("FLA-002")
def flavor_pools_are_equal_in_capabilities(env: Env) -> None:
    """Whatever would put unequal pools into a flavor raises, and every pool and flavor is as it was before."""
    with control_plane(env) as plane:
        one, two, lesser, least = plane.pool(), plane.pool(), plane.pool(uri=LESSER), plane.pool(uri=f"{LESSER},FIFO")
        first, second = plane.flavor(pools=[one, two]), plane.flavor(pools=[lesser])
        new_pool, new_flavor = plane.pool_name(), plane.flavor_name()
        pools, flavors = env.storage.pools, env.storage.flavors
        before = _all(plane)
        for what, call in (
            ("pools.create", partial(pools.create, new_pool, uri=LESSER, flavor=first)),
            (
                "pools.create by options",
                partial(pools.create, new_pool, uri=PLAIN, options={"without": "POP"}, flavor=first),
            ),
            ("pools.update of the flavor", partial(pools.update, lesser, flavor=first, weight=3)),
            ("pools.update of the URI", partial(pools.update, one, uri=LESSER)),
            ("pools.update of the options", partial(pools.update, one, options={"without": "POP"})),
            ("pools.update of URI and flavor", partial(pools.update, one, uri=f"{LESSER},FIFO", flavor=second)),
            ("flavors.create", partial(flavors.create, new_flavor, pools=[one, lesser])),
            ("flavors.create of a pool in no flavor first", partial(flavors.create, new_flavor, pools=[least, one])),
            ("flavors.update by one more", partial(flavors.update, first, pools=[one, two, lesser])),
            ("flavors.update to others that differ", partial(flavors.update, first, pools=[lesser, least])),
            ("flavors.update of one that stays", partial(flavors.update, first, pools=[two, least, lesser])),
        ):
            ensure_raises(PoolCapabilitiesMismatch, "FLA-002", what, call)
            ensure_equal(_all(plane), before, "FLA-002", f"pools and flavors after {what} was refused")
            ensure(not pools.exists(new_pool), "FLA-002", f"a pool is there after {what} was refused")
            ensure(not flavors.exists(new_flavor), "FLA-002", f"a flavor is there after {what} was refused")
        flavors.update(first, pools=[lesser])
        flavors.update(second, pools=[one, two])
        pools.update(one, uri="memory://elsewhere?without=")
        _shows(plane, Flavor(second, (one, two), _ALL), "FLA-002")


@check("FLA-003")
def flavor_update_sets_its_pools(env: Env) -> None:
    """``update`` takes pools in, from other flavors too, and out; a pool is in one flavor at most."""
    with control_plane(env) as plane:
        one, two, three = plane.pool("a"), plane.pool("b"), plane.pool("c")
        first, second = plane.flavor(pools=[one, two]), plane.flavor(pools=[three])
        for pools in ([one, three], [two], [one, two, three], [], [three]):
            env.storage.flavors.update(first, pools=pools)
            _shows(plane, Flavor(first, tuple(pools), _ALL if pools else frozenset()), "FLA-003")
            for pool in (one, two, three):
                flavor = first if pool in pools else ""
                ensure_equal(env.storage.pools.get(pool).flavor, flavor, "FLA-003", f"the flavor of pool {pool!r}")
        ensure_equal(env.storage.flavors.get(second).pools, (), "FLA-003", "pools of a flavor whose only one has moved")


@check("FLA-003")
def flavors_and_pools_unknown(env: Env) -> None:
    """An unknown flavor or pool raises, on every method that needs it, and nothing has changed."""
    with control_plane(env) as plane:
        one, two = plane.pool(), plane.pool()
        flavor, gone, never = plane.flavor(pools=[one]), plane.flavor(), plane.flavor_name()
        no_pool = plane.pool_name()
        env.storage.flavors.delete(gone)
        before = _all(plane)
        for name in (gone, never):
            for what, call in (
                ("flavors.get", partial(env.storage.flavors.get, name)),
                ("flavors.update", partial(env.storage.flavors.update, name, pools=[one])),
                ("pools.create in", partial(env.storage.pools.create, no_pool, uri=PLAIN, flavor=name)),
                ("pools.update of", partial(env.storage.pools.update, one, flavor=name, weight=9)),
            ):
                ensure_raises(FlavorDoesNotExist, "FLA-003", f"{what} an unknown flavor", call)
                ensure_equal(_all(plane), before, "FLA-003", f"pools and flavors after {what} an unknown flavor")
        for what, call in (
            ("create", partial(env.storage.flavors.create, never, pools=[two, no_pool])),
            ("update", partial(env.storage.flavors.update, flavor, pools=[two, no_pool])),
        ):
            ensure_raises(PoolDoesNotExist, "FLA-003", f"flavors.{what} with an unknown pool", call)
            ensure_equal(_all(plane), before, "FLA-003", f"pools and flavors after {what} with an unknown pool")
            ensure_equal(env.storage.flavors.exists(never), False, "FLA-003", "exists of a flavor that was not made")


@check("FLA-004")
def flavor_delete_keeps_its_pools(env: Env) -> None:
    """``delete`` leaves the pools in no flavor; it may be made again, without them; an unknown one is no error."""
    with control_plane(env) as plane:
        one, two = plane.pool(), plane.pool(weight=4)
        name, other = plane.flavor(pools=[one, two]), plane.flavor_name()
        for _ in range(2):
            env.storage.flavors.delete(name)
            ensure_equal(env.storage.flavors.exists(name), False, "FLA-004", "exists of a flavor that was deleted")
        env.storage.flavors.delete(other)
        for pool, weight in ((one, 100), (two, 4)):
            seen = env.storage.pools.get(pool)
            ensure_equal(
                (seen.flavor, seen.weight), ("", weight), "FLA-004", "flavor and weight of a pool that was in it"
            )
        ensure_equal(env.storage.flavors.create(name), True, "FLA-004", "create of a flavor that was deleted")
        _shows(plane, Flavor(name, (), frozenset()), "FLA-004")


@check("FLA-005")
def flavor_wrong_input(env: Env) -> None:
    """Wrong names, pools, limits and markers are refused, and nothing is written."""
    with control_plane(env) as plane:
        pool, new = plane.pool(), plane.flavor_name()
        kept = plane.flavor(pools=[pool])
        flavors: Any = env.storage.flavors
        for name in BAD_NAMES:
            for what, call in (
                ("create", partial(flavors.create, name)),
                ("get", partial(flavors.get, name)),
                ("exists", partial(flavors.exists, name)),
                ("update", partial(flavors.update, name, pools=[])),
                ("delete", partial(flavors.delete, name)),
                ("create, the pools", partial(flavors.create, new, pools=[pool, name])),
                ("update, the pools", partial(flavors.update, kept, pools=[name])),
            ):
                ensure_raises(InvalidPool, "FLA-005", f"flavors.{what} {name!r}", call)
        for pools in (pool, 5, None):
            for what, call in (
                ("create", partial(flavors.create, new, pools=pools)),
                ("update", partial(flavors.update, kept, pools=pools)),
            ):
                ensure_raises(InvalidPool, "FLA-005", f"flavors.{what} with the pools {pools!r}", call)
        ensure_raises(InvalidLimit, "FLA-005", "flavors.list, limit=0", partial(flavors.list, limit=0))
        ensure_raises(InvalidMarker, "FLA-005", "flavors.list, a wrong marker", partial(flavors.list, marker=5))
        ensure_equal(flavors.exists(new), False, "FLA-005", "exists of a flavor after wrong calls of create")
        _shows(plane, Flavor(kept, (pool,), _ALL), "FLA-005")


@check("FLA-006")
def flavors_are_listed_by_name(env: Env) -> None:
    """Flavors of any names are listed in code-point order, to clients of every project, in pages of any size."""
    with control_plane(env) as plane:
        names = [f"{plane.prefix}f{end}" for end in TRICKY_ENDS]
        pool = plane.pool()
        for name in env.rng.sample(names, len(names)):
            plane.flavor(name.removeprefix(plane.prefix))
        env.storage.flavors.update(names[1], pools=[pool])
        for storage in (env.storage, env.connect(project=f"{env.project}-other"), env.connect(project="")):
            for limit in (1, 5, 1000):
                env.see(
                    lambda storage=storage, limit=limit: [  # type: ignore[misc]
                        (flavor.name, *flavor.pools)
                        for flavor in listed_after(storage.flavors.list, plane.prefix, limit=limit)
                    ],
                    lambda seen: seen == [(names[0],), (names[1], pool), *((name,) for name in names[2:])],
                    "FLA-006",
                    f"flavors and their pools in pages of {limit}, expected {names}, the second with {pool!r}",
                )
        page = env.storage.flavors.list(marker=plane.prefix, limit=3)
        env.storage.flavors.delete(page.items[-1].name)
        after = [flavor.name for flavor in env.storage.flavors.list(marker=page.marker, limit=4).items]
        ensure_equal(after, names[3:7], "FLA-006", "flavors behind a marker whose flavor is gone")


def _shows(plane: Plane, expected: Flavor, requirement: str) -> None:
    flavors = plane.storage.flavors
    ensure_equal(flavors.get(expected.name), expected, requirement, "the flavor, by get")
    ensure_equal(flavors.exists(expected.name), True, requirement, "exists of a flavor that is there")
    found = [each for each in listed_after(flavors.list, plane.prefix, limit=100) if each.name == expected.name]
    ensure_equal(found, [expected], requirement, "the flavor, by list")
    members = tuple(pool.name for pool in plane.storage.pools.get_pools_by_flavor(expected.name))
    ensure_equal(members, expected.pools, requirement, "the flavor's pools, by get_pools_by_flavor")


def _all(plane: Plane) -> tuple[list[object], list[object]]:
    """The pools and flavors of the check."""
    pools = listed_after(plane.storage.pools.list, plane.prefix, limit=100)
    return [*pools], [*listed_after(plane.storage.flavors.list, plane.prefix, limit=100)]
