"""What a tag must agree with before anything is built. (`nox -s rehearsal` builds, publishes and uses all of it.)"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import release
from release import ReleaseError

CHANGELOG = """# Changelog

## 0.2.0 (unreleased)

- Something.

## 0.1.0 (2026-11-21)

- First version: a line
  that goes on.

  (And a paragraph.)

## 0.0.2 (21.11.2026)

- A date, but not as we write them.

## 0.0.1 (2026-10-01)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder, name, version in (("plugins/zaqar-b", "zaqar-b", "0.1.0"), ("core", "zaqar-core", "0.2.0")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "{version}"\n')
        (tmp_path / folder / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


def test_a_tag_names_a_distribution_and_its_version(root: Path) -> None:
    found = release.find("zaqar-b-0.1.0", root)
    assert (found.name, found.version, found.folder) == ("zaqar-b", "0.1.0", root / "plugins/zaqar-b")
    assert found.files == {"zaqar_b-0.1.0.tar.gz", "zaqar_b-0.1.0-py3-none-any.whl"}


def test_the_notes_are_the_section_of_the_changelog(root: Path) -> None:
    expected = "- First version: a line\n  that goes on.\n\n  (And a paragraph.)\n"
    assert release.find("zaqar-b-0.1.0", root).notes == expected


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("0.1.0", "names no distribution"),
        ("", "names no distribution"),
        ("v0.1.0", "names no distribution"),
        ("zaqar-b", "names no distribution"),
        ("zaqar-c-0.1.0", "write one of zaqar-core, zaqar-b"),
        ("zaqar-b-", "is no version"),
        ("zaqar-b-one", "is no version"),
        ("zaqar-b-v0.1.0", "is written '0.1.0'"),
        ("zaqar-b-0.01.0", "is written '0.1.0'"),
        ("zaqar-b-0.1.1", "pyproject.toml says 0.1.0"),
        ("zaqar-core-0.2.0", "put the day of the release there"),
    ],
)
def test_what_does_not_agree_is_refused(root: Path, tag: str, said: str) -> None:
    with pytest.raises(ReleaseError, match=said):
        release.find(tag, root)


def test_a_rehearsal_needs_no_day(root: Path) -> None:
    assert release.find("zaqar-core-0.2.0", root, dated=False).notes == "- Something.\n"


@pytest.mark.parametrize(
    ("version", "said"),
    [("0.3.0", "has no section"), ("0.0.2", "put the day"), ("0.0.1", "says nothing of 0.0.1")],
)
def test_a_changelog_that_does_not_speak_of_the_version_is_refused(root: Path, version: str, said: str) -> None:
    with pytest.raises(ReleaseError, match=said):
        release.notes(root / "core/CHANGELOG.md", version)


def test_every_distribution_can_be_released_and_the_core_comes_first() -> None:
    names = list(release.distributions())
    assert names[0] == "zaqar-core"
    for name, folder in release.distributions().items():
        tag = f"{name}-{release.project_of(folder)['version']}"
        assert release.find(tag, dated=False).folder == folder


def test_every_distribution_has_a_trial() -> None:
    trials = {f"try_{name.replace('-', '_')}.py" for name in release.distributions()}
    assert trials - {path.name for path in release.TRIALS.glob("*.py")} == set()


def test_a_program_that_fails_or_does_not_end_fails_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReleaseError, match="exit code 3") as failed:
        release.run(sys.executable, "-c", "print('why'); raise SystemExit(3)", quiet=True)
    assert "why" in str(failed.value)
    monkeypatch.setattr(release, "LONGEST_STEP", 0.2)
    with pytest.raises(ReleaseError, match=r"more than 0\.2 s"):
        release.run(sys.executable, "-c", "import time; time.sleep(60)")


def test_the_command_says_what_is_wrong_with_a_tag() -> None:
    command = [sys.executable, str(release.__file__), "zaqar-nothing-1.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("release: tag 'zaqar-nothing-1.0' names no distribution")
