"""The driver: opens OpenStack Zaqar's, says what that one claims for itself, closes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Self

from zaqar_core.capabilities import Capability
from zaqar_core.contract import Driver
from zaqar_core.errors import StorageUnavailable
from zaqar_core.limits import Limits
from zaqar_core.uri import Uri
from zaqar_openstack.claims import OpenStackClaims
from zaqar_openstack.errors import opening, reading, writing
from zaqar_openstack.messages import OpenStackMessages
from zaqar_openstack.options import limits_of, settings_of
from zaqar_openstack.peer import Peer

OFFERED: Final = frozenset({Capability.CLAIMS, Capability.DELAY, Capability.POP, Capability.MULTI_PROCESS})
"""What OpenStack Zaqar's API has for every driver; and its service runs in any number of processes."""
MEANING: Final[Mapping[str, frozenset[Capability]]] = {
    "FIFO": frozenset({Capability.FIFO}),
    "CLAIMS": frozenset({Capability.EXCLUSIVE_CLAIMS}),
    "AOD": frozenset({Capability.AT_LEAST_ONCE}),
    "HIGH_THROUGHPUT": frozenset({Capability.HIGH_THROUGHPUT}),
    "DURABILITY": frozenset({Capability.PERSISTENT, Capability.DURABILITY}),
}
"""What a capability of its drivers is in the words of the contract."""


class OpenStackDriver(Driver):
    """Messages and claims of OpenStack Zaqar's driver for Redis or Swift; no records."""

    contract = 1
    possible_capabilities: ClassVar[frozenset[Capability]] = OFFERED.union(*MEANING.values())

    messages: OpenStackMessages
    claims: OpenStackClaims

    def __init__(self, peer: Peer, limits: Limits | None) -> None:
        self._peer = peer
        self.limits = limits
        self.messages = OpenStackMessages(peer)
        self.claims = OpenStackClaims(peer)

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        """``timeout`` becomes the time-out of one command, which OpenStack Zaqar tries several times."""
        settings, limits = settings_of(uri, timeout=timeout), limits_of(uri)
        with opening(str(uri)):
            driver = cls(Peer.make(settings), limits)
            driver.ping()  # its driver for Swift has not asked anybody yet
        return driver

    @property
    def capabilities(self) -> frozenset[Capability]:
        return OFFERED.union(*(MEANING[capability.name] for capability in self._peer.data.capabilities))

    def ping(self) -> None:
        with reading("ping"):
            if not self._peer.data.is_alive():
                raise StorageUnavailable("the datastore does not answer OpenStack Zaqar; check that it runs")

    def health(self) -> Mapping[str, object]:
        """Not what OpenStack Zaqar calls so: that posts messages to a queue of its own."""
        claimed = [capability.name for capability in self._peer.data.capabilities]
        return {"openstack_zaqar": self._peer.version, "its_capabilities": claimed}

    def gc(self) -> int:
        """By its message controller, as its driver does; that one does not say how much it was. Swift needs none."""
        collect = getattr(self._peer.messages, "gc", None)
        with writing("gc"):
            return int(collect()) if collect is not None else 0

    def close(self) -> None:
        self._peer.close()
