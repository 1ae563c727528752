"""What a storage driver offers to the core. ``docs/contract.md`` says in numbered requirements what it must do.

A driver gets validated input only: names, projects and ids as ``str``, durations as ``float`` seconds, bodies as
bytes that it stores and returns untouched. It answers with the values below; the facade turns them into the
application's models. Where something is absent a driver answers None or False: it is the facade that raises.
A driver object is shared by threads. It raises only errors of :mod:`zaqar_core.errors`. :mod:`zaqar_core.kit` has
what every driver needs.
"""

from __future__ import annotations

import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Self

from zaqar_core.capabilities import Capability
from zaqar_core.errors import OutcomeUnknown
from zaqar_core.kit.deadline import remaining
from zaqar_core.limits import Limits
from zaqar_core.models import QueueStats
from zaqar_core.uri import Uri

CONTRACT = 1
"""The version of the contract that this core speaks."""

MAX_SETTLED_PER_CALL = 1_000
"""How many changes that time alone brought about one call to the datastore may settle in passing.

A call is a transaction, a script or a request. A change is a message that expires, or that becomes active because its
delay or its claim ends.
"""

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def new_id() -> str:
    """A fresh opaque id: URL-safe, 128 random bits. For messages, claims, nonces and versions."""
    return secrets.token_urlsafe(16)


class QueueKey(NamedTuple):
    """Which queue: two keys are the same queue only if both parts are equal, code point by code point."""

    project: str
    name: str


class EncodedMessage(NamedTuple):
    """A message to store. ``delay`` is less than ``ttl``; both in seconds."""

    body: bytes
    ttl: float
    delay: float = 0.0
    headers: Mapping[str, str] = NO_HEADERS
    dedup_id: str | None = None


class StoredMessage(NamedTuple):
    """A message as the backend holds it; the fields are those of :class:`zaqar_core.models.Message`."""

    id: str
    body: bytes
    ttl: float
    age: float
    client_id: str
    claim_id: str | None
    claim_count: int
    headers: Mapping[str, str]


class StoredPage(NamedTuple):
    """A part of a listing. ``marker`` is always given; ``more``: something further existed at that instant."""

    items: Sequence[StoredMessage]
    marker: str
    more: bool


class StoredClaim(NamedTuple):
    """A claim as the backend holds it. ``id`` is None when nothing was taken.

    ``messages`` by position. ``exhausted``: messages, held under the same claim, that had been claimed
    ``max_claim_count`` times before; only ``create`` fills it.
    """

    id: str | None
    ttl: float
    age: float
    messages: Sequence[StoredMessage] = ()
    exhausted: Sequence[StoredMessage] = ()


class Refusal(StrEnum):
    """Why a message was not deleted; each stands for the error of the same name."""

    CLAIM_DOES_NOT_EXIST = "ClaimDoesNotExist"
    CLAIM_DOES_NOT_MATCH = "ClaimDoesNotMatch"
    MESSAGE_IS_CLAIMED = "MessageIsClaimed"


class MessageController(ABC):
    """Messages of the data plane. An unknown queue is an empty one, for every method."""

    @abstractmethod
    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        """Store ``messages`` and return their ids in the order given."""

    @abstractmethod
    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> Sequence[StoredMessage]:
        """The messages of these ids, claimed and delayed too: in the order asked, repeats once, missing left out."""

    @abstractmethod
    def list(
        self,
        queue: QueueKey,
        *,
        marker: str | None,
        limit: int,
        exclude_client: str | None,
        include_claimed: bool,
        include_delayed: bool,
    ) -> StoredPage:
        """Active messages by position after ``marker``, without those that ``exclude_client`` posted.

        Raises ``InvalidMarker`` for a marker that this driver cannot have given.
        """

    @abstractmethod
    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        """The first (or, ``newest``, the last) by position among active and claimed messages."""

    @abstractmethod
    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        """Delete these messages and return those that were refused, in the order asked, with the reason.

        For each message, checked in this order: absent: counts as deleted. ``claim_ids`` given, and none of them
        is a live claim on this queue: ``CLAIM_DOES_NOT_EXIST``; none of them holds the message:
        ``CLAIM_DOES_NOT_MATCH``. ``claim_ids`` None and a live claim holds it: ``MESSAGE_IS_CLAIMED``.
        """

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        """Remove and return up to ``limit`` active messages, by position. Needs ``POP``."""
        raise NotImplementedError(f"{type(self).__qualname__}.pop")

    @abstractmethod
    def stats(self, queue: QueueKey) -> QueueStats:
        """How many messages are in each state, and the oldest and newest."""

    @abstractmethod
    def purge(self, queue: QueueKey) -> None:
        """Remove all messages and claims, and forget the dedup ids."""


