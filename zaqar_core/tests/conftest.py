"""Distributions that are installed for the length of one test: real folders on the path, found as any other is."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from zaqar_core.cli import main


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``install(name, group, entries, **modules)``; nothing else is installed. Modules are given as source."""
    before = set(sys.modules)
    bare = [place for place in sys.path if next(iter(distributions(path=[place])), None) is None]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *bare])

    def add(name: str, group: str, entries: Mapping[str, str], **modules: str) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
        for module, source in modules.items():
            assert module not in before, f"a module {module!r} is imported already"
            (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
            monkeypatch.delitem(sys.modules, module, raising=False)
        importlib.invalidate_caches()

    return add


@pytest.fixture(autouse=True)
def forget_modules(tmp_path: Path) -> object:
    """What a test has imported from its own folder is not found by the next."""
    yield
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@dataclass(frozen=True)
class Ran:
    """What a run of the command came to."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """The lines of JSON on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def zaqar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """``zaqar(*arguments, stdin=b"")`` runs the command in this process; its storage is an SQLite file."""
    for name in ("ZAQAR_CONTROL_URI", "ZAQAR_PROJECT", "ZAQAR_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZAQAR_URI", f"sqlite:///{tmp_path}/queues.db")

    def run(*arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Ran(code, *capsys.readouterr())

    return run
