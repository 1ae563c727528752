"""``storage.pools``: the backends among which an installation spreads its queues."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from zaqar_core import validation
from zaqar_core.catalogue import find_entry
from zaqar_core.context import Context
from zaqar_core.contract import Record
from zaqar_core.documents import FLAVORS, POOLS, Documents, Fields, readable, to_bytes
from zaqar_core.errors import (
    DoesNotExist,
    FlavorDoesNotExist,
    IncompatibleStorage,
    NotPermitted,
    OutcomeUnknown,
    PoolCapabilitiesMismatch,
    PoolDoesNotExist,
    PoolInUse,
    StorageError,
    ZaqarError,
)
from zaqar_core.limits import DEFAULT_PAGE, DEFAULT_POOL_WEIGHT, MAX_NAMES_PER_PAGE
from zaqar_core.models import Page, Pool
from zaqar_core.observers import observed
from zaqar_core.opening import open_driver
from zaqar_core.registry import load_driver
from zaqar_core.steps import attempts, begun
from zaqar_core.uri import Uri


@dataclass(frozen=True, slots=True)
class _State:
    """A pool as it is stored. ``capabilities``: those of its driver when the pool was made or last changed.

    ``joining``: the flavor that it shall be in, with the capabilities ``joining_with``, once the rules are checked; all
    else stays as it is until then. ``deleting``: nothing new may name it; any client can finish the deletion, or undo
    it, by deleting it again. A pool that is both deleting and joining is being made.
    """

    uri: str = field(repr=False)
    weight: int
    options: Mapping[str, Any] = field(repr=False)
    flavor: str = ""
    capabilities: list[str] = field(default_factory=list)
    joining: str = ""
    joining_with: list[str] = field(default_factory=list)
    deleting: bool = False
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Fields that a newer version wrote."""

    @classmethod
    def read(cls, record: Record) -> Self:
        """The state in a record."""
        fields = Fields(POOLS, "", record)
        return cls(
            uri=fields.take("uri", str),
            weight=fields.take("weight", int),
            options=fields.take("options", dict),
            flavor=fields.take("flavor", str),
            capabilities=fields.texts("capabilities"),
            joining=fields.take("joining", str),
            joining_with=fields.texts("joining_with"),
            deleting=fields.take("deleting", bool),
            rest=fields.rest(),
        )

    def value(self) -> bytes:
        """The state as a record's value."""
        fields = asdict(self)
        return to_bytes({**fields.pop("rest"), **fields})

    def joins(self, flavor: str, changed: _State) -> _State:
        """This state, about to be ``changed`` and in the flavor."""
        return replace(self, joining=flavor, joining_with=changed.capabilities)

    def apart(self) -> _State:
        """This state, about to join nothing."""
        return replace(self, joining="", joining_with=[])


