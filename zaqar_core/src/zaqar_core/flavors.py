"""``storage.flavors``: kinds of pools among which a queue may choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from zaqar_core import validation
from zaqar_core.capabilities import Capability
from zaqar_core.context import Context
from zaqar_core.contract import Record
from zaqar_core.documents import FLAVORS, Documents, attempts, begun, to_bytes
from zaqar_core.encoding import decode
from zaqar_core.errors import (
    DoesNotExist,
    FlavorDoesNotExist,
    NotPermitted,
    OutcomeUnknown,
    PoolDoesNotExist,
    StorageError,
    ZaqarError,
)
from zaqar_core.limits import DEFAULT_PAGE, MAX_NAMES_PER_PAGE
from zaqar_core.models import Flavor, Page
from zaqar_core.observers import observed
from zaqar_core.pools import Pools


class Flavors:
    """Flavors belong to no project. Their capabilities are those of their pools, which are equal in them."""

    def __init__(self, context: Context, pools: Pools) -> None:
        self._context = context
        self._pools = pools

    @observed("flavors.create")
    def create(self, name: str, *, pools: Iterable[str] = ()) -> bool:
        """Whether this call made the flavor; on one that exists nothing changes. ``pools`` join it.

        Raises ``PoolDoesNotExist``, ``PoolCapabilitiesMismatch``; then there is no flavor.
        """
        name, members = validation.flavor_name(name), validation.pool_names(pools)
        if self._documents.insert("", name, to_bytes({"deleting": False})) is None:
            return False
        with begun(f"making flavor {name!r}"):
            try:
                self._move_pools(name, members)  # those that others let in meanwhile stay
            except BaseException:
                self.delete(name)
                raise
        return True

    @observed("flavors.get")
    def get(self, name: str) -> Flavor:
        """The flavor, its pools and their capabilities. Raises ``FlavorDoesNotExist``."""
        return self._flavor(self._existing(name).key)

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
        with begun(f"changing flavor {name!r}"):
            name = self._existing(name).key
            before = [pool.name for pool in self._pools.get_pools_by_flavor(name)]
            self._move_pools(name, members, before)

    @observed("flavors.delete")
    def delete(self, name: str) -> None:
        """Delete the flavor, whose pools then have none; an unknown one is no error."""
        name = validation.flavor_name(name)
        for _ in attempts(f"flavor {name!r}"):
            record = self._documents.get("", name)
            if record is None:
                return
            if not decode(record.value)["deleting"]:
                version = self._documents.replace("", record, to_bytes({"deleting": True}))
                if version is None:
                    continue
                record = record._replace(version=version)
            with begun(f"deleting flavor {name!r}"):
                self._pools.leave(name)
                if self._documents.delete("", name, version=record.version):
                    return

    @observed("flavors.list", count=lambda page: len(page.items))
    def list(self, *, marker: str | None = None, limit: int = DEFAULT_PAGE) -> Page[Flavor]:
        """A page of flavors by name (code-point order)."""
        after, most = validation.name_marker(marker), validation.limit(limit, MAX_NAMES_PER_PAGE)
        found = self._documents.scan("", after=after or None, limit=most + 1)
        flavors = [self._flavor(record.key) for record in found[:most]]
        return Page(flavors, flavors[-1].name if flavors else after, more=len(found) > most)

    @property
    def _documents(self) -> Documents:
        return self._context.documents(FLAVORS)

    def _existing(self, name: str) -> Record:
        record = self._documents.get("", validation.flavor_name(name))
        if record is None:
            raise FlavorDoesNotExist(f"no flavor is called {name!r}; create it, or see flavors.list()")
        return record

    def _flavor(self, name: str) -> Flavor:
        pools = self._pools.capabilities_by_pool(name)
        written = {capability for capabilities in pools.values() for capability in capabilities}
        return Flavor(name, tuple(pools), frozenset(one for one in Capability if one in written))

    def _move_pools(self, name: str, wanted: Sequence[str], before: Sequence[str] = ()) -> None:
        """Move pools so that of ``before`` and ``wanted`` the latter are in the flavor; all back if one cannot be."""
        flavors = {pool: name for pool in before if pool not in wanted}
        flavors |= {pool: self._pools.get(pool).flavor for pool in wanted if pool not in before}
        moved: list[str] = []
        try:
            for pool in flavors:
                moved.append(pool)
                if pool in wanted:
                    self._pools.update(pool, flavor=name)
                else:
                    with suppress(PoolDoesNotExist):  # what is gone is out, too
                        self._pools.update(pool, flavor="")
        except BaseException as error:
            back = [self._moves_back(pool, flavors[pool]) for pool in reversed(moved)]
            if isinstance(error, ZaqarError) and not all(back):
                raise OutcomeUnknown(
                    f"flavor {name!r} cannot have these pools, and not all were moved back; see pools.list(), and set "
                    f"their flavors with pools.update: {error}"
                ) from error
            raise

    def _moves_back(self, pool: str, flavor: str) -> bool:
        """Put a pool into the flavor that it was in; False if the datastore may not have done it."""
        try:
            with suppress(DoesNotExist, NotPermitted):  # others have changed it, or its flavor
                self._pools.update(pool, flavor=flavor)
        except StorageError:
            return False
        return True
