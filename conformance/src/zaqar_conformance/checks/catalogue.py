"""The catalogue: which pool holds which queue."""

from __future__ import annotations

from functools import partial
from typing import Any

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._control import Plane, control_plane, pages
from zaqar_conformance.checks.pools import BAD_NAMES, TRICKY_ENDS
from zaqar_conformance.env import Env
from zaqar_core import CatalogueEntry
from zaqar_core.errors import (
    InvalidLimit,
    InvalidMarker,
    InvalidPool,
    InvalidProject,
    InvalidQueueName,
    PoolDoesNotExist,
    PoolInUse,
    QueueNotMapped,
)


@check("CAT-001")
def catalogue_insert_says_true_once(env: Env) -> None:
    """``insert`` makes an entry and says True; again it says False, and the entry names the pool that it named."""
    with control_plane(env) as plane:
        one, other, queue = plane.pool(), plane.pool(), env.queue()
        catalogue = env.storage.catalogue
        ensure_equal(catalogue.exists(queue), False, "CAT-001", "exists of an entry that was never made")
        ensure_equal(catalogue.insert(queue, one), True, "CAT-001", "insert of a new entry")
        _shows(plane, queue, one)
        for pool in (one, other, plane.pool_name()):
            ensure_equal(catalogue.insert(queue, pool), False, "CAT-001", "insert where there is an entry")
            _shows(plane, queue, one)
        ensure_equal(env.storage.queues.exists(queue), False, "CAT-001", "exists of the queue, which nobody registered")


@check("CAT-001")
def catalogue_update_and_delete(env: Env) -> None:
    """``update`` names another pool, or the same; ``delete`` forgets the entry, and again; then it can be made anew."""
    with control_plane(env) as plane:
        one, other, queue = plane.pool(), plane.pool(), env.queue()
        catalogue = env.storage.catalogue
        catalogue.insert(queue, one)
        for pool in (other, other, one, other):
            catalogue.update(queue, pool)
            _shows(plane, queue, pool)
        for _ in range(2):
            catalogue.delete(queue)
            ensure_equal(catalogue.exists(queue), False, "CAT-001", "exists of an entry that was deleted")
            ensure_equal([*catalogue.list().items], [], "CAT-001", "entries after the only one was deleted")
        ensure_equal(catalogue.insert(queue, one), True, "CAT-001", "insert of an entry that was deleted")
        _shows(plane, queue, one)


@check("CAT-002")
def catalogue_unknown_pools_and_entries(env: Env) -> None:
    """An unknown pool raises ``PoolDoesNotExist``, a missing entry ``QueueNotMapped``; nothing has changed."""
    with control_plane(env) as plane:
        kept, gone, queue, missing = plane.pool(), plane.pool(), env.queue(), env.queue()
        catalogue = env.storage.catalogue
        catalogue.insert(queue, kept)
        env.storage.pools.delete(gone)
        for pool in (gone, plane.pool_name()):
            insert = partial(catalogue.insert, missing, pool)
            ensure_raises(PoolDoesNotExist, "CAT-002", "insert with a pool that is not there", insert)
            update = partial(catalogue.update, queue, pool)
            ensure_raises(PoolDoesNotExist, "CAT-002", "update to a pool that is not there", update)
            _shows(plane, queue, kept, "CAT-002")
            ensure_equal(catalogue.exists(missing), False, "CAT-002", "exists after an insert that was refused")
        for what, call in (("get", catalogue.get), ("update", partial(catalogue.update, pool=kept))):
            ensure_raises(QueueNotMapped, "CAT-002", f"{what} without an entry", partial(call, missing))
        in_use = partial(env.storage.pools.delete, kept)
        ensure_raises(PoolInUse, "CAT-002", "delete of the pool that the entry still names", in_use)
        again = env.storage.pools.create(gone, uri="memory://again")
        ensure_equal(again, True, "CAT-002", "create of a pool that a refused insert and update named")
        env.storage.pools.delete(gone)


