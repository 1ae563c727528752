"""What the documentation says of the repository is so. (Its code blocks are run by conftest.py.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import zaqar_core
from zaqar_core import Capability

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(path for pattern in ("*.md", "*/*.md", "plugins/*/*.md") for path in ROOT.glob(pattern))


def commands(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("python3 -m venv ")]


def test_ci_runs_the_commands_of_the_readme() -> None:
    assert len(commands(README)) == 2
    assert commands((ROOT / ".ci/run").read_text("utf-8")) == commands(README)


def test_other_places_name_the_command_of_the_readme() -> None:
    _, check = commands(README)
    assert commands((ROOT / "CONTRIBUTING.md").read_text("utf-8")) == [check]
    assert f"- run: {check}\n" in (ROOT / ".github/workflows/ci.yml").read_text("utf-8")


def test_capability_table_has_the_whole_vocabulary() -> None:
    table = README.partition("<!-- capabilities: begin")[2].partition("<!-- capabilities: end")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [capability.value for capability in Capability]


def test_capability_table_shows_no_failure() -> None:
    table = README.partition("<!-- capabilities: begin")[2].partition("<!-- capabilities: end")[0]
    assert "failed" not in table
    assert "error" not in table


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_paths_of_somebodys_machine_are_nowhere() -> None:
    made = {"_build", "build", "dist", "reports", "__pycache__"}
    found = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*")
        if path.is_file() and not any(part in made or part[0] == "." for part in path.relative_to(ROOT).parts)
        if re.search(rb"(?<![\w.])/(root|home|Users|work)/\w", path.read_bytes())
    ]
    assert found == []


def test_reference_lists_every_public_name() -> None:
    page = (ROOT / "docs/api-core.md").read_text("utf-8")
    for name in zaqar_core.__all__:
        whole_module = f".. automodule:: {getattr(zaqar_core, name).__module__}\n"
        assert f":: zaqar_core.{name}" in page or whole_module in page, name
