"""The control plane and subscriptions, step by step: in every order of calls, and cut off at any of them."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from zaqar_core import Storage, connect, steps
from zaqar_core import pools as pools_module
from zaqar_core import storage as storage_module
from zaqar_core.contract import Space
from zaqar_core.errors import (
    FlavorDoesNotExist,
    IncompatibleStorage,
    OutcomeUnknown,
    PoolCapabilitiesMismatch,
    PoolDoesNotExist,
    PoolInUse,
    QueueNotMapped,
    StorageUnavailable,
)
from zaqar_core.pools import Pools
from zaqar_core.registry import load_driver

sys.path.insert(0, str(Path(__file__).parent))
from interleaving import Interleaving, Killed, Operation, World, ends, every_order

PLAIN, LESSER = "memory://pool", "memory://pool?without=POP"
EXPECTED = (PoolInUse, PoolDoesNotExist, QueueNotMapped, FlavorDoesNotExist, PoolCapabilitiesMismatch)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pauses, and without reading again and again what is installed."""
    monkeypatch.setattr(steps, "_LONGEST_PAUSE", 0.0)
    for module in (pools_module, storage_module):
        monkeypatch.setattr(module, "load_driver", cache(load_driver))


def installation() -> World:
    """The pools a and b, which are equal, and c, which is not; the flavors f, of b, and g; an entry for q1, of b."""
    world = World()
    operator = world.operator
    operator.flavors.create("f")
    operator.flavors.create("g")
    for name, uri, flavor in (("a", PLAIN, ""), ("b", PLAIN, "f"), ("c", LESSER, "")):
        operator.pools.create(name, uri=uri, flavor=flavor)
    operator.catalogue.insert("q1", "b")
    return world


OPERATIONS: dict[str, Operation] = {
    "insert": lambda storage: storage.catalogue.insert("q", "a"),
    "insert into c": lambda storage: storage.catalogue.insert("q", "c"),
    "update": lambda storage: storage.catalogue.update("q1", "a"),
    "update back": lambda storage: storage.catalogue.update("q1", "b"),
    "forget": lambda storage: storage.catalogue.delete("q1"),
    "forget q": lambda storage: storage.catalogue.delete("q"),
    "delete": lambda storage: storage.pools.delete("a"),
    "delete b": lambda storage: storage.pools.delete("b"),
    "make anew": lambda storage: (storage.pools.delete("a"), storage.pools.create("a", uri=PLAIN)),
    "create": lambda storage: storage.pools.create("d", uri=PLAIN),
    "create in f": lambda storage: storage.pools.create("d", uri=PLAIN, flavor="f"),
    "create in g": lambda storage: storage.pools.create("d", uri=LESSER, flavor="g"),
    "insert into d": lambda storage: storage.catalogue.insert("q", "d"),
    "weigh": lambda storage: storage.pools.update("a", weight=1),
    "become lesser": lambda storage: storage.pools.update("a", uri=LESSER),
    "a joins f": lambda storage: storage.pools.update("a", flavor="f"),
    "a joins g": lambda storage: storage.pools.update("a", flavor="g"),
    "c joins g": lambda storage: storage.pools.update("c", flavor="g"),
    "b moves to g": lambda storage: storage.pools.update("b", flavor="g"),
    "b leaves": lambda storage: storage.pools.update("b", flavor=""),
    "delete f": lambda storage: storage.flavors.delete("f"),
    "delete g": lambda storage: storage.flavors.delete("g"),
    "create h": lambda storage: storage.flavors.create("h", pools=["a", "b"]),
    "set g": lambda storage: storage.flavors.update("g", pools=["a", "b"]),
    "create h of what differs": lambda storage: storage.flavors.create("h", pools=["a", "b", "c"]),
    "set g to what differs": lambda storage: storage.flavors.update("g", pools=["b", "c"]),
}


