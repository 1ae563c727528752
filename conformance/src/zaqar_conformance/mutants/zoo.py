"""The register of mutants: what each breaks, and the target that it is run on."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeVar
from unittest.mock import patch

from zaqar_conformance.mutants.file import FileDriver, FileTarget
from zaqar_conformance.reference.driver import ReferenceDriver
from zaqar_conformance.reference.target import MemoryTarget
from zaqar_conformance.target import Target
from zaqar_core.contract import Driver

T = TypeVar("T", bound=type)
Change = tuple[object, str, Any]
"""What, the name of its attribute, and what takes the attribute's place."""

WITHOUT: dict[str, str] = {}
"""The requirements that a driver must keep and that no mutant breaks, each with the reason why none can."""

_INSTALLED = str(Path(__file__).with_name("installed"))
"""Where a distribution is whose driver mutants are: on the path of those who run them, and of nobody else."""

_PLACES = ("state_class", "messages_class", "claims_class", "records_class")


@dataclass(frozen=True)
class Mutant:
    """A driver that breaks every one of ``requirements``; or a control, which breaks none.

    ``theme``: the module that it is from. ``checked``: the requirements whose checks it is run through: of a mutant
    those it breaks. ``attributes``: of its target. ``changes``: of the core, while it runs, instead of a driver's.
    """

    name: str
    theme: str
    defect: str
    requirements: tuple[str, ...]
    checked: tuple[str, ...]
    driver: type[Driver]
    attributes: dict[str, Any] = field(default_factory=dict)
    changes: Callable[[], list[Change]] | None = None

    def target(self) -> Target:
        """A fresh target of it. From now on, in this process and in its workers, the scheme ``mutant`` is known."""
        if self.changes is not None:
            return MemoryTarget()
        if _INSTALLED not in sys.path:
            sys.path.append(_INSTALLED)
        base = _FileMutantTarget if issubclass(self.driver, FileDriver) else _MemoryMutantTarget
        made: Target = type("MutantTarget", (base,), {"mutant": self.name, **self.attributes})()
        return made

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While this lasts, what it changes in the core is changed."""
        changes = self.changes() if self.changes else []
        patches = [patch.object(*change) for change in changes]
        for each in patches:
            each.start()
        try:
            yield
        finally:
            for each in reversed(patches):
                each.stop()


_mutants: dict[str, Mutant] = {}


def mutant(*requirements: str, base: type[ReferenceDriver] = ReferenceDriver, **attributes: Any) -> Callable[[T], T]:
    """Register a class as a mutant that breaks these requirements, each of which has to be seen broken.

    The class is a driver, or takes the place of the like part of ``base``. ``attributes``: of the target.
    """

    def register(part: T) -> T:
        _add(part, requirements, requirements, _driver(part, base), attributes)
        return part

    return register


def control(*checked: str, base: type[ReferenceDriver] = ReferenceDriver, **attributes: Any) -> Callable[[T], T]:
    """Register a class as a driver that does right by unusual means, in which these checks must find nothing."""

    def register(part: T) -> T:
        _add(part, (), checked, _driver(part, base), attributes)
        return part

    return register


def core_mutant(*requirements: str) -> Callable[[Callable[[], list[Change]]], Callable[[], list[Change]]]:
    """Register a function, which says what to change in the core, as a mutant; the driver below is right."""

    def register(changes: Callable[[], list[Change]]) -> Callable[[], list[Change]]:
        _add(changes, requirements, requirements, ReferenceDriver, {}, changes)
        return changes

    return register


def all_mutants() -> list[Mutant]:
    """Every mutant, by module and in the order of definition."""
    return [each for each in _everything().values() if each.requirements]


def controls() -> list[Mutant]:
    """The drivers of the register that are right."""
    return [each for each in _everything().values() if not each.requirements]


def find(name: str) -> Mutant:
    """The mutant or control of that name. Raises ``KeyError``."""
    return _everything()[name]


def _everything() -> dict[str, Mutant]:
    package = __name__.rpartition(".")[0]
    for module in sorted(found.name for found in iter_modules(import_module(package).__path__)):
        import_module(f"{package}.{module}")
    return _mutants


def _add(
    defined: Any,
    requirements: tuple[str, ...],
    checked: tuple[str, ...],
    driver: type[Driver],
    attributes: dict[str, Any],
    changes: Callable[[], list[Change]] | None = None,
) -> None:
    name = re.sub(r"(?<=.)(?=[A-Z])|_", "-", defined.__name__).lower()
    defect = " ".join((defined.__doc__ or "").partition("\n\n")[0].split())
    if name in _mutants or not defect or not checked:
        raise ValueError(f"mutant {name} must have a name of its own, a docstring, and requirements")
    theme = defined.__module__.rpartition(".")[2]
    _mutants[name] = Mutant(name, theme, defect, requirements, checked, driver, attributes, changes)


def _driver(part: type, base: type[ReferenceDriver]) -> type[Driver]:
    if issubclass(part, Driver):
        return part
    place = next(place for place in _PLACES if issubclass(part, getattr(base, place)))
    # Of the base's module: there the suite looks for the driver's options.
    return type(part.__name__, (base,), {place: part, "__module__": base.__module__})


class _MemoryMutantTarget(MemoryTarget):
    name = "mutant"
    scheme = "mutant"
    reference = False
    check_limit = 60.0
    mutant = ""

    def uri(self, store: str, *options: str) -> str:
        return "&".join([f"mutant://{store}?mutant={self.mutant}", *options])


class _FileMutantTarget(FileTarget):
    name = "mutant"
    check_limit = 60.0
    mutant = ""

    without = ""
    """Capabilities that it does not declare, by comma."""

    def uri(self) -> str:
        return f"mutant://{self.path}?mutant={self.mutant}&without={self.without}"
