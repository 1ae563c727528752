"""The closed vocabulary of what a backend offers (features) and promises (guarantees)."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """One thing a driver may declare; the conformance suite checks each that is declared.

    ``driver.capabilities`` holds those that are true for the open connection and its options;
    ``Driver.possible_capabilities`` those that some connection may have. Source: ``docs/contract.md``.
    """

    # Features: without one, its methods and arguments raise ``Unsupported``.
    CLAIMS = "CLAIMS"
    """Messages can be claimed for a time (leased)."""
    DELAY = "DELAY"
    """A message may become available some time after its post or its release."""
    POP = "POP"
    """Messages can be taken and deleted in one step, at most once."""
    SUBSCRIPTIONS = "SUBSCRIPTIONS"
    """Subscribers to a queue can be stored."""

    # Guarantees: without one, the weaker behaviour that the contract describes.
    ATOMIC_POST = "ATOMIC_POST"
    """A post is stored whole or not at all, and no reader sees a part of it."""
    IDEMPOTENT_POST = "IDEMPOTENT_POST"
    """A ``dedup_id`` posted again within 300 seconds stores nothing and returns the first id."""
    FIFO = "FIFO"
    """One producer's messages are listed and claimed in the order of their posts."""
    STRICT_MARKERS = "STRICT_MARKERS"
    """Following markers shows each message that stays active exactly once."""
    CONSISTENT_READS = "CONSISTENT_READS"
    """A read that begins after a write returned sees it, whoever reads."""
    EXCLUSIVE_CLAIMS = "EXCLUSIVE_CLAIMS"
    """No message is in two live claims, a claim and a pop, or two pops."""
    ATOMIC_RECORDS = "ATOMIC_RECORDS"
    """Insert, replace and delete of a record each have one winner."""
    EXACT_STATS = "EXACT_STATS"
    """Statistics are true at one instant and equal what listing shows."""
    FLAT_STATS = "FLAT_STATS"
    """The cost of statistics does not grow with the depth of the queue."""
    HIGH_THROUGHPUT = "HIGH_THROUGHPUT"
    """The cost of an operation does not grow with the messages ahead."""
    SERVER_CLOCK = "SERVER_CLOCK"
    """Time is judged by the datastore's clock, so a client's wrong clock breaks nothing."""
    AT_LEAST_ONCE = "AT_LEAST_ONCE"
    """No acknowledged message is lost, whichever clients die."""
    PERSISTENT = "PERSISTENT"
    """What was acknowledged survives ``kill -9`` of the datastore."""
    DURABILITY = "DURABILITY"
    """What was acknowledged survives a loss of power."""
    FAILOVER_SAFE = "FAILOVER_SAFE"
    """All promises hold when the datastore promotes a replica."""
    MULTI_PROCESS = "MULTI_PROCESS"
    """Many processes use the backend at once, forked ones too."""

    @property
    def is_feature(self) -> bool:
        """True for a feature (``Unsupported`` without it), False for a guarantee."""
        return self in FEATURES


FEATURES = frozenset({Capability.CLAIMS, Capability.DELAY, Capability.POP, Capability.SUBSCRIPTIONS})
GUARANTEES = frozenset(Capability) - FEATURES
