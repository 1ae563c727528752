"""The one place that turns errors of OpenStack Zaqar, and those it lets through, into the errors of the project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis.exceptions
from keystoneauth1.exceptions import ClientException as KeystoneError
from swiftclient.exceptions import ClientException as SwiftError
from zaqar.common.errors import InvalidDriver
from zaqar.storage import errors as theirs

from zaqar_core.errors import IncompatibleStorage, OutcomeUnknown, StorageError, StorageUnavailable, ZaqarError

_UNREACHABLE: Final = (
    theirs.ConnectionError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    KeystoneError,
    SwiftError,
    OSError,
)


@contextmanager
def opening(where: str) -> Iterator[None]:
    """Raise ``StorageUnavailable``, or ``IncompatibleStorage`` where the datastore answers and is not to its liking."""
    try:
        yield
    except ZaqarError:
        raise
    except Exception as error:
        # InvalidDriver says why by holding the exception.
        cause = error.args[0] if isinstance(error, InvalidDriver) and error.args else error
        if isinstance(cause, _UNREACHABLE):
            raise StorageUnavailable(f"{where} cannot be reached; check that it runs, and the URI. {cause}") from error
        raise IncompatibleStorage(
            f"OpenStack Zaqar's driver cannot open {where}: {_said(cause)}; see the cause"
        ) from error


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise ``StorageUnavailable``, or ``StorageError`` for whatever else goes wrong within OpenStack Zaqar."""
    try:
        yield
    except ZaqarError:
        raise
    except _UNREACHABLE as error:
        raise StorageUnavailable(f"{what}: the datastore did not answer OpenStack Zaqar. {_said(error)}") from error
    except Exception as error:
        raise StorageError(f"{what}: OpenStack Zaqar failed with {_said(error)}; see the cause") from error


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Raise ``OutcomeUnknown``: OpenStack Zaqar writes in several steps, and does not say how far it came."""
    try:
        yield
    except ZaqarError:
        raise
    except _UNREACHABLE as error:
        raise OutcomeUnknown(
            f"{what}: the datastore did not answer OpenStack Zaqar, so it may have happened. {_said(error)}"
        ) from error
    except Exception as error:
        raise OutcomeUnknown(
            f"{what}: OpenStack Zaqar failed with {_said(error)}, so it may have happened in part; see the cause"
        ) from error


def _said(error: object) -> str:
    return f"{type(error).__name__}: {error}"