def demand(world: World, results: list[Any], names: tuple[str, ...]) -> None:
    """Each operation did what it says or was refused; nothing dangles; nothing is stuck."""
    told = dict(zip(names, results, strict=True))
    for name, result in told.items():
        assert not isinstance(result, BaseException) or isinstance(result, EXPECTED), (name, result)
    entries = {entry.queue: entry.pool for entry in world.operator.catalogue.list(limit=100).items}
    if told.get("insert") is True and "forget q" not in told:
        assert entries["q"] in ("a", "c"), told
    if "update" in told and told["update"] is None and not told.keys() & {"forget", "update back"}:
        assert entries["q1"] == "a", told
    if isinstance(told.get("delete"), PoolInUse) and not entries.keys() & {"q"}:
        assert "update" in told or "forget q" in told or world.operator.pools.get("a").flavor, told
    settle(world)


def settle(world: World) -> None:
    """Nothing that is left over keeps anybody from anything."""
    operator = world.operator
    world.check()
    for entry in operator.catalogue.list(limit=100).items:
        with pytest.raises(PoolInUse):
            operator.pools.delete(entry.pool)
        operator.catalogue.delete(entry.queue)
    for flavor in ("f", "g", "h"):
        operator.flavors.delete(flavor)
    for pool in ("a", "b", "c", "d"):
        operator.pools.delete(pool)
        assert operator.pools.create(pool, uri=PLAIN)
        assert operator.catalogue.insert("q", pool)
        operator.catalogue.delete("q")
        operator.pools.delete(pool)
    assert not any(world.states(kind) for kind in ("pools", "flavors"))
    assert world.states("catalogue", "acme") == {}


@pytest.mark.parametrize(
    ("names", "switches"),
    [
        (("insert", "delete"), 20),  # every order there is
        (("update", "delete"), 3),
        (("insert", "make anew"), 3),
        (("insert", "forget q"), 3),
        (("insert", "insert into c"), 2),
        (("update", "update back"), 2),
        (("update", "delete b"), 3),
        (("forget", "delete b"), 3),
        (("delete", "weigh"), 3),
        (("create in g", "insert into d"), 3),
        (("create in g", "create"), 3),
        (("c joins g", "a joins g"), 3),
        (("c joins g", "delete g"), 3),
        (("c joins g", "b moves to g"), 3),
        (("create in g", "a joins g"), 3),
        (("create in g", "delete g"), 3),
        (("a joins f", "delete b"), 3),
        (("a joins f", "delete"), 3),
        (("a joins f", "become lesser"), 3),
        (("delete f", "delete b"), 3),
    ],
)
def test_two_at_once_in_every_order(names: tuple[str, ...], switches: int) -> None:
    count = 0
    for world, results in every_order(installation, [OPERATIONS[name] for name in names], switches=switches):
        demand(world, results, names)
        count += 1
    assert count > 10


@pytest.mark.parametrize(
    "names",
    [
        ("insert", "delete", "make anew"),
        ("insert", "insert into c", "delete"),
        ("update", "update back", "make anew"),
        ("update", "forget", "delete"),
        ("c joins g", "a joins g", "delete g"),
        ("c joins g", "b moves to g", "a joins f"),
        ("create in g", "a joins g", "insert into d"),
        ("a joins f", "delete b", "delete"),
    ],
)
def test_three_at_once_in_random_orders(names: tuple[str, ...]) -> None:
    for seed in range(40):
        rng, world = random.Random(seed), installation()
        results = Interleaving(world, [OPERATIONS[name] for name in names]).run(rng.choice)
        demand(world, results, names)


def test_two_deletions_leave_a_flavor_a_pool() -> None:
    def both() -> World:
        world = installation()
        world.operator.catalogue.delete("q1")
        world.operator.pools.update("a", flavor="f")
        return world

    outcomes = set()
    for world, results in every_order(both, [OPERATIONS["delete"], OPERATIONS["delete b"]], switches=3):
        left = [pool.name for pool in world.operator.pools.get_pools_by_flavor("f")]
        assert len(left) == 2 - results.count(None) >= 1
        outcomes.add(len(left))
    assert outcomes == {1, 2}, "both may be refused, never both done"


