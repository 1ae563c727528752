"""A client whose calls go into a history, in the vocabulary of ``judge``."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from zaqar_conformance.check import ensure, ensure_equal
from zaqar_conformance.history import History
from zaqar_core import NewMessage, Storage
from zaqar_core.limits import DEFAULT_MESSAGE_TTL
from zaqar_core.models import Claim, Message, Page, QueueEntry, QueueStats


class Recorder:
    """One client, used by one thread: ``name`` is unique in the history. Methods act as the facade's do."""

    def __init__(self, storage: Storage, history: History, name: str) -> None:
        self.storage = storage
        self.history = history
        self.name = name
        self._posted = 0

    def post(
        self,
        queue: str,
        count: int = 1,
        *,
        ttl: float = DEFAULT_MESSAGE_TTL,
        delay: float = 0.0,
        bodies: Sequence[Any] | None = None,
    ) -> builtins.list[str]:
        """Post ``count`` messages, with a body that says who posted it and how many it had posted before."""
        if bodies is None:
            bodies = [{"by": self.name, "n": self._posted + number} for number in range(count)]
        self._posted += count
        batch = [NewMessage(body, ttl, delay or None) for body in bodies]
        with self.history.call(self.name, "messages.post", queue, count=count, ttl=ttl, delay=delay) as call:
            call.result = self.storage.messages.post(queue, batch)
        ensure_equal(len(call.result), count, "MSG-001", f"ids returned for a post of {count} messages")
        return list(call.result)

    def list(
        self,
        queue: str,
        *,
        marker: str | None = None,
        limit: int = 10,
        include_claimed: bool = False,
        include_delayed: bool = False,
    ) -> Page[Message]:
        arguments: dict[str, Any] = {
            "marker": marker,
            "limit": limit,
            "include_claimed": include_claimed,
            "include_delayed": include_delayed,
        }
        with self.history.call(self.name, "messages.list", queue, **arguments) as call:
            page = self.storage.messages.list(queue, **arguments)
            call.result = {"ids": _ids(page.items), "marker": page.marker, "more": page.more}
        return page

    def list_all(self, queue: str, **include: bool) -> builtins.list[Message]:
        """Every message that the listing shows, page by page."""
        found: builtins.list[Message] = []
        marker, more = None, True
        while more:
            page = self.list(queue, marker=marker, limit=self.storage.limits.max_messages_per_page, **include)
            found += page.items
            marker, more = page.marker, page.more
        return found

    def get(self, queue: str, message_ids: Sequence[str]) -> builtins.list[Message]:
        with self.history.call(self.name, "messages.get", queue, ids=list(message_ids)) as call:
            found = self.storage.messages.bulk_get(queue, message_ids)
            call.result = _ids(found)
        return found

    def delete(self, queue: str, message_id: str, *, claim_id: str | None = None) -> None:
        with self.history.call(self.name, "messages.delete", queue, id=message_id, claim=claim_id):
            self.storage.messages.delete(queue, message_id, claim_id=claim_id)

    def bulk_delete(
        self, queue: str, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None = None
    ) -> builtins.list[str]:
        claims = None if claim_ids is None else list(claim_ids)
        with self.history.call(self.name, "messages.bulk_delete", queue, ids=list(message_ids), claims=claims) as call:
            call.result = self.storage.messages.bulk_delete(queue, message_ids, claim_ids=claim_ids)
        return list(call.result)

    def pop(self, queue: str, limit: int = 1) -> builtins.list[Message]:
        with self.history.call(self.name, "messages.pop", queue, limit=limit) as call:
            popped = self.storage.messages.pop(queue, limit)
            call.result = _ids(popped)
        return popped

    def stats(self, queue: str) -> QueueStats:
        with self.history.call(self.name, "messages.stats", queue) as call:
            stats = self.storage.messages.stats(queue)
            counts = {"free": stats.free, "claimed": stats.claimed, "delayed": stats.delayed, "total": stats.total}
            call.result = counts
        return stats

    def claim(self, queue: str, *, ttl: float = 300.0, grace: float = 0.0, limit: int = 10) -> Claim:
        with self.history.call(self.name, "claims.create", queue, ttl=ttl, grace=grace, limit=limit) as call:
            claim = self.storage.claims.create(queue, ttl=ttl, grace=grace, limit=limit)
            call.result = {"id": claim.id, "messages": _ids(claim.messages)}
        ensure_whole(claim)
        return claim

    def update(self, queue: str, claim_id: str, *, ttl: float, grace: float = 0.0) -> None:
        with self.history.call(self.name, "claims.update", queue, id=claim_id, ttl=ttl, grace=grace):
            self.storage.claims.update(queue, claim_id, ttl=ttl, grace=grace)

    def release(
        self, queue: str, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        ids = None if message_ids is None else list(message_ids)
        with self.history.call(self.name, "claims.delete", queue, id=claim_id, ids=ids, delay=delay):
            self.storage.claims.delete(queue, claim_id, message_ids=ids, delay=delay)

    def create_queue(self, queue: str) -> bool:
        with self.history.call(self.name, "queues.create", queue) as call:
            call.result = self.storage.queues.create(queue)
        return bool(call.result)

    def delete_queue(self, queue: str) -> None:
        with self.history.call(self.name, "queues.delete", queue):
            self.storage.queues.delete(queue)

    def list_queues(self, *, marker: str | None = None, limit: int = 10) -> Page[QueueEntry]:
        with self.history.call(self.name, "queues.list", "", marker=marker, limit=limit) as call:
            page = self.storage.queues.list(marker=marker, limit=limit)
            names = [entry.name for entry in page.items]
            call.result = {"names": names, "marker": page.marker, "more": page.more}
        return page


def ensure_whole(claim: Claim) -> None:
    """A claim has an id exactly if it has taken messages."""
    ensure(
        (claim.id is None) == (not claim.messages),
        "CLM-002",
        f"claims.create gave the id {claim.id!r} and {len(claim.messages)} messages: expected an id if it took any, "
        "None if not",
    )


def _ids(messages: Sequence[Message]) -> list[str]:
    return [message.id for message in messages]
