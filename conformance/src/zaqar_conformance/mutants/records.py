"""Mutants that keep records wrongly, which queues, pools, flavors, the catalogue and subscriptions are made of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from zaqar_conformance.mutants.pauses import round_trip
from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_core.contract import Record, Space


@mutant("REC-001", "QUE-001", "CAT-005", "POO-008", "SUB-007")
class InsertOverwrites(ReferenceRecords):
    """``insert`` is an upsert: it replaces what is there, and says that it made it."""

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        with self._state.lock:
            self._state.records.pop((space, key), None)
            return super().insert(space, key, value, nonce=nonce, ttl=ttl)


@mutant("REC-001", "QUE-001")
class InsertOverwritesAndDeniesIt(ReferenceRecords):
    """``insert`` where there is a record says None, and stores its value all the same."""

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        with self._state.lock:
            before = self.get(space, key)
            if before is None:
                return super().insert(space, key, value, nonce=nonce, ttl=ttl)
            self.replace(space, key, value, nonce=nonce, version=before.version)
            return None


@mutant("REC-001")
class NoncesAreNotKept(ReferenceRecords):
    """A record comes back without its nonce."""

    def get(self, space: Space, key: str) -> Record | None:
        found = super().get(space, key)
        return None if found is None else found._replace(nonce="")


@mutant("REC-002")
class ReplaceTakesAnyVersion(ReferenceRecords):
    """``replace`` does not look at the version."""

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        with self._state.lock:
            current = self.get(space, key)
            return current and super().replace(space, key, value, version=current.version, nonce=nonce)


@mutant("REC-002")
class ReplaceInserts(ReferenceRecords):
    """``replace`` of a record that is gone writes it anew."""

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        with self._state.lock:
            if self.get(space, key) is None:
                return self.insert(space, key, value, nonce=nonce)
            return super().replace(space, key, value, version=version, nonce=nonce)


@mutant("REC-003")
class DeleteTakesAnyVersion(ReferenceRecords):
    """``delete`` does not look at the version."""

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        return super().delete(space, key)


@mutant("REC-003", "QUE-004", "QUE-012")
class DeletedRecordsAreFound(ReferenceRecords):
    """A deleted record is marked as such; ``get`` does not look at the mark."""

    def get(self, space: Space, key: str) -> Record | None:
        marked: dict[tuple[Space, str], Record] = vars(self._state).setdefault("marked", {})
        return super().get(space, key) or marked.get((space, key))

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        with self._state.lock:
            current = super().get(space, key)
            done = super().delete(space, key, version=version)
            if done and current is not None:
                vars(self._state).setdefault("marked", {})[space, key] = current
            return done


@mutant("REC-004")
class VersionsAreHashes(ReferenceRecords):
    """A version is the hash of the value: what is written again has its old version again."""

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        with self._state.lock:
            made = super().insert(space, key, value, nonce=nonce, ttl=ttl)
            return made and self._hashed(space, key)

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        with self._state.lock:
            made = super().replace(space, key, value, version=version, nonce=nonce)
            return made and self._hashed(space, key)

    def _hashed(self, space: Space, key: str) -> str:
        record, expires = self._state.records[space, key]
        version = hashlib.sha256(record.value).hexdigest()
        self._state.records[space, key] = record._replace(version=version), expires
        return version


@mutant("REC-004")
class VersionsCountFromOne(ReferenceRecords):
    """A version counts the writes of a record, from one again when it is made again."""

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        with self._state.lock:
            if super().insert(space, key, value, nonce=nonce, ttl=ttl) is None:
                return None
            record, expires = self._state.records[space, key]
            self._state.records[space, key] = record._replace(version="1"), expires
            return "1"


@mutant("REC-005", "QUE-006", "POO-005", "FLA-006", "CAT-003")
class ScansGoByUtf16(ReferenceRecords):
    """``scan`` sorts as UTF-16 does: characters beyond the basic plane come before some within it."""

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        found = super().scan(space, prefix=prefix, after=after, limit=len(self._state.records))
        return sorted(found, key=lambda record: record.key.encode("utf-16-be", "surrogatepass"))[:limit]


@mutant("REC-005", "QUE-006")
class PrefixesArePatterns(ReferenceRecords):
    """The prefix of a scan goes into LIKE as it is: % and _ are wildcards."""

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        pattern = re.escape(prefix).replace("%", ".*").replace("_", ".")
        found = super().scan(space, after=after, limit=len(self._state.records))
        return [record for record in found if re.match(pattern, record.key, re.DOTALL)][:limit]


@mutant("QUE-007")
class ScansStartAgain(ReferenceRecords):
    """``scan`` after a key that is gone starts from the beginning."""

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        gone = after is not None and self.get(space, after) is None
        return super().scan(space, prefix=prefix, after=None if gone else after, limit=limit)


@mutant("QUE-008", "REC-005")
class CountsAreOfAllProjects(ReferenceRecords):
    """``count`` leaves the project out of its condition."""

    def count(self, space: Space, *, prefix: str = "") -> int:
        with self._state.lock:
            owners = {owner for owner, _ in self._state.records if owner.kind == space.kind}
            return sum(super(CountsAreOfAllProjects, self).count(owner, prefix=prefix) for owner in owners)


@mutant("QUE-008")
class CountsAreEstimates(ReferenceRecords):
    """``count`` is the estimate of the datastore's statistics, which is a write late."""

    def count(self, space: Space, *, prefix: str = "") -> int:
        return max(0, super().count(space, prefix=prefix) - 1)


