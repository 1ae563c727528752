"""What a whole run came to, in a word and a sentence: for the page and for the badge."""

from __future__ import annotations

from collections.abc import Mapping
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
        return f"{', '.join(filter(None, reasons))}."
    if report["interrupted"]:
        return "The run was interrupted; what follows is of the checks until then."
    errors = _count(outcomes.get("error", 0), "check", "checks", " broke by the suite's or the environment's fault")
    return f"{errors or 'Nothing was run'}."


def _count(number: int, one: str, more: str, rest: str = "") -> str:
    return f"{number} {one if number == 1 else more}{rest}" if number else ""
