"""The checks of the control plane and of subscriptions catch controllers and drivers that break their rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from zaqar_conformance.checks import all_checks
from zaqar_conformance.engine import run
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_conformance.report import Report
from zaqar_conformance.target import Target, find_target
from zaqar_core import catalogue, flavors, pools, subscriptions
from zaqar_core.contract import Record, RecordStore, Space
from zaqar_core.encoding import decode
from zaqar_core.errors import PoolInUse
from zaqar_core.models import Pool

Patch = Callable[[pytest.MonkeyPatch], None]

EVERY = ("POO-*", "FLA-*", "CAT-*", "SUB-*")


def report_of(names: Sequence[str], on: Target | None = None) -> Report:
    return run(on or find_target("memory"), only=names, seed="1", checks=all_checks())


def filed(query: str = "") -> Target:
    base = type(find_target("filed"))
    made: Target = type("Made", (base,), {"query": query})()
    return made


def test_the_reference_passes() -> None:
    report = report_of(EVERY)
    assert {result.name: result.message for result in report.checks if result.outcome is not Outcome.PASSED} == {}
    numbers = {each.id for each in report.requirements if each.outcome is Outcome.PASSED}
    assert len([number for number in numbers if number[:3] in ("POO", "FLA", "CAT", "SUB")]) == 31


# --- what the core might do wrong ---------------------------------------------------------------------------------


def scans_before_marking(patch: pytest.MonkeyPatch) -> None:
    """``pools.delete`` looks who uses the pool, and then lets it go."""

    def delete(self: pools.Pools, name: str) -> None:
        record = self._documents.get("", name)
        if record is not None:
            reason = self._use(name, pools._State.read(record))
            if reason:
                raise PoolInUse(reason)
            time.sleep(0.001)
            self._documents.delete("", name)

    patch.setattr(pools.Pools, "delete", delete)


def pause_after_reading_pools(patch: pytest.MonkeyPatch) -> None:
    """Which breaks nothing, and lets others do something meanwhile, as a network would."""
    check = catalogue.Catalogue._check_pool

    def check_slowly(self: catalogue.Catalogue, pool: str) -> None:
        check(self, pool)
        time.sleep(0.002)

    patch.setattr(catalogue.Catalogue, "_check_pool", check_slowly)


def reads_the_pool_before_writing(patch: pytest.MonkeyPatch) -> None:
    """``catalogue.insert`` and ``update`` look whether there is such a pool, and then name it."""
    pause_after_reading_pools(patch)

    def confirm(self: catalogue.Catalogue, key: Any, record: Record, entry: catalogue._Entry) -> bool:
        self._write_index(entry.next, key)
        return self._entries.replace(key.project, record, catalogue._Entry(entry.next).value()) is not None

    patch.setattr(catalogue.Catalogue, "_confirm", confirm)


def does_not_strike(patch: pytest.MonkeyPatch) -> None:
    """``pools.delete`` leaves alone entries that do not name the pool yet."""
    pause_after_reading_pools(patch)

    def find_entry(context: Any, pool: str) -> str:
        index, entries = context.documents("catalogue-by-pool"), context.documents("catalogue")
        for indexed in index.all(pool):
            key = decode(indexed.value)
            record = entries.get(key["project"], key["name"])
            if record is not None and catalogue._Entry.read(record).pool == pool:
                return "a queue"
        return ""

    patch.setattr(pools, "find_entry", find_entry)


def forgets_the_index(patch: pytest.MonkeyPatch) -> None:
    """``catalogue.update`` does not note under the new pool that an entry names it."""
    patch.setattr(catalogue.Catalogue, "_write_index", lambda self, pool, key: None)


def joins_unannounced(patch: pytest.MonkeyPatch) -> None:
    """A pool does not say that it is joining a flavor, before the flavor's pools are looked at."""
    check = pools.Pools._check_flavor

    def slowly(self: pools.Pools, *arguments: Any) -> None:
        check(self, *arguments)
        time.sleep(0.001)

    patch.setattr(pools.Pools, "_check_flavor", slowly)
    patch.setattr(pools._State, "joins", lambda self, flavor, changed: self)


def counts_pools_that_are_going(patch: pytest.MonkeyPatch) -> None:
    """Another pool of the flavor is enough to let one go, though that one is being deleted as well."""

    def use(self: pools.Pools, name: str, state: pools._State) -> str:
        others = [key for key, other in self._states() if key.key != name and other.flavor == state.flavor]
        time.sleep(0.002)
        return "" if others else "is the last"

    patch.setattr(pools.Pools, "_use", use)


def leaves_nothing(patch: pytest.MonkeyPatch) -> None:
    """A flavor's deletion leaves the pools in it."""
    patch.setattr(pools.Pools, "leave", lambda self, flavor: None)


def compares_nothing(patch: pytest.MonkeyPatch) -> None:
    """Any pool may join any flavor."""
    patch.setattr(pools.Pools, "_check_flavor", lambda self, name, flavor, capabilities: None)


