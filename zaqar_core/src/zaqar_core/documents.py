"""Records of one kind, as the core's controllers use them: writes whose outcome is unknown are read back."""

from __future__ import annotations

import json
import random
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from zaqar_core.contract import Record, RecordStore, Space, new_id
from zaqar_core.errors import OutcomeUnknown, StorageError, StorageUnavailable

QUEUES = "queues"
POOLS = "pools"
FLAVORS = "flavors"
CATALOGUE = "catalogue"
ENTRIES_BY_POOL = "catalogue-by-pool"
SUBSCRIPTIONS = "subscriptions"

DIGEST = 24
"""How many characters a digest has: 144 bits."""
_MOST_ATTEMPTS = 100
_LONGEST_PAUSE = 0.02
_PAGE = 1_000


class Documents:
    """Records of the kind ``kind``, in any project ("" for those of no project)."""

    def __init__(self, records: RecordStore, kind: str) -> None:
        self._records = records
        self._kind = kind

    def get(self, project: str, key: str) -> Record | None:
        """The record, or None if it is absent."""
        return self._records.get(self._space(project), key)

    def insert(self, project: str, key: str, value: bytes, *, ttl: float | None = None) -> str | None:
        """The version of the new record; None if there is one already."""
        space = self._space(project)
        return self._settled(project, key, lambda nonce: self._records.insert(space, key, value, nonce=nonce, ttl=ttl))

    def replace(self, project: str, record: Record, value: bytes) -> str | None:
        """The version that replaced this one; None if it is not the current one any more."""
        space, key, version = self._space(project), record.key, record.version
        return self._settled(
            project, key, lambda nonce: self._records.replace(space, key, value, version=version, nonce=nonce)
        )

    def delete(self, project: str, key: str, *, version: str | None = None) -> bool:
        """Whether this call deleted the record (of that version, if one is given)."""
        return self._records.delete(self._space(project), key, version=version)

    def scan(self, project: str, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        """Up to ``limit`` records by key, those that start with ``prefix`` and come after ``after``."""
        return self._records.scan(self._space(project), prefix=prefix, after=after, limit=limit)

    def all(self, project: str, *, prefix: str = "") -> Iterator[Record]:
        """Every record by key, read in pages: what comes and goes meanwhile may be missed."""
        after: str | None = None
        while True:
            page = self.scan(project, prefix=prefix, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].key

    def count(self, project: str, *, prefix: str = "") -> int:
        """How many records have a key that starts with ``prefix``."""
        return self._records.count(self._space(project), prefix=prefix)

    def _space(self, project: str) -> Space:
        return Space(self._kind, project)

    def _settled(self, project: str, key: str, write: Callable[[str], str | None]) -> str | None:
        """Run a write; after an unknown outcome read back whether it was ours that took effect."""
        nonce = new_id()
        try:
            return write(nonce)
        except OutcomeUnknown:
            version = self._version_of(project, key, nonce)
            if version is None:
                raise
            return version

    def _version_of(self, project: str, key: str, nonce: str) -> str | None:
        """The version of the write of this nonce, if it is seen; an error here would say that nothing happened."""
        try:
            record = self.get(project, key)
        except StorageError:
            return None
        return record.version if record is not None and record.nonce == nonce else None


def attempts(what: str) -> Iterator[int]:
    """Numbers to loop over while other writers come first, with pauses; ``StorageUnavailable`` in the end."""
    for number in range(_MOST_ATTEMPTS):
        if number > 1:
            time.sleep(random.uniform(0.0, min(0.001 * 2**number, _LONGEST_PAUSE)))
        yield number
    raise StorageUnavailable(f"{what} was changed by others {_MOST_ATTEMPTS} times meanwhile; try again later")


@contextmanager
def begun(what: str) -> Iterator[None]:
    """What fails in here may have happened in part, since it takes several writes: it says so."""
    try:
        yield
    except OutcomeUnknown:
        raise
    except StorageUnavailable as error:
        raise OutcomeUnknown(f"{what} may be half done; do it again to finish it: {error}") from error


def to_bytes(value: Mapping[str, Any]) -> bytes:
    """A document of the core's own making, as it is stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def digest(*texts: str) -> str:
    """Characters, as many as ``DIGEST`` says, that stand for these texts in a key, however long they are."""
    parts = "".join(f"{len(text)}:{text}" for text in texts)
    return urlsafe_b64encode(sha256(parts.encode()).digest())[:DIGEST].decode()
