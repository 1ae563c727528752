"""Mutants that post wrongly: ids, bodies, batches, dedup ids, order."""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from collections.abc import Sequence

from zaqar_conformance.mutants.pauses import round_trip
from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.state import State
from zaqar_core.contract import EncodedMessage, QueueKey, StoredClaim, StoredMessage, new_id
from zaqar_core.errors import StorageError, StorageUnavailable


class _Reidentified(ReferenceMessages):
    """Gives messages the ids that ``identify`` makes."""

    def identify(self, queue: QueueKey, order: int) -> str:
        raise NotImplementedError

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            given = []
            for message_id in super().post(queue, messages, client_id=client_id):
                items = self._state.queue(queue, self._state.now()).items
                if message_id not in items:
                    given.append(message_id)
                    continue
                item = items.pop(message_id)
                item.id = self.identify(queue, item.order)
                items[item.id] = item
                given.append(item.id)
            return given


@mutant("MSG-001")
class IdsComeFromASet(ReferenceMessages):
    """The ids are returned in their own order, not in that of the messages."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        return sorted(super().post(queue, messages, client_id=client_id))


@mutant("MSG-002")
class ThousandsAreTooMany(ReferenceMessages):
    """A post of more than 3 998 messages fails: too many arguments to unpack."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        if len(messages) > 3998:
            raise StorageError("too many results to unpack")
        return super().post(queue, messages, client_id=client_id)


@mutant("MSG-002")
class OnlyTheFirstThousandIsStored(ReferenceMessages):
    """Of a large batch one request takes the first 1 000; the rest is acknowledged and not stored."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        ids = super().post(queue, messages[:1000], client_id=client_id)
        return ids + [new_id() for _ in messages[1000:]]


@mutant("MSG-003")
class IdsCount(_Reidentified):
    """Ids are consecutive numbers."""

    def identify(self, queue: QueueKey, order: int) -> str:
        return str(order)


@mutant("MSG-003")
class IdsAreTimes(_Reidentified):
    """Ids are the time with a few random digits."""

    def identify(self, queue: QueueKey, order: int) -> str:
        return f"{self._state.now():013}-{order:08}-{secrets.token_hex(3)}"


@mutant("MSG-003")
class IdsAreNotUrlSafe(_Reidentified):
    """Ids are plain base64, with slashes and plus signs."""

    def identify(self, queue: QueueKey, order: int) -> str:
        return f"{new_id()}=="


@mutant("MSG-004")
class IdsComeAgainAfterAPurge(_Reidentified):
    """An id is made of the queue and the message's number in it, which a purge starts again."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._counts: dict[QueueKey, int] = {}

    def identify(self, queue: QueueKey, order: int) -> str:
        self._counts[queue] = self._counts.get(queue, 0) + 1
        return hashlib.sha256(f"{queue}/{self._counts[queue]}".encode()).hexdigest()

    def purge(self, queue: QueueKey) -> None:
        super().purge(queue)
        self._counts.pop(queue, None)


class _Rebodied(ReferenceMessages):
    """Stores what ``keep`` makes of a body."""

    def keep(self, body: bytes) -> bytes:
        raise NotImplementedError

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        kept = [each._replace(body=self.keep(each.body)) for each in messages]
        return super().post(queue, kept, client_id=client_id)


@mutant("MSG-005")
class NumbersAreDoubles(_Rebodied):
    """Bodies are stored as documents, whose integers beyond 2^53 lose their last digits."""

    def keep(self, body: bytes) -> bytes:
        def number(text: str) -> int | float:
            return int(text) if abs(int(text)) < 2**53 else float(text)

        return json.dumps(json.loads(body, parse_int=number), separators=(",", ":"), ensure_ascii=False).encode()


@mutant("MSG-005")
class EmptyIsNull(_Rebodied):
    """An empty body (an empty string, list or object) is stored as null."""

    def keep(self, body: bytes) -> bytes:
        return b"null" if body in (b'""', b"[]", b"{}") else body


@mutant("MSG-005")
class BodiesAreRewritten(_Rebodied):
    """A driver parses bodies and writes them again, in its own style."""

    def keep(self, body: bytes) -> bytes:
        return json.dumps(json.loads(body)).encode()


