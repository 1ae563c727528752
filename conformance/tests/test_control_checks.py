"""The checks of the control plane pass on the reference, and with many processes."""

from __future__ import annotations

from zaqar_conformance.engine import run
from zaqar_conformance.mutants.zoo import find
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.target import find_target

EVERY = ("POO-*", "FLA-*", "CAT-*", "SUB-*")


def test_the_reference_passes() -> None:
    report = run(find_target("memory"), only=EVERY, seed="1")
    assert {result.name: result.message for result in report.checks if result.outcome is not Outcome.PASSED} == {}
    numbers = {each.id for each in report.requirements if each.outcome is Outcome.PASSED}
    assert len([number for number in numbers if number[:3] in ("POO", "FLA", "CAT", "SUB")]) == 31


def test_processes_pass() -> None:
    report = run(find("file-is-right").target(), only=["CAT-006", "CAT-007"], seed="1")
    assert {result.name: result.message for result in report.checks if result.outcome is not Outcome.PASSED} == {}
