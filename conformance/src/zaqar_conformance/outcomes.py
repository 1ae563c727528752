"""What became of a check, and how an error that ended it is judged: whose fault it is."""

from __future__ import annotations

import dis
import linecache
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType, TracebackType

from zaqar_conformance.check import NotRun, Undecided, Violation
from zaqar_conformance.history import Operation
from zaqar_core.contract import ClaimController, Driver, MessageController, RecordStore
from zaqar_core.errors import ZaqarError
from zaqar_core.models import Claim, Message, Page, QueueStats


class Outcome(StrEnum):
    """Of a check, or of a requirement: that of the worst of its checks. The worst come first."""

    ERROR = "error"
    """The fault of the suite or its environment: nothing is known about the driver."""
    FAILED = "failed"
    """The driver breaks a requirement that binds it."""
    NOT_IMPLEMENTED = "not implemented"
    """A method of the driver raises ``NotImplementedError``."""
    KNOWN_FAILURE = "known failure"
    """Failed, as the driver's ``known_failures.toml`` says it does."""
    UNDECIDED = "undecided"
    """The measurements do not decide."""
    NOT_RUN = "not run"
    """It cannot run here: no right to hurt the datastore, no way to look."""
    UNSUPPORTED = "unsupported"
    """It belongs to a capability that is not declared, and was not run or did not pass."""
    OBSERVED = "observed"
    """It passed, though it belongs to a guarantee that is not declared."""
    PASSED = "passed"


RAN = frozenset(Outcome) - {Outcome.NOT_RUN, Outcome.UNSUPPORTED, Outcome.UNDECIDED}
"""The outcomes of what was tried to its end: a run without any of them is no pass."""


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of these; ``NOT_RUN`` if there are none."""
    order = list(Outcome)
    return min(outcomes, key=order.index, default=Outcome.NOT_RUN)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a check ended as it did. ``requirement``: the one broken, where the check said so.

    ``method``: what is not implemented. ``details``: the traceback, where the message alone does not explain.
    ``offending``: where in the history it shows. ``foreign``: an error that is none of ``zaqar_core.errors`` left the
    driver, which no capability, declared or not, allows.
    """

    outcome: Outcome
    message: str = ""
    requirement: str | None = None
    history: tuple[Operation, ...] = ()
    method: str | None = None
    details: str = ""
    offending: tuple[Operation, ...] = ()
    foreign: bool = False


class WorkerFailed(Exception):
    """A worker process ended in an error, already judged there."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(judgement.message)
        self.judgement = judgement


def judge(error: BaseException, suite: str = "") -> Judgement:
    """Judge the error that ended a check. ``suite``: the module of the check's function, if it is not of this package.

    Whatever leaves a driver or the core is the driver's. So is what breaks the suite's code on a value that it has:
    the check is right for right answers, which the reference driver shows. What the suite raises is the suite's own.
    """
    if isinstance(error, Violation):
        return Judgement(Outcome.FAILED, error.seen, error.requirement, error.history, offending=error.offending)
    if isinstance(error, Undecided):
        return Judgement(Outcome.UNDECIDED, str(error))
    if isinstance(error, NotRun):
        return Judgement(Outcome.NOT_RUN, str(error))
    if isinstance(error, WorkerFailed):
        return error.judgement
    message = f"{type(error).__name__}: {error}"
    details = "".join(traceback.format_exception(error))
    if isinstance(error, NotImplementedError):
        method = _method(error)
        return Judgement(Outcome.NOT_IMPLEMENTED, f"{method} is not implemented", method=method, details=details)
    if not isinstance(error, ZaqarError):
        places = _places(error)
        if not places or _is_of_suite(places[-1], suite):
            if places and type(error) in _MISREADINGS and not _raises(places[-1]):
                seen = f"the check cannot read this answer: {message}\n{_values(places)}"
                return Judgement(Outcome.FAILED, seen, details=details)
            return Judgement(Outcome.ERROR, f"the check itself broke: {message}", details=details)
    foreign = not isinstance(error, ZaqarError)
    return Judgement(Outcome.FAILED, f"unexpected {message}", details=details, foreign=foreign)


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames that the error passed, innermost first."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return reversed(frames)


_MISREADINGS = (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError)
"""What Python raises where a value is not what the code takes it for: too short, unknown, of another type."""
_ANSWERS = (type(None), str, int, float, list, tuple, dict, set, Message, Claim, Page, QueueStats)


def _places(error: BaseException) -> list[TracebackType]:
    """Where the error passed, outermost first, without the standard library."""
    places: list[TracebackType] = []
    place = error.__traceback__
    while place is not None:
        if _module(place).partition(".")[0] not in sys.stdlib_module_names:
            places.append(place)
        place = place.tb_next
    return places


def _module(place: TracebackType) -> str:
    return str(place.tb_frame.f_globals.get("__name__", ""))


def _is_of_suite(place: TracebackType, suite: str) -> bool:
    return is_suite(_module(place)) or _module(place) == suite


def _raises(place: TracebackType) -> bool:
    """Whether a ``raise`` or an ``assert`` stands there."""
    return place.tb_frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _values(places: Sequence[TracebackType]) -> str:
    """The line of code that broke, and the values that it had: the answer is among them."""
    own = places[-1].tb_frame
    line = linecache.getline(own.f_code.co_filename, places[-1].tb_lineno).strip()
    values: dict[str, object] = {}
    for place in places[-2:] if own.f_code.co_name.startswith("<") else places[-1:]:  # a comprehension has few
        values |= place.tb_frame.f_locals
    shown = [f"{name} = {repr(value)[:500]}" for name, value in values.items() if isinstance(value, _ANSWERS)]
    return "\n".join([f"in {line}", *shown])


def is_suite(module: str) -> bool:
    """Whether a module is the suite's own (a worker's is ``__main__``); the reference and mutants are drivers."""
    drivers = ("zaqar_conformance.reference", "zaqar_conformance.mutants")
    own = module.startswith("zaqar_conformance.") and not module.startswith(drivers)
    return own or module == "__main__"


def _method(error: BaseException) -> str:
    """The method of the contract that is missing, such as ``ClaimController.create``."""
    name = ""
    for frame in _frames(error):
        name = name or frame.f_code.co_qualname
        owner = frame.f_locals.get("self") or frame.f_locals.get("cls")
        kind = owner if isinstance(owner, type) else type(owner)
        for interface in (Driver, MessageController, ClaimController, RecordStore):
            if issubclass(kind, interface) and frame.f_code.co_name in vars(interface):
                return f"{interface.__name__}.{frame.f_code.co_name}"
    return name


def writing_order(method: str) -> int:
    """Where ``method`` stands in the order in which a driver's author had best write them.

    Records come before messages: the first post to a queue registers it.
    """
    methods = [
        f"{interface.__name__}.{name}"
        for interface in (Driver, RecordStore, MessageController, ClaimController)
        for name in vars(interface)
    ]
    return methods.index(method) if method in methods else len(methods)
