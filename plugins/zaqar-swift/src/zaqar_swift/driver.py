"""The driver: logs in, says what holds, closes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Self

from zaqar_core import kit
from zaqar_core.capabilities import Capability
from zaqar_core.contract import Driver
from zaqar_core.errors import IncompatibleStorage, StorageUnavailable
from zaqar_core.limits import Limits
from zaqar_core.uri import Uri
from zaqar_swift import sweep
from zaqar_swift.access import Access
from zaqar_swift.authority import Authority
from zaqar_swift.choosing import Choice
from zaqar_swift.claims import SwiftClaims
from zaqar_swift.coordinator import Coordinator, another_coordinator
from zaqar_swift.messages import SwiftMessages
from zaqar_swift.operations import changing, reading
from zaqar_swift.options import Options, options_of
from zaqar_swift.packing import Packed
from zaqar_swift.queues import Queues
from zaqar_swift.records import SwiftRecords
from zaqar_swift.store import Store, limited
from zaqar_swift.workers import NotDone, Workers

LAYOUT: Final = 1
"""The version of the layout of names and contents. A driver refuses a store of another one."""
CONTAINERS: Final = 4
"""How many a new store gets unless told otherwise."""
_LATE: Final = 0.25
"""Seconds after the deadline until which opening may say what was wrong."""
_LONGEST_NUMBER: Final = 30
_LAYOUT_OBJECT: Final = "layout"
_WRITTEN_WITHIN: Final = 0.3
"""How long a creator waits for concurrent creators, in seconds."""


class SwiftDriver(Driver):
    """Both planes in one account of an OpenStack Swift."""

    contract = 1
    possible_capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.CLAIMS,
            Capability.DELAY,
            Capability.POP,
            Capability.SUBSCRIPTIONS,
            Capability.FIFO,
            Capability.EXCLUSIVE_CLAIMS,
            Capability.AT_LEAST_ONCE,
            Capability.PERSISTENT,
            Capability.MULTI_PROCESS,
        }
    )
    # Each message is a request or two: as many as a slow cluster does within the usual time-out.
    limits = Limits(
        max_post_bytes=16 * 1024 * 1024,
        max_messages_per_post=100,
        max_messages_per_page=100,
        max_messages_per_claim=100,
        max_messages_per_pop=100,
        max_ids_per_call=100,
    )
    settle_time = 1.0

    messages: SwiftMessages
    claims: SwiftClaims
    records: SwiftRecords

    def __init__(self, queues: Queues, coordinator: Coordinator | None, shortcomings: Sequence[str]) -> None:
        self._queues = queues
        self._store = queues.store
        self._coordinator = coordinator
        exclusive = coordinator is not None and not shortcomings
        self._capabilities = self.possible_capabilities - (set() if exclusive else {Capability.EXCLUSIVE_CLAIMS})
        choice = Choice(queues) if coordinator is None else Authority(queues, coordinator)
        self.messages = SwiftMessages(queues, choice)
        self.claims = SwiftClaims(queues, choice)
        self.records = SwiftRecords(queues.store, queues.clock, records_container(queues.prefix), queues.inline_bytes)

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        deadline = kit.deadline(connect_timeout)
        workers = Workers()
        try:
            return workers.run(partial(limited, partial(cls._open, uri, timeout, deadline), deadline), deadline + _LATE)
        except NotDone:
            raise StorageUnavailable(
                f"{uri} did not answer in time; check that it runs, or raise connect_timeout"
            ) from None
        finally:
            workers.close()

    @classmethod
    def _open(cls, uri: Uri, timeout: float, deadline: float) -> Self:
        options = options_of(uri)
        coordinator = Coordinator(options.coordinator, options.prefix) if options.coordinator else None
        store = Store(Access(uri, options), connections=options.connections, timeout=timeout)
        try:
            shortcomings = coordinator.shortcomings(deadline) if coordinator else []
            containers = _settled(store, options, coordinator, deadline)
        except BaseException:
            store.close()
            if coordinator:
                coordinator.close()
            raise
        queues = Queues(store, prefix=options.prefix, containers=containers, inline_bytes=options.inline_bytes)
        return cls(queues, coordinator, shortcomings)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    @reading
    def ping(self) -> None:
        deadline = self._store.deadline()
        self._store.account(deadline)
        if self._coordinator:
            self._coordinator.ping(deadline)

    @reading
    def health(self) -> Mapping[str, object]:
        deadline = self._store.deadline()
        account = self._store.account(deadline)
        coordinator: dict[str, object] = {}
        if self._coordinator:
            said = {"server": self._coordinator.where, "shortcomings": self._coordinator.shortcomings(deadline)}
            coordinator = {"coordinator": said}
        return {
            **coordinator,
            "bytes_used": _number(account, "x-account-bytes-used"),
            "objects": _number(account, "x-account-object-count"),
            "containers": _number(account, "x-account-container-count"),
            "layout": {"version": LAYOUT, "prefix": self._queues.prefix, "containers": self._queues.containers},
        }

    @changing
    def gc(self) -> int:
        deadline = self._store.deadline()
        return sweep.everything(self._queues, records_container(self._queues.prefix), deadline)

    def close(self) -> None:
        try:
            self._store.close()
        finally:
            if self._coordinator:
                self._coordinator.close()


def _number(account: Mapping[str, str], name: str) -> int:
    text = account.get(name, "")
    return int(text) if text.isdecimal() and len(text) < _LONGEST_NUMBER else 0


def records_container(prefix: str) -> str:
    """Where records are, and what the store says of itself."""
    return f"{prefix}-records"


def _settled(store: Store, options: Options, coordinator: Coordinator | None, deadline: float) -> int:
    """Create the store if there is none; returns over how many containers it spreads its queues.

    Raises ``IncompatibleStorage`` if it is laid out otherwise, or has another coordinator.
    """
    container = records_container(options.prefix)
    wanted: dict[str, Any] = {"layout": LAYOUT, "containers": options.containers or CONTAINERS, "coordinator": None}
    found = store.get(container, _LAYOUT_OBJECT, deadline, newest=True)
    if found is None:
        if coordinator:
            wanted["coordinator"] = coordinator.settle_identity(deadline)
        data = json.dumps(wanted).encode()
        store.put(container, _LAYOUT_OBJECT, Packed("application/json", data), deadline, new=True)
        # Swift checks for existence, then writes: a concurrent creator may replace this object.
        time.sleep(min(_WRITTEN_WITHIN, max(0.0, deadline - time.monotonic())))
        found = store.get(container, _LAYOUT_OBJECT, deadline, newest=True)
    try:
        known = json.loads(found.data) if found else wanted
        layout, containers, identity = int(known["layout"]), int(known["containers"]), known.get("coordinator")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        layout, containers, identity = 0, 0, None
    if layout != LAYOUT or options.containers not in (None, containers):
        raise IncompatibleStorage(
            f"the store in the containers {options.prefix}-... has layout {layout} and {containers} containers, this "
            f"driver was told of {LAYOUT} and {options.containers}; leave out the option containers, use the version "
            "of zaqar-swift that made the store, or another prefix"
        )
    _ensure_coordinator(options.prefix, coordinator, identity, deadline)
    return containers


def _ensure_coordinator(prefix: str, coordinator: Coordinator | None, identity: str | None, deadline: float) -> None:
    """Raises ``IncompatibleStorage`` unless it is that of the store: claimers have to ask one and the same."""
    if coordinator is None and identity is not None:
        raise IncompatibleStorage(
            f"the store in the containers {prefix}-... has a coordinator; name it by the option coordinator"
        )
    if coordinator is not None:
        if identity is None:
            raise IncompatibleStorage(
                f"the store in the containers {prefix}-... was made without a coordinator, and others may use it so; "
                "leave out the option coordinator, or use another prefix"
            )
        if coordinator.identity(deadline) != identity:
            raise another_coordinator(coordinator.where, coordinator.identity_key, identity)
        coordinator.belongs_to(identity)
