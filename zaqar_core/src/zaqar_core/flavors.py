"""``storage.flavors``: kinds of pools among which a queue may choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from zaqar_core import validation
from zaqar_core.capabilities import Capability
from zaqar_core.context import Context
from zaqar_core.contract import Record
from zaqar_core.documents import FLAVORS, Documents, Fields, readable, to_bytes
from zaqar_core.errors import FlavorDoesNotExist, IncompatibleStorage, OutcomeUnknown
from zaqar_core.limits import DEFAULT_PAGE, MAX_NAMES_PER_PAGE
from zaqar_core.models import Flavor, Page
from zaqar_core.observers import observed
from zaqar_core.pools import Pools
from zaqar_core.steps import attempts, begun


class Flavors:
    """Flavors belong to no project. Their capabilities are those of their pools, which are equal in them."""

    def __init__(self, context: Context, pools: Pools) -> None:
        self._context = context
        self._pools = pools

    @observed("flavors.create")
    def create(self, name: str, *, pools: Iterable[str] = ()) -> bool:
        """Whether this call made the flavor; on one that exists nothing changes. ``pools`` join it.

        Raises ``PoolDoesNotExist``, ``PoolCapabilitiesMismatch``; then there is no flavor. After ``OutcomeUnknown``
        there may be one that some of the pools have joined: ``update`` moves the rest.
        """
        name, members = validation.flavor_name(name), validation.pool_names(pools)
        version = self._documents.insert("", name, to_bytes({"deleting": False}))
        if version is None:
            return False
        remedy = "do it again; if the flavor is there then, flavors.update with these pools finishes it"
        with begun(f"making flavor {name!r}", remedy=remedy) as steps:
            try:
                self._pools.move(name, members, leaving=False)  # those that others let in meanwhile stay
            except OutcomeUnknown:  # the pools that it could not move back are in the flavor
                raise
            except BaseException:
                steps.undone = self._unmake(Record(name, b"", version, ""))
                raise
        return True

    @observed("flavors.get")
    def get(self, name: str) -> Flavor:
        """The flavor, its pools and their capabilities. Raises ``FlavorDoesNotExist``."""
        return _flavor(self._existing(name).key, self._pools.capabilities_by_flavor())

    @observed("flavors.exists")
    def exists(self, name: str) -> bool:
        """Whether there is a flavor of that name."""
        return self._documents.get("", validation.flavor_name(name)) is not None

    @observed("flavors.update")
    def update(self, name: str, *, pools: Iterable[str]) -> None:
        """Let the flavor have these pools and no others.

        Raises ``FlavorDoesNotExist``, ``PoolDoesNotExist``, ``PoolCapabilitiesMismatch``; the pools then are as they
        were. Others may see some pools moved before the rest.
        """
        members = validation.pool_names(pools)
        name = self._existing(name).key
        self._pools.move(name, members, leaving=True)

    @observed("flavors.delete")
    def delete(self, name: str) -> None:
        """Delete the flavor, whose pools then have none; an unknown one is no error."""
        name = validation.flavor_name(name)
        for _ in attempts(f"flavor {name!r}"):
            record = self._documents.get("", name)
            if record is None:
                return
            fields = Fields(FLAVORS, "", record)
            marked = not fields.take("deleting", bool)
            if marked:
                version = self._documents.replace("", record, to_bytes({**fields.rest(), "deleting": True}))
                if version is None:
                    continue
                record = record._replace(version=version)
            with begun(f"deleting flavor {name!r}") as steps:
                try:
                    members = self._pools.members(name)
                except IncompatibleStorage:
                    unmarked = to_bytes({**fields.rest(), "deleting": False})
                    steps.undone = not marked or self._documents.replace("", record, unmarked) is not None
                    raise
                self._pools.leave(name, members)
                if self._documents.delete("", name, version=record.version):
                    return

    @observed("flavors.list", count=lambda page: len(page.items))
    def list(self, *, marker: str | None = None, limit: int | None = None) -> Page[Flavor]:
        """A page of flavors by name (code-point order).

        It ends before a flavor that cannot be read; where that comes first, ``IncompatibleStorage`` names it.
        """
        after, most = validation.name_marker(marker), validation.limit(limit, MAX_NAMES_PER_PAGE, DEFAULT_PAGE)
        found = self._documents.scan("", after=after or None, limit=most + 1)
        pools = self._pools.capabilities_by_flavor() if found else {}
        names = readable(found[:most], _name, lambda record: record.key)
        return Page(
            [_flavor(name, pools) for name in names], names[-1] if names else after, more=len(found) > len(names)
        )

    @property
    def _documents(self) -> Documents:
        return self._context.documents(FLAVORS)

    def _unmake(self, record: Record) -> bool:
        """Delete a flavor whose pools cannot join it, and say whether it is gone; its mark keeps others from joining.

        A damaged pool keeps it from nothing: that one says that it is in no flavor.
        """
        version = self._documents.replace("", record, to_bytes({"deleting": True}))
        if version is None:
            return False
        with suppress(IncompatibleStorage):
            self._pools.leave(record.key, self._pools.members(record.key))
        return self._documents.delete("", record.key, version=version)

    def _existing(self, name: str) -> Record:
        record = self._documents.get("", validation.flavor_name(name))
        if record is None:
            raise FlavorDoesNotExist(f"no flavor is called {name!r}; create it, or see flavors.list()")
        _name(record)
        return record


def _name(record: Record) -> str:
    """The flavor's name. Raises ``IncompatibleStorage`` for a record that is no flavor."""
    Fields(FLAVORS, "", record).take("deleting", bool)
    return record.key


def _flavor(name: str, pools: Mapping[str, Mapping[str, Sequence[str]]]) -> Flavor:
    members = pools.get(name, {})
    written = {capability for capabilities in members.values() for capability in capabilities}
    return Flavor(name, tuple(members), frozenset(one for one in Capability if one in written))
