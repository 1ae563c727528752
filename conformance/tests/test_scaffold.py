"""``zaqar-conformance init``: what it writes can be installed, checked and run as it stands, or it writes nothing."""

from __future__ import annotations

import configparser
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from zaqar_conformance import cli
from zaqar_conformance.requirements import load
from zaqar_conformance.scaffold import ScaffoldError, create
from zaqar_conformance.target import ServerTarget
from zaqar_core.contract import ClaimController, Driver, MessageController, RecordStore

SCRIPTS = Path(sysconfig.get_path("scripts"))
ROOMS = {"driver": Driver, "records": RecordStore, "messages": MessageController, "claims": ClaimController}
OPTIONAL = {"health", "gc", "delete_all"}
"""What the contract has an answer for already."""
LONGEST = f"a-{'b' * 13}-{'c' * 14}"


def run(*command: object, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"} | ({"PYTHONPATH": str(path)} if path else {})
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution of a driver ``foo-2``, whose URIs are ``foo+x://``."""
    return create("foo-2", scheme="foo+x", directory=tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def installed(made: Path) -> Path:
    """The folder of what pip made of it."""
    site = made.parent / "site"
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation")
    done = run(*pip, "--target", site, made, folder=made.parent)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def rooms(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Its modules, by room."""
    monkeypatch.syspath_prepend(str(made / "src"))
    yield {room: importlib.import_module(f"zaqar_foo_2.{room}") for room in (*ROOMS, "target")}
    for name in [name for name in sys.modules if name.partition(".")[0] == "zaqar_foo_2"]:
        del sys.modules[name]


def test_has_all_that_a_distribution_needs(made: Path) -> None:
    files = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    package = ["__init__", "claims", "driver", "errors", "messages", "options", "records", "target"]
    assert files - {f"src/zaqar_foo_2/{room}.py" for room in package} == {
        ".github/workflows/ci.yml",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/zaqar_foo_2/known_failures.toml",
        "src/zaqar_foo_2/py.typed",
        "tests/test_zaqar_foo_2.py",
        "tox.ini",
    }
    assert (made / "LICENSE").read_bytes() == (Path(__file__).parents[1] / "LICENSE").read_bytes()


def test_no_placeholder_is_left(made: Path) -> None:
    for path in made.rglob("*"):
        if path.is_file() and path.name != "ci.yml":
            assert "$" not in path.read_text("utf-8"), path
    assert re.findall(r"\$(?!\{\{ matrix\.)", (made / ".github/workflows/ci.yml").read_text("utf-8")) == []


def test_asks_for_the_versions_that_wrote_it(made: Path) -> None:
    data = tomllib.loads((made / "pyproject.toml").read_text("utf-8"))
    texts = [*data["project"]["dependencies"], *data["dependency-groups"]["dev"]]
    ours = [each for each in map(Requirement, texts) if each.name.startswith("zaqar-")]
    assert [each.name for each in ours] == ["zaqar-core", "zaqar-conformance"]
    assert all(version(each.name) in each.specifier for each in ours)


def test_its_workflow_and_tox_run_the_same(made: Path) -> None:
    tox = configparser.ConfigParser()
    tox.read(made / "tox.ini")
    workflow = yaml.safe_load((made / ".github/workflows/ci.yml").read_text("utf-8"))
    asked = re.findall(r"tox run -e (\S+)", json.dumps(workflow["jobs"]).replace('"', " "))
    assert asked == ["lint,types,py", "conformance"]
    assert all(f"testenv:{name}" in tox for name in ("lint", "types", "conformance"))
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["conformance"]["strategy"]["matrix"]["target"] == ["foo-2"]


@pytest.mark.parametrize("name", ["x", LONGEST])
def test_lints_and_type_checks_with_any_name(name: str, tmp_path: Path) -> None:
    folder = create(name, directory=tmp_path)
    for command in (["ruff", "check"], ["ruff", "format", "--check"]):
        done = run(SCRIPTS / command[0], *command[1:], "--no-cache", folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run(SCRIPTS / "mypy", folder=folder, path=folder / "src")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no issues found in 9 source files" in done.stdout


def test_its_own_tests_pass(made: Path, installed: Path) -> None:
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=made, path=installed)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_installed_it_runs_and_every_check_waits_for_a_method(installed: Path, tmp_path: Path) -> None:
    suite = SCRIPTS / "zaqar-conformance"
    done = run(suite, "run", "foo-2", "--report", "report", folder=tmp_path, path=installed)
    report = json.loads((tmp_path / "report/report.json").read_text("utf-8"))
    assert (done.returncode, report["exit_code"]) == (1, 1), done.stdout + done.stderr
    assert {outcome for outcome, count in report["outcomes"].items() if count} == {"not implemented", "not run"}
    assert report["outcomes"]["not run"] <= 8, "but what hurts a datastore that is not there"
    methods = list(report["missing_methods"])
    assert methods[:4] == ["Driver.ping", "Driver.close", "RecordStore.get", "RecordStore.insert"]
    assert sum(map(len, report["missing_methods"].values())) == report["outcomes"]["not implemented"]
    last = [done.stdout.index(f"\n  {method} (") for method in methods]
    assert last == sorted(last), "the terminal names them in that order"
    assert re.search(
        r"RecordStore\.get \(\d+ checks wait for it; next: zaqar-conformance run foo-2 --only=\w*record", done.stdout
    )


def test_every_method_of_the_contract_has_its_stub(rooms: dict[str, Any]) -> None:
    for room, interface in ROOMS.items():
        [stub] = [
            kind
            for kind in vars(rooms[room]).values()
            if inspect.isclass(kind) and kind.__module__ == rooms[room].__name__
        ]
        assert issubclass(stub, interface)
        assert not inspect.isabstract(stub)
        public = {name for name, member in vars(interface).items() if callable(member) and name[0] != "_"}
        for name in public - OPTIONAL:
            assert name in vars(stub), f"{interface.__name__}.{name}"
            assert inspect.signature(getattr(stub, name)) == inspect.signature(getattr(interface, name))
            assert getattr(stub, name).__doc__ != getattr(interface, name).__doc__


def test_what_it_says_of_requirements_exists(made: Path) -> None:
    text = "".join(path.read_text("utf-8") for path in made.rglob("*.py"))
    numbers = set(re.findall(r"\b[A-Z]{3}-\d{3}\b", text))
    assert len(numbers) > 30
    assert numbers <= set(load().requirements)


def test_its_target_is_named_as_it_is(rooms: dict[str, Any]) -> None:
    target = rooms["target"].Foo2Target
    assert issubclass(target, ServerTarget)
    assert (target.name, target.scheme, target.known_failures.is_file()) == ("foo-2", "foo+x", True)


@pytest.mark.parametrize(
    ("name", "scheme", "said"),
    [
        pytest.param("Postgres!", None, "'Postgres!' is no name for a driver: .* write 'postgres'", id="letters"),
        pytest.param("zaqar-postgres", None, "without 'zaqar-'; write 'postgres'", id="prefix"),
        pytest.param("2nd", None, "a letter first, .* write 'postgres', for example", id="digit"),
        pytest.param("a--b", None, "single hyphens, .* write 'a-b'", id="hyphens"),
        pytest.param("", None, "'' is no name", id="nothing"),
        pytest.param("a/../b", None, "write 'a-b'", id="path"),
        pytest.param("a" * 31, None, "at most 30", id="long"),
        pytest.param("core", None, "a package zaqar_core is installed here already; choose another", id="package"),
        pytest.param("foo", "Foo:", "'Foo:' is no scheme of a URI: .* write --scheme foo", id="scheme"),
        pytest.param("foo", "memory", "the scheme 'memory' is another driver's", id="installed scheme"),
        pytest.param("foo", "swift", r"'swift' is another driver's \(zaqar-swift\)", id="this project's scheme"),
    ],
)
def test_a_wrong_name_is_refused_and_nothing_written(name: str, scheme: str | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match=said):
        create(name, scheme=scheme, directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_is_there_is_touched(tmp_path: Path) -> None:
    (tmp_path / "zaqar-foo").mkdir()
    (tmp_path / "zaqar-bar").symlink_to("nowhere")
    for name in ("foo", "bar"):
        with pytest.raises(ScaffoldError, match="is there already; choose another name or --directory"):
            create(name, directory=tmp_path)
    assert list((tmp_path / "zaqar-foo").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["zaqar-bar", "zaqar-foo"]


def test_what_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def fill(path: Path, text: str, **how: Any) -> int:
        if path.name == "tox.ini":
            raise OSError(28, "No space left on device")
        return write(path, text, **how)

    monkeypatch.setattr(Path, "write_text", fill)
    with pytest.raises(ScaffoldError, match=r"zaqar-foo cannot be made \(No space left on device\)"):
        create("foo", directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_directory_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match=r"No such file or directory.*give a --directory that exists"):
        create("foo", directory=tmp_path / "missing")


def test_the_command_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["init", "foo", "--scheme", "foo+x", "--directory", str(tmp_path)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"  cd {tmp_path}/zaqar-foo\n  pip install -e .\n  zaqar-conformance run foo\n" in printed
    assert '"foo+x" = "zaqar_foo.driver:FooDriver"' in (tmp_path / "zaqar-foo/pyproject.toml").read_text("utf-8")
    assert cli.main(arguments) == 2
    assert "zaqar-conformance: " in capsys.readouterr().err
