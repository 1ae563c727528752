"""What the controllers of one ``Storage`` share: its drivers, limits, codecs, defaults, and whether it is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zaqar_core import validation
from zaqar_core.body import Undecodable
from zaqar_core.capabilities import Capability
from zaqar_core.codecs import Codecs
from zaqar_core.contract import Driver, EncodedMessage, MessageController, QueueKey, StoredMessage
from zaqar_core.documents import Documents
from zaqar_core.errors import StorageClosed, Unsupported
from zaqar_core.limits import Limits
from zaqar_core.metadata import MetadataCache
from zaqar_core.models import Message
from zaqar_core.posted import PostedQueues
from zaqar_core.records import QueueRecords


@dataclass(slots=True)
class Context:
    """``queues``, ``metadata`` and ``posted`` are None where no control plane was given."""

    data: Driver
    control: Driver
    capabilities: frozenset[Capability]
    limits: Limits
    codecs: Codecs
    queues: QueueRecords | None
    metadata: MetadataCache | None
    posted: PostedQueues | None
    scheme: str
    control_scheme: str
    project: str
    client_id: str = field(repr=False)
    connect_timeout: float
    timeout: float
    closed: bool = False

    def key(self, queue: str, project: str | None) -> QueueKey:
        """The validated key of a queue; raises ``StorageClosed`` after ``close``."""
        self.check_open()
        return QueueKey(self.project_or(project), validation.queue_name(queue))

    def project_or(self, project: str | None) -> str:
        """The project of this call."""
        return self.project if project is None else validation.project(project)

    def client_or(self, client_id: str | None) -> str:
        """The client id of this call."""
        return self.client_id if client_id is None else validation.client_id(client_id)

    def check_open(self) -> None:
        """Raise ``StorageClosed`` after ``close``."""
        if self.closed:
            raise StorageClosed("this Storage is closed; connect again")

    def need(self, capability: Capability, what: str) -> None:
        """Raise ``Unsupported`` unless the backend declares ``capability``."""
        if capability not in self.capabilities:
            raise Unsupported(f"{what} needs {capability}, which this backend does not offer; choose one that does")

    def documents(self, kind: str) -> Documents:
        """The control plane's records of one kind. Raises ``StorageClosed``, ``Unsupported``."""
        self.check_open()
        if self.control.records is None:
            raise Unsupported(
                "this backend keeps no records, so it cannot be the control plane; connect with control='...'"
            )
        return Documents(self.control.records, kind)

    def metadata_of(self, queue: QueueKey) -> Mapping[str, Any] | None:
        """The queue's metadata; None if it is not registered; {} without a control plane."""
        return {} if self.metadata is None else self.metadata.get(queue)

    def register(self, queue: QueueKey) -> None:
        """Register a queue for which ``metadata_of`` returned None; no-op if it was registered meanwhile."""
        if self.posted is not None:
            self.posted.register(queue)

    def post(
        self, driver: MessageController, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str
    ) -> list[str]:
        """Store messages in a queue that ``metadata_of`` said is registered, and remember to check that again."""
        if self.posted is None:
            return driver.post(queue, messages, client_id=client_id)
        self.posted.note(queue)  # or an exception of a signal handler could come between the post and its note
        try:
            return driver.post(queue, messages, client_id=client_id)
        finally:
            self.posted.note(queue)

    def look_again(self) -> None:
        """Call at the beginning of each operation: register queues that another client has deleted meanwhile."""
        if self.posted is not None and not self.closed:
            self.posted.look_again(self.timeout)

    def message(self, stored: StoredMessage) -> Message:
        """The application's view of a stored message: one whose body cannot be decoded is a message too."""
        body, headers, raw = self._contents(stored)
        return Message(
            id=stored.id,
            body=body,
            ttl=stored.ttl,
            age=stored.age,
            client_id=stored.client_id,
            claim_id=stored.claim_id,
            claim_count=stored.claim_count,
            headers=headers,
            raw=raw,
        )

    def _contents(self, stored: StoredMessage) -> tuple[Any, dict[str, str], bytes | None]:
        """The body, the headers and the raw bytes; nothing that a broken driver returns here is an error."""
        data: object = stored.body
        given: object = stored.headers
        headers = _headers(given)
        if not isinstance(data, bytes):
            return _broken(f"a body of type {type(data).__name__} instead of bytes"), headers or {}, b""
        if headers is None:
            return _broken("headers that are not a mapping of strings to strings"), {}, data
        body = self.codecs.read(data)
        return body, headers, data if isinstance(body, Undecodable) else None


def _broken(returned: str) -> Undecodable:
    return Undecodable(f"the driver returned {returned}; report it to the driver's authors")


def _headers(given: object) -> dict[str, str] | None:
    """A dict of the application's own, since drivers share one for all messages without headers; None if broken."""
    if not isinstance(given, Mapping):
        return None
    headers = dict(given)
    whole = all(isinstance(name, str) and isinstance(text, str) for name, text in headers.items())
    return headers if whole else None