@mutant("REC-006", "SUB-005")
class RecordsLiveForEver(ReferenceRecords):
    """The ttl of a record is not kept."""

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        return super().insert(space, key, value, nonce=nonce)


@mutant("REC-006")
class ReplaceForgetsTheTtl(ReferenceRecords):
    """``replace`` writes a record without its ttl, as SET does."""

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        with self._state.lock:
            made = super().replace(space, key, value, version=version, nonce=nonce)
            if made is not None:
                self._state.records[space, key] = self._state.records[space, key][0], None
            return made


@mutant("REC-008", "QUE-002", "POO-008", "SUB-007")
class InsertLooksThenActs(ReferenceRecords):
    """``insert`` looks whether the record is there in one call, and writes it in the next."""

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        if self.get(space, key) is not None:
            return None
        round_trip()
        with self._state.lock:
            self._state.records.pop((space, key), None)
            return super().insert(space, key, value, nonce=nonce, ttl=ttl)


@mutant("REC-008", "QUE-014")
class ReplaceLooksThenActs(ReferenceRecords):
    """``replace`` looks at the version in one call, and writes in the next."""

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        current = self.get(space, key)
        if current is None or current.version != version:
            return None
        round_trip()
        with self._state.lock:
            latest = self.get(space, key)
            return latest and super().replace(space, key, value, version=latest.version, nonce=nonce)


@mutant("REC-008")
class RecordDeleteLooksThenActs(ReferenceRecords):
    """``delete`` looks at the version in one call, and deletes in the next: two say that it was they."""

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        current = self.get(space, key)
        if current is None or version not in (None, current.version):
            return False
        round_trip()
        super().delete(space, key)
        return True


@mutant("REC-009", "QUE-003")
class ValuesAreCut(ReferenceRecords):
    """A value is cut at 16 KiB, the size of the column."""

    def get(self, space: Space, key: str) -> Record | None:
        found = super().get(space, key)
        return None if found is None else found._replace(value=found.value[: 16 * 1024])


@mutant("REC-009")
class ValuesEndAtNul(ReferenceRecords):
    """A value is a C string, which ends at the first NUL."""

    def get(self, space: Space, key: str) -> Record | None:
        found = super().get(space, key)
        return None if found is None else found._replace(value=found.value.partition(b"\0")[0])


@mutant("REC-010")
class DeletionsOfAllEndWithAPage(ReferenceRecords):
    """``delete_all`` deletes one page of the listing, and takes it for all."""

    def delete_all(self, space: Space, *, prefix: str = "") -> int:
        return sum(self.delete(space, record.key) for record in self.scan(space, prefix=prefix, limit=1_000))


@mutant("REC-010")
class DeletionsOfAllTakeNoPrefix(ReferenceRecords):
    """``delete_all`` deletes the whole space, whatever the prefix."""

    def delete_all(self, space: Space, *, prefix: str = "") -> int:
        return super().delete_all(space)
