"""Pools: made, changed, listed and deleted; what may not go; what must not be shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._control import LESSER, PLAIN, Plane, control_plane, listed_after
from zaqar_conformance.checks._support import error_text, log_texts
from zaqar_conformance.env import Env
from zaqar_core import Pool
from zaqar_core.contract import new_id
from zaqar_core.errors import (
    InvalidLimit,
    InvalidMarker,
    InvalidOption,
    InvalidPool,
    InvalidUri,
    PoolDoesNotExist,
    PoolInUse,
    StorageUnavailable,
    UnknownScheme,
    ZaqarError,
)

TRICKY_ENDS = ("", "B", "a", "a!", "aa", "b", "\x7f", "é", "\ud7ff", "\ue000", "\uffff", "\U00010000")
"""What names may end in, in code-point order, which is neither that of UTF-16 nor that of any language."""
BAD_NAMES: tuple[object, ...] = ("", "x" * 65, "\U0001f600" * 49, "nul\0", "lone \ud800", 5, b"bytes", None, True)
"""What is no name of a queue, a pool or a flavor."""


@check("POO-001")
def pool_create_says_true_once(env: Env) -> None:
    """``create`` makes a pool of the values given, or the defaults, and says True; again it changes nothing."""
    with control_plane(env) as plane:
        name, plain = plane.pool_name("one"), plane.pool_name("plain")
        ensure_equal(env.storage.pools.exists(name), False, "POO-001", "exists of a pool that was never made")
        flavor = plane.flavor()
        options = {"without": "POP", "create": True}
        expected = Pool(name, PLAIN, 7, flavor, options)
        created = env.storage.pools.create(name, uri=PLAIN, weight=7, flavor=flavor, options=options)
        ensure_equal(created, True, "POO-001", "create of a new pool")
        _shows(plane, expected)
        for given in ({"uri": LESSER}, {"uri": PLAIN, "weight": 1}, {"uri": "memory://other", "flavor": flavor}):
            again: Any = env.storage.pools.create
            ensure_equal(again(name, **given), False, "POO-001", f"create, with {given}, of a pool that exists")
            _shows(plane, expected)
        env.storage.pools.create(plain, uri=LESSER)
        _shows(plane, Pool(plain, LESSER, 100, "", {}))


@check("POO-002")
def pool_backends_are_opened(env: Env) -> None:
    """A pool whose backend cannot be opened is neither made nor changed; the error is that of ``connect``."""
    with control_plane(env) as plane:
        name, kept = plane.pool_name(), plane.pool()
        for uri, options, error in (
            ("memry://pool", {}, UnknownScheme),
            ("memory://", {}, InvalidUri),
            ("memory://pool?crate=false", {}, InvalidOption),
            ("memory://pool", {"without": "EVERYTHING"}, InvalidOption),
            (f"memory://{new_id()}?create=false", {}, StorageUnavailable),
        ):
            what = f"with the URI {uri} and the options {options}"
            make = partial(env.storage.pools.create, name, uri=uri, options=options)
            ensure_raises(error, "POO-002", f"create of a pool {what}", make)
            ensure_equal(env.storage.pools.exists(name), False, "POO-002", f"exists after create {what}")
            change = partial(env.storage.pools.update, kept, uri=uri, options=options, weight=3)
            ensure_raises(error, "POO-002", f"update of a pool {what}", change)
            _shows(plane, Pool(kept, PLAIN, 100), "POO-002")


@check("POO-003")
def pool_update_changes_what_is_given(env: Env) -> None:
    """``update`` changes the weight, the URI, the options or the flavor, each alone, and keeps the rest."""
    with control_plane(env) as plane:
        name, flavor, other = plane.pool(weight=5), plane.flavor(), plane.flavor()
        update: Any = env.storage.pools.update
        expected: dict[str, Any] = {"uri": PLAIN, "weight": 5, "flavor": "", "options": {}}
        changes: tuple[dict[str, Any], ...] = (
            {"weight": 0},
            {"uri": "memory://elsewhere"},
            {"options": {"without": "POP"}},
            {"flavor": flavor},
            {"flavor": flavor, "weight": 9},
            {"flavor": other, "uri": LESSER, "options": {}},
            {},
            {"flavor": ""},
        )
        for given in changes:
            update(name, **given)
            expected |= given
            _shows(plane, Pool(name, **expected), "POO-003")


@check("POO-003")
def pools_unknown(env: Env) -> None:
    """``get`` and ``update`` of a pool that is not there, or not any more, raise; ``delete`` succeeds."""
    with control_plane(env) as plane:
        never, gone = plane.pool_name(), plane.pool()
        env.storage.pools.delete(gone)
        for name in (never, gone):
            for what, call in (
                ("get", partial(env.storage.pools.get, name)),
                ("update", partial(env.storage.pools.update, name, weight=1)),
            ):
                ensure_raises(PoolDoesNotExist, "POO-003", f"{what} of an unknown pool", call)
            env.storage.pools.delete(name)
            ensure_equal(env.storage.pools.exists(name), False, "POO-003", "exists of an unknown pool")
        ensure_equal(env.storage.pools.get_pools_by_flavor(never), [], "POO-003", "the pools of an unknown flavor")


@check("POO-004")
def pool_in_the_catalogue_stays(env: Env) -> None:
    """A pool that an entry of any project names is not deleted; once none does it is, and its name is free."""
    with control_plane(env) as plane:
        name, other = plane.pool(weight=3), plane.pool()
        elsewhere = f"{env.project}-elsewhere"
        plane.projects |= {elsewhere, ""}
        for project in (env.project, elsewhere):
            env.storage.catalogue.insert("q", name, project=project)
        _in_use(plane, Pool(name, PLAIN, 3), "while two entries name it")
        env.storage.catalogue.delete("q")
        _in_use(plane, Pool(name, PLAIN, 3), "while an entry of another project names it")
        env.storage.catalogue.update("q", other, project=elsewhere)
        env.storage.catalogue.update("q", name, project=elsewhere)
        _in_use(plane, Pool(name, PLAIN, 3), "after an entry named another pool and this one again")
        env.storage.catalogue.update("q", other, project=elsewhere)
        _goes(plane, name, "after the last entry names another pool")
        _in_use(plane, Pool(other, PLAIN, 100), "which an entry was updated to name")


@check("POO-004")
def pool_last_of_a_flavor_stays(env: Env) -> None:
    """The last pool of a flavor is not deleted; it is once another joined, or it left, or the flavor is gone."""
    with control_plane(env) as plane:
        one, other, third = plane.pool(), plane.pool(), plane.pool()
        flavor = plane.flavor(pools=[one])
        _in_use(plane, Pool(one, PLAIN, 100, flavor), "while it is the last of a flavor")
        env.storage.pools.update(other, flavor=flavor)
        _goes(plane, one, "while its flavor has another pool")
        _in_use(plane, Pool(other, PLAIN, 100, flavor), "while it is the last that is left of a flavor")
        env.storage.pools.update(other, flavor="")
        _goes(plane, other, "after it left its flavor")
        env.storage.pools.update(third, flavor=flavor)
        env.storage.flavors.delete(flavor)
        _goes(plane, third, "after its flavor was deleted")


@check("POO-005")
def pools_are_listed_by_name(env: Env) -> None:
    """Pools of any names are listed in code-point order, to clients of every project, in pages of any size."""
    with control_plane(env) as plane:
        names = [f"{plane.prefix}p{end}" for end in TRICKY_ENDS]
        for name in env.rng.sample(names, len(names)):
            plane.pool(name.removeprefix(plane.prefix))
        for storage in (env.storage, env.connect(project=f"{env.project}-other"), env.connect(project="")):
            for limit in (1, 5, 1000):
                env.see(
                    lambda storage=storage, limit=limit: [  # type: ignore[misc]
                        pool.name for pool in listed_after(storage.pools.list, plane.prefix, limit=limit)
                    ],
                    lambda seen: seen == names,
                    "POO-005",
                    f"names of pools in pages of {limit}, expected {names}",
                )
        page = env.storage.pools.list(marker=plane.prefix, limit=3)
        env.storage.pools.delete(page.items[-1].name)
        found = [pool.name for pool in listed_after(env.storage.pools.list, plane.prefix, limit=4)]
        ensure_equal(found, names[:2] + names[3:], "POO-005", "names of pools after one was deleted")
        after = [pool.name for pool in env.storage.pools.list(marker=page.marker, limit=4).items]
        ensure_equal(after, names[3:7], "POO-005", "pools behind a marker whose pool is gone")
        ensure_equal(env.storage.pools.get(names[-1]).name, names[-1], "POO-005", "the name of a pool, by get")


@check("POO-006")
def pool_wrong_input(env: Env) -> None:
    """Wrong names, weights, options, URIs, limits and markers are refused, and nothing is written."""
    with control_plane(env) as plane:
        kept, new = plane.pool(), plane.pool_name()
        pools: Any = env.storage.pools
        named: dict[str, Callable[..., object]] = {
            "create": partial(pools.create, uri=PLAIN),
            "get": pools.get,
            "exists": pools.exists,
            "update": partial(pools.update, weight=1),
            "delete": pools.delete,
            "get_pools_by_flavor": pools.get_pools_by_flavor,
        }
        for name in BAD_NAMES:
            for what, method in named.items():
                ensure_raises(InvalidPool, "POO-006", f"pools.{what} of {name!r}", partial(method, name))
        wrong: tuple[tuple[str, type[Exception], tuple[Any, ...]], ...] = (
            ("weight", InvalidPool, (-1, 1_000_001, 1.0, "1", True)),
            ("flavor", InvalidPool, ("x" * 65, 5, "nul\0")),
            (
                "options",
                InvalidPool,
                ([], "x", {1: 2}, {"a": None}, {"a": []}, {"a": float("nan")}, {"a": "x" * 20_000}),
            ),
            ("uri", InvalidUri, ("", "memory", "memory://a#b", 5, "memory://\ud800", f"memory://{'a' * 9000}")),
        )
        for given, error, values in wrong:
            for value in values:
                for what, call in (
                    ("create", partial(pools.create, new, **{"uri": PLAIN, given: value})),
                    ("update", partial(pools.update, kept, **{given: value})),
                ):
                    ensure_raises(error, "POO-006", f"pools.{what} with the {given} {str(value)[:40]!r}", call)
        disagreeing = partial(pools.create, new, uri=LESSER, options={"without": "CLAIMS"})
        ensure_raises(InvalidOption, "POO-006", "pools.create with options that disagree with the URI", disagreeing)
        for limit in (0, 1001, True, "5"):
            ensure_raises(InvalidLimit, "POO-006", f"pools.list, limit={limit!r}", partial(pools.list, limit=limit))
        for marker in (5, "x" * 65):
            ensure_raises(InvalidMarker, "POO-006", "pools.list, a wrong marker", partial(pools.list, marker=marker))
        ensure_equal(env.storage.pools.exists(new), False, "POO-006", "exists of a pool after wrong calls of create")
        _shows(plane, Pool(kept, PLAIN, 100), "POO-006")
        for weight in (0, 1_000_000):
            pools.update(kept, weight=weight)


@check("POO-007")
def pool_secrets_are_never_shown(env: Env) -> None:
    """Neither the URI's password nor secret options show in a repr, an error or a log, whatever goes wrong."""
    secret = f"hunter2{new_id()}"
    with control_plane(env) as plane, log_texts() as texts:
        uri = f"memory://user:{secret}@pool"
        name, other = plane.pool(uri=uri), plane.pool_name()
        flavor = plane.flavor(pools=[name])
        pool = env.storage.pools.get(name)
        ensure_equal(pool.uri, uri, "POO-007", "the URI of a pool, which keeps its password")
        texts += [repr(pool), str(pool), repr(env.storage.pools.list(marker=plane.prefix)), repr(env.storage)]
        texts += [repr(env.storage.flavors.get(flavor)), repr(Pool(name, uri, 1, "", {"token": secret}))]
        calls: tuple[Callable[[], object], ...] = (
            partial(env.storage.pools.delete, name),
            partial(env.storage.pools.create, other, uri=f"memry://u:{secret}@a"),
            partial(env.storage.pools.create, other, uri=f"memory://u:{secret}@{new_id()}?create=false"),
            partial(env.storage.pools.create, other, uri=f"memory://u:{secret}@\ud800"),
            partial(env.storage.pools.create, other, uri=f"memory://u:{secret}@a?password={secret}"),
            partial(env.storage.pools.create, other, uri=PLAIN, options={"api_token": secret}),
            partial(env.storage.pools.create, other, uri=f"{PLAIN}?token=1", options={"token": secret}),
            partial(env.storage.pools.create, other, uri=PLAIN, options={"token": secret * 1000}),
            partial(env.storage.pools.create, other, uri=PLAIN, options={"token": f"{secret}\ud800"}),
            partial(env.storage.pools.update, name, uri=f"{uri}?without=POP"),
        )
        for call in calls:
            raised = ensure_raises(ZaqarError, "POO-007", "a call with a secret that cannot be done", call)
            texts.append(error_text(raised))
        for text in texts:
            ensure(secret not in text, "POO-007", f"a secret shows in: {text}")