class Pools:
    """Pools belong to no project. What they say is the operator's; only their capabilities are read from drivers.

    No transaction spans records. An operation that could break a rule together with another one writes first and
    reads afterwards: of two operations that exclude each other, at least one sees the other and undoes what it wrote.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @observed("pools.create")
    def create(
        self,
        name: str,
        *,
        uri: str,
        weight: int = DEFAULT_POOL_WEIGHT,
        flavor: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> bool:
        """Whether this call made the pool; on one that exists nothing changes.

        The backend at ``uri`` (with ``options``, as ``connect`` takes them) is opened once to read its capabilities.
        ``weight``: its share of new queues, 0 for none. Raises what ``connect`` raises, ``FlavorDoesNotExist``,
        ``PoolCapabilitiesMismatch``; then there is no pool.
        """
        pools = self._documents
        name = validation.pool_name(name)
        flavor = validation.flavor_or_none(flavor)
        given = _State(
            uri=validation.pool_uri(uri),
            weight=validation.weight(weight),
            options=validation.pool_options({} if options is None else options),
        )
        state: _State | None = None
        for _ in attempts(f"pool {name!r}"):
            if self._is_made(name):
                return False
            state = state or self._inspected(given)
            first = replace(state.joins(flavor, state), deleting=True) if flavor else state
            version = pools.insert("", name, first.value())
            if version is None:
                continue
            with begun(f"making pool {name!r}") as steps:
                try:
                    if not flavor or self._join(Record(name, b"", version, ""), state, flavor):
                        return True
                except BaseException:
                    steps.undone = pools.delete("", name, version=version)
                    raise
        raise AssertionError

    @observed("pools.get")
    def get(self, name: str) -> Pool:
        """The pool. Raises ``PoolDoesNotExist``."""
        record, state = self._existing(name)
        return _pool(record, state)

    @observed("pools.exists")
    def exists(self, name: str) -> bool:
        """Whether there is a pool of that name."""
        return self._documents.get("", validation.pool_name(name)) is not None

    @observed("pools.update")
    def update(
        self,
        name: str,
        *,
        uri: str | None = None,
        weight: int | None = None,
        flavor: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given; ``flavor=""`` takes the pool out of its flavor.

        A pool may not change its capabilities while it is in a flavor. Raises ``PoolDoesNotExist``, what ``connect``
        raises, ``FlavorDoesNotExist``, ``PoolCapabilitiesMismatch``; then nothing has changed.
        """
        pools, name = self._documents, validation.pool_name(name)
        given: dict[str, Any] = {}
        if uri is not None:
            given["uri"] = validation.pool_uri(uri)
        if weight is not None:
            given["weight"] = validation.weight(weight)
        if options is not None:
            given["options"] = validation.pool_options(options)
        if flavor is not None:
            flavor = validation.flavor_or_none(flavor)
        for _ in attempts(f"pool {name!r}"):
            record, state = self._existing(name)
            if state.deleting:
                raise _going(name)
            wanted = state.flavor if flavor is None else flavor
            changed = replace(state, **given)
            if given.keys() & {"uri", "options"}:
                changed = self._inspected(changed)
            if wanted in ("", state.flavor):
                if wanted and changed.capabilities != state.capabilities:
                    difference = _difference(state.capabilities, changed.capabilities)
                    raise PoolCapabilitiesMismatch(
                        f"pool {name!r} would change its capabilities ({difference}) while it is in the flavor "
                        f"{wanted!r}; take it out first: update(flavor='')"
                    )
                if pools.replace("", record, replace(changed.apart(), flavor=wanted).value()):
                    return
                continue
            if self._change_and_join(record, state, changed, wanted):
                return

    @observed("pools.delete")
    def delete(self, name: str) -> None:
        """Delete the pool; an unknown one is no error.

        Raises ``PoolInUse`` while a catalogue entry names it, or while it is the last pool of a flavor.
        """
        pools = self._documents
        name = validation.pool_name(name)
        for _ in attempts(f"pool {name!r}"):
            record = pools.get("", name)
            if record is None:
                return
            state = _State.read(record)
            marked = not state.deleting
            if marked:
                state = replace(state.apart(), deleting=True)
                version = pools.replace("", record, state.value())
                if version is None:
                    continue
                record = record._replace(version=version)
            with begun(f"deleting pool {name!r}") as steps:
                try:
                    reason = self._use(name, state)
                except IncompatibleStorage:
                    unmarked = replace(state, deleting=False).value()
                    steps.undone = not marked or pools.replace("", record, unmarked) is not None
                    raise
                if not reason and pools.delete("", name, version=record.version):
                    return
                if reason and pools.replace("", record, replace(state, deleting=False).value()):
                    raise PoolInUse(f"pool {name!r} {reason}")

    @observed("pools.list", count=lambda page: len(page.items))
    def list(self, *, marker: str | None = None, limit: int | None = None) -> Page[Pool]:
        """A page of pools by name (code-point order).

        It ends before a pool that cannot be read; where that comes first, ``IncompatibleStorage`` names it.
        """
        after, most = validation.name_marker(marker), validation.limit(limit, MAX_NAMES_PER_PAGE, DEFAULT_PAGE)
        found = self._documents.scan("", after=after or None, limit=most + 1)
        pools = readable(found[:most], lambda record: _pool(record, _State.read(record)), lambda record: record.key)
        return Page(pools, pools[-1].name if pools else after, more=len(found) > len(pools))

    @observed("pools.get_pools_by_flavor", count=len)
    def get_pools_by_flavor(self, flavor: str) -> builtins.list[Pool]:
        """The pools of a flavor by name; none if there is no such flavor."""
        name = validation.flavor_name(flavor)
        return [_pool(record, state) for record, state in self._states() if state.flavor == name]

    def members(self, flavor: str) -> builtins.list[tuple[Record, _State]]:
        """The pools that are in a flavor or joining it. Raises ``IncompatibleStorage`` if any pool cannot be read."""
        return [each for each in self._states() if flavor in (each[1].flavor, each[1].joining)]

    def leave(self, flavor: str, members: Iterable[tuple[Record, _State]]) -> None:
        """Take these pools out of a flavor that is going away, which its mark keeps others from joining."""
        for record, state in members:
            if self._leaves(flavor, record, state):
                continue
            for _ in attempts(f"pool {record.key!r}"):
                current = self._documents.get("", record.key)
                if current is None or self._leaves(flavor, current, _State.read(current)):
                    break

    def move(self, flavor: str, wanted: Sequence[str], *, leaving: bool) -> None:
        """Let these pools be in the flavor; with ``leaving``, no others. All are moved back if one cannot be.

        The rules are looked at once for all of them, so that the cost grows with the pools that move.
        """
        states = {record.key: (record, state) for record, state in self._states()}
        absent = next((name for name in wanted if name not in states), None)
        if absent is not None:
            raise _absent(absent)
        going = [name for name, (_, state) in states.items() if state.flavor == flavor and name not in wanted]
        self._compare(flavor, {name: states[name][1] for name in [*([] if leaving else going), *wanted]})
        out = [name for name in going if leaving and not states[name][1].deleting]
        into = [name for name in wanted if states[name][1].flavor != flavor]
        try:
            self._take_out([states[name] for name in out])
            self._take_in(flavor, [states[name] for name in into])
        except BaseException as error:
            back = [self._moves_back(name, states[name][1].flavor) for name in [*reversed(into), *reversed(out)]]
            if isinstance(error, ZaqarError) and not all(back):
                raise OutcomeUnknown(
                    f"moving pools into flavor {flavor!r} failed with {type(error).__name__}, and not all were moved "
                    "back; flavors.update with these pools finishes it, or see pools.list() and pools.update"
                ) from error
            raise

    @property
    def _documents(self) -> Documents:
        return self._context.documents(POOLS)

    def capabilities_by_flavor(self) -> dict[str, dict[str, builtins.list[str]]]:
        """The pools of each flavor that has some, by name, each with the capabilities of its driver."""
        found: dict[str, dict[str, builtins.list[str]]] = {}
        for record, state in self._states():
            if state.flavor:
                found.setdefault(state.flavor, {})[record.key] = state.capabilities
        return found

    def _states(self) -> Iterator[tuple[Record, _State]]:
        return ((record, _State.read(record)) for record in self._documents.all(""))

    def _existing(self, name: str) -> tuple[Record, _State]:
        record = self._documents.get("", validation.pool_name(name))
        if record is None:
            raise _absent(name)
        return record, _State.read(record)

    def _inspected(self, state: _State) -> _State:
        """The state with the capabilities that the pool's driver has now."""
        address = Uri.parse(state.uri, state.options)
        kind, context = load_driver(address.scheme), self._context
        driver = open_driver(kind, address, connect_timeout=context.connect_timeout, timeout=context.timeout)
        try:
            return replace(state, capabilities=sorted(driver.capabilities))
        finally:
            driver.close()

    def _is_made(self, name: str) -> bool:
        """Whether there is such a pool; what is left of a creation that died is cleared away."""
        record = self._documents.get("", name)
        if record is None:
            return False
        state = _State.read(record)
        return not (state.deleting and state.joining and self._strike(record, state))

    def _change_and_join(self, record: Record, before: _State, after: _State, flavor: str) -> bool:
        """Let a pool become ``after`` in the flavor; False if others kept it from that."""
        version = self._documents.replace("", record, before.joins(flavor, after).value())
        if version is None:
            return False
        announced = record._replace(version=version)
        try:
            return self._join(announced, after, flavor)
        except BaseException:
            with suppress(StorageError):  # what stays is the announcement, which changes nothing and others strike
                self._replace(announced, before.apart())
            raise

    def _join(self, record: Record, after: _State, flavor: str) -> bool:
        """Let a pool that says it is joining become ``after`` in the flavor; False if others kept it from that.

        Where this raises, the caller takes back what the pool says.
        """
        self._check_flavor({record.key}, flavor, after.capabilities)
        return self._replace(record, replace(after.apart(), flavor=flavor))

    def _check_flavor(self, names: Collection[str], flavor: str, capabilities: builtins.list[str]) -> None:
        """Keep pools with other capabilities from joining the flavor; raise if a pool that is in it has others.

        ``names``: the pools that have announced that they join it, with these capabilities.
        """
        for _ in attempts(f"flavor {flavor!r}"):
            found = self._context.documents(FLAVORS).get("", flavor)
            if found is None or Fields(FLAVORS, "", found).take("deleting", bool):
                raise FlavorDoesNotExist(f"no flavor is called {flavor!r}; create it, or see flavors.list()")
            struck = True
            for record, other in self._states():
                if record.key in names:
                    continue
                if other.flavor == flavor and other.capabilities != capabilities:
                    raise _mismatch(min(names), capabilities, flavor, record.key, other.capabilities)
                if other.joining == flavor and other.joining_with != capabilities:
                    struck = self._strike(record, other) and struck
            if struck:
                return

    def _compare(self, flavor: str, members: Mapping[str, _State]) -> None:
        """Raise if these pools cannot be in one flavor, before anything is written."""
        first: tuple[str, builtins.list[str]] | None = None
        for name, state in members.items():
            if state.deleting and state.flavor != flavor:
                raise _going(name)
            if first is None:
                first = name, state.capabilities
            elif state.capabilities != first[1]:
                raise _mismatch(name, state.capabilities, flavor, *first)

    def _take_out(self, pools: Sequence[tuple[Record, _State]]) -> None:
        for record, state in pools:
            if not self._replace(record, replace(state.apart(), flavor="")):
                with suppress(PoolDoesNotExist):  # what is gone is out, too
                    self.update(record.key, flavor="")

    def _take_in(self, flavor: str, pools: Sequence[tuple[Record, _State]]) -> None:
        """Announce all, look once whether they may, then confirm all; those that others change go one by one."""
        joining: dict[str, tuple[Record, _State]] = {}
        for record, state in pools:
            announced = state.joins(flavor, state)
            version = record.version if state == announced else self._documents.replace("", record, announced.value())
            if version is not None:  # announced, perhaps by a call before this one, which its timeout stopped
                joining[record.key] = record._replace(version=version), state
        if joining:
            self._check_flavor(joining.keys(), flavor, pools[0][1].capabilities)
        for record, state in pools:
            current = joining.get(record.key)
            if current is None or not self._replace(current[0], replace(state.apart(), flavor=flavor)):
                self.update(record.key, flavor=flavor)

    def _leaves(self, flavor: str, record: Record, state: _State) -> bool:
        """Take a pool out of the flavor, if it is in it or joining it; False if others changed it meanwhile."""
        outside = replace(state, flavor="") if state.flavor == flavor else state
        if state.joining == flavor:
            return self._strike(record, outside)
        return outside is state or self._replace(record, outside)

    def _moves_back(self, pool: str, flavor: str) -> bool:
        """Put a pool into the flavor that it was in; False if the datastore may not have done it."""
        try:
            with suppress(DoesNotExist, NotPermitted):  # others have changed it, or its flavor
                self.update(pool, flavor=flavor)
        except StorageError:
            return False
        return True

    def _strike(self, record: Record, state: _State) -> bool:
        """Let a pool not join what it is joining: one that is being made goes. False if it has changed meanwhile."""
        if state.deleting:
            return self._documents.delete("", record.key, version=record.version)
        return self._replace(record, state.apart())

    def _replace(self, record: Record, state: _State) -> bool:
        return self._documents.replace("", record, state.value()) is not None

    def _use(self, name: str, state: _State) -> str:
        """Why the pool cannot go; "" if it can."""
        if state.flavor:
            others = [other for record, other in self._states() if record.key != name and other.flavor == state.flavor]
            if all(other.deleting for other in others):
                return f"is the last of the flavor {state.flavor!r}; delete the flavor first, or give it another pool"
        key = find_entry(self._context, name)
        return key and f"holds {key}; move that to another pool with catalogue.update"


def _pool(record: Record, state: _State) -> Pool:
    return Pool(record.key, state.uri, state.weight, state.flavor, state.options)


def _absent(name: str) -> PoolDoesNotExist:
    return PoolDoesNotExist(f"no pool is called {name!r}; create it, or see pools.list()")


def _going(name: str) -> PoolDoesNotExist:
    return PoolDoesNotExist(f"pool {name!r} is being made or deleted; delete it again, then create it")


def _mismatch(name: str, own: list[str], flavor: str, other: str, others: list[str]) -> PoolCapabilitiesMismatch:
    return PoolCapabilitiesMismatch(
        f"pool {name!r} cannot be in the flavor {flavor!r} with pool {other!r}: capabilities differ "
        f"({_difference(others, own)}); use another flavor or equal options"
    )


def _difference(one: list[str], other: list[str]) -> str:
    missing = [f"-{name}" for name in one if name not in other]
    return ", ".join(missing + [f"+{name}" for name in other if name not in one])
