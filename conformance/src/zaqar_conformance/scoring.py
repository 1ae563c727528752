"""What outcomes mean: for a driver that declares so much and no more, for requirements, for capabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from zaqar_conformance.check import Check
from zaqar_conformance.known_failures import KnownFailure
from zaqar_conformance.outcomes import Judgement, Outcome, worst
from zaqar_conformance.report import CapabilityResult, CheckResult, RequirementResult, Verdict
from zaqar_conformance.requirements import Contract, Requirement, load
from zaqar_core import Capability


def features(check: Check) -> frozenset[Capability]:
    """The features without which a check is not run: those of all requirements that it names."""
    return frozenset().union(*(requirement.features for requirement in _of(check)))


def bound(check: Check, judgement: Judgement, declared: frozenset[Capability]) -> Judgement:
    """What the judgement means for a driver that declares no more than ``declared``.

    A guarantee that is not declared cannot be broken, only observed. Where a check says which requirement it saw
    broken, that one's guarantee counts, else those of all that it names. A missing method is missing either
    way.
    """
    named = [requirement for requirement in _of(check) if requirement.id == judgement.requirement] or _of(check)
    open_guarantees = {requirement.guarantee for requirement in named if requirement.guarantee} - declared
    if judgement.outcome is Outcome.PASSED:
        promised = {requirement.guarantee for requirement in _of(check) if requirement.guarantee} <= declared
        return judgement if promised else replace(judgement, outcome=Outcome.OBSERVED)
    if open_guarantees and judgement.outcome in (Outcome.FAILED, Outcome.UNDECIDED):
        message = f"{', '.join(sorted(open_guarantees))} is not declared (seen: {judgement.message})"
        return Judgement(Outcome.UNSUPPORTED, message)
    return judgement


def stale(known: Sequence[KnownFailure], checks: Sequence[Check], results: Sequence[CheckResult]) -> list[str]:
    """The entries that match nothing, or whose checks were all run and passed."""
    outcomes = {result.name: result.outcome for result in results}
    found = []
    for entry in known:
        covered = [check for check in checks if entry.covers(check)]
        mine = [outcomes[check.name] for check in covered if check.name in outcomes]
        if not covered:
            found.append(f"{entry} (no check is or names it)")
        elif len(mine) == len(covered) and set(mine) == {Outcome.PASSED}:
            found.append(f"{entry} (it passes)")
    return found


def requirement_results(
    requirements: Iterable[Requirement], chosen: Sequence[Check], results: Sequence[CheckResult], only: Sequence[str]
) -> tuple[RequirementResult, ...]:
    """What became of each requirement; of those that the chosen checks name, if a part of the checks was asked for."""
    found = []
    for requirement in requirements:
        names = tuple(check.name for check in chosen if requirement.id in check.requirements)
        if only and not names:
            continue
        outcomes = [result.outcome for result in results if result.name in names]
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
        outcomes = {result.outcome for result in results if numbers.intersection(result.requirements)}
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


def _of(check: Check) -> list[Requirement]:
    requirements = load().requirements
    return [requirements[number] for number in check.requirements if number in requirements]
