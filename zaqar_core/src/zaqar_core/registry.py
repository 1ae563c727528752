"""Finds drivers by URI scheme among the installed distributions; imports only the one that is asked for."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint

from zaqar_core.contract import CONTRACT, Driver
from zaqar_core.encoding import shown
from zaqar_core.errors import AmbiguousScheme, BrokenDriver, ContractMismatch, UnknownScheme
from zaqar_core.hiding import said
from zaqar_core.plugins import offered, owner
from zaqar_core.signals import is_from_handler

GROUP = "zaqar_core.drivers"

DISTRIBUTIONS = {
    "sqlite": "zaqar-sqlite",
    **dict.fromkeys(("redis", "redis+unix", "redis+sentinel", "redis+cluster"), "zaqar-redis"),
    **dict.fromkeys(("rediss", "rediss+sentinel", "rediss+cluster"), "zaqar-redis"),
    **dict.fromkeys(("swift", "swift+http"), "zaqar-swift"),
    "rethinkdb": "zaqar-rethinkdb",
    "memory": "zaqar-conformance",
}
"""This project's own schemes and the distributions to install for them."""


def installed() -> dict[str, list[EntryPoint]]:
    """The entry points of each installed scheme, nothing imported; more than one means a clash."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in offered(GROUP):
        found.setdefault(entry.name, []).append(entry)
    return dict(sorted(found.items()))


def load_driver(scheme: str) -> type[Driver]:
    """Import the driver for ``scheme``.

    Raises ``UnknownScheme``, ``AmbiguousScheme``, ``BrokenDriver`` (the cause chained) or ``ContractMismatch``.
    """
    drivers = installed()
    entries = drivers.get(scheme, [])
    if not entries:
        raise UnknownScheme(f"no driver for {scheme!r} is installed; {_advice(scheme, list(drivers))}")
    if len(entries) > 1:
        names = " and ".join(sorted(owner(entry) for entry in entries))
        raise AmbiguousScheme(f"{names} both offer a driver for {scheme!r}; uninstall all but one")
    entry = entries[0]
    try:
        driver = entry.load()
    except BaseException as error:  # SystemExit, too: an import must not end the process
        if isinstance(error, KeyboardInterrupt) or is_from_handler(error):
            raise
        raise BrokenDriver(
            f"the driver for {scheme!r} is installed ({owner(entry)}) but importing {entry.value} failed with "
            f"{type(error).__name__}: {said(error)}; {_repair(error, owner(entry))}"
        ) from error
    if not (isinstance(driver, type) and issubclass(driver, Driver)):
        raise BrokenDriver(
            f"{owner(entry)} offers {entry.value} for {scheme!r}, which is not a subclass "
            "of zaqar_core.contract.Driver; report it to its authors"
        )
    version = getattr(driver, "contract", None)
    if not (isinstance(version, int) and version == CONTRACT):
        raise ContractMismatch(
            f"the driver for {scheme!r} ({owner(entry)}) speaks contract {shown(version)}, this zaqar-core speaks "
            f"{CONTRACT}; install versions of the two that fit"
        )
    return driver


def _advice(scheme: str, known: list[str]) -> str:
    if scheme in DISTRIBUTIONS:
        return f"pip install {DISTRIBUTIONS[scheme]}"
    # A scheme without TLS sends the password in the clear: suggest it only for a scheme that asks for it.
    advised = {each for each in (*known, *DISTRIBUTIONS) if not each.endswith("+http") or scheme.endswith("+http")}
    close = difflib.get_close_matches(scheme, advised, n=1)
    if close and close[0] not in known:
        return f"did you mean {close[0]!r} (pip install {DISTRIBUTIONS[close[0]]})?"
    if close:
        return f"did you mean {close[0]!r}?"
    return f"installed are: {', '.join(known) or 'none'}; install the distribution that offers it"


def _repair(error: BaseException, dist: str) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"install {error.name!r}, or reinstall {dist}"
    if isinstance(error, ImportError):
        return f"one of its dependencies has a version that does not fit: reinstall {dist}"
    return f"this is an error in {dist}: report it to its authors"
