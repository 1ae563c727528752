"""A driver made of others' controllers: queues in two backends at once, and clients that die between two calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

from zaqar_core import Capability, Codec, Limits, Storage, Uri
from zaqar_core.codecs import Codecs
from zaqar_core.contract import (
    ClaimController,
    Driver,
    EncodedMessage,
    MessageController,
    QueueKey,
    Record,
    RecordStore,
    Refusal,
    Space,
    StoredClaim,
    StoredMessage,
    StoredPage,
)
from zaqar_core.models import QueueStats

Watch = Callable[[str, str], None]
"""Is called with "messages.post" and "before" or "after": for each call that moves a dead letter or writes a record."""


class Relay(Driver):
    """Queues live in ``first``, but those of the names in ``elsewhere`` in ``second``."""

    contract = 1
    possible_capabilities = frozenset(Capability)

    def __init__(self, first: Driver, second: Driver, elsewhere: Sequence[str], watch: Watch) -> None:
        self._first = first
        self._second = second
        self.records = first.records and _Records(first.records, watch)
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


class _Watched:
    """The steps that are watched."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def _step(self, name: str, call: Callable[[], Any]) -> Any:
        self._watch(name, "before")
        answer = call()
        self._watch(name, "after")
        return answer


class _Of(_Watched):
    """Which driver a queue lives in."""

    def __init__(self, first: Driver, second: Driver, elsewhere: Sequence[str], watch: Watch) -> None:
        super().__init__(watch)
        self._drivers = (first, second)
        self._elsewhere = frozenset(elsewhere)

    def _driver(self, queue: QueueKey) -> Driver:
        return self._drivers[queue.name in self._elsewhere]


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


class _Records(_Watched, RecordStore):
    def __init__(self, records: RecordStore, watch: Watch) -> None:
        super().__init__(watch)
        self._records = records

    def get(self, space: Space, key: str) -> Record | None:
        return self._records.get(space, key)

    def insert(self, space: Space, key: str, value: bytes, *, nonce: str, ttl: float | None = None) -> str | None:
        insert = partial(self._records.insert, space, key, value, nonce=nonce, ttl=ttl)
        version: str | None = self._step("records.insert", insert)
        return version

    def replace(self, space: Space, key: str, value: bytes, *, version: str, nonce: str) -> str | None:
        replace = partial(self._records.replace, space, key, value, version=version, nonce=nonce)
        new: str | None = self._step("records.replace", replace)
        return new

    def delete(self, space: Space, key: str, *, version: str | None = None) -> bool:
        deleted: bool = self._step("records.delete", partial(self._records.delete, space, key, version=version))
        return deleted

    def scan(self, space: Space, **options: Any) -> Sequence[Record]:
        return self._records.scan(space, **options)

    def count(self, space: Space, *, prefix: str = "") -> int:
        return self._records.count(space, prefix=prefix)