def test_of_two_creators_one_is_told_so() -> None:
    for where in ("", "g"):

        def create(storage: Storage, flavor: str = where) -> bool:
            return storage.pools.create("d", uri=PLAIN, flavor=flavor)

        for world, results in every_order(installation, [create, create], switches=3):
            assert sorted(results) == [False, True]
            assert world.operator.pools.get("d").flavor == where
            settle(world)


def view(world: World) -> list[Any]:
    """What anybody can see of the installation, and do with it."""
    operator = world.operator
    shown: list[Any] = [
        [*each.list(limit=100).items] for each in (operator.pools, operator.flavors, operator.catalogue)
    ]
    for pool in ("a", "b", "c", "d"):
        with ends(PoolDoesNotExist):
            shown.append((pool, operator.catalogue.insert("probe", pool)))
        operator.catalogue.delete("probe")
    return shown


def calls_of(name: str) -> int:
    storage, gate = installation().client()
    with ends(*EXPECTED):
        OPERATIONS[name](storage)
    return gate.calls


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_client_that_dies_at_any_call_leaves_nothing_stuck(name: str) -> None:
    for number in range(1, calls_of(name) + 1):
        world = installation()
        storage, gate = world.client()
        gate.fails = lambda call, write, number=number: "killed" if call >= number else ""  # type: ignore[misc]
        with pytest.raises(Killed):
            OPERATIONS[name](storage)
        world.check()
        with ends(*EXPECTED):
            OPERATIONS[name](world.operator)
        settle(world)


@pytest.mark.parametrize("fault", ["down", "damaged"])
@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {"make anew"}))  # which is two calls
def test_an_error_that_says_that_nothing_happened_is_true(name: str, fault: str) -> None:
    """The datastore fails at any call, from then on or for this one call; then the operation is done again."""
    for number in range(1, calls_of(name) + 1):
        for lasting in (True, False):
            world = installation()
            before = view(world)
            storage, gate = world.client()
            gate.fails = lambda call, write, number=number, lasting=lasting: (  # type: ignore[misc]
                fault if call == number or (lasting and call > number) else ""
            )
            try:
                OPERATIONS[name](storage)
            except OutcomeUnknown:
                pass
            except (StorageUnavailable, IncompatibleStorage, *EXPECTED):
                assert view(world) == before, (name, number, lasting)
            gate.fails = lambda call, write: ""
            with ends(*EXPECTED):
                OPERATIONS[name](storage)
            settle(world)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_write_of_unknown_outcome_is_read_back(name: str, moment: str) -> None:
    ideal = installation()
    with ends(*EXPECTED):
        OPERATIONS[name](ideal.operator)
    wanted = view(ideal)
    for number in range(1, calls_of(name) + 1):
        world = installation()
        storage, gate = world.client()
        gate.fails = lambda call, write, number=number: moment if call == number and write else ""  # type: ignore[misc]
        try:
            OPERATIONS[name](storage)
            assert view(world) == wanted
        except OutcomeUnknown:
            pass
        except EXPECTED:
            assert view(world) == wanted
        gate.fails = lambda call, write: ""
        with ends(*EXPECTED):
            OPERATIONS[name](storage)
        settle(world)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_subscriptions_of_unknown_outcome(moment: str) -> None:
    subscriber = "https://example.org"
    calls: list[Callable[[Storage, str], object]] = [
        lambda storage, made: storage.subscriptions.create("q", subscriber=f"{subscriber}/2"),
        lambda storage, made: storage.subscriptions.update("q", made, options={"new": 1}),
        lambda storage, made: storage.subscriptions.confirm("q", made),
    ]
    for call in calls:
        for number in range(1, 4):
            world = World()
            made = str(world.operator.subscriptions.create("q", subscriber=subscriber))
            storage, gate = world.client()
            gate.fails = lambda at, write, number=number: moment if at == number and write else ""  # type: ignore[misc]
            before = [*world.operator.subscriptions.list("q").items]
            try:
                result = call(storage, made)
            except OutcomeUnknown:
                assert moment == "before"
                assert [*world.operator.subscriptions.list("q").items] == before
            else:
                assert [*world.operator.subscriptions.list("q").items] != before
                assert result is None or world.operator.subscriptions.exists("q", str(result))


