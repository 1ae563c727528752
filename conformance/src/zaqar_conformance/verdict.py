"""What a whole run came to, in a word and a sentence: for the page and for the badge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Word = Literal["passed", "failed", "no verdict"]


@dataclass(frozen=True, slots=True)
class Overall:
    """``word`` is what the exit code says. ``scope``: what the run was narrowed to; "" if it was the whole."""

    word: Word
    sentence: str
    scope: str


def overall(report: Mapping[str, Any]) -> Overall:
    """The verdict on a report, as its JSON has it."""
    scope = [] if report["profile"] == "full" else [f"profile {report['profile']}"]
    scope += ["quick"] if report["quick"] else []
    scope += [f"only {each}" for each in report["only"]]
    return Overall(_WORDS[report["exit_code"]], _sentence(report), ", ".join(scope))


def start(failures: Sequence[str | None]) -> str:
    """Which requirement to begin with, as a sentence; "" of few failures, or where they have none in common.

    ``failures``: for each that one the check saw broken, None where it did not say.
    """
    counts = Counter(number for number in failures if number is not None)
    number, most = max(counts.items(), key=lambda item: item[1], default=("", 0))
    if len(failures) <= _FEW or most < 2:
        return ""
    return f"{most} of {len(failures)} failures are about {number}: start there."


_FEW = 5
"""So many failures are read without being told where to begin."""
_INTERRUPTED = "The run was interrupted; what follows is of the checks until then."
_WORDS: dict[int, Word] = {0: "passed", 1: "failed", 3: "no verdict"}


def _sentence(report: Mapping[str, Any]) -> str:
    outcomes = report["outcomes"]
    if report["exit_code"] == 0:
        return "Every check that had to pass passed."
    if report["exit_code"] == 1:
        reasons = [
            _count(outcomes.get("failed", 0), "check failed", "checks failed"),
            _count(outcomes.get("not implemented", 0), "check waits", "checks wait", " for a method to be written"),
            _count(len(report["stale_known_failures"]), "known failure is", "known failures are", " out of date"),
        ]
        interrupted = f" {_INTERRUPTED}" if report["interrupted"] else ""
        return f"{', '.join(filter(None, reasons))}.{interrupted}"
    if report["interrupted"]:
        return _INTERRUPTED
    if "not stopped" in report["environment"]:
        return "The datastore did not stop."
    errors = _count(outcomes.get("error", 0), "check", "checks", " broke by the suite's or the environment's fault")
    undecided = _count(
        outcomes.get("undecided", 0), "check is undecided", "checks are undecided", ", and nothing was decided"
    )
    return f"{errors or undecided or 'Nothing was run'}."


def _count(number: int, one: str, more: str, rest: str = "") -> str:
    return f"{number} {one if number == 1 else more}{rest}" if number else ""
