"""Makes a release of one distribution ready: checks its tag, builds it, tries the wheel. ``nox -s release -- TAG``.

What is to be published lies in ``dist/release/packages`` afterwards, the changelog's section in
``dist/release/notes.md``. Nothing is published here.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
TRIALS = Path(__file__).resolve().parent / "trials"
LONGEST_STEP = 300
"""Seconds that a single program may take: a build, an installation, a trial."""

_HEADING = re.compile(r"^## (?P<version>\S+) \((?P<date>.*)\)$", re.MULTILINE)


class ReleaseError(Exception):
    """The tag, the distribution and its changelog do not agree, or what was built is not as it has to be."""


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a distribution. ``notes``: what its changelog says of it."""

    name: str
    version: str
    folder: Path
    notes: str

    @property
    def files(self) -> set[str]:
        """The names of what is published."""
        stem = f"{self.name.replace('-', '_')}-{self.version}"
        return {f"{stem}.tar.gz", f"{stem}-py3-none-any.whl"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tag", help="such as zaqar-core-0.1.0")
    arguments = parser.parse_args()
    out = ROOT / "dist/release"
    try:
        prepare(find(arguments.tag), out)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.tag} is ready in {out.relative_to(ROOT)}")
    return 0


def find(tag: str, root: Path = ROOT, *, dated: bool = True) -> Release:
    """The release of a tag. Raises ``ReleaseError`` unless tag, ``pyproject.toml`` and changelog say the same.

    ``dated``: whether the changelog has to give the day; otherwise it may say "unreleased".
    """
    name, _, version = tag.rpartition("-")
    folders = distributions(root)
    if name not in folders:
        raise ReleaseError(f"tag {tag!r} names no distribution; write one of {', '.join(folders)}, '-', and a version")
    try:
        normal = str(Version(version))
    except InvalidVersion:
        raise ReleaseError(f"tag {tag!r}: {version!r} is no version; write for example {name}-1.2.3") from None
    if normal != version:
        raise ReleaseError(f"tag {tag!r}: version {version!r} is written {normal!r}")
    project = project_of(folders[name])
    if project["version"] != version:
        raise ReleaseError(f"tag {tag!r}, but pyproject.toml says {project['version']}; tag the commit that says so")
    return Release(name, version, folders[name], notes(folders[name] / "CHANGELOG.md", version, dated=dated))


def distributions(root: Path = ROOT) -> dict[str, Path]:
    """The folder of each distribution by its name, in an order in which they can be released."""
    found = (path.parent for pattern in ("*", "plugins/*") for path in root.glob(f"{pattern}/pyproject.toml"))
    folders = {str(project_of(folder)["name"]): folder for folder in found}
    return dict(sorted(folders.items(), key=lambda item: (item[0] != "zaqar-core", item[0])))


def project_of(folder: Path) -> dict[str, object]:
    """What its ``pyproject.toml`` says of a distribution."""
    project: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def notes(changelog: Path, version: str, *, dated: bool = True) -> str:
    """What a changelog says of a version. Raises ``ReleaseError`` if that is nothing, or has no date."""
    parts = _HEADING.split(changelog.read_text("utf-8"))  # what stands above, then: version, date, text, version, ...
    sections = {parts[at]: (parts[at + 1], parts[at + 2].strip()) for at in range(1, len(parts), 3)}
    where = f"{changelog.parent.name}/{changelog.name}"
    if version not in sections:
        raise ReleaseError(f"{where} has no section '## {version} (YYYY-MM-DD)'; write it")
    day, text = sections[version]
    if dated and not _is_date(day):
        raise ReleaseError(f"{where} says '## {version} ({day})'; put the day of the release there: (YYYY-MM-DD)")
    if not text:
        raise ReleaseError(f"{where} says nothing of {version}; write what has changed")
    return f"{text}\n"


def prepare(release: Release, out: Path, *, index_url: str | None = None) -> None:
    """Build and try the release; ``out`` is made anew. ``index_url``: where its dependencies are, unless the usual."""
    shutil.rmtree(out, ignore_errors=True)
    packages = out / "packages"
    run(sys.executable, "-m", "build", "--outdir", packages, release.folder, quiet=True)
    built = {path.name for path in packages.iterdir()}
    if built != release.files:
        raise ReleaseError(f"the build made {sorted(built)}, which should be {sorted(release.files)}")
    files = sorted(packages.iterdir())
    run(sys.executable, "-m", "twine", "check", "--strict", *files)
    [wheel] = packages.glob("*.whl")
    with clean_environment() as python:
        run(python, "-m", "pip", "install", "-q", *(["--index-url", index_url] if index_url else []), wheel)
        run(python, "-m", "pip", "check")
        try_out(python, release.name)
    (out / "notes.md").write_text(release.notes, encoding="utf-8")


def try_out(python: Path, name: str) -> None:
    """Run the trial of a distribution where it is installed: away from the checkout, warnings being errors."""
    run(python, "-I", "-W", "error", TRIALS / f"try_{name.replace('-', '_')}.py", cwd=python.parents[2])


@contextmanager
def clean_environment() -> Iterator[Path]:
    """The interpreter of a new virtual environment, in a folder that goes with the block."""
    with tempfile.TemporaryDirectory(prefix="zaqar-release-") as folder:
        run(sys.executable, "-m", "virtualenv", "-q", f"{folder}/venv")
        yield Path(folder, "venv/bin/python")


def run(*command: str | Path, cwd: Path = ROOT, quiet: bool = False) -> None:
    """Run a program to its end, at most ``LONGEST_STEP`` seconds. Raises ``ReleaseError`` if it fails."""
    print("+", *command, flush=True)
    try:
        done = subprocess.run(command, cwd=cwd, timeout=LONGEST_STEP, capture_output=quiet, text=True, check=False)
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"{command[0]} ran for more than {LONGEST_STEP} s and was ended") from None
    if done.returncode:
        said = f"{done.stdout or ''}{done.stderr or ''}"
        raise ReleaseError(f"exit code {done.returncode} of {' '.join(map(str, command))}\n{said}")


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
