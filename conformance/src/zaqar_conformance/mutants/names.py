"""Mutants that mistake one name for another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.records import ReferenceRecords
from zaqar_conformance.reference.state import Item, QueueState, State
from zaqar_core.contract import QueueKey, Record, Refusal, Space, StoredClaim, StoredMessage
from zaqar_core.errors import StorageError


class _Keyed(State):
    """Finds queues by the key that ``key`` makes."""

    def key(self, queue: QueueKey) -> QueueKey:
        raise NotImplementedError

    def queue(self, key: QueueKey, now: int) -> QueueState:
        return super().queue(self.key(key), now)

    def purge(self, key: QueueKey) -> None:
        super().purge(self.key(key))


@mutant("NAM-001")
class LongNamesAreRefused(_Keyed):
    """A queue whose name has more than 127 bytes cannot be used: the datastore's keys are no longer."""

    def key(self, queue: QueueKey) -> QueueKey:
        if len(queue.name.encode()) > 127:
            raise StorageError("Primary key too long (max 127 characters)")
        return queue


@mutant("NAM-001")
class NamesArePartsOfAPath(_Keyed):
    """A queue's name goes into a URL as it is, so that one with a slash or a question mark is not found."""

    def key(self, queue: QueueKey) -> QueueKey:
        if "/" in queue.name or "?" in queue.name:
            raise StorageError("404 Not Found")
        return queue


@mutant("NAM-002")
class NoProjectIsNoProject(_Keyed):
    """The empty project is taken for a missing one and refused."""

    def key(self, queue: QueueKey) -> QueueKey:
        if not queue.project:
            raise StorageError("a project is needed")
        return queue


@mutant("NAM-003")
class NamesFoldCase(_Keyed):
    """Names are compared by a collation that folds case."""

    def key(self, queue: QueueKey) -> QueueKey:
        return QueueKey(queue.project, queue.name.casefold())


@mutant("NAM-003")
class NamesAreNormalised(_Keyed):
    """Names are brought to Unicode's composed form."""

    def key(self, queue: QueueKey) -> QueueKey:
        return QueueKey(queue.project, unicodedata.normalize("NFC", queue.name))


@mutant("NAM-003")
class NamesLoseTrailingSpaces(_Keyed):
    """Names are compared as CHAR columns are: spaces at the end do not count."""

    def key(self, queue: QueueKey) -> QueueKey:
        return QueueKey(queue.project, queue.name.rstrip(" "))


@mutant("NAM-003")
class PurgeByPattern(ReferenceMessages):
    """``purge`` deletes the keys that match the queue's name, in which % and _ are wildcards."""

    def purge(self, queue: QueueKey) -> None:
        pattern = re.escape(queue.name).replace("%", ".*").replace("_", ".")
        with self._state.lock:
            for key in list(self._state._queues):
                if key.project == queue.project and re.fullmatch(pattern, key.name, re.DOTALL):
                    self._state.purge(key)


@mutant("NAM-004")
class KeysAreJoinedByADot(_Keyed):
    """Project and queue are joined by a dot: a.b/c and a/b.c are one."""

    def key(self, queue: QueueKey) -> QueueKey:
        return QueueKey("", f"{queue.project}.{queue.name}")


@mutant("NAM-004")
class KeysAreJoinedByAColon(_Keyed):
    """Project and queue are joined by a colon, as keys of Redis are by custom."""

    def key(self, queue: QueueKey) -> QueueKey:
        return QueueKey("", f"{queue.project}:{queue.name}")


@mutant("NAM-005")
class AQueuesListIsAQueue(_Keyed):
    """A queue's messages are in the key NAME.messages, which is another queue's too."""

    def key(self, queue: QueueKey) -> QueueKey:
        return QueueKey(queue.project, queue.name.removesuffix(".messages"))


@mutant("NAM-005")
class TheSetOfQueuesIsAQueue(_Keyed):
    """The queue called like the set of all queues is refused: wrong kind of value."""

    def key(self, queue: QueueKey) -> QueueKey:
        if queue.name == "queues_set":
            raise StorageError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return queue


@mutant("NAM-006")
class ProjectsShareQueues(_Keyed):
    """The project is not part of a queue's key."""

    def key(self, queue: QueueKey) -> QueueKey:
        return QueueKey("", queue.name)


