"""A driver made of others' controllers: queues in two backends at once, and clients that die between two calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from zaqar_core import Capability, Codec, Limits, Storage, Uri
from zaqar_core.codecs import Codecs
from zaqar_core.contract import (
    ClaimController,
    Driver,
    EncodedMessage,
    MessageController,
    QueueKey,
    Refusal,
    StoredClaim,
    StoredMessage,
    StoredPage,
)
from zaqar_core.models import QueueStats

Watch = Callable[[str, str], None]
"""Is called with "messages.post" and "before" or "after", for each of the calls that move a dead letter."""


class Relay(Driver):
    """Queues live in ``first``, but those of the names in ``elsewhere`` in ``second``."""

    contract = 1
    possible_capabilities = frozenset(Capability)

    def __init__(self, first: Driver, second: Driver, elsewhere: Sequence[str], watch: Watch) -> None:
        self._first = first
        self._second = second
        self.records = first.records
        self.messages = _Messages(first, second, elsewhere, watch)
        self.claims = _Claims(first, second, elsewhere, watch)

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        raise TypeError("a relay is made of open drivers; no URI opens one")

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._first.capabilities & self._second.capabilities

    def ping(self) -> None:
        self._first.ping()

    def close(self) -> None:
        """The drivers are closed by those who opened them."""


def relayed(first: Storage, second: Storage, elsewhere: Sequence[str], watch: Watch) -> Storage:
    """A client of both, which calls ``watch`` at each step."""
    driver = Relay(first.driver, second.driver, elsewhere, watch)
    codecs: list[Codec | str] = []
    return Storage(
        driver,
        driver,
        schemes=("relay", "relay"),
        project=first.project,
        client_id=first.client_id,
        limits=Limits().narrowed_by(first.limits).narrowed_by(second.limits),
        codecs=Codecs(codecs),
        metadata_ttl=0,
        connect_timeout=10,
        timeout=10,
    )


class _Of:
    """Which driver a queue lives in, and the steps that are watched."""

    def __init__(self, first: Driver, second: Driver, elsewhere: Sequence[str], watch: Watch) -> None:
        self._drivers = (first, second)
        self._elsewhere = frozenset(elsewhere)
        self._watch = watch

    def _driver(self, queue: QueueKey) -> Driver:
        return self._drivers[queue.name in self._elsewhere]

    def _step(self, name: str, call: Callable[[], Any]) -> Any:
        self._watch(name, "before")
        answer = call()
        self._watch(name, "after")
        return answer


class _Messages(_Of, MessageController):
    def _of(self, queue: QueueKey) -> MessageController:
        messages = self._driver(queue).messages
        assert messages is not None
        return messages

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        ids: list[str] = self._step("messages.post", lambda: self._of(queue).post(queue, messages, client_id=client_id))
        return ids

    def get(self, queue: QueueKey, message_ids: Sequence[str]) -> Sequence[StoredMessage]:
        return self._of(queue).get(queue, message_ids)

    def list(self, queue: QueueKey, **options: Any) -> StoredPage:
        return self._of(queue).list(queue, **options)

    def first(self, queue: QueueKey, *, newest: bool) -> StoredMessage | None:
        return self._of(queue).first(queue, newest=newest)

    def delete(
        self, queue: QueueKey, message_ids: Sequence[str], *, claim_ids: Sequence[str] | None
    ) -> dict[str, Refusal]:
        refused: dict[str, Refusal] = self._step(
            "messages.delete", lambda: self._of(queue).delete(queue, message_ids, claim_ids=claim_ids)
        )
        return refused

    def pop(self, queue: QueueKey, *, limit: int) -> Sequence[StoredMessage]:
        return self._of(queue).pop(queue, limit=limit)

    def stats(self, queue: QueueKey) -> QueueStats:
        return self._of(queue).stats(queue)

    def purge(self, queue: QueueKey) -> None:
        self._of(queue).purge(queue)


class _Claims(_Of, ClaimController):
    def _of(self, queue: QueueKey) -> ClaimController:
        claims = self._driver(queue).claims
        assert claims is not None
        return claims

    def create(self, queue: QueueKey, **options: Any) -> StoredClaim:
        claim: StoredClaim = self._step("claims.create", lambda: self._of(queue).create(queue, **options))
        return claim

    def get(self, queue: QueueKey, claim_id: str) -> StoredClaim | None:
        return self._of(queue).get(queue, claim_id)

    def update(self, queue: QueueKey, claim_id: str, *, ttl: float, grace: float) -> bool:
        return self._of(queue).update(queue, claim_id, ttl=ttl, grace=grace)

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        self._of(queue).release(queue, claim_id, message_ids=message_ids, delay=delay)
