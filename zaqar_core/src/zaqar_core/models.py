"""What applications pass in and get back: frozen values without behaviour. Times are seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from zaqar_core.body import Body
from zaqar_core.capabilities import Capability

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to post.

    ``body``: any JSON value (None, bool, int, finite float, str, list, dict with string keys).
    ``ttl``: seconds until it expires; None: the queue's ``_default_message_ttl``, else the limits' default.
    ``delay``: seconds until it becomes available, less than ttl; None: the queue's ``_default_message_delay``,
    else 0. More than 0 needs ``DELAY``.
    ``headers``: strings that travel with the body, at most 4 KiB as JSON.
    ``dedup_id``: posted again to the queue within 300 seconds it stores nothing and gives the first id; needs
    ``IDEMPOTENT_POST``.
    """

    body: Any
    ttl: float | None = None
    delay: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    dedup_id: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Message:
    """A message as a queue holds it.

    ``id``: opaque and URL-safe, never used again. ``body`` and ``headers``: as they were posted.
    ``ttl``: its whole life as it stands, from post to expiry (a claim may have made it longer).
    ``age``: seconds since its post; never reset. ``ttl - age`` is what is left.
    ``client_id``: who posted it. ``claim_id``: the live claim that holds it, or None.
    ``claim_count``: how often it was claimed.
    ``raw``: None, or, where this client cannot decode the body (it lacks the codec, or the bytes are damaged or
    foreign), the bytes as they are stored. Reading ``body`` raises ``CodecError`` then, which says why; so do
    ``hasattr``, ``getattr`` with a default, ``dataclasses.asdict`` and ``dataclasses.replace``, which read it. To find
    out whether there is a body, use ``raw is None``. Everything else works as with any message: comparing, printing,
    copying and pickling it, deleting and releasing it.
    """

    id: str
    body: Any
    ttl: float
    age: float
    client_id: str
    claim_id: str | None = None
    claim_count: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message) or type(other) is not type(self):
            return NotImplemented
        return parts(self) == parts(other)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in parts(self).items())})"

    def __reduce__(self) -> tuple[type[Message], tuple[Any, ...]]:
        return Message, tuple(parts(self).values())


_body = Body(vars(Message)["body"])
type.__setattr__(Message, "body", _body)


def parts(message: Message) -> dict[str, Any]:
    """A message's fields by name, with the ``Undecodable`` in place of a body that raises."""
    names = (part.name for part in fields(Message))
    return {name: _body.held(message) if name == "body" else getattr(message, name) for name in names}


@dataclass(frozen=True, slots=True)
class Claim:
    """Messages leased to one consumer.

    ``id`` is None when there was nothing to claim; such a claim is not stored.
    ``ttl``: the lease's length. ``age``: seconds since the claim was made or last updated, so that
    ``ttl - age`` is what is left. ``messages``: what it holds, by position.
    """

    id: str | None
    ttl: float
    age: float
    messages: Sequence[Message] = ()


@dataclass(frozen=True, slots=True)
class MessageRef:
    """Names a message without its body. ``id``: the message's. ``age``: seconds since its post."""

    id: str
    age: float


@dataclass(frozen=True, slots=True)
class QueueStats:
    """How many messages are in each state; ``free + claimed + delayed == total``.

    ``free``: can be claimed now. ``claimed``: held by a live claim. ``delayed``: not available yet. ``total``: all.
    ``oldest`` and ``newest``: first and last by position among free and claimed messages, or None.
    """

    free: int = 0
    claimed: int = 0
    delayed: int = 0
    total: int = 0
    oldest: MessageRef | None = None
    newest: MessageRef | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a listing.

    ``items``: what it shows, in the listing's order.
    ``marker``: pass it back to go on from here; always given, valid later whatever became of the item at it.
    ``more``: whether something further existed at that instant. A page may be short, even empty, and have more.
    """

    items: Sequence[T]
    marker: str
    more: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """A backend that holds queues. ``uri`` and ``options``, which may hold secrets, are not in its repr.

    ``name``: unlike that of every other pool.
    ``weight``: its share of new queues, 0 for none. ``flavor``: the one it is in, "" for none. ``options``: as
    ``connect`` takes them beside the URI.
    """

    name: str
    uri: str = field(repr=False)
    weight: int
    flavor: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind of pools.

    ``pools``: the names of those in the flavor called ``name``. ``capabilities``: those that each of them has; none
    without pools.
    """

    name: str
    pools: Sequence[str] = ()
    capabilities: frozenset[Capability] = frozenset()


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """Which pool holds a project's queue; ``queue`` and ``pool`` are names, ``project`` "" unless given."""

    queue: str
    pool: str
    project: str = ""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who wants to be told about a queue's messages. ``subscriber``, which may hold a secret, is not in its repr.

    ``id``: opaque and URL-safe, never used again. ``queue``: the queue's name.
    ``subscriber``: a URI. ``ttl``: seconds from its creation to its end; None: it has none. ``options``: a JSON
    object. ``confirmed``: whether the subscriber agreed.
    """

    id: str
    queue: str
    subscriber: str = field(repr=False)
    ttl: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A queue in a listing, by its ``name``. ``metadata`` is None unless the listing was ``detailed``."""

    name: str
    metadata: Mapping[str, Any] | None = None