def test_names_as_long_as_they_may_be_make_keys_that_every_driver_takes() -> None:
    world = World()
    storage, longest, project = world.operator, "\U0001f600" * 48, "\U0001f600" * 256
    storage.flavors.create(longest)
    storage.pools.create(longest, uri=PLAIN, flavor=longest)
    assert storage.flavors.get(longest).pools == (longest,)
    storage.flavors.delete(longest)
    storage.catalogue.insert(longest, longest, project=project)
    with pytest.raises(PoolInUse, match="holds queue"):
        storage.pools.delete(longest)
    made = storage.subscriptions.create(longest, subscriber="https://example.org", project=project)
    assert [one.id for one in storage.subscriptions.list(longest, project=project).items] == [made]
    storage.queues.delete(longest, project=project)
    assert not storage.subscriptions.exists(longest, str(made), project=project)


def test_insert_that_others_come_before_every_time_gives_up() -> None:
    world = installation()
    storage, gate = world.client()

    def interfere() -> None:
        with ends(PoolDoesNotExist):
            world.operator.catalogue.insert("q", "c")
        world.operator.catalogue.delete("q")

    gate.step = interfere
    with pytest.raises(StorageUnavailable, match="entry of 'q' before each of 100 attempts"):
        storage.catalogue.insert("q", "a")
    gate.step = lambda: None
    settle(world)


def test_a_pool_that_another_lets_in_while_the_flavor_is_made_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    move = Pools.move

    def after_another(pools: Pools, name: str, wanted: Any, *, leaving: bool) -> None:
        storage.pools.update("east", flavor=name)
        move(pools, name, wanted, leaving=leaving)

    with connect("memory://let-in-meanwhile") as storage:
        storage.pools.create("east", uri="memory://east")
        monkeypatch.setattr(Pools, "move", after_another)
        assert storage.flavors.create("gold")
        assert storage.flavors.get("gold").pools == ("east",)


# --- what operations cost, and what they leave when their time is over ------------------------------------------------


def many_pools(number: int) -> tuple[World, list[str]]:
    world, names = World(), [f"p{n:03}" for n in range(number)]
    for name in names:
        world.operator.pools.create(name, uri=PLAIN)
    return world, names


MANY: dict[str, Callable[[Storage, list[str]], object]] = {
    "create": lambda storage, names: storage.flavors.create("f", pools=names),
    "update": lambda storage, names: (storage.flavors.create("f"), storage.flavors.update("f", pools=names)),
    "hand over": lambda storage, names: (
        storage.flavors.create("f", pools=names[::2]),
        storage.flavors.update("f", pools=names[1::2]),
    ),
    "delete": lambda storage, names: (storage.flavors.create("f", pools=names), storage.flavors.delete("f")),
    "subscriptions": lambda storage, names: (
        [storage.subscriptions.create("q", subscriber=f"https://{name}") for name in names],
        storage.queues.delete("q"),
    ),
}


