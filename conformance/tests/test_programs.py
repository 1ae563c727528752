"""Random programs find wrong drivers, and what they show is a test that fails there and passes on the model."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import find as find_example
from hypothesis import settings
from hypothesis import strategies as st

from zaqar_conformance.check import Violation
from zaqar_conformance.env import Env
from zaqar_conformance.mutants.zoo import find
from zaqar_conformance.programs import draw, search
from zaqar_conformance.programs.search import Search
from zaqar_conformance.programs.steps import Remove, Sofar, Step
from zaqar_conformance.reference.target import MemoryTarget
from zaqar_core import Capability
from zaqar_core.contract import new_id
from zaqar_core.errors import ZaqarError


def mutant(name: str) -> str:
    """A URI of that mutant."""
    return find(name).target().start(Path())


def program_found(env: Env, steps: st.SearchStrategy[Step], names: str) -> str:
    """The program that shows what is wrong; the search ends as soon as there is one."""
    try:
        with pytest.raises(Violation) as caught, patch.object(search, "_SHORTENING", 300):
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


def test_nothing_becomes_available_in_the_same_step_as_something_else() -> None:
    """The model's clock stands still within a step: a delayed release after a delayed post would be before it there."""
    sofar = Sofar({})
    assert [sofar.delay(1), sofar.delay(1), sofar.delay(None), sofar.delay(0)] == [
        "1.5 * STEP",
        "2.5 * STEP",
        "0",
        "0.5 * STEP",
    ]
    sofar.now += 1
    assert sofar.delay(1) == "2.5 * STEP"


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_pop_is_of_one_to_three_messages(limit: int) -> None:
    def pops(step: Step) -> bool:
        return isinstance(step, Remove) and step.what == "pop" and len(step.messages) == limit

    steps = draw.on_messages(frozenset(Capability), timed=False)
    chosen = settings(database=None, derandomize=True, max_examples=10_000)
    assert isinstance(find_example(steps, pops, settings=chosen), Remove)


def test_a_run_leaves_nothing_where_the_user_is(tmp_path: Path) -> None:
    only = "random_programs_on_messages_agree_with_the_model"
    command = [sys.executable, "-m", "zaqar_conformance", "run", "memory", "--only", only]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def fails(program: str, uri: str) -> bool:
    """Whether an assertion of the program fails there."""
    try:
        exec(program, {"URI": uri})
    except (AssertionError, ZaqarError, pytest.fail.Exception):
        return True
    return False
