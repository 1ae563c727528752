"""Claims of the data plane."""

from __future__ import annotations

from collections.abc import Sequence

from zaqar.storage import errors as theirs

from zaqar_core.contract import ClaimController, QueueKey, StoredClaim
from zaqar_core.errors import Unsupported
from zaqar_openstack.errors import reading, writing
from zaqar_openstack.peer import Peer, named
from zaqar_openstack.shapes import all_stored, whole


class OpenStackClaims(ClaimController):
    """Each method is that of OpenStack Zaqar. A queue that it does not know is an empty one."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def create(
        self, queue: QueueKey, *, ttl: float, grace: float, limit: int, max_claim_count: int | None = None
    ) -> StoredClaim:
        """Its id for a claim without messages, which it does not store, is left out."""
        if max_claim_count is not None:
            raise Unsupported("OpenStack Zaqar moves dead letters on its own, and only within its own control plane")
        name, project = named(queue)
        lease = {"ttl": whole(ttl), "grace": whole(grace)}
        with writing("claim"):
            try:
                claim_id, messages = self._peer.claims.create(name, lease, project=project, limit=limit)
            except theirs.QueueDoesNotExist:
                return StoredClaim(None, ttl, 0.0)
            held = all_stored(messages)
        return StoredClaim(claim_id if held else None, float(lease["ttl"]), 0.0, held)

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        name, project = named(queue)
        with reading("get of a claim"):
            try:
                claim, messages = self._peer.claims.get(name, claim_id, project=project)
            except (theirs.ClaimDoesNotExist, theirs.QueueDoesNotExist):
                return None
            return StoredClaim(claim["id"], float(claim["ttl"]), float(claim["age"]), all_stored(messages))

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        name, project = named(queue)
        with writing("update of a claim"):
            try:
                self._peer.claims.update(name, claim_id, {"ttl": whole(ttl), "grace": whole(grace)}, project=project)
            except (theirs.ClaimDoesNotExist, theirs.QueueDoesNotExist):
                return False
        return True

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        if message_ids is not None or delay > 0:
            what = "some of the messages" if message_ids is not None else f"with a delay of {delay:g} s"
            raise Unsupported(f"a release {what}: OpenStack Zaqar releases whole claims without a delay; do that")
        name, project = named(queue)
        with writing("release"):
            try:
                self._peer.claims.delete(name, claim_id, project=project)
            except (theirs.ClaimDoesNotExist, theirs.QueueDoesNotExist):
                return
