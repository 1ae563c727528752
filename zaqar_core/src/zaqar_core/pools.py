"""``storage.pools``: the backends among which an installation spreads its queues."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from zaqar_core import validation
from zaqar_core.catalogue import find_entry
from zaqar_core.context import Context
from zaqar_core.contract import Record
from zaqar_core.documents import FLAVORS, POOLS, Documents, attempts, begun, to_bytes
from zaqar_core.encoding import decode
from zaqar_core.errors import FlavorDoesNotExist, PoolCapabilitiesMismatch, PoolDoesNotExist, PoolInUse
from zaqar_core.limits import DEFAULT_PAGE, DEFAULT_POOL_WEIGHT, MAX_NAMES_PER_PAGE
from zaqar_core.models import Page, Pool
from zaqar_core.observers import observed
from zaqar_core.registry import load_driver
from zaqar_core.uri import Uri


@dataclass(frozen=True, slots=True)
class _State:
    """A pool as it is stored. ``capabilities``: those of its driver when the pool was made or last changed.

    ``joining``: the flavor that it shall be in, with the capabilities ``joining_with``, once the rules are checked; all
    else stays as it is until then. ``deleting``: nothing new may name it; whoever finds it so may finish, or undo it,
    by deleting it again. A pool that is deleting and joining at once is being made.
    """

    uri: str = field(repr=False)
    weight: int
    options: Mapping[str, Any] = field(repr=False)
    flavor: str = ""
    capabilities: list[str] = field(default_factory=list)
    joining: str = ""
    joining_with: list[str] = field(default_factory=list)
    deleting: bool = False

    @classmethod
    def read(cls, record: Record) -> Self:
        """The state in a record."""
        return cls(**decode(record.value))

    def value(self) -> bytes:
        """The state as a record's value."""
        return to_bytes(asdict(self))

    def joins(self, flavor: str, changed: _State) -> _State:
        """This state, about to be ``changed`` and in the flavor."""
        return replace(self, joining=flavor, joining_with=changed.capabilities)

    def apart(self) -> _State:
        """This state, about to join nothing."""
        return replace(self, joining="", joining_with=[])


