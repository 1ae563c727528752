"""``storage.catalogue``: which pool holds which queue."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

from zaqar_core import validation
from zaqar_core.context import Context
from zaqar_core.contract import QueueKey, Record
from zaqar_core.documents import (
    CATALOGUE,
    ENTRIES_BY_POOL,
    POOLS,
    Documents,
    Fields,
    digest,
    readable,
    to_bytes,
)
from zaqar_core.errors import PoolDoesNotExist, QueueNotMapped, StorageError
from zaqar_core.limits import DEFAULT_PAGE, MAX_NAMES_PER_PAGE
from zaqar_core.models import CatalogueEntry, Page
from zaqar_core.observers import observed
from zaqar_core.steps import attempts


@dataclass(frozen=True, slots=True)
class _Entry:
    """``pool``: the one that holds the queue; ``next``: the one that shall, once it is seen to stay. "" for none."""

    pool: str
    next: str = ""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """Fields that a newer version wrote."""

    @classmethod
    def read(cls, project: str, record: Record) -> Self:
        fields = Fields(CATALOGUE, project, record)
        return cls(fields.take("pool", str), fields.take("next", str), fields.rest())

    def value(self) -> bytes:
        return to_bytes({**self.rest, "pool": self.pool, "next": self.next})


class Catalogue:
    """Entries by project and queue name. The queue need not be registered.

    An entry never names a pool that is gone, whichever clients delete pools or die meanwhile. A pool is written into
    ``next`` and indexed under the pool; then the pool is read; then the entry is confirmed. The deletion of a pool
    marks it first and strikes it from every ``next`` that it finds in the index, so that none of them can be confirmed.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @observed("catalogue.insert")
    def insert(self, queue: str, pool: str, *, project: str | None = None) -> bool:
        """Whether this call made the entry; on one that exists nothing changes. Raises ``PoolDoesNotExist``."""
        key, pool = self._context.key(queue, project), validation.pool_name(pool)
        entries = self._entries
        for _ in attempts(f"the catalogue entry of {queue!r}"):
            record = entries.get(key.project, key.name)
            entry = _Entry("") if record is None else _Entry.read(key.project, record)
            if entry.pool:
                return False
            entry = replace(entry, next=pool)
            self._check_pool(pool)
            if record is None:
                version = entries.insert(key.project, key.name, entry.value())
            else:
                version = entries.replace(key.project, record, entry.value())
            if version and self._confirm(key, Record(key.name, b"", version, ""), entry):
                return True
        raise AssertionError  # attempts raises

    @observed("catalogue.get")
    def get(self, queue: str, *, project: str | None = None) -> CatalogueEntry:
        """The queue's entry. Raises ``QueueNotMapped``."""
        key = self._context.key(queue, project)
        return _model(key, self._existing(key)[1])

    @observed("catalogue.exists")
    def exists(self, queue: str, *, project: str | None = None) -> bool:
        """Whether the queue has an entry."""
        key = self._context.key(queue, project)
        record = self._entries.get(key.project, key.name)
        return record is not None and _Entry.read(key.project, record).pool != ""

    @observed("catalogue.update")
    def update(self, queue: str, pool: str, *, project: str | None = None) -> None:
        """Name another pool. Raises ``QueueNotMapped``, ``PoolDoesNotExist``; then nothing has changed."""
        key, pool = self._context.key(queue, project), validation.pool_name(pool)
        for _ in attempts(f"the catalogue entry of {queue!r}"):
            record, entry = self._existing(key)
            self._check_pool(pool)
            before = self._index.get(entry.pool, digest(*key))
            changed = replace(entry, next=pool)
            version = self._entries.replace(key.project, record, changed.value())
            if version and self._confirm(key, record._replace(version=version), changed):
                if entry.pool != pool:
                    self._unindex(entry.pool, before)
                return

    @observed("catalogue.delete")
    def delete(self, queue: str, *, project: str | None = None) -> None:
        """Forget the entry; an unknown one is no error."""
        key = self._context.key(queue, project)
        for _ in attempts(f"the catalogue entry of {queue!r}"):
            record = self._entries.get(key.project, key.name)
            if record is None:
                return
            entry = _Entry.read(key.project, record)
            pools = [pool for pool in (entry.pool, entry.next) if pool]
            indexed = [(pool, self._index.get(pool, digest(*key))) for pool in pools]
            if self._entries.delete(key.project, key.name, version=record.version):
                for pool, found in indexed:
                    self._unindex(pool, found)
                return

    @observed("catalogue.list", count=lambda page: len(page.items))
    def list(
        self, *, marker: str | None = None, limit: int | None = None, project: str | None = None
    ) -> Page[CatalogueEntry]:
        """A page of the project's entries by queue name (code-point order); it may be short.

        It ends before an entry that cannot be read; where that comes first, ``IncompatibleStorage`` names it.
        """
        self._context.check_open()
        owner = self._context.project_or(project)
        after, most = validation.name_marker(marker), validation.limit(limit, MAX_NAMES_PER_PAGE, DEFAULT_PAGE)
        found = self._entries.scan(owner, after=after or None, limit=most + 1)
        read = readable(
            found[:most], lambda record: (record.key, _Entry.read(owner, record)), lambda record: record.key
        )
        items = [_model(QueueKey(owner, name), entry) for name, entry in read if entry.pool]
        return Page(items, read[-1][0] if read else after, more=len(found) > len(read))

    @property
    def _entries(self) -> Documents:
        return self._context.documents(CATALOGUE)

    @property
    def _index(self) -> Documents:
        return self._context.documents(ENTRIES_BY_POOL)

    def _existing(self, key: QueueKey) -> tuple[Record, _Entry]:
        record = self._entries.get(key.project, key.name)
        entry = None if record is None else _Entry.read(key.project, record)
        if record is None or entry is None or not entry.pool:
            raise QueueNotMapped(f"queue {key.name!r} is in no pool's catalogue; insert it first")
        return record, entry

    def _confirm(self, key: QueueKey, record: Record, entry: _Entry) -> bool:
        """Let the entry name its ``next`` pool; False if another changed it meanwhile. Undone where the pool goes."""
        self._write_index(entry.next, key)
        try:
            self._check_pool(entry.next)
        except PoolDoesNotExist:
            if not entry.pool:
                self._entries.delete(key.project, key.name, version=record.version)
            else:
                self._entries.replace(key.project, record, replace(entry, next="").value())
            raise
        confirmed = replace(entry, pool=entry.next, next="")
        return self._entries.replace(key.project, record, confirmed.value()) is not None

    def _check_pool(self, pool: str) -> None:
        record = self._context.documents(POOLS).get("", pool)
        if record is None or Fields(POOLS, "", record).take("deleting", bool):
            raise PoolDoesNotExist(
                f"no pool is called {pool!r}, or it is being made or deleted; create it; if pools.list() shows it, "
                "delete it again first"
            )

    def _unindex(self, pool: str, found: Record | None) -> None:
        """Delete it in this version only: a new entry has written it anew.

        The operation is done by now, so that a failure is none of it: the deletion of the pool clears what is left.
        """
        if found is not None:
            with suppress(StorageError):
                self._index.delete(pool, found.key, version=found.version)

    def _write_index(self, pool: str, key: QueueKey) -> None:
        """Write it anew, even if it is there: who read it before must not delete it now."""
        name, value = digest(*key), key._asdict()
        for _ in attempts(f"the index of pool {pool!r}"):
            record = self._index.get(pool, name)
            if record is None:
                written = self._index.insert(pool, name, to_bytes(value))
            else:
                known = Fields(ENTRIES_BY_POOL, pool, record).rest()
                written = self._index.replace(pool, record, to_bytes({**known, **value}))
            if written:
                return


def find_entry(context: Context, pool: str) -> str:
    """An entry that names the pool, which is marked as deleted, in words; "" if there is none.

    Strikes the pool from entries that are not confirmed, and cleans the index of what died half-way.
    """
    index, entries = context.documents(ENTRIES_BY_POOL), context.documents(CATALOGUE)
    for indexed in index.all(pool):
        fields = Fields(ENTRIES_BY_POOL, pool, indexed)
        project, queue = fields.take("project", str), fields.take("name", str)
        for _ in attempts(f"the catalogue entry of {queue!r}"):
            record = entries.get(project, queue)
            entry = _Entry("") if record is None else _Entry.read(project, record)
            if entry.pool == pool:
                return f"queue {queue!r} of project {project!r}"
            if record is None or entry.next != pool:
                break
            if not entry.pool:
                struck = entries.delete(project, queue, version=record.version)
            else:
                struck = entries.replace(project, record, replace(entry, next="").value()) is not None
            if struck:
                break
        index.delete(pool, indexed.key, version=indexed.version)
    return ""


def _model(key: QueueKey, entry: _Entry) -> CatalogueEntry:
    return CatalogueEntry(key.name, entry.pool, key.project)
