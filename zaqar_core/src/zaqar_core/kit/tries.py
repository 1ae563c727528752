"""The rule for messages with one try left, which may be what kills their consumers: a claim takes them alone."""

from __future__ import annotations

from collections.abc import Iterable


def taken_together(counts: Iterable[int], max_claim_count: int | None) -> int:
    """How many of a queue's oldest active messages one claim takes.

    Take what the claim's limit allows, in order, and cut it to this number.

    ``counts``: how often each of these messages was claimed before; read only as far as needed. ``max_claim_count``:
    how often a message may be claimed; None: any number of times. A maximum of one spares no message.
    """
    taken = 0
    healthy = False
    for count in counts:
        if max_claim_count is not None and count == max_claim_count - 1 and max_claim_count > 1:
            return taken if healthy else taken + 1
        healthy = healthy or max_claim_count is None or count < max_claim_count
        taken += 1
    return taken
