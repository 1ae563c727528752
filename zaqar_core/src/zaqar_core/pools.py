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
from zaqar_core.documents import FLAVORS, POOLS, Documents, attempts, to_bytes
from zaqar_core.encoding import decode
from zaqar_core.errors import FlavorDoesNotExist, PoolCapabilitiesMismatch, PoolDoesNotExist, PoolInUse
from zaqar_core.limits import DEFAULT_PAGE, DEFAULT_POOL_WEIGHT, MAX_NAMES_PER_PAGE
from zaqar_core.models import Page, Pool
from zaqar_core.observers import observed
from zaqar_core.registry import load_driver
from zaqar_core.uri import Uri


@dataclass(frozen=True, slots=True)
class _State:
    """A pool as it is stored. ``joining``: the flavor that it is about to be in, once the rules are checked.

    ``deleting``: nothing new may name it; whoever finds it so may finish, or undo it, by deleting it again.
    ``capabilities``: those of its driver when the pool was made or last changed.
    """

    uri: str = field(repr=False)
    weight: int
    options: Mapping[str, Any] = field(repr=False)
    flavor: str
    joining: str
    capabilities: list[str] = field(default_factory=list)
    deleting: bool = False

    @classmethod
    def read(cls, record: Record) -> Self:
        """The state in a record."""
        return cls(**decode(record.value))

    def value(self) -> bytes:
        """The state as a record's value."""
        return to_bytes(asdict(self))


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
        state = _State(
            uri=validation.pool_uri(uri),
            weight=validation.weight(weight),
            options=validation.pool_options({} if options is None else options),
            flavor="",
            joining=flavor,
        )
        if pools.get("", name) is not None:
            return False
        state = self._inspected(state)
        version = pools.insert("", name, state.value())
        if version is None:
            return False
        if flavor and not self._confirm(Record(name, b"", version, ""), state, back=None):
            self.update(name, flavor=flavor)
        return True

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
                raise PoolDoesNotExist(f"pool {name!r} is being deleted; finish it with pools.delete, then create it")
            wanted = state.flavor if flavor is None else flavor and validation.flavor_name(flavor)
            changed = replace(state, **given)
            if given.keys() & {"uri", "options"}:
                changed = self._inspected(changed)
            if wanted in ("", state.flavor):
                if wanted and changed.capabilities != state.capabilities:
                    raise PoolCapabilitiesMismatch(
                        f"pool {name!r} would change its capabilities ({_difference(state, changed)}) while it is in "
                        f"the flavor {wanted!r}; take it out first: update(flavor='')"
                    )
                if pools.replace("", record, replace(changed, flavor=wanted, joining="").value()):
                    return
                continue
            changed = replace(changed, flavor="", joining=wanted)
            version = pools.replace("", record, changed.value())
            if version and self._confirm(record._replace(version=version), changed, back=state):
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
                state = replace(state, deleting=True)
                version = pools.replace("", record, state.value())
                if version is None:
                    continue
                record = record._replace(version=version)
            reason = self._use(name, state)
            if reason:
                pools.replace("", record, replace(state, deleting=False).value())
                raise PoolInUse(f"pool {name!r} {reason}")
            if pools.delete("", name, version=record.version):
                return

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
                outside = replace(
                    state,
                    flavor="" if state.flavor == flavor else state.flavor,
                    joining="" if state.joining == flavor else state.joining,
                )
                if self._documents.replace("", current, outside.value()):
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

    def _confirm(self, record: Record, state: _State, back: _State | None) -> bool:
        """Make a pool that is joining a flavor one of it; False if another changed the pool meanwhile.

        Where the rules forbid it the pool goes ``back`` (None: it is deleted) before the error is raised.
        """
        pools = self._documents
        try:
            self._check_flavor(record.key, state)
        except BaseException:
            if back is None:
                pools.delete("", record.key, version=record.version)
            else:
                pools.replace("", record, back.value())
            raise
        return pools.replace("", record, replace(state, flavor=state.joining, joining="").value()) is not None

    def _check_flavor(self, name: str, state: _State) -> None:
        flavor = self._context.documents(FLAVORS).get("", state.joining)
        if flavor is None or decode(flavor.value)["deleting"]:
            raise FlavorDoesNotExist(f"no flavor is called {state.joining!r}; create it, or see flavors.list()")
        for record, other in self._states():
            is_member = state.joining in (other.flavor, other.joining)
            if is_member and record.key != name and other.capabilities != state.capabilities:
                raise PoolCapabilitiesMismatch(
                    f"pool {name!r} cannot be in the flavor {state.joining!r} with pool {record.key!r}: their "
                    f"capabilities differ ({_difference(other, state)}); use another flavor, or equal options"
                )

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


def _difference(one: _State, other: _State) -> str:
    missing = [f"-{name}" for name in one.capabilities if name not in other.capabilities]
    return ", ".join(missing + [f"+{name}" for name in other.capabilities if name not in one.capabilities])