def does_not_restore(patch: pytest.MonkeyPatch) -> None:
    """``flavors.update`` leaves what it has moved where the rest is refused."""

    def move_pools(self: flavors.Flavors, name: str, wanted: Sequence[str], before: Sequence[str] = ()) -> None:
        for pool in self._pools.get_pools_by_flavor(name):
            self._pools.update(pool.name, flavor="")
        for member in wanted:
            self._pools.update(member, flavor=name)

    patch.setattr(flavors.Flavors, "_move_pools", move_pools)


def shows_the_uri(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "__repr__", lambda self: f"<Pool {self.uri}>")


def keys_by_subscriber_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(subscriptions, "_key", lambda key, subscriber: subscriber)


def keeps_subscriptions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(subscriptions.Subscriptions, "drop", lambda self, key: None)


def uses_ids_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("zaqar_core.subscriptions.secrets.token_urlsafe", lambda size: "x" * 16)


# --- what a driver might do wrong ---------------------------------------------------------------------------------


def replaces_any_version(patch: pytest.MonkeyPatch) -> None:
    right = ReferenceRecords.replace

    def replace(self: RecordStore, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        current = self.get(space, key)
        return None if current is None else right(self, space, key, value, version=current.version, nonce=nonce)  # type: ignore[arg-type]

    patch.setattr(ReferenceRecords, "replace", replace)


def insert_overwrites(patch: pytest.MonkeyPatch) -> None:
    right = ReferenceRecords.insert

    def insert(self: Any, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        if self.get(space, key) is not None:
            return None
        time.sleep(0.005)
        self.delete(space, key)
        return right(self, space, key, value, nonce=nonce, ttl=ttl)

    patch.setattr(ReferenceRecords, "insert", insert)


def ignores_ttl(patch: pytest.MonkeyPatch) -> None:
    right = ReferenceRecords.insert

    def insert(self: Any, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        return right(self, space, key, value, nonce=nonce)

    patch.setattr(ReferenceRecords, "insert", insert)


def ignores_the_project(patch: pytest.MonkeyPatch) -> None:
    def without(right: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, space, *arguments, **options: right(self, Space(space.kind, ""), *arguments, **options)

    for name in ("get", "insert", "replace", "delete", "scan"):
        patch.setattr(ReferenceRecords, name, without(getattr(ReferenceRecords, name)))


def scans_in_any_order(patch: pytest.MonkeyPatch) -> None:
    right = ReferenceRecords.scan

    def scan(self: Any, space: Space, **options: Any) -> Sequence[Record]:
        return sorted(right(self, space, **options), key=lambda record: record.key.encode("utf-16-be"))

    patch.setattr(ReferenceRecords, "scan", scan)


_RUNS = 5
"""A race is lost by chance: on a machine with other work, not in every run of a check."""


@pytest.mark.parametrize(
    ("mutate", "requirements"),
    [
        (scans_before_marking, ["CAT-006"]),
        (reads_the_pool_before_writing, ["CAT-006"]),
        (does_not_strike, ["CAT-006"]),
        (forgets_the_index, ["POO-004", "CAT-006"]),
        (joins_unannounced, ["FLA-007"]),
        (counts_pools_that_are_going, ["FLA-008"]),
        (leaves_nothing, ["FLA-004", "FLA-007"]),
        (compares_nothing, ["FLA-002", "FLA-003", "FLA-007"]),
        (does_not_restore, ["FLA-002", "FLA-003"]),
        (shows_the_uri, ["POO-007"]),
        (keys_by_subscriber_alone, ["SUB-004"]),
        (keeps_subscriptions, ["SUB-006"]),
        (uses_ids_again, ["SUB-003"]),
        (replaces_any_version, ["REC-002"]),
        (insert_overwrites, ["POO-008", "SUB-007"]),
        (ignores_ttl, ["SUB-005"]),
        (ignores_the_project, ["CAT-003", "SUB-004"]),
        (scans_in_any_order, ["POO-005", "FLA-006", "CAT-003"]),
    ],
)
def test_what_breaks_a_rule_is_caught(mutate: Patch, requirements: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    caught: set[str] = set()
    with monkeypatch.context() as patch:
        mutate(patch)
        for _ in range(_RUNS):
            failed = [each for each in report_of(requirements).checks if each.outcome is Outcome.FAILED]
            caught |= {result.requirement or result.message for result in failed}
            if set(requirements) <= caught:
                return
    assert set(requirements) <= caught


@pytest.mark.usefixtures("faulty")
def test_processes_that_are_killed() -> None:
    names = ["CAT-006", "CAT-007"]
    right = report_of(names, filed())
    assert {result.name: result.message for result in right.checks if result.outcome is not Outcome.PASSED} == {}
    found: list[tuple[str | None, Outcome]] = []
    while len(found) < _RUNS and ("CAT-007", Outcome.FAILED) not in found:
        (wrong,) = report_of(["CAT-007"], filed("fault=gap")).checks
        found.append((wrong.requirement, wrong.outcome))
    assert ("CAT-007", Outcome.FAILED) in found