def _shows(plane: Plane, expected: Pool, requirement: str = "POO-001") -> None:
    pools = plane.storage.pools
    ensure_equal(pools.get(expected.name), expected, requirement, "the pool, by get")
    ensure_equal(pools.exists(expected.name), True, requirement, "exists of a pool that is there")
    found = [pool for pool in listed_after(pools.list, plane.prefix, limit=100) if pool.name == expected.name]
    ensure_equal(found, [expected], requirement, "the pool, by list")
    if expected.flavor:
        members = pools.get_pools_by_flavor(expected.flavor)
        ensure(expected in members, requirement, f"the pools of its flavor, {members}: expected {expected} among them")


def _in_use(plane: Plane, expected: Pool, when: str) -> None:
    """It is refused, says why, and can be used as before."""
    what = f"delete of a pool {when}"
    for _ in range(2):
        ensure_raises(PoolInUse, "POO-004", what, partial(plane.storage.pools.delete, expected.name))
        _shows(plane, expected, "POO-004")
    queue = plane.env.queue()
    plane.storage.catalogue.insert(queue, expected.name)
    plane.storage.catalogue.delete(queue)


def _goes(plane: Plane, name: str, when: str) -> None:
    plane.storage.pools.delete(name)
    ensure_equal(plane.storage.pools.exists(name), False, "POO-004", f"exists after delete of a pool {when}")
    ensure_equal(plane.storage.pools.create(name, uri=PLAIN), True, "POO-004", "create of a pool that was deleted")
    _shows(plane, Pool(name, PLAIN, 100), "POO-004")
    plane.storage.pools.delete(name)
