"""Multi-tenant message queues over pluggable storage: the contract, the registry and the facade."""

from zaqar_core.capabilities import Capability
from zaqar_core.codecs import Codec
from zaqar_core.errors import ZaqarError
from zaqar_core.handle import ClaimedMessage, ClaimedMessages, Queue
from zaqar_core.limits import Limits
from zaqar_core.models import (
    CatalogueEntry,
    Claim,
    Flavor,
    Message,
    MessageRef,
    NewMessage,
    Page,
    Pool,
    QueueEntry,
    QueueStats,
    Subscription,
)
from zaqar_core.storage import Storage, connect
from zaqar_core.uri import Uri

__all__ = [
    "Capability",
    "CatalogueEntry",
    "Claim",
    "ClaimedMessage",
    "ClaimedMessages",
    "Codec",
    "Flavor",
    "Limits",
    "Message",
    "MessageRef",
    "NewMessage",
    "Page",
    "Pool",
    "Queue",
    "QueueEntry",
    "QueueStats",
    "Storage",
    "Subscription",
    "Uri",
    "ZaqarError",
    "connect",
]
