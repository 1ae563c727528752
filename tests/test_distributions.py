"""What every distribution states about itself."""

from __future__ import annotations

import ast
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for pattern in ("*", "plugins/*") for path in ROOT.glob(f"{pattern}/pyproject.toml"))


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def in_noxfile(name: str) -> Any:
    """The value of a constant."""
    tree = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
    [value] = [
        part.value for part in tree.body if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == name
    ]
    return ast.literal_eval(value)


PROJECTS = {folder: read(folder / "pyproject.toml")["project"] for folder in FOLDERS}
APART = [ROOT / folder for folder in in_noxfile("APART").values()]
"""Those that have a session of their own, and are not installed in this one."""
VERSIONS = {project["name"]: Version(project["version"]) for project in PROJECTS.values()}

each_distribution = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@each_distribution
def test_says_whose_licence_and_for_which_python(folder: Path) -> None:
    project = PROJECTS[folder]
    assert project["license"] == "Apache-2.0"
    assert project["requires-python"] == ">=3.11"
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@each_distribution
def test_has_a_readme_and_a_changelog_of_this_version(folder: Path) -> None:
    project = PROJECTS[folder]
    assert project["readme"] == "README.md"
    assert (folder / "README.md").read_text("utf-8").startswith(f"# {project['name']}\n")
    assert f"\n## {project['version']}" in (folder / "CHANGELOG.md").read_text("utf-8")


@each_distribution
def test_is_typed(folder: Path) -> None:
    assert "Typing :: Typed" in PROJECTS[folder]["classifiers"]
    [package] = [path for path in (folder / "src").iterdir() if (path / "__init__.py").is_file()]
    assert (package / "py.typed").is_file()
    assert "py.typed" in read(folder / "pyproject.toml")["tool"]["setuptools"]["package-data"][package.name]


@each_distribution
def test_dependencies_have_a_lowest_version_and_an_end(folder: Path) -> None:
    project = PROJECTS[folder]
    extras = project.get("optional-dependencies", {}).values()
    for text in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        requirement = Requirement(text)
        operators = {bound.operator for bound in requirement.specifier}
        assert ">=" in operators, text
        assert "<" in operators, text
        assert VERSIONS.get(requirement.name, next(iter(requirement.specifier)).version) in requirement.specifier, text


@pytest.mark.parametrize("folder", [each for each in FOLDERS if each not in APART], ids=lambda folder: folder.name)
def test_entry_points_can_be_loaded(folder: Path) -> None:
    for group, named in PROJECTS[folder].get("entry-points", {}).items():
        installed = {entry.name: entry for entry in entry_points(group=group)}
        for name, value in named.items():
            assert installed[name].value == value, "installed from another version: install again"
            installed[name].load()


def test_nox_knows_every_distribution() -> None:
    assert {ROOT / each for each in in_noxfile("DISTRIBUTIONS")} == set(FOLDERS)
    targets = {target: ROOT / folder for target, folder in in_noxfile("APART").items()}
    for target, folder in targets.items():
        assert target in PROJECTS[folder]["entry-points"]["zaqar_conformance.targets"]


def test_coverage_and_import_contracts_know_every_package() -> None:
    packages = {path.parent.name: folder for folder in FOLDERS for path in folder.glob("src/*/__init__.py")}
    tool = read(ROOT / "pyproject.toml")["tool"]
    here = {package for package, folder in packages.items() if folder not in APART}
    assert set(tool["coverage"]["run"]["source_pkgs"]) == here
    assert set(tool["importlinter"]["root_packages"]) == set(packages)