class ClaimController(ABC):
    """Claims of the data plane (``CLAIMS``). An unknown queue is an empty one; an expired claim is none."""

    @abstractmethod
    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        """Take the oldest active messages, at most ``limit``, and hide them for ``ttl`` seconds.

        Each message's expiry becomes the later of what it was and the claim's end + ``grace``; its claim count
        rises by one.

        ``max_claim_count``: how many times a message may be claimed. Messages whose count had reached it are taken
        too (they count towards ``limit``), and come back in ``exhausted`` instead of ``messages``. Where it is 2 or
        more, a message whose count is ``max_claim_count - 1`` has one try left, and is taken alone: if messages
        that are neither exhausted nor on their last try come before it, the claim ends with those; if not, the claim
        takes it and ends. So a message that kills its consumer does not use up the last try of its neighbours. A
        driver that reads the counts before it takes repeats them in the condition of the write.
        """

    @abstractmethod
    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        """The live claim with the messages it still holds, or None."""

    @abstractmethod
    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        """Let the claim end ``ttl`` seconds from now, its messages live until then + ``grace`` at least.

        False if there is no such claim.
        """

    @abstractmethod
    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        """Make all messages of the claim (or those named that it holds) active again, where they stood.

        ``delay`` > 0 (needs ``DELAY``) makes them delayed, to become available that many seconds from now, in the
        order in which they stood. No such claim: nothing happens.

        Raises ``InvalidDuration``, and releases nothing, if one of them would expire before its delay is over: the
        driver decides that by the clock that decides about expiry.
        """


class Space(NamedTuple):
    """A set of records: those of one kind (``"queues"``) in one project ("" for those of no project)."""

    kind: str
    project: str


class Record(NamedTuple):
    """A small named document. ``version`` changes at every write and never repeats for a key."""

    key: str
    value: bytes
    version: str
    nonce: str


class RecordStore(ABC):
    """Small named documents: all that the control plane needs. No transaction spans several of them.

    A key has 1 to 192 bytes in UTF-8, a prefix 0 to 192, without U+0000 and surrogates.
    ``nonce`` is stored with the document; the core reads it back to learn whose write an unknown outcome was.
    """

    @abstractmethod
    def get(self, space: Space, key: str) -> Record | None:
        """The record, or None if it is absent or expired."""

    @abstractmethod
    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        """Store a new record and return its version; None, and nothing stored, if one is there that is not expired."""

    @abstractmethod
    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        """Replace the record of that version (its ttl stays) and return the new version; else None."""

    @abstractmethod
    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        """Delete the record, of that version if one is given; whether this call deleted it."""

    @abstractmethod
    def scan(self, space: Space, *, prefix: str = "", after: str | None = None, limit: int) -> Sequence[Record]:
        """Up to ``limit`` records whose key starts with ``prefix`` and is greater than ``after``, in code-point order.

        Fewer than ``limit`` only if there are no more.
        """

    @abstractmethod
    def count(self, space: Space, *, prefix: str = "") -> int:
        """How many records have a key that starts with ``prefix``."""

    def delete_all(self, space: Space, *, prefix: str = "") -> int:
        """Delete every record whose key starts with ``prefix``; how many those were.

        It need not be atomic: an error may leave some of them deleted. Override it where many records can be deleted
        in fewer round trips or transactions than one each.
        """
        deleted, after = 0, None
        while page := self.scan(space, prefix=prefix, after=after, limit=1_000):  # on from there: a listing may lag
            for record in page:
                if remaining(math.inf) <= 0:
                    raise OutcomeUnknown(f"the timeout is over, and {deleted} records are deleted: do it again")
                deleted += self.delete(space, record.key)
            after = page[-1].key
        return deleted


class Driver(ABC):
    """One open backend. The entry-point group ``zaqar_core.drivers`` names its class by URI scheme."""

    contract: ClassVar[int]
    """The version of the contract it was written for: 1."""
    possible_capabilities: ClassVar[frozenset[Capability]]
    """What some connection may have; ``capabilities`` says what this one has."""

    messages: MessageController | None = None
    claims: ClaimController | None = None
    records: RecordStore | None = None
    limits: Limits | None = None
    """Bounds narrower than the facade's, or None."""
    settle_time: float = 0.0
    """Without ``CONSISTENT_READS``: after how many seconds without writes every reader sees all of them."""

    @classmethod
    @abstractmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        """Connect, check that the datastore is usable, prepare it where that is needed.

        One process may open the same URI several times, from several threads; each driver is closed on its own.
        It ends by ``kit.deadline(connect_timeout)``, and every later call by ``kit.deadline(timeout)``: name
        resolution, all addresses of a name, waiting for a connection, retries and all round trips together. Raises
        ``InvalidUri``, ``InvalidOption``, ``StorageUnavailable`` or ``IncompatibleStorage``; the core makes a
        ``BrokenDriver`` of anything else, and takes the URI's secrets out of it.
        """

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[Capability]:
        """What holds for this connection with its options: no more than ``possible_capabilities``."""

    @abstractmethod
    def ping(self) -> None:
        """Ask the datastore for a sign of life. Raises ``StorageUnavailable``."""

    def health(self) -> Mapping[str, object]:
        """Facts for an operator: version of the datastore, size, settings that matter. JSON values, no secrets."""
        return {}

    def gc(self) -> int:
        """Reclaim what has expired, in steps that never block others for long; how many things it removed."""
        return 0

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection. Twice is once.

        What is under way in other threads ends within ``timeout``: done, or with an error such as ``StorageClosed``.
        """
