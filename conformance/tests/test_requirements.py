"""The file of requirements, the page made from it, and that checks and requirements know each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from zaqar_conformance.checks import all_checks
from zaqar_conformance.requirements import ContractError, load, markdown, parse
from zaqar_core import Capability

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"

SECTION = 'version = 1\n[[section]]\nprefix = "ABC"\ntitle = "T"\nprofile = "data"\nintro = "I."\n'
ENTRY = '[[requirement]]\nid = "ABC-001"\nlevel = "MUST"\nlayer = "driver"\ntext = "It does."\n'


def test_the_page_is_what_the_requirements_make() -> None:
    assert PAGE.read_text("utf-8") == markdown(load()), "run: zaqar-conformance list --markdown > docs/contract.md"


# Requirements whose checks are still to be written; nothing may join them, and what has a check leaves.
UNCHECKED: set[str] = set()


def test_every_requirement_has_a_check() -> None:
    named = {number for check in all_checks() for number in check.requirements}
    assert sorted(load().requirements.keys() - named - UNCHECKED) == []


def test_every_check_names_requirements_that_there_are() -> None:
    known = load().requirements
    unknown = {check.name: set(check.requirements) - known.keys() for check in all_checks()}
    assert {name: numbers for name, numbers in unknown.items() if numbers} == {}


def test_requirements_are_read() -> None:
    contract = parse(SECTION + ENTRY + 'capability = "FIFO"\nneeds = ["POP"]\n')
    requirement = contract.requirements["ABC-001"]
    assert (requirement.text, requirement.profile) == ("It does.", "data")
    assert requirement.guarantee is Capability.FIFO
    assert requirement.features == {Capability.POP}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = ", "Invalid value"),
        (SECTION + SECTION.partition("\n")[2] + ENTRY, "there twice"),
        (SECTION + ENTRY + ENTRY, "out of order, or there twice"),
        (SECTION + ENTRY.replace("ABC-001", "ABD-001"), "not the prefix of a section"),
        (SECTION + ENTRY.replace("ABC-001", "ABC-1"), "not the prefix of a section"),
        (SECTION + ENTRY.replace("MUST", "MAY"), "no level"),
        (SECTION + ENTRY.replace("driver", "moon"), "no layer"),
        (SECTION + ENTRY.replace("It does.", " "), "no text"),
        (SECTION + ENTRY + 'capability = "FAST"\n', "no capability"),
        (SECTION + ENTRY + 'needs = ["FIFO"]\n', "only features"),
        (SECTION + ENTRY + "extra = 1\n", "unknown keys: extra"),
        (SECTION.replace('title = "T"\n', "") + ENTRY, "lacks title"),
        (SECTION.replace("data", "date") + ENTRY, "no profile"),
    ],
)
def test_what_breaks_a_rule_is_refused(text: str, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        parse(text)
