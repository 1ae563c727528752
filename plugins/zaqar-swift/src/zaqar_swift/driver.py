"""The driver: logs in, says what holds, closes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import ClassVar, Final, Self

from zaqar_core.capabilities import Capability
from zaqar_core.contract import Driver
from zaqar_core.errors import IncompatibleStorage
from zaqar_core.limits import Limits
from zaqar_core.uri import Uri
from zaqar_swift import sweep
from zaqar_swift.access import Access
from zaqar_swift.choosing import Choice
from zaqar_swift.claims import SwiftClaims
from zaqar_swift.messages import SwiftMessages
from zaqar_swift.options import Options, options_of
from zaqar_swift.packing import Packed
from zaqar_swift.queues import Queues
from zaqar_swift.records import SwiftRecords
from zaqar_swift.store import Store

LAYOUT: Final = 1
"""The version of the layout of names and contents. A driver refuses a store of another one."""
CONTAINERS: Final = 4
"""How many a new store gets unless told otherwise."""
_LAYOUT_OBJECT: Final = "layout"


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

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._store = queues.store
        choice = Choice(queues)
        self.messages = SwiftMessages(queues, choice)
        self.claims = SwiftClaims(queues, choice)
        self.records = SwiftRecords(queues.store, queues.clock, records_container(queues.prefix), queues.inline_bytes)

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        deadline = time.monotonic() + connect_timeout
        options = options_of(uri)
        store = Store(Access(uri, options), connections=options.connections, timeout=timeout)
        try:
            containers = _settled_containers(store, options, deadline)
        except BaseException:
            store.close()
            raise
        queues = Queues(store, prefix=options.prefix, containers=containers, inline_bytes=options.inline_bytes)
        return cls(queues)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.possible_capabilities

    def ping(self) -> None:
        self._store.account(self._store.deadline())

    def health(self) -> Mapping[str, object]:
        account = self._store.account(self._store.deadline())
        return {
            "bytes_used": int(account.get("x-account-bytes-used", 0)),
            "objects": int(account.get("x-account-object-count", 0)),
            "containers": int(account.get("x-account-container-count", 0)),
            "layout": {"version": LAYOUT, "prefix": self._queues.prefix, "containers": self._queues.containers},
        }

    def gc(self) -> int:
        deadline = self._store.deadline()
        return sweep.everything(self._queues, records_container(self._queues.prefix), deadline)

    def close(self) -> None:
        self._store.close()


def records_container(prefix: str) -> str:
    """Where records are, and what the store says of itself."""
    return f"{prefix}-records"


def _settled_containers(store: Store, options: Options, deadline: float) -> int:
    """Over how many containers the store spreads its queues, which is made if there is none."""
    container = records_container(options.prefix)
    wanted = {"layout": LAYOUT, "containers": options.containers or CONTAINERS}
    found = store.get(container, _LAYOUT_OBJECT, deadline, newest=True)
    if found is None:
        data = json.dumps(wanted).encode()
        store.put(container, _LAYOUT_OBJECT, Packed("application/json", data), deadline, new=True)
        found = store.get(container, _LAYOUT_OBJECT, deadline, newest=True)
    try:
        known = json.loads(found.data) if found else wanted
        layout, containers = int(known["layout"]), int(known["containers"])
    except (ValueError, KeyError, TypeError):
        layout, containers = 0, 0
    if layout != LAYOUT or options.containers not in (None, containers):
        raise IncompatibleStorage(
            f"the store in the containers {options.prefix}-... has layout {layout} and {containers} containers, this "
            f"driver was told of {LAYOUT} and {options.containers}; leave out the option containers, use the version "
            "of zaqar-swift that made the store, or another prefix"
        )
    return containers