@check("CAT-003")
def catalogue_projects_are_apart(env: Env) -> None:
    """Entries of projects and queues whose names join to one text, of the longest names too, are each their own."""
    with control_plane(env) as plane:
        one, other = plane.pool(), plane.pool()
        base = env.project
        pairs = [(base, "q"), (f"{base}2", "q"), (f"{base}é", "q"), (base.swapcase(), "q"), (base, "Q"), (base, "q ")]
        for separator in (".", ":", "/", "-", "\x01", "::", "1:"):
            pairs += [(base, f"b{separator}c"), (f"{base}{separator}b", "c")]
        longest = base + "\U0001f600" * (256 - len(base))
        pairs += [(longest, "\U0001f600" * 48), (longest, "q"), (base, "x" * 64)]
        plane.projects |= {project for project, _ in pairs}
        catalogue = env.storage.catalogue
        for project, queue in pairs:
            made = catalogue.insert(queue, one, project=project)
            ensure_equal(made, True, "CAT-003", f"insert of {queue!r} in the project {project!r}, which has none")
        for project, queue in pairs:
            catalogue.update(queue, other, project=project)
            named = [catalogue.get(each, project=owner).pool for owner, each in pairs]
            ensure_equal(named.count(other), 1, "CAT-003", "entries that name a pool after one was updated to it")
            expected = CatalogueEntry(queue, other, project)
            ensure_equal(catalogue.get(queue, project=project), expected, "CAT-003", "the entry updated")
            catalogue.update(queue, one, project=project)
        for project in sorted(plane.projects):
            queues = sorted(queue for owner, queue in pairs if owner == project)
            found = [entry.queue for entry in catalogue.list(project=project, limit=100).items]
            ensure_equal(found, queues, "CAT-003", f"queues listed of the project {project!r}")
        for project, queue in pairs:
            ensure_raises(PoolInUse, "CAT-003", "delete of a pool with entries", partial(env.storage.pools.delete, one))
            catalogue.delete(queue, project=project)
        env.storage.pools.delete(one)


@check("CAT-003")
def catalogue_is_listed_by_name(env: Env) -> None:
    """Entries are listed in code-point order of their queues, in pages of any size, behind any marker."""
    with control_plane(env) as plane:
        pool, queues = plane.pool(), [f"q{end}" for end in TRICKY_ENDS]
        for queue in env.rng.sample(queues, len(queues)):
            env.storage.catalogue.insert(queue, pool)
        expected = [CatalogueEntry(queue, pool, env.project) for queue in queues]
        for limit in (1, 5, 1000):
            env.see(
                lambda limit=limit: [  # type: ignore[misc]
                    entry for page in pages(env.storage.catalogue.list, limit=limit) for entry in page.items
                ],
                lambda seen: seen == expected,
                "CAT-003",
                f"entries in pages of {limit}, expected {expected}",
            )
        page = env.storage.catalogue.list(limit=4)
        env.storage.catalogue.delete(page.items[-1].queue)
        after = [entry.queue for entry in env.storage.catalogue.list(marker=page.marker, limit=4).items]
        ensure_equal(after, queues[4:8], "CAT-003", "entries behind a marker whose entry is gone")


@check("CAT-004")
def catalogue_wrong_input(env: Env) -> None:
    """Wrong queue names, projects, pools, limits and markers are refused, and nothing is written."""
    with control_plane(env) as plane:
        pool, queue = plane.pool(), env.queue()
        catalogue: Any = env.storage.catalogue
        methods = {
            "insert": partial(catalogue.insert, pool=pool),
            "get": catalogue.get,
            "exists": catalogue.exists,
            "update": partial(catalogue.update, pool=pool),
            "delete": catalogue.delete,
        }
        for name in BAD_NAMES:
            for what, method in methods.items():
                wrong = partial(method, name)
                ensure_raises(InvalidQueueName, "CAT-004", f"catalogue.{what} of the queue {name!r}", wrong)
            for what in ("insert", "update"):
                wrong = partial(getattr(catalogue, what), queue, name)
                ensure_raises(InvalidPool, "CAT-004", f"catalogue.{what} with the pool {name!r}", wrong)
        for project in ("p" * 257, "nul\0", 5):
            for what, method in methods.items():
                wrong = partial(method, queue, project=project)
                ensure_raises(InvalidProject, "CAT-004", f"catalogue.{what} with the project {project!r}", wrong)
            ensure_raises(InvalidProject, "CAT-004", "catalogue.list", partial(catalogue.list, project=project))
        ensure_raises(InvalidLimit, "CAT-004", "catalogue.list, limit=1001", partial(catalogue.list, limit=1001))
        ensure_raises(InvalidMarker, "CAT-004", "catalogue.list, a wrong marker", partial(catalogue.list, marker=5))
        ensure(not catalogue.exists(queue), "CAT-004", "an entry is there after wrong calls of insert")
        ensure_equal([*catalogue.list().items], [], "CAT-004", "entries after wrong calls")


def _shows(plane: Plane, queue: str, pool: str, requirement: str = "CAT-001") -> None:
    catalogue = plane.storage.catalogue
    expected = CatalogueEntry(queue, pool, plane.env.project)
    ensure_equal(catalogue.get(queue), expected, requirement, "the entry, by get")
    ensure_equal(catalogue.exists(queue), True, requirement, "exists of an entry that is there")
    ensure_equal([*catalogue.list(limit=100).items], [expected], requirement, "the entry, by list")