@mutant("NAM-006")
class PurgeForgetsTheProject(ReferenceMessages):
    """``purge`` leaves the project out of its condition."""

    def purge(self, queue: QueueKey) -> None:
        with self._state.lock:
            for key in [key for key in self._state._queues if key.name == queue.name]:
                self._state.purge(key)


@mutant("NAM-007")
class GetFindsAnyId(ReferenceMessages):
    """``get`` looks a message up by its id alone, whosever queue it is in."""

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        with self._state.lock:
            now = self._state.now()
            items = {item.id: item for key in list(self._state._queues) for item in self._items(key, now)}
            return [items[each].stored(now) for each in dict.fromkeys(message_ids) if each in items]

    def _items(self, key: QueueKey, now: int) -> Sequence[Item]:
        return list(self._state.queue(key, now).items.values())


@mutant("NAM-007")
class DeleteFindsAnyId(ReferenceMessages):
    """``delete`` looks a message up by its id alone, so that one tenant deletes another's."""

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        with self._state.lock:
            refused: dict[str, Refusal] = {}
            for message_id in message_ids:
                homes = [key for key, held in self._state._queues.items() if message_id in held.items]
                refused |= super().delete(homes[0] if homes else queue, [message_id], claim_ids=claim_ids)
            return refused


@mutant("NAM-008")
class ClaimsFindAnyId(ReferenceClaims):
    """A claim is looked up by its id alone, whosever queue it is on."""

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        with self._state.lock:
            homes = [key for key, held in self._state._queues.items() if claim_id in held.leases]
            return super().get(homes[0] if homes else queue, claim_id)


@mutant("NAM-008")
class ReleaseFindsAnyId(ReferenceClaims):
    """``release`` looks the claim up by its id alone, so that one tenant ends another's."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            homes = [key for key, held in self._state._queues.items() if claim_id in held.leases]
            super().release(homes[0] if homes else queue, claim_id, message_ids=message_ids, delay=delay)


@mutant("NAM-008")
class AnyLiveClaimIsKnown(ReferenceMessages):
    """``delete`` asks whether the claim lives, not on which queue."""

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        with self._state.lock:
            refused = super().delete(queue, message_ids, claim_ids=claim_ids)
            known = {claim_id for held in self._state._queues.values() for claim_id in held.leases}
            if known.intersection(claim_ids or ()):
                refused = dict.fromkeys(refused, Refusal.CLAIM_DOES_NOT_MATCH)
            return refused


@mutant("NAM-009")
class IdsArePacked(ReferenceMessages):
    """An id is unpacked before it is looked up; one of another form raises what the unpacking raises."""

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> list[StoredMessage]:
        for message_id in message_ids:
            if len(message_id) != 22:
                raise ValueError(f"badly formed message id: {message_id!r}")
        return super().get(queue, message_ids)


@mutant("NAM-009")
class ClaimIdsArePacked(ReferenceClaims):
    """A claim's id is unpacked before it is looked up; one of another form raises what the unpacking raises."""

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        if not claim_id.isascii():
            raise ValueError(f"badly formed claim id: {claim_id!r}")
        return super().get(queue, claim_id)


@mutant("REC-007", "CAT-003", "SUB-004")
class RecordsForgetTheProject(ReferenceRecords):
    """The project is not part of a record's key."""

    def get(self, space: Space, key: str) -> Record | None:
        return super().get(Space(space.kind, ""), key)

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        return super().insert(Space(space.kind, ""), key, value, nonce=nonce, ttl=ttl)

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        return super().replace(Space(space.kind, ""), key, value, version=version, nonce=nonce)

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        return super().delete(Space(space.kind, ""), key, version=version)

    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        return super().scan(Space(space.kind, ""), prefix=prefix, after=after, limit=limit)


@mutant("REC-007")
class SpacesAreJoined(ReferenceRecords):
    """Kind and project are joined by a slash: a kind with a project looks like another kind."""

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        return super().insert(_joined(space), key, value, nonce=nonce, ttl=ttl)

    def get(self, space: Space, key: str) -> Record | None:
        return super().get(_joined(space), key)


def _joined(space: Space) -> Space:
    return Space(f"{space.kind}/{space.project}", "")
