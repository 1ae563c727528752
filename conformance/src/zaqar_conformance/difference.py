"""What changed from one report to another, and what of it is a regression."""

from __future__ import annotations

from dataclasses import dataclass

from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.reading import ReportData
from zaqar_conformance.report import Verdict

_BROKEN = frozenset({Outcome.FAILED, Outcome.NOT_IMPLEMENTED, Outcome.ERROR})
_KEPT = frozenset({Outcome.PASSED, Outcome.OBSERVED})
_GONE = frozenset({Verdict.FAILED, Verdict.NOT_DECLARED, Verdict.OBSERVED})


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one requirement or capability. ``text``: the requirement's."""

    name: str
    old: str
    new: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed.

    ``failing``: requirements that were not broken and are; ``fixed``: the other way. ``unproven``: passed, and now
    neither passes nor is broken. ``added``, ``removed``: requirements that only one report has. ``gained``:
    capabilities that are proven and were not. Of those that were: ``lost``: now they fail or are not declared any
    more; ``weaker``: now nothing proves them.
    """

    failing: tuple[Change, ...]
    fixed: tuple[Change, ...]
    unproven: tuple[Change, ...]
    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    gained: tuple[Change, ...]
    lost: tuple[Change, ...]
    weaker: tuple[Change, ...]

    @property
    def is_regression(self) -> bool:
        """Whether something that held is now seen not to."""
        return bool(self.failing or self.lost)


def difference(old: ReportData, new: ReportData) -> Difference:
    """What changed from ``old`` to ``new``, in the order of the contract."""
    before = {each["id"]: each for each in old["requirements"]}
    after = {each["id"]: each for each in new["requirements"]}
    both = [
        Change(number, before[number]["outcome"], each["outcome"], each["text"])
        for number, each in after.items()
        if number in before
    ]
    had = {each["name"]: each["verdict"] for each in old["capabilities"]}
    moved = [
        Change(each["name"], had.get(each["name"], Verdict.NOT_DECLARED), each["verdict"])
        for each in new["capabilities"]
    ]
    return Difference(
        failing=tuple(each for each in both if each.old not in _BROKEN and each.new in _BROKEN),
        fixed=tuple(each for each in both if each.old in _BROKEN and each.new in _KEPT),
        unproven=tuple(each for each in both if each.old in _KEPT and each.new not in _KEPT | _BROKEN),
        added=tuple(Change(n, "", each["outcome"], each["text"]) for n, each in after.items() if n not in before),
        removed=tuple(Change(n, each["outcome"], "", each["text"]) for n, each in before.items() if n not in after),
        gained=tuple(each for each in moved if each.old != each.new == Verdict.PROVEN),
        lost=tuple(each for each in moved if each.old == Verdict.PROVEN and each.new in _GONE),
        weaker=tuple(
            each for each in moved if each.old == Verdict.PROVEN and each.new in (Verdict.UNPROVEN, Verdict.UNDECIDED)
        ),
    )
