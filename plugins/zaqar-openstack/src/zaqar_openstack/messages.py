"""Messages of the data plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from zaqar.storage import errors as theirs

from zaqar_core.contract import EncodedMessage, MessageController, QueueKey, Refusal, StoredMessage, StoredPage
from zaqar_core.models import MessageRef, QueueStats
from zaqar_openstack.errors import reading, writing
from zaqar_openstack.peer import Peer, named
from zaqar_openstack.shapes import all_stored, client_uuid, document, stored

_REASONS: Final[Mapping[type[Exception], Refusal]] = {
    theirs.ClaimDoesNotExist: Refusal.CLAIM_DOES_NOT_EXIST,
    theirs.MessageNotClaimed: Refusal.CLAIM_DOES_NOT_EXIST,  # "is no longer claimed": it looks at no claim
    theirs.MessageNotClaimedBy: Refusal.CLAIM_DOES_NOT_MATCH,
    theirs.MessageIsClaimed: Refusal.MESSAGE_IS_CLAIMED,
}
_REFUSED: Final = (*_REASONS, theirs.ClaimDoesNotMatch)


class OpenStackMessages(MessageController):
    """Each method is the one of OpenStack Zaqar that comes nearest. A queue that it does not know is an empty one."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        name, project = named(queue)
        documents = [document(message) for message in messages]
        with writing("post"):
            self._peer.register(queue)
            return list(self._peer.messages.post(name, documents, client_uuid(client_id), project=project))

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> Sequence[StoredMessage]:
        name, project = named(queue)
        with reading("get"):
            try:
                return all_stored(self._peer.messages.bulk_get(name, [*dict.fromkeys(message_ids)], project=project))
            except theirs.QueueDoesNotExist:
                return []

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
        """It does not say whether more follows: a full page says so here."""
        name, project = named(queue)
        with reading("list"):
            try:
                results = self._peer.messages.list(
                    name,
                    project=project,
                    marker=marker or "",  # with None it fails where claimed messages are included
                    limit=limit,
                    echo=exclude_client is None,
                    client_uuid=None if exclude_client is None else client_uuid(exclude_client),
                    include_claimed=include_claimed,
                    include_delayed=include_delayed,
                )
                items = all_stored(next(results))
                # It has a marker only for a page that is not empty.
                return StoredPage(items, next(results) if items else marker or "", more=len(items) == limit)
            except theirs.QueueDoesNotExist:
                return StoredPage([], marker or "", more=False)

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        name, project = named(queue)
        with reading("first"):
            try:
                return stored(self._peer.messages.first(name, project=project, sort=-1 if newest else 1))
            except (theirs.QueueIsEmpty, theirs.QueueDoesNotExist):
                return None

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        """One by ``delete``, several by ``bulk_delete``.

        If it may not delete one message, ``bulk_delete`` refuses all and does not say which; then each goes alone.
        """
        name, project = named(queue)
        ids = [*dict.fromkeys(message_ids)]
        with writing("delete"):
            if len(ids) > 1:
                try:
                    self._peer.messages.bulk_delete(name, ids, project=project, claim_ids=claim_ids)
                except _REFUSED:
                    pass
                else:
                    return {}
            refused = {message_id: self._delete(queue, message_id, claim_ids) for message_id in ids}
        return {message_id: reason for message_id, reason in refused.items() if reason is not None}

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        name, project = named(queue)
        with writing("pop"):
            try:
                return all_stored(self._peer.messages.pop(name, limit, project=project))
            except theirs.QueueDoesNotExist:
                return []

    def stats(self, queue: QueueKey) -> QueueStats:
        name, project = named(queue)
        with reading("stats"):
            try:
                found = self._peer.queues.stats(name, project=project)["messages"]
            except theirs.QueueDoesNotExist:
                return QueueStats()
        return QueueStats(
            free=found["free"],
            claimed=found["claimed"],
            total=found["total"],
            oldest=_ref(found.get("oldest")),
            newest=_ref(found.get("newest")),
        )

    def purge(self, queue: QueueKey) -> None:
        """By deleting the queue: its API's purge pops, which leaves what is claimed or delayed."""
        name, project = named(queue)
        with writing("purge"):
            self._peer.queues.delete(name, project=project)

    def _delete(self, queue: QueueKey, message_id: str, claim_ids: Sequence[str] | None) -> Refusal | None:
        name, project = named(queue)
        reason: Refusal | None = None
        for claim in [None] if claim_ids is None else claim_ids:
            try:
                self._peer.messages.delete(name, message_id, project=project, claim=claim)
            except tuple(_REASONS) as error:
                refusal = _REASONS[type(error)]
                # Of several claims, one that lives says more than one that does not.
                reason = refusal if reason is not Refusal.CLAIM_DOES_NOT_MATCH else reason
            else:
                return None
        return reason


def _ref(message: Mapping[str, Any] | None) -> MessageRef | None:
    return None if message is None else MessageRef(message["id"], float(message["age"]))
