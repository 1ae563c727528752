"""``report.html``: what one run found, as one page for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zaqar_conformance.costs import NOT_COUNTED
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.pages.plot import costs_by_state
from zaqar_conformance.pages.rendering import page
from zaqar_conformance.pages.timeline import Timeline, timeline
from zaqar_conformance.reading import ReportData
from zaqar_conformance.requirements import Contract, load
from zaqar_conformance.scoring import advice
from zaqar_conformance.verdict import overall, start


def report_page(report: ReportData) -> str:
    """The page for a report, as its JSON has it: complete in itself, and it asks nothing of anybody."""
    contract = known_contract(report["contract"])
    checks = {check["name"]: check for check in report["checks"]}
    outcomes = [(outcome.value, report["outcomes"].get(outcome.value, 0)) for outcome in reversed(Outcome)]
    costs = [cost for check in report["checks"] for cost in check["costs"]]
    return page(
        "report.html.j2",
        report=report,
        overall=overall(report),
        outcomes=[(outcome, count) for outcome, count in outcomes if count],
        segments=_segments([(outcome, count) for outcome, count in outcomes if count]),
        begin=start([check["requirement"] for check in report["checks"] if check["outcome"] == "failed"]),
        broken=[_failure(check, contract) for check in report["checks"] if check["outcome"] in ("failed", "error")],
        missing=[(method, [checks[name] for name in names]) for method, names in report["missing_methods"].items()],
        open_checks=[check for check in report["checks"] if check["outcome"] in _OPEN],
        costs=costs_by_state(costs),
        uncounted=_uncounted(report),
        sections=sections(report, contract),
        shown=[outcome.value for outcome in Outcome if any(r["outcome"] == outcome for r in report["requirements"])],
        checks=checks,
        environment=_environment(report["environment"]),
    )


_OPEN = ("known failure", "undecided", "not run")


@dataclass(frozen=True, slots=True)
class _Failure:
    check: Mapping[str, Any]
    broken: tuple[tuple[str, str], ...]
    advice: str
    timeline: Timeline | None


@dataclass(frozen=True, slots=True)
class SectionOf:
    """A section of the contract, with the results of its requirements."""

    prefix: str
    title: str
    requirements: tuple[Mapping[str, Any], ...]
    counts: tuple[tuple[str, int], ...]


def known_contract(version: int) -> Contract | None:
    """The contract of that version, if this zaqar-conformance still has it."""
    try:
        return load(version)
    except FileNotFoundError:
        return None


def sections(report: ReportData, contract: Contract | None) -> list[SectionOf]:
    """The requirements of the report by section, in the order of the contract."""
    titles = {section.prefix: section.title for section in contract.sections} if contract else {}
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for requirement in report["requirements"]:
        groups.setdefault(requirement["id"][:3], []).append(requirement)
    found = []
    for prefix, members in groups.items():
        counts = Counter(requirement["outcome"] for requirement in members)
        ordered = tuple((outcome.value, counts[outcome.value]) for outcome in Outcome if counts[outcome.value])
        found.append(SectionOf(prefix, titles.get(prefix, prefix), tuple(members), ordered))
    return found


def _failure(check: Mapping[str, Any], contract: Contract | None) -> _Failure:
    numbers = [check["requirement"]] if check["requirement"] else check["requirements"]
    known = contract.requirements if contract else {}
    broken = tuple((number, known[number].text if number in known else "") for number in numbers)
    drawn = timeline(check["history"], check["offending"], check["history_length"], check["message"])
    todo = advice(Outcome(check["outcome"]), check["requirement"], contract) if contract else ""
    return _Failure(check, broken, todo, drawn)


def _segments(outcomes: list[tuple[str, int]]) -> list[tuple[str, int, float, float]]:
    """The parts of a bar, each of an outcome: where it begins and how long it is, in hundredths."""
    total = sum(count for _, count in outcomes)
    found, start = [], 0.0
    for outcome, count in outcomes:
        share = 100 * count / total
        found.append((outcome, count, round(start, 3), round(share, 3)))
        start += share
    return found


def _uncounted(report: ReportData) -> list[str]:
    """Why round trips were not counted, where they were not."""
    notes = [note for check in report["checks"] if check["costs"] for note in check["notes"]]
    return list(dict.fromkeys(note for note in notes if note.startswith(NOT_COUNTED)))


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, one line each; what is nested is named by its path."""
    rows = []
    for name, value in environment.items():
        if isinstance(value, dict):
            rows += [(f"{name} {inner}", text) for inner, text in _environment(value)]
        else:
            rows.append((str(name), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return rows