class Pools:
    """Pools belong to no project. What they say is the operator's; only their capabilities are read from drivers.

    No transaction spans records, so whoever would break a rule together with another writes first and looks
    afterwards: of two that cannot both be, one at least sees the other and undoes what it wrote.
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
        flavor = flavor and validation.flavor_name(flavor)
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
            with begun(f"making pool {name!r}"):
                if version and (not flavor or self._join(Record(name, b"", version, ""), None, state, flavor)):
                    return True
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
        pools = self._documents
        given: dict[str, Any] = {}
        if uri is not None:
            given["uri"] = validation.pool_uri(uri)
        if weight is not None:
            given["weight"] = validation.weight(weight)
        if options is not None:
            given["options"] = validation.pool_options(options)
        for _ in attempts(f"pool {name!r}"):
            record, state = self._existing(name)
            if state.deleting:
                raise PoolDoesNotExist(f"pool {name!r} is being made or deleted; delete it again, then create it")
            wanted = state.flavor if flavor is None else flavor and validation.flavor_name(flavor)
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
            version = pools.replace("", record, state.joins(wanted, changed).value())
            if version and self._join(record._replace(version=version), state, changed, wanted):
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
            if not state.deleting:
                state = replace(state.apart(), deleting=True)
                version = pools.replace("", record, state.value())
                if version is None:
                    continue
                record = record._replace(version=version)
            with begun(f"deleting pool {name!r}"):
                reason = self._use(name, state)
                if not reason and pools.delete("", name, version=record.version):
                    return
                if reason and pools.replace("", record, replace(state, deleting=False).value()):
                    raise PoolInUse(f"pool {name!r} {reason}")

    @observed("pools.list", count=lambda page: len(page.items))
    def list(self, *, marker: str | None = None, limit: int = DEFAULT_PAGE) -> Page[Pool]:
        """A page of pools by name (code-point order)."""
        after, most = validation.name_marker(marker), validation.limit(limit, MAX_NAMES_PER_PAGE)
        found = self._documents.scan("", after=after or None, limit=most + 1)
        pools = [_pool(record, _State.read(record)) for record in found[:most]]
        return Page(pools, pools[-1].name if pools else after, more=len(found) > most)

    @observed("pools.get_pools_by_flavor", count=len)
    def get_pools_by_flavor(self, flavor: str) -> builtins.list[Pool]:
        """The pools of a flavor by name; none if there is no such flavor."""
        name = validation.flavor_name(flavor)
        return [_pool(record, state) for record, state in self._states() if state.flavor == name]

    def leave(self, flavor: str) -> None:
        """Take every pool out of a flavor that is going away."""
        for record, _ in builtins.list(self._states()):
            for _ in attempts(f"pool {record.key!r}"):
                current = self._documents.get("", record.key)
                state = None if current is None else _State.read(current)
                if current is None or state is None or flavor not in (state.flavor, state.joining):
                    break
                outside = replace(state, flavor="") if state.flavor == flavor else state
                if self._strike(current, outside) if state.joining == flavor else self._replace(current, outside):
                    break

    @property
    def _documents(self) -> Documents:
        return self._context.documents(POOLS)

    def capabilities_by_pool(self, flavor: str) -> dict[str, builtins.list[str]]:
        """The pools of a flavor by name, each with the capabilities of its driver."""
        return {record.key: state.capabilities for record, state in self._states() if state.flavor == flavor}

    def _states(self) -> Iterator[tuple[Record, _State]]:
        return ((record, _State.read(record)) for record in self._documents.all(""))

    def _existing(self, name: str) -> tuple[Record, _State]:
        record = self._documents.get("", validation.pool_name(name))
        if record is None:
            raise PoolDoesNotExist(f"no pool is called {name!r}; create it, or see pools.list()")
        return record, _State.read(record)

    def _inspected(self, state: _State) -> _State:
        """The state with the capabilities that the pool's driver has now."""
        address = Uri.parse(state.uri, state.options)
        driver = load_driver(address.scheme).open(
            address, connect_timeout=self._context.connect_timeout, timeout=self._context.timeout
        )
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

    def _join(self, record: Record, before: _State | None, after: _State, flavor: str) -> bool:
        """Let a pool that says it is joining become ``after`` in the flavor; False if others kept it from that.

        Where the rules forbid it, the pool is as ``before`` (None: not there) when the error is raised.
        """
        pools = self._documents
        try:
            self._check_flavor(record.key, flavor, after.capabilities)
        except BaseException:
            if before is None:
                pools.delete("", record.key, version=record.version)
            else:
                pools.replace("", record, before.apart().value())
            raise
        return pools.replace("", record, replace(after.apart(), flavor=flavor).value()) is not None

    def _check_flavor(self, name: str, flavor: str, capabilities: builtins.list[str]) -> None:
        """Keep out of the flavor whoever is joining it with other capabilities; raise if a pool in it has others."""
        for _ in attempts(f"flavor {flavor!r}"):
            found = self._context.documents(FLAVORS).get("", flavor)
            if found is None or decode(found.value)["deleting"]:
                raise FlavorDoesNotExist(f"no flavor is called {flavor!r}; create it, or see flavors.list()")
            struck = True
            for record, other in self._states():
                if record.key == name:
                    continue
                if other.flavor == flavor and other.capabilities != capabilities:
                    raise PoolCapabilitiesMismatch(
                        f"pool {name!r} cannot be in the flavor {flavor!r} with pool {record.key!r}: capabilities "
                        f"differ ({_difference(other.capabilities, capabilities)}); use another flavor or equal options"
                    )
                if other.joining == flavor and other.joining_with != capabilities:
                    struck = self._strike(record, other) and struck
            if struck:
                return

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


def _difference(one: list[str], other: list[str]) -> str:
    missing = [f"-{name}" for name in one if name not in other]
    return ", ".join(missing + [f"+{name}" for name in other if name not in one])
