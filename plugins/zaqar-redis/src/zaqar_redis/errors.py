"""The one place that turns hiredis's and sockets' exceptions and Redis's error replies into the project's errors."""

from __future__ import annotations

import re
import ssl
from typing import Final

import hiredis

from zaqar_core.errors import IncompatibleStorage, OutcomeUnknown, StorageError, StorageFull, StorageUnavailable

_CODE: Final = re.compile(r"[A-Z]{2,}\b")
_IN_SCRIPT: Final = re.compile(r"@user_script: ?\d+: -?(?P<text>[A-Z]{2,} .*)")
_NO_PERMISSION: Final = re.compile(r"can't run this command|can't access|no permissions", re.IGNORECASE)
_REMEDIES: Final = {
    "LOADING": "the server is reading its data from the disk; try again when it has",
    "BUSY": "another client's script keeps the server busy; end it with SCRIPT KILL",
    "MASTERDOWN": "the server is a replica without its primary; bring that back",
    "CLUSTERDOWN": "the cluster does not serve all slots; check its nodes with CLUSTER NODES",
    "TRYAGAIN": "the cluster is moving this queue's slot; try again when it has",
    "READONLY": "the server is a read-only replica; point the URI at the primary, or use Sentinel",
    "MOVED": "the server is a node of a cluster, and another node has these keys; write redis+cluster://...",
    "ASK": "the cluster is moving this queue's slot; try again when it has",
    "CROSSSLOT": "the server wants all keys in one slot; write redis+cluster://... if it is a cluster",
    "NOREPLICAS": "the server has fewer replicas than min-replicas-to-write asks for; bring them back",
    "MISCONF": "the server cannot write its data to the disk and refuses changes; see its log",
    "NOPERM": "the user may not do this; see the driver's page for the rights that it needs",
    "WRONGPASS": "the server does not take this user and password; correct them in the URI",
    "NOAUTH": "the server asks for a password; write it into the URI",
    "EXECABORT": "see the cause",
}
_KNOWN: Final = frozenset({"OOM", "WRONGTYPE", "NOSCRIPT", *_REMEDIES})
_UNKNOWN: Final = ", so it is unknown whether the operation was done"


# --- Kinds that the driver tells apart inside; public() makes of each what an application may see -------------


class Later(StorageUnavailable):
    """The server says that it cannot do it just now. Nothing happened."""


class Broken(StorageUnavailable):
    """The connection broke before the request was sent. Nothing happened."""


class NotConnected(StorageUnavailable):
    """The server cannot be reached. Nothing happened."""


class NotThisServer(StorageUnavailable):
    """The server is not, or no longer, the one for this. Nothing happened."""


class Refused(StorageUnavailable):
    """The server answered with an error that stays: no such command, no right to it, and the like. Nothing happened."""


class NoScript(Refused):
    """The server does not know the script of this digest."""


class NoCluster(Refused):
    """The server belongs to no cluster."""


def public(error: StorageError) -> StorageError:
    """The same as one of the errors of :mod:`zaqar_core.errors`, which are all that leaves the driver."""
    if isinstance(error, Later | Broken | NotConnected | NotThisServer | Refused):
        return StorageUnavailable(*error.args)
    return error


def not_connected(error: Exception, where: str) -> StorageError:
    """What to raise ``from error`` where no connection was made."""
    if isinstance(error, hiredis.ReplyError):
        found = refused(error, where)
        # A refused connection says nothing about the command that it was made for.
        return StorageUnavailable(*found.args) if isinstance(found, Refused) else found
    if isinstance(error, hiredis.HiredisError):
        return StorageUnavailable(
            f"{where} does not speak the protocol of Redis; check the URI. Nothing was done. {error}"
        )
    remedy = "cannot be reached; check that the server runs, and the URI"
    if isinstance(error, TimeoutError):
        remedy = "cannot be reached in time; check that the server runs, and the URI"
    if isinstance(error, ssl.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        remedy = "shows a certificate that is not trusted; name its authority with tls_ca, or correct the URI's host"
    return NotConnected(f"{where} {remedy}. Nothing was done. {error}")


def not_sent(error: Exception, where: str) -> StorageError:
    """What to raise ``from error`` where the request did not reach the server whole, so that nothing happened."""
    if isinstance(error, TimeoutError):
        return Broken(f"{where} did not take the request in time. Nothing was done")
    return Broken(f"the connection to {where} broke. Nothing was done. {error}")


def not_answered(error: Exception, where: str) -> OutcomeUnknown:
    """What to raise ``from error`` where the request was sent and no answer came."""
    if isinstance(error, TimeoutError):
        said = f"{where} did not answer in time"
    else:
        said = f"the connection to {where} broke before the answer came ({error})"
    return OutcomeUnknown(f"{said}{_UNKNOWN}")


def not_read(error: OutcomeUnknown) -> StorageUnavailable:
    """What to raise ``from error`` where the request only reads."""
    return StorageUnavailable(f"{str(error).removesuffix(_UNKNOWN)}. Nothing was changed; try again")


def forked(where: str, *, sent: bool) -> StorageError:
    """What to raise in the child of a fork that came in the middle of this call."""
    if sent:
        return OutcomeUnknown(
            f"this process was forked after its parent had sent the operation to {where}; the parent gets the answer"
        )
    return StorageUnavailable(
        f"this process was forked in the middle of a call to {where}, which only the parent completes; nothing was "
        "done by this process: call again"
    )


def refused(error: hiredis.ReplyError, where: str) -> StorageError:
    """What to raise ``from error`` where the server answered with an error. Nothing was done."""
    said = str(error)
    in_script = _IN_SCRIPT.search(said)
    code = _code(in_script["text"] if in_script else said)
    text = f"{where} says: {said}"
    if code == "OOM":
        return StorageFull(
            f"the server has reached its maxmemory; raise it, or delete messages. Nothing was written. {text}"
        )
    if code == "NOSCRIPT":
        return NoScript(text)
    if "cluster support disabled" in said:
        return NoCluster(f"the server is not a node of a cluster; write redis:// or rediss://. {text}")
    if "max number of clients" in said:
        return StorageUnavailable(
            "the server takes no more connections; raise its maxclients, or lower max_connections and the number of "
            f"clients. Nothing was done. {text}"
        )
    if "protected mode" in said:
        return StorageUnavailable(
            "the server is in protected mode, which lets only its own machine in; give it a password, or a bind "
            f"address and protected-mode no. Nothing was done. {text}"
        )
    if "DB index" in said:
        return StorageUnavailable(
            f"the server has no database of this number; its setting databases counts them. {text}"
        )
    if code == "WRONGTYPE":
        return IncompatibleStorage(f"a key of this driver holds something else; choose another prefix. {text}")
    kind = StorageUnavailable if "user_script" in said else Refused
    if code in _REMEDIES:
        return _KINDS.get(code, kind if code == "NOPERM" else StorageUnavailable)(
            f"{_REMEDIES[code]}. Nothing was done. {text}"
        )
    return kind(f"the server refused the operation. Nothing was done. {text}")


_KINDS: Final[dict[str, type[StorageUnavailable]]] = {
    **dict.fromkeys(("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "ASK"), Later),
    **dict.fromkeys(("READONLY", "MOVED"), NotThisServer),
}


def _code(said: str) -> str:
    found = _CODE.match(said)
    code = found[0] if found and found[0] in _KNOWN else ""
    return "NOPERM" if not code and _NO_PERMISSION.search(said) else code
