"""A check: a plain function that proves requirements, and the ways in which it can say what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zaqar_conformance.env import Env
    from zaqar_conformance.history import Operation

CheckFunction = Callable[["Env"], None]


@dataclass(frozen=True, slots=True)
class Check:
    """``requirements``: the numbers it proves. ``destructive``: it needs a server of its own (kills, pauses).

    ``thorough``: it takes long, and is left out where somebody is in a hurry. ``waits``: it does little but wait, and
    neither looks at what belongs to the process nor changes it: others may run at the same time, on other datastores.
    """

    name: str
    function: CheckFunction
    requirements: tuple[str, ...]
    destructive: bool = False
    thorough: bool = False
    waits: bool = False

    @property
    def summary(self) -> str:
        """The first line of the function's docstring: what it proves."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


_registry: dict[str, Check] = {}


def check(
    *requirements: str, destructive: bool = False, thorough: bool = False, waits: bool = False
) -> Callable[[CheckFunction], CheckFunction]:
    """Register a function as a check of these requirements. Its name is unique; its docstring says what it proves."""

    def register(function: CheckFunction) -> CheckFunction:
        name = function.__name__
        if name in _registry:
            raise ValueError(f"two checks are called {name!r}; rename one")
        if not requirements or not function.__doc__:
            raise ValueError(f"check {name!r} must name a requirement and have a docstring")
        _registry[name] = Check(name, function, requirements, destructive, thorough, waits)
        return function

    return register


def registered() -> list[Check]:
    """Every check of the modules imported so far, in the order of definition."""
    return list(_registry.values())


class Violation(Exception):
    """The driver breaks a requirement. ``history``: the operations that show it; ``offending``: where they do."""

    def __init__(
        self, requirement: str, seen: str, history: Sequence[Operation] = (), offending: Sequence[Operation] = ()
    ) -> None:
        super().__init__(f"{requirement}: {seen}")
        self.requirement = requirement
        self.seen = seen
        self.history = tuple(history)
        self.offending = tuple(offending)


class Undecided(Exception):
    """The measurements do not decide (an interval across the bound)."""


class NotRun(Exception):
    """This check cannot run here (no right to destroy the server, no way to trace); the reason is the message."""


def ensure(condition: object, requirement: str, seen: str, history: Sequence[Operation] = ()) -> None:
    """Raise ``Violation`` unless ``condition`` holds. ``seen`` says what was seen and what had to be."""
    if not condition:
        raise Violation(requirement, seen, history)


def ensure_equal(actual: Any, expected: Any, requirement: str, what: str) -> None:
    """Raise ``Violation`` unless the two are equal."""
    ensure(actual == expected, requirement, f"{what}: expected {_short(expected)}, got {_short(actual)}")


def ensure_raises(error: type[Exception], requirement: str, what: str, call: Callable[[], object]) -> Exception:
    """Raise ``Violation`` unless ``call`` raises ``error``; returns what it raised."""
    try:
        result = call()
    except error as raised:
        return raised
    except NotImplementedError:
        raise  # a method that is yet to be written breaks no requirement
    except Exception as raised:
        seen = f"{what}: expected {error.__name__}, got {type(raised).__name__}: {raised}"
        raise Violation(requirement, seen) from raised
    raise Violation(requirement, f"{what}: expected {error.__name__}, got the result {_short(result)}")


def _short(value: object, most: int = 300) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
