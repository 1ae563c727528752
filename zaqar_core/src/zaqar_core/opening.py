"""Opens the driver of a URI: whatever a driver raises comes out as an error of this project, without secrets."""

from __future__ import annotations

from contextlib import suppress

from zaqar_core.capabilities import Capability
from zaqar_core.contract import Driver
from zaqar_core.errors import BrokenDriver, ZaqarError
from zaqar_core.hiding import Secrets, said
from zaqar_core.limits import Limits
from zaqar_core.signals import is_from_handler
from zaqar_core.uri import Uri


class UnfinishedDriver(BrokenDriver, NotImplementedError):
    """The driver's ``open``, or what it calls, is not written yet; the conformance suite counts it as such."""


def open_driver(kind: type[Driver], uri: Uri, *, connect_timeout: float, timeout: float) -> Driver:
    """An open driver of this kind. Raises what ``Driver.open`` may raise, and ``BrokenDriver`` for all else.

    No error shows a secret of the URI, its causes neither.
    """
    secrets = Secrets(uri)
    try:
        return _opened(kind, uri, connect_timeout, timeout)
    except ZaqarError as error:
        clean = secrets.hide_in_error(error)
        if clean is error:
            raise
    except Exception as error:
        if is_from_handler(error):
            raise
        broken = UnfinishedDriver if isinstance(error, NotImplementedError) else BrokenDriver
        clean = broken(
            f"the driver for {uri.scheme!r} failed to open with {type(error).__name__}: {secrets.hide(said(error))}; "
            "this is an error in the driver: report it to its authors"
        ).with_traceback(error.__traceback__)
        clean.__cause__ = secrets.hide_in_error(error)
    # Outside of the handler, or an error that shows a secret would be the context of this one.
    raise clean


def _opened(kind: type[Driver], uri: Uri, connect_timeout: float, timeout: float) -> Driver:
    driver: object = kind.open(uri, connect_timeout=connect_timeout, timeout=timeout)
    if not isinstance(driver, Driver):
        raise TypeError(f"expected open to return a Driver, got {type(driver).__name__}")
    try:
        _ = [Capability(one) for one in driver.capabilities]
        limits: object = driver.limits
        if not isinstance(limits, Limits | None):
            raise TypeError(f"expected its limits to be a Limits or None, got {type(limits).__name__}")
    except BaseException:
        with suppress(Exception):
            driver.close()
        raise
    return driver
