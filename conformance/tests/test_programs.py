"""Random programs find wrong drivers, and what they show is a test that fails there and passes on the model."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from zaqar_conformance.check import Violation
from zaqar_conformance.env import Env
from zaqar_conformance.mutants.zoo import find
from zaqar_conformance.programs import draw
from zaqar_conformance.programs.search import Search
from zaqar_conformance.programs.steps import Step
from zaqar_conformance.reference.target import MemoryTarget
from zaqar_core.contract import new_id
from zaqar_core.errors import ZaqarError


def mutant(name: str) -> str:
    """A URI of that mutant."""
    return find(name).target().start(Path())


def program_found(env: Env, steps: st.SearchStrategy[Step], names: str) -> str:
    """The program that shows what is wrong; the search ends as soon as there is one."""
    try:
        with pytest.raises(Violation) as caught:
            Search(env, [steps], names=names, tidy=[]).run("MSG-031", seconds=100)
    finally:
        env.close()
    heading, _, program = caught.value.seen.partition("\n")
    assert heading == "a program that the model answers otherwise:"
    return textwrap.dedent(program)


@pytest.mark.parametrize(
    ("name", "draws", "names"),
    [
        ("a-marker-is-an-offset", draw.on_messages, "xy"),
        ("release-of-some-moves-them", draw.on_messages, "xy"),
        ("insert-overwrites-and-denies-it", draw.on_records, "xypqfg"),
    ],
)
def test_a_mutant_is_found_and_shown_as_a_test(name: str, draws: Any, names: str) -> None:
    env = Env(MemoryTarget(), mutant(name), seed="1", depth=100)
    program = program_found(env, draws(env.storage.capabilities, timed=False), names)
    assert program.partition("connect(")[2].count("\n") <= 8, program
    assert fails(program, mutant(name))
    assert not fails(program, f"memory://{new_id()}")


def test_what_time_should_have_ended_is_found() -> None:
    env = Env(MemoryTarget(), mutant("ttls-are-whole-seconds"), seed="1", depth=100)
    program = program_found(env, draw.on_messages(env.storage.capabilities, timed=True), "xy")
    assert "time.sleep(" in program


def fails(program: str, uri: str) -> bool:
    """Whether an assertion of the program fails there."""
    try:
        exec(program, {"URI": uri})
    except (AssertionError, ZaqarError, pytest.fail.Exception):
        return True
    return False
