"""The one place that turns what the client libraries raise into the errors of the project."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import requests
import urllib3.exceptions as urllib
from keystoneauth1 import exceptions as keystone
from swiftclient.exceptions import ClientException

from zaqar_core.errors import (
    IncompatibleStorage,
    InvalidOption,
    OutcomeUnknown,
    StorageClosed,
    StorageError,
    StorageFull,
    StorageUnavailable,
)

_NOT_NOW: Final = (409, 429, 498)
_FULL: Final = (413, 507)
_UNSENT: Final = (urllib.NewConnectionError, urllib.ConnectTimeoutError, urllib.ProxyError)
_OTHER_HOST: Final = (62, 64)
"""What OpenSSL says of a certificate that is for another name or address."""
_REMEDIES: Final = {
    400: "Swift rejected the request as malformed; if this machine's clock is hours behind, correct it",
    403: "the user has no access to this account or container; grant it read and write access",
    404: "the account or container does not exist; check the URI",
    405: "a proxy between this client and Swift blocks such requests; allow GET, HEAD, PUT, POST and DELETE",
    409: "another Swift server wrote this at a later time by its clock; synchronize their clocks (NTP)",
    412: "Swift rejected the condition of this request",
    429: "Swift limits the rate of requests; slow down",
    498: "Swift limits the rate of requests; slow down",
}
_COORDINATOR_REMEDIES: Final = {
    "READONLY": "the coordinator is a read-only replica; name its primary",
    "MASTERDOWN": "the coordinator is a replica without its primary; name the primary",
    "LOADING": "the coordinator is reading its data from the disk; try again when it has",
    "MISCONF": "the coordinator cannot write to its disk, and refuses changes; see its log",
    "NOPERM": "the user may not do this on the coordinator; see the driver's page for the rights that it needs",
    "NOAUTH": "the coordinator asks for a password; write it into the option coordinator",
    "WRONGPASS": "the coordinator does not take this user and password; correct them in the option coordinator",
    "MOVED": "the coordinator is a node of a cluster; name a single server",
    "CLUSTERDOWN": "the coordinator is a node of a cluster; name a single server",
    "BUSY": "another client's script keeps the coordinator busy; end it with SCRIPT KILL",
    "NOREPLICAS": "the coordinator has fewer replicas than it asks for; bring them back",
    "DB": "the coordinator has no database of this number; its setting databases says how many it has",
}
_STRIPPED: Final = {
    "BusyLoadingError": "LOADING",
    "ReadOnlyError": "READONLY",
    "OutOfMemoryError": "OOM",
    "MasterDownError": "MASTERDOWN",
    "ClusterDownError": "CLUSTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "AuthenticationError": "WRONGPASS",
}
"""The codes that redis-py takes off a reply, by the exceptions that it makes of it."""
_IN_SCRIPT: Final = re.compile(r"@user_script: ?\d+: -?(?P<said>[A-Z]+ .*)")
"""Where Redis before version 7 says why a command of a script failed."""


class Internal(StorageUnavailable):
    """What the driver tells apart, and its callers need not."""


class TryAgain(Internal):
    """It did not work just now, and may be tried again immediately. Nothing happened."""


class TokenRefused(Internal):
    """The token is not good any more. Nothing happened."""


class NotThere(Internal):
    """The account, container or object is not there. Nothing happened."""


class Exists(Internal):
    """The object is there already. Nothing happened."""


def status_of(error: ClientException) -> int:
    """The status of the answer; 0 if it had none."""
    return int(error.http_status or 0)


def refused(error: ClientException, where: str) -> StorageError:
    """What to raise ``from error`` where Swift answered that it did not do what was asked."""
    status = status_of(error)
    said = f"{where} says: {status} {error.http_reason or error.msg}"
    if status == 401:
        return TokenRefused(f"Swift rejected the token; check the user and password. Nothing was done. {said}")
    if status == 404:
        return NotThere(f"{_REMEDIES[404]}. Nothing was done. {said}")
    if status == 412:
        return Exists(f"{_REMEDIES[412]}. Nothing was done. {said}")
    if status in _NOT_NOW:
        return TryAgain(f"{_REMEDIES[status]}. Nothing was done. {said}")
    if status in _FULL:
        return StorageFull(f"the account or a disk is full; make some room. Nothing was written. {said}")
    if status in (408, 499) or status >= 500:
        # Too few replicas answered; some may have done it, and will tell the others.
        return OutcomeUnknown(f"Swift could not do it on enough replicas, so it is unknown whether it happened. {said}")
    return StorageUnavailable(f"{_REMEDIES.get(status, 'Swift refused the request')}. Nothing was done. {said}")


def broken(error: BaseException, where: str) -> StorageError:
    """What to raise ``from error`` where no whole answer came."""
    if handshake := _handshake(error):
        return StorageUnavailable(f"{_tls_remedy(handshake, where)} Nothing was done. {handshake}")
    if _unsent(error):
        return StorageUnavailable(
            f"{where} cannot be reached; check that the proxy servers run, and the URI. Nothing was done. {error}"
        )
    if isinstance(error, requests.Timeout | urllib.TimeoutError):
        said = f"{where} did not answer in time ({error})"
    else:
        said = f"the connection to {where} broke before the answer came ({str(error) or type(error).__name__})"
    return OutcomeUnknown(f"{said}, so it is unknown whether the operation was done")


def newer_there(where: str) -> TryAgain:
    """What to raise where Swift took a write, and stored nothing since what is there is newer."""
    return TryAgain(f"{_REMEDIES[409]}. Nothing was done. {where} says: 202 Accepted")


def not_authenticated(error: Exception, where: str) -> StorageError:
    """What to raise ``from error`` where no token was given out. Their errors show no password, but URLs may."""
    kind = type(error).__name__
    if isinstance(error, keystone.Unauthorized | keystone.Forbidden):
        return StorageUnavailable(f"{where} does not take this user and password; correct them. {kind}")
    if handshake := _handshake(error):
        return StorageUnavailable(f"{_tls_remedy(handshake, where)} {handshake}")
    if isinstance(error, keystone.NotFound):  # so Keystone says that a credential was revoked
        return StorageUnavailable(
            f"{where} knows no such application credential, or is not Keystone; create one, or correct the URI. {kind}"
        )
    if any(isinstance(each, keystone.ConnectionError) for each in _within(error)):
        return StorageUnavailable(
            f"{where} cannot be reached to log in; check that it runs, the URI, and whether it speaks TLS. {kind}"
        )
    if isinstance(error, keystone.EndpointNotFound | keystone.EmptyCatalog | LookupError):
        return StorageUnavailable(f"{where} knows no object store; check the options region and interface. {error}")
    if isinstance(error, keystone.MissingRequiredOptions) or type(error) is Exception:  # so keystoneauth says it too
        return StorageUnavailable(f"{where} lacks what is needed to log in; complete it: {error}")
    return StorageUnavailable(f"{where} did not let this client log in; check the URI. {kind}")


def no_cloud(error: Exception) -> InvalidOption:
    """What to raise ``from error`` where ``clouds.yaml`` and the environment do not say how to log in."""
    from openstack.exceptions import ConfigException  # which takes long, and most URIs do without

    # Only these are certain not to quote a file with passwords.
    known = isinstance(error, ConfigException | keystone.ClientException)
    return InvalidOption(
        f"neither clouds.yaml nor the OS_ variables say how to log in: {error if known else type(error).__name__}; "
        "correct them, name a cloud by the option cloud, or give the URI a host"
    )


def not_ours(name: str) -> IncompatibleStorage:
    """What to raise where an object holds what this driver has not written."""
    return IncompatibleStorage(
        f"the object {name!r} is damaged, or another program wrote it; delete it, or use another prefix"
    )


@contextmanager
def begun(said: str) -> Iterator[None]:
    """What fails in here leaves the operation done in part, or done: it ends with ``OutcomeUnknown``."""
    try:
        yield
    except OutcomeUnknown:
        raise
    except (StorageUnavailable, StorageClosed) as error:
        raise OutcomeUnknown(f"{said}: {error}") from error


def _tls_remedy(error: ssl.SSLError, where: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_HOST:
            return f"the certificate of {where} is another host's; write the host name that it is for."
        return f"the certificate of {where} is not trusted; set tls_ca to the issuer's CA file."
    return f"{where} does not speak TLS as this client does; write swift+http:// if it speaks none."


def _handshake(error: BaseException) -> ssl.SSLError | None:
    """Why the handshake of TLS failed, before which nothing is sent; None if it did not."""
    for each in _within(error):
        # A connection may break with an error of TLS later too.
        if isinstance(each, ssl.SSLCertVerificationError) or getattr(each, "reason", "") == "WRONG_VERSION_NUMBER":
            return each if isinstance(each, ssl.SSLError) else None
    return None


def is_reply_of_redis(error: Exception) -> bool:
    """Whether redis-py raised it for an error that the server answered."""
    import redis.exceptions as theirs  # which is there where there is a coordinator

    return isinstance(error, theirs.ResponseError | theirs.BusyLoadingError | theirs.AuthenticationError)


def is_time_out(error: Exception) -> bool:
    """Whether redis-py raised it since time was up."""
    import redis.exceptions as theirs

    return isinstance(error, theirs.TimeoutError | TimeoutError)


def odd_coordinator(where: str) -> IncompatibleStorage:
    """What to raise where a reply is not one that Redis gives."""
    return IncompatibleStorage(f"{where} does not answer as a Redis does; correct the option coordinator")


def coordinator_refused(error: Exception, where: str) -> StorageError:
    """What to raise ``from error`` where the coordinator answered that it did not do what was asked."""
    said = f"{where} says: {error}"
    code = _code(error)
    if code == "OOM":
        return StorageFull(f"the coordinator has reached its maxmemory; raise it. Nothing was done. {said}")
    remedy = _COORDINATOR_REMEDIES.get(code, "the coordinator refused the operation")
    return StorageUnavailable(f"{remedy}. Nothing was done. {said}")


def coordinator_broken(error: Exception, where: str, *, unknown: bool) -> StorageError:
    """What to raise ``from error`` where no whole answer came. ``unknown``: something may have been changed."""
    if unknown:
        return OutcomeUnknown(f"{where} did not answer, so it is unknown whether the operation was done. {error}")
    handshake = _handshake(error)
    if isinstance(handshake, ssl.SSLCertVerificationError):
        return StorageUnavailable(f"{_tls_remedy(handshake, where)} Nothing was done. {handshake}")
    return StorageUnavailable(
        f"{where} cannot be reached, or did not answer in time; check that it runs, the option coordinator, and "
        f"whether it speaks TLS, as it has to with rediss:// and may not with redis://. Nothing was done. {error}"
    )


def _code(error: Exception) -> str:
    """What a reply of Redis began with, which says what went wrong."""
    said = str(error)
    code = _STRIPPED.get(type(error).__name__, "")
    if code == "WRONGPASS" and "required" in said:
        return "NOAUTH"
    if "can't run this command" in said:  # which has no code within a script
        return "NOPERM"
    if in_script := _IN_SCRIPT.search(said):
        said = in_script["said"]
    return code or said.partition(" ")[0]


def _unsent(error: BaseException) -> bool:
    """Whether no connection was made."""
    unsent = (requests.ConnectTimeout, requests.exceptions.ProxyError, *_UNSENT)
    return any(isinstance(each, unsent) for each in _within(error))


def _within(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was made of, as far as libraries tell."""
    seen: list[BaseException] = []
    left: list[object] = [error]
    while left:
        each = left.pop(0)
        if isinstance(each, BaseException) and each not in seen:
            seen.append(each)
            yield each
            left += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