@pytest.mark.parametrize("name", MANY)
def test_calls_grow_with_what_is_moved_and_no_faster(name: str) -> None:
    calls, read = [], []
    for number in (10, 40):
        world, names = many_pools(number)
        storage, gate = world.client()
        scanned: list[int] = []
        scan = gate.inner.scan

        def counted(*args: Any, scan: Any = scan, scanned: list[int] = scanned, **kwargs: Any) -> Any:
            found = scan(*args, **kwargs)
            scanned.append(len(found))
            return found

        gate.inner.scan = counted  # type: ignore[method-assign]  # of this store's client only
        MANY[name](storage, names)
        calls.append(gate.calls)
        read.append(sum(scanned))
    assert calls[1] <= 4 * calls[0], calls
    assert read[1] <= 4 * read[0], read


def test_a_listing_of_flavors_reads_the_pools_once() -> None:
    world, names = many_pools(4)
    for name in names:
        world.operator.flavors.create(name, pools=[name])
    storage, gate = world.client()
    assert [flavor.pools for flavor in storage.flavors.list().items] == [(name,) for name in names]
    assert gate.calls == 2


def test_a_flavor_of_many_pools_is_made_in_several_turns_where_one_timeout_is_too_short() -> None:
    """Each call goes on where the one before was stopped."""
    world, names = many_pools(40)
    turns = 0
    storage, gate = world.client()
    gate.fails = lambda call, write: "down" if call > 30 else ""  # as if the timeout were over
    with pytest.raises(OutcomeUnknown, match=r"flavors\.update with these pools finishes it"):
        storage.flavors.create("f", pools=names)
    while world.operator.flavors.get("f").pools != tuple(names):
        world.check()
        gate.calls, turns = 0, turns + 1
        assert turns < 10
        with ends(OutcomeUnknown):
            storage.flavors.update("f", pools=names)
    assert turns >= 2


def test_after_an_unknown_outcome_of_its_creation_an_update_finishes_a_flavor() -> None:
    calls = calls_of("create h")
    for number in range(1, calls + 1):
        for moment in ("down", "before", "after"):
            world = installation()
            storage, gate = world.client()
            gate.fails = lambda call, write, number=number, moment=moment: (  # type: ignore[misc]
                moment if call >= number else ""
            )
            with ends(StorageUnavailable):
                storage.flavors.create("h", pools=["a", "b"])
            gate.fails = lambda call, write: ""
            if not storage.flavors.create("h", pools=["a", "b"]):
                storage.flavors.update("h", pools=["a", "b"])
            world.check()
            assert storage.flavors.get("h").pools == ("a", "b"), (number, moment)


def test_a_flavor_that_a_damaged_pool_forbids_is_not_made() -> None:
    world, _ = many_pools(2)
    records = world.operator.control.records
    assert records is not None
    records.insert(Space("pools", ""), "p999", b"null", nonce="n")
    for _ in range(2):
        with pytest.raises(IncompatibleStorage, match="'p999'"):
            world.operator.flavors.create("f", pools=["p000"])
        assert not world.operator.flavors.exists("f")


def test_an_operation_that_may_be_half_done_does_not_repeat_that_nothing_was_done() -> None:
    world, names = many_pools(2)
    storage, gate = world.client()
    storage.flavors.create("f", pools=names)
    gate.calls, gate.fails = 0, lambda call, write: "down" if call > 3 else ""
    with pytest.raises(OutcomeUnknown, match="failed with StorageUnavailable and may be half done; do it again") as got:
        storage.flavors.delete("f")
    assert str(got.value.__cause__) == "no server"
    assert "no server" not in str(got.value)


def test_every_step_looks_at_the_deadline() -> None:
    """A store that never blocks lets no operation go on after its timeout."""
    world, names = many_pools(5)
    storage, gate = world.client()
    for name, operation in MANY.items():
        left = iter([10.0] * 8)
        with pytest.MonkeyPatch.context() as patch:
            for module in ("documents", "contract"):
                patch.setattr(f"zaqar_core.{module}.remaining", lambda timeout, left=left: next(left, 0.0))
            gate.calls = 0
            with pytest.raises(OutcomeUnknown):
                operation(storage, names)
        assert gate.calls <= 10, name
        world, names = many_pools(5)
        storage, gate = world.client()
