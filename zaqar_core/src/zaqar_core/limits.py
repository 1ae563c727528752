"""How large and how long things may be. ``connect(limits=...)`` sets them; a driver may narrow them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from zaqar_core.encoding import shown
from zaqar_core.errors import InvalidInput

MIN_DURATION = 0.001
"""The shortest ttl of a message or claim: the resolution of time, in seconds."""
_MAY_BE_ZERO = frozenset({"max_message_delay", "max_claim_grace"})


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that the facade enforces before a driver is called. Sizes are bytes, durations seconds.

    A body's size is that of the bytes stored: JSON in UTF-8, after codecs. Durations are kept to the millisecond.
    """

    max_body_bytes: int = 256 * 1024
    """Of one message's body."""
    max_post_bytes: int = 64 * 1024 * 1024
    """Of all bodies of one post."""
    max_messages_per_post: int = 10_000
    """How many messages one post takes."""
    max_messages_per_page: int = 10_000
    """How many messages one page of a listing shows."""
    max_messages_per_claim: int = 10_000
    """How many messages one claim takes."""
    max_messages_per_pop: int = 10_000
    """How many messages one pop takes."""
    max_ids_per_call: int = 10_000
    """How many ids one call names, such as ``bulk_get`` or ``bulk_delete``."""
    max_queues_per_page: int = 1_000
    """How many queues one page of their listing shows."""
    max_metadata_bytes: int = 64 * 1024
    """Of a queue's metadata, as JSON."""
    max_message_ttl: float = 14 * 24 * 3600.0
    """How long a message may live."""
    max_message_delay: float = 24 * 3600.0
    """How long a message may stay hidden after its post or its release."""
    max_claim_ttl: float = 24 * 3600.0
    """How long a claim may last, from its making or its last renewal."""
    max_claim_grace: float = 24 * 3600.0
    """How long claimed messages may live on after their claim."""

    def __post_init__(self) -> None:
        for bound in fields(self):
            value: object = getattr(self, bound.name)
            whole = isinstance(bound.default, int)
            least = 0 if bound.name in _MAY_BE_ZERO else 1 if whole else MIN_DURATION
            number = math.nan
            if isinstance(value, int) and not isinstance(value, bool):
                number = int.__int__(value)
            elif isinstance(value, float) and not whole:
                number = float.__float__(value)
            if not least <= number < math.inf:
                kind = "whole number" if whole else "finite number of seconds"
                raise InvalidInput(
                    f"the limit {bound.name} is {shown(value)}; it is a {kind} of at least {least}: change it"
                )

    def narrowed_by(self, other: Limits | None) -> Limits:
        """The stricter of each bound; self where ``other`` is None."""
        if other is None:
            return self
        names = (bound.name for bound in fields(self))
        return Limits(**{name: min(getattr(self, name), getattr(other, name)) for name in names})


DEFAULT_MESSAGE_TTL = 3600.0
DEFAULT_CLAIM_TTL = 300.0
DEFAULT_CLAIM_GRACE = 60.0
DEFAULT_PAGE = 10
"""How many items a listing or a claim takes when no limit is given."""
DEDUP_WINDOW = 300.0
"""How long a dedup id is remembered, in seconds."""
MAX_HEADERS_BYTES = 4 * 1024
DEFAULT_POOL_WEIGHT = 100
MAX_POOL_WEIGHT = 1_000_000
MAX_POOL_URI = 8192
MAX_NAMES_PER_PAGE = 1_000
"""How many pools, flavors, catalogue entries or subscriptions a listing takes at most."""
MAX_POOLS_PER_FLAVOR = 10_000
"""How many pools one call names."""
MAX_METADATA_KEYS = 64 * 1024
"""How many keys of metadata one call changes or removes."""
MAX_OPTIONS_BYTES = 16 * 1024
"""Of a pool or a subscription, as JSON."""
MAX_SUBSCRIBER = 2048
MAX_SUBSCRIPTION_TTL = 10 * 365 * 24 * 3600.0
MAX_QUEUE_NAME = 64
MAX_QUEUE_NAME_BYTES = 192
MAX_PROJECT = 256
MAX_CLIENT_ID = 128
MAX_DEDUP_ID = 128
