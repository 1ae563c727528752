"""The one place that turns redis-py's exceptions and Redis's error replies into the errors of the project."""

from __future__ import annotations

import re
from typing import Final

import redis.exceptions as theirs

from zaqar_core.errors import IncompatibleStorage, OutcomeUnknown, StorageError, StorageFull, StorageUnavailable

_CODE: Final = re.compile(r"[A-Z]{2,}\b")
_IN_SCRIPT: Final = re.compile(r"@user_script: ?\d+: -?(?P<text>[A-Z]{2,} .*)")
_NO_PERMISSION: Final = re.compile(r"can't run this command|can't access|no permissions", re.IGNORECASE)
_CODES: Final[dict[type[Exception], str]] = {
    theirs.BusyLoadingError: "LOADING",
    theirs.ReadOnlyError: "READONLY",
    theirs.OutOfMemoryError: "OOM",
    theirs.MasterDownError: "MASTERDOWN",
    theirs.ClusterDownError: "CLUSTERDOWN",
    theirs.MovedError: "MOVED",
    theirs.AskError: "ASK",
    theirs.TryAgainError: "TRYAGAIN",
    theirs.ClusterCrossSlotError: "CROSSSLOT",
    theirs.NoPermissionError: "NOPERM",
    theirs.NoScriptError: "NOSCRIPT",
    theirs.AuthenticationError: "WRONGPASS",
}
_REMEDIES: Final = {
    "LOADING": "the server is reading its data from the disk; try again when it has",
    "BUSY": "a script of somebody else's keeps the server busy; end it with SCRIPT KILL",
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
_KNOWN: Final = frozenset({"OOM", "WRONGTYPE", *_REMEDIES})
_TRANSIENT: Final = frozenset({"LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "ASK"})


REPLIES: Final = (theirs.ResponseError, theirs.AuthenticationError, theirs.BusyLoadingError)
"""What redis-py makes of error replies; all else that it raises is about the connection."""


class TryAgain(StorageUnavailable):
    """It did not work just now, and may be tried again at once. Nothing happened."""


class NotConnected(StorageUnavailable):
    """The server cannot be reached. Nothing happened."""


class NotAllowed(StorageUnavailable):
    """The user has no right to do it. Nothing happened."""


class NoCluster(StorageUnavailable):
    """The server belongs to no cluster."""


class NotThisServer(StorageUnavailable):
    """The server is not, or no longer, the one for this. Nothing happened."""


def not_connected(error: Exception, where: str) -> StorageError:
    """What to raise ``from error`` where no connection was made."""
    if isinstance(error, REPLIES):
        return refused(error, where)
    remedy = "cannot be reached; check that the server runs, and the URI"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        remedy = "shows a certificate that is not trusted; name its authority with tls_ca, or correct the URI's host"
    return NotConnected(f"{where} {remedy}. Nothing was done. {error}")


def not_sent(error: Exception, where: str) -> StorageError:
    """What to raise ``from error`` where the request did not reach the server whole, so that nothing happened."""
    return TryAgain(f"the connection to {where} broke. Nothing was done. {error}")


def not_answered(error: Exception, where: str) -> OutcomeUnknown:
    """What to raise ``from error`` where the request was sent and no answer came."""
    if isinstance(error, theirs.TimeoutError):
        said = f"{where} did not answer in time ({error})"
    else:
        said = f"the connection to {where} broke before the answer came ({error})"
    return OutcomeUnknown(f"{said}, so it is unknown whether the operation was done")


def refused(error: Exception, where: str) -> StorageError:
    """What to raise ``from error`` where the server answered with an error. Nothing was done."""
    said = str(error)
    in_script = _IN_SCRIPT.search(said)
    code = _code(error, in_script["text"] if in_script else said)
    text = f"{where} says: {code + ' ' if code and not said.startswith(code) else ''}{said}"
    if code == "OOM":
        return StorageFull(
            f"the server has reached its maxmemory; raise it, or delete messages. Nothing was written. {text}"
        )
    if "cluster support disabled" in said:
        return NoCluster(f"the server is no node of a cluster; write redis:// or rediss://. {text}")
    if "DB index" in said:
        return StorageUnavailable(
            f"the server has no database of this number; its setting databases counts them. {text}"
        )
    if code == "WRONGTYPE":
        return IncompatibleStorage(f"a key of this driver holds something else; choose another prefix. {text}")
    if code in _REMEDIES:
        return _kind(code)(f"{_REMEDIES[code]}. Nothing was done. {text}")
    return StorageUnavailable(f"the server refused the operation. {text}")


def _kind(code: str) -> type[StorageUnavailable]:
    if code in _TRANSIENT:
        return TryAgain
    if code in ("READONLY", "MOVED"):
        return NotThisServer
    return NotAllowed if code == "NOPERM" else StorageUnavailable


def _code(error: Exception, said: str) -> str:
    found = _CODE.match(said)
    code = found[0] if found and found[0] in _KNOWN else ""
    for kind, name in _CODES.items():
        if isinstance(error, kind) and not code:
            code = "NOAUTH" if name == "WRONGPASS" and "required" in said.lower() else name
            break
    return "NOPERM" if not code and _NO_PERMISSION.search(said) else code
