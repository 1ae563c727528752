"""Multi-tenant message queues over pluggable storage: the contract, the registry and the facade."""

from zaqar_core.capabilities import Capability
from zaqar_core.codecs import Codec
from zaqar_core.errors import ZaqarError
from zaqar_core.handle import ClaimedMessage, ClaimedMessages, Queue
from zaqar_core.limits import Limits
from zaqar_core.models import Claim, Message, MessageRef, NewMessage, Page, QueueEntry, QueueStats
from zaqar_core.storage import Storage, connect
from zaqar_core.uri import Uri

__all__ = [
    "Capability",
    "Claim",
    "ClaimedMessage",
    "ClaimedMessages",
    "Codec",
    "Limits",
    "Message",
    "MessageRef",
    "NewMessage",
    "Page",
    "Queue",
    "QueueEntry",
    "QueueStats",
    "Storage",
    "Uri",
    "ZaqarError",
    "connect",
]
