"""What outcomes mean: for a driver that declares so much and no more, for requirements, for capabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from zaqar_conformance.check import Check
from zaqar_conformance.known_failures import KnownFailure
from zaqar_conformance.outcomes import Judgement, Outcome, worst
from zaqar_conformance.report import CapabilityResult, CheckResult, RequirementResult, Verdict
from zaqar_conformance.requirements import Contract, Requirement, load
from zaqar_core import Capability

NOT_FAILING = frozenset({Outcome.PASSED, Outcome.OBSERVED, Outcome.UNSUPPORTED})
"""The outcomes with which a known failure is out of date."""


def features(check: Check) -> frozenset[Capability]:
    """The features without which a check is not run: those of all requirements that it names."""
    return frozenset().union(*(requirement.features for requirement in _of(check)))


def bound(check: Check, judgement: Judgement, declared: frozenset[Capability]) -> Judgement:
    """What the judgement means for a driver that declares no more than ``declared``.

    A guarantee that is not declared cannot be broken, only observed. Where a check says which requirement it saw
    broken, that one's guarantee counts, whether or not the check names it; else those of all that it names. No
    guarantee allows a driver to let out errors that are not the contract's. A missing method is missing either way.
    """
    if judgement.outcome is Outcome.PASSED:
        return judgement if _guarantees(_of(check)) <= declared else replace(judgement, outcome=Outcome.OBSERVED)
    blamed = load().requirements.get(judgement.requirement) if judgement.requirement else None
    concerned = [blamed] if blamed else [] if judgement.requirement or judgement.foreign else _of(check)
    open_guarantees = _guarantees(concerned) - declared
    if open_guarantees and judgement.outcome in (Outcome.FAILED, Outcome.UNDECIDED):
        message = f"{', '.join(sorted(open_guarantees))} is not declared (seen: {judgement.message})"
        return Judgement(Outcome.UNSUPPORTED, message)
    return judgement


def stale(known: Sequence[KnownFailure], checks: Sequence[Check], results: Sequence[CheckResult]) -> list[str]:
    """The entries that match nothing, or whose checks were all run, and none of them fails or leaves it open."""
    outcomes = {result.name: result.outcome for result in results}
    found = []
    for entry in known:
        covered = [check for check in checks if entry.covers(check)]
        mine = [outcomes[check.name] for check in covered if check.name in outcomes]
        if not covered:
            found.append(f"{entry} (no check is or names it)")
        elif len(mine) == len(covered) and NOT_FAILING.issuperset(mine):
            seen = ", ".join(outcome for outcome in Outcome if outcome in mine)
            found.append(f"{entry} (nothing of it fails: {seen})")
    return found


def said_of(numbers: AbstractSet[str], result: CheckResult) -> Outcome | None:
    """What the result says of these requirements; None: nothing.

    A check that saw one requirement broken says so of that one, even if it does not name it. It ended there: of the
    others that it names it says no more than if it had not run.
    """
    blamed = result.requirement if result.outcome in (Outcome.FAILED, Outcome.KNOWN_FAILURE) else None
    if blamed in numbers:
        return result.outcome
    if numbers.isdisjoint(result.requirements):
        return None
    return Outcome.NOT_RUN if blamed else result.outcome


def requirement_results(
    requirements: Iterable[Requirement], chosen: Sequence[Check], results: Sequence[CheckResult], only: Sequence[str]
) -> tuple[RequirementResult, ...]:
    """What became of each requirement; if a part of the checks was asked for, of those that they name or saw broken."""
    found = []
    for requirement in requirements:
        said = {result.name: said_of({requirement.id}, result) for result in results}
        names = tuple(check.name for check in chosen if requirement.id in check.requirements or said.get(check.name))
        if only and not names:
            continue
        outcomes = [outcome for outcome in said.values() if outcome is not None]
        telling = [outcome for outcome in outcomes if outcome is not Outcome.UNSUPPORTED] or outcomes
        found.append(
            RequirementResult(
                requirement.id,
                requirement.level,
                requirement.layer,
                requirement.capability,
                requirement.text,
                worst(telling),
                names,
            )
        )
    return tuple(found)


def capability_results(
    contract: Contract, declared: frozenset[Capability], checks: Sequence[Check], results: Sequence[CheckResult]
) -> tuple[CapabilityResult, ...]:
    """The verdict on every capability, from the checks of the requirements that belong to it.

    ``checks``: all that there are for the target; those that were not run prove nothing.
    """
    requirements = contract.requirements
    ran = {result.name for result in results}
    found = []
    for capability in Capability:
        numbers = {requirement.id for requirement in requirements.values() if requirement.capability is capability}
        outcomes = {outcome for result in results if (outcome := said_of(numbers, result)) is not None}
        if {check.name for check in checks if numbers.intersection(check.requirements)} - ran:
            outcomes.add(Outcome.NOT_RUN)
        verdict = _declared_verdict(outcomes) if capability in declared else _undeclared_verdict(outcomes)
        kind = "feature" if capability.is_feature else "guarantee"
        found.append(CapabilityResult(capability, kind, capability in declared, verdict))
    return tuple(found)


def advice(outcome: Outcome, requirement: str | None, contract: Contract) -> str:
    """What to do about a check that failed or broke; ``requirement``: the one that it saw broken, if it said so."""
    if outcome is Outcome.ERROR:
        return "this is the suite's or the environment's fault, not the driver's; report it if it comes again"
    if requirement is None:
        return "the contract names no such error here: the traceback shows where the driver, or its answer, led to it"
    known = contract.requirements.get(requirement)
    if known is None or known.capability is None:
        return f"make the driver keep {requirement}"
    return f"make the driver keep {requirement}, or do not declare {known.capability}"


def _declared_verdict(outcomes: set[Outcome]) -> Verdict:
    if outcomes & {Outcome.FAILED, Outcome.NOT_IMPLEMENTED, Outcome.KNOWN_FAILURE}:
        return Verdict.FAILED
    if Outcome.UNDECIDED in outcomes:
        return Verdict.UNDECIDED
    # What other capabilities it also needs may be undeclared; that takes nothing from what did pass.
    proven = outcomes - {Outcome.UNSUPPORTED, Outcome.OBSERVED}
    return Verdict.PROVEN if proven == {Outcome.PASSED} else Verdict.UNPROVEN


def _undeclared_verdict(outcomes: set[Outcome]) -> Verdict:
    return Verdict.OBSERVED if outcomes and outcomes <= {Outcome.OBSERVED, Outcome.PASSED} else Verdict.NOT_DECLARED


def _guarantees(requirements: Iterable[Requirement]) -> set[Capability]:
    return {requirement.guarantee for requirement in requirements if requirement.guarantee}


def _of(check: Check) -> list[Requirement]:
    requirements = load().requirements
    return [requirements[number] for number in check.requirements if number in requirements]
