"""What the workflows say of this repository is so. (`nox -s lint` checks that they are workflows.)"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import cells
import pytest
import release
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))


@cache
def sessions() -> set[str]:
    command = [sys.executable, "-m", "nox", "--list", "--no-color"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^[-*] (\S+)", listed, re.MULTILINE))


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return loaded


def steps() -> list[Any]:
    return [
        pytest.param(step, id=f"{workflow.name}-{name}-{index}")
        for workflow in WORKFLOWS
        for name, job in jobs(workflow).items()
        for index, step in enumerate(job["steps"])
    ]


def named_sessions(command: str) -> list[str]:
    """The sessions that a line of shell asks nox for."""
    asked = re.findall(r"nox -s (.*?)(?: -- |$)", command)
    return [name.strip("'\"") for names in asked for name in names.split()]


def test_sessions_are_read_from_commands() -> None:
    assert named_sessions("cd x && nox -s build rehearsal") == ["build", "rehearsal"]
    assert named_sessions('.venv/bin/nox -s release -- "$TAG"') == ["release"]
    assert named_sessions('nox -s "conformance($TARGET)"') == ["conformance($TARGET)"]
    assert {"check", "conformance(sqlite)"} <= sessions()


@pytest.mark.parametrize("step", steps())
def test_a_step_asks_for_sessions_and_files_that_exist(step: dict[str, Any]) -> None:
    command = step.get("run", "")
    targets = sorted({cell["target"] for cell in cells.cells()})
    for name in named_sessions(command):
        assert {name.replace("$TARGET", target) for target in targets} <= sessions()
    for path in re.findall(r"[\w/]+\.py\b", command):
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("step", steps())
def test_a_step_runs_no_text_from_outside(step: dict[str, Any]) -> None:
    """A branch or tag may be called ``$(...)``: it comes as a variable, not as a part of the command."""
    assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_jobs_end_and_may_only_read_unless_they_say_so(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text("utf-8"))["permissions"] == {"contents": "read"}
    for job in jobs(workflow).values():
        assert job["timeout-minutes"] <= 60


def test_only_the_job_that_publishes_can_publish() -> None:
    released = jobs(ROOT / ".github/workflows/release.yml")
    allowed = {name: job["permissions"] for name, job in released.items() if "permissions" in job}
    assert allowed == {"publish": {"id-token": "write"}, "announce": {"contents": "write"}}
    assert set(released["publish"]["needs"]) == {"check", "build"}
    assert released["publish"]["environment"] == "release"


def test_the_tags_of_releases_start_the_workflow() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text("utf-8")
    assert 'tags: ["zaqar-*-[0-9]*"]\n' in text
    for name, folder in release.distributions().items():
        assert re.fullmatch(r"zaqar-[^/]*-[0-9][^/]*", f"{name}-{release.project_of(folder)['version']}")


def test_every_target_has_a_cell() -> None:
    """But those of other people's drivers, in which faults are found: no change of ours is to wait for them."""
    folders = [folder for name, folder in release.distributions().items() if name != "zaqar-openstack"]
    projects: list[Any] = [release.project_of(folder) for folder in folders]
    targets = {name for each in projects for name in each.get("entry-points", {}).get("zaqar_conformance.targets", {})}
    listed = cells.cells()
    assert {cell["target"] for cell in listed} == targets
    assert len({(cell["target"], cell["version"], cell["python"]) for cell in listed}) == len(listed)


def test_a_server_has_an_address_and_is_waited_for() -> None:
    for cell in cells.cells():
        assert set(cell) == {"target", "version", "python", "image", "options", "uri"}
        if cell["image"]:
            assert cell["uri"].startswith(f"{cell['target']}://server")
            assert "--health-cmd" in cell["options"]


def test_the_workflow_asks_for_what_a_cell_has() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    assert set(re.findall(r"matrix\.cell\.(\w+)", text)) == set(cells.cells()[0])


def test_the_cells_are_one_line_for_the_next_job() -> None:
    command = [sys.executable, str(cells.__file__)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    name, _, listed = printed.partition("=")
    assert name == "cells"
    assert printed.count("\n") == 1
    assert json.loads(listed) == cells.cells()
