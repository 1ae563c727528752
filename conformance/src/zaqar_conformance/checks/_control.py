"""Pools and flavors belong to no project: names of a check's own for them, and their removal when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from zaqar_conformance.check import Violation, ensure_equal
from zaqar_conformance.env import Env
from zaqar_core import Page, Storage
from zaqar_core.contract import new_id
from zaqar_core.errors import DoesNotExist, ZaqarError

T = TypeVar("T")

PLAIN = "memory://pool"
"""A pool's backend that any process has: the reference driver, with all that it can do."""
LESSER = "memory://pool?without=POP"
"""The same with other capabilities."""
_MOST_PAGES = 1_000


class Plane:
    """What a check makes in the control plane. ``prefix`` begins every pool's and flavor's name of its own."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.storage: Storage = env.storage
        self.prefix = f"conformance-{new_id()[:10]}-"
        self.projects = {env.project}
        self._pools: list[str] = []
        self._flavors: list[str] = []

    def pool_name(self, hint: str = "") -> str:
        """A name for a pool, which is cleared away in the end."""
        self._pools.append(f"{self.prefix}{hint or len(self._pools)}")
        return self._pools[-1]

    def flavor_name(self, hint: str = "") -> str:
        """A name for a flavor, which is cleared away in the end."""
        self._flavors.append(f"{self.prefix}{hint or len(self._flavors)}")
        return self._flavors[-1]

    def pool(self, hint: str = "", *, uri: str = PLAIN, **given: Any) -> str:
        """A new pool; its name."""
        name = self.pool_name(hint)
        ensure_equal(self.storage.pools.create(name, uri=uri, **given), True, "POO-001", f"create of pool {name!r}")
        return name

    def flavor(self, hint: str = "", *, pools: Sequence[str] = ()) -> str:
        """A new flavor of these pools; its name."""
        name = self.flavor_name(hint)
        created = self.storage.flavors.create(name, pools=pools)
        ensure_equal(created, True, "FLA-001", f"create of flavor {name!r}")
        return name

    def clear(self) -> None:
        """Remove entries, flavors and pools, as far as that goes."""
        for project in self.projects:
            with suppress(ZaqarError):
                for page in pages(self.storage.catalogue.list, project=project):
                    for entry in page.items:
                        self.storage.catalogue.delete(entry.queue, project=project)
        for name in self._flavors:
            with suppress(ZaqarError):
                self.storage.flavors.delete(name)
        for name in self._pools:
            with suppress(ZaqarError):
                self.storage.pools.delete(name)


@contextmanager
def control_plane(env: Env) -> Iterator[Plane]:
    """What a check makes in here is removed in the end."""
    plane = Plane(env)
    try:
        yield plane
    finally:
        plane.clear()


def pages(list_page: Callable[..., Page[T]], *, marker: str | None = None, **options: Any) -> Iterator[Page[T]]:
    """The pages of a listing, joined by their markers."""
    for _ in range(_MOST_PAGES):
        page = list_page(marker=marker, **options)
        yield page
        if not page.more:
            return
        marker = page.marker
    raise Violation("POO-005", f"following the markers of {list_page!r} did not end within {_MOST_PAGES} pages")


def listed_after(list_page: Callable[..., Page[T]], prefix: str, **options: Any) -> list[T]:
    """The items whose names start with the prefix, of a listing by name that holds others' too."""
    found: list[T] = []
    for page in pages(list_page, marker=prefix, **options):
        mine = [item for item in page.items if item.name.startswith(prefix)]  # type: ignore[attr-defined]
        found += mine
        if len(mine) < len(page.items):
            break
    return found


def entry_of(storage: Storage, queue: str) -> str | None:
    """The pool that the queue's entry names; None without one."""
    with suppress(DoesNotExist):
        return storage.catalogue.get(queue).pool
    return None
