"""The checks: plain functions in the modules of this package, each naming the requirements that it proves."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from zaqar_conformance.check import Check, registered


def all_checks() -> list[Check]:
    """Every check of this package, in the order of definition; modules by name."""
    for module in sorted(found.name for found in iter_modules(__path__)):
        import_module(f"{__name__}.{module}")
    return [check for check in registered() if check.function.__module__.startswith(f"{__name__}.")]