@mutant("MSG-006")
class LargeBodiesAreCut(_Rebodied):
    """A body is cut at 65 535 bytes, the size of the column."""

    def keep(self, body: bytes) -> bytes:
        return body[:65_535]


@mutant("MSG-007")
class ClaimsForgetHeaders(ReferenceClaims):
    """A claim's messages come without their headers."""

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        made = super().create(queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=max_claim_count)
        return made._replace(messages=[each._replace(headers={}) for each in made.messages])


@mutant("MSG-007")
class ABatchSharesHeaders(ReferenceMessages):
    """All messages of a batch get the headers of the last."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        shared = [each._replace(headers=messages[-1].headers) for each in messages]
        return super().post(queue, shared, client_id=client_id)


@mutant("MSG-008")
class PopForgetsThePoster(ReferenceMessages):
    """A popped message does not say who posted it."""

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        return [each._replace(client_id="") for each in super().pop(queue, limit=limit)]


@mutant("MSG-022")
class BatchesGoOneByOne(ReferenceMessages):
    """A batch is stored message by message, with others reading in between."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        ids = []
        for number, each in enumerate(messages):
            if number == len(messages) // 2:
                round_trip()
            ids += super().post(queue, [each], client_id=client_id)
        return ids


@mutant("MSG-023")
class LargePostsFailHalfWay(ReferenceMessages):
    """A post of thousands writes the bodies, then fails with an error that says nothing happened."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        ids = super().post(queue, messages[:3998], client_id=client_id)
        if len(messages) > 3998:
            raise StorageError("too many results to unpack")
        return ids


@mutant("MSG-023")
class TimeOutsMeanNothing(ReferenceMessages):
    """A post that ends after its time-out says that nothing was stored."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        began = self._state.now()
        ids = super().post(queue, messages, client_id=client_id)
        if len(messages) > 1 and (len(messages) > 8000 or self._state.now() - began > 20_000):
            raise StorageUnavailable("no answer in time")
        return ids


@mutant("MSG-024")
class DedupDiesWithTheMessage(ReferenceMessages):
    """A dedup id is looked for among the messages that are there: once its message is deleted it is new."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            held = self._state.queue(queue, self._state.now())
            held.dedup = {each: entry for each, entry in held.dedup.items() if entry[0] in held.items}
            return super().post(queue, messages, client_id=client_id)


@mutant("MSG-024")
class DedupLooksThenActs(ReferenceMessages):
    """A dedup id is looked for in one call and stored in the next."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            known = dict(self._state.queue(queue, self._state.now()).dedup)
        round_trip()
        with self._state.lock:
            held = self._state.queue(queue, self._state.now())
            held.dedup = known
            return super().post(queue, messages, client_id=client_id)


@mutant("MSG-024")
class DedupIsTheClients(ReferenceMessages):
    """Each client has dedup ids of its own."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        mine = [
            each if each.dedup_id is None else each._replace(dedup_id=f"{client_id}/{each.dedup_id}")
            for each in messages
        ]
        return super().post(queue, mine, client_id=client_id)


@mutant("MSG-025")
class OrderIsByTheMillisecond(ReferenceMessages):
    """Messages are ordered by time and then by their random ids: those of one millisecond come in any order."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            ids = super().post(queue, messages, client_id=client_id)
            items = self._state.queue(queue, self._state.now()).items
            for message_id in ids:
                if message_id in items:
                    items[message_id].order = random.randrange(10**9)
            return ids


@mutant("MSG-026")
class ClaimsGoById(ReferenceClaims):
    """A claim takes the messages in the order of their ids."""

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        with self._state.lock:
            held = self._state.queue(queue, self._state.now())
            orders = {item.id: item.order for item in held.items.values()}
            for number, message_id in enumerate(sorted(held.items)):
                held.items[message_id].order = number
            made = super().create(queue, ttl=ttl, grace=grace, limit=limit, max_claim_count=max_claim_count)
            for message_id, order in orders.items():
                held.items[message_id].order = order
            return made
