"""The code blocks of the READMEs and of docs/ are tests: a page's run in order, in an empty folder of their own.

``python`` runs, names living on through the page; one that starts with ``# path/of/a.file`` is written there instead.
One with a comment ``# raises NAME`` must raise that.
``sh`` runs with the environment's programs first on the PATH; one of nothing but ``pip install`` is skipped.
A ``text`` that comes next after either is what it says (``...``: anything).
``toml`` and ``json`` must parse, and are written if they start with a path. Other ``text`` is no code. Anything else
fails.
What cannot run here has a comment above it, which pytest reports: ``<!-- skip: next "the reason" -->``.
What only the test needs stands in ``<!--- invisible-code: python ... -->``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path
from typing import Any
from unittest import SkipTest

from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

import zaqar_core  # noqa: F401  # before pytest takes the folder of that name, above its tests, for the package

ROOT = Path(__file__).parent
_blocks = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n"))
_invisible_blocks = DirectiveInHTMLCommentLexer(
    "invisible-code", arguments="python", mapping={"arguments": "language", "source": "source"}
)
_path_comment = re.compile(r"# (?P<path>[\w./-]+\.\w+)\n")
_raises = re.compile(r"# raises (?P<name>\w+)$", re.MULTILINE)
_python = PythonEvaluator()


def parse(document: Document) -> list[Region]:
    """Every fenced block of the page but MyST directives (``{name}``), which the docs' own build checks."""
    regions = [*_blocks(document), *_invisible_blocks(document)]
    for region in regions:
        region.parsed = region.lexemes["source"]
        region.evaluator = run_block
    return [region for region in regions if not region.lexemes["language"].startswith("{")]


def run_block(example: Example) -> str | None:
    """Run one block as its language says; a text returned is a failure."""
    language, source = example.region.lexemes["language"], str(example.parsed)
    said = example.namespace.pop("_said", None)
    path = _path_comment.match(source)
    if path:
        Path(path["path"]).parent.mkdir(parents=True, exist_ok=True)
        Path(path["path"]).write_text(source, encoding="utf-8")
    match language:
        case "python" if path:
            compile(source, path["path"], "exec")
        case "python" if error := _raises.search(source):
            return _run_raising(example, error["name"])
        case "python":
            _python(example)
        case "sh":
            example.namespace["_said"], problem = _run_shell(source)
            return problem
        case "toml":
            tomllib.loads(source)
        case "json":
            json.loads(source)
        case "text":
            return _compare(source, said)
        case _:
            return f"a block of language {language!r}: teach conftest.py to run it, or choose another"
    return None


def _run_raising(example: Example, name: str) -> str | None:
    try:
        _python(example)
    except Exception as error:
        if type(error).__name__ != name:
            raise
        example.namespace["_said"] = f"{name}: {error}"
        return None
    return f"did not raise {name}"


def _compare(shown: str, said: str | None) -> str | None:
    pattern = re.escape(" ".join(shown.split())).replace(re.escape("..."), ".*")
    return f"it says:\n{said}" if said and not re.fullmatch(pattern, " ".join(said.split())) else None


def _run_shell(source: str) -> tuple[str, str | None]:
    """What it says, and what is wrong."""
    if all(line.startswith("pip install ") for line in source.splitlines()):
        raise SkipTest("installs into the reader's environment")
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join([os.curdir, "src"]), "COLUMNS": "120"}
    done = subprocess.run(
        ["sh", "-eu", "-c", source],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(done.stdout)
    return done.stdout, f"exit code {done.returncode}\n{done.stdout}" if done.returncode else None


def _enter(namespace: dict[str, Any]) -> None:
    namespace["_folder"] = tempfile.TemporaryDirectory(prefix="zaqar-page-")
    namespace["_before"] = Path.cwd()
    os.chdir(namespace["_folder"].name)


def _leave(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_before"])
    namespace["_folder"].cleanup()


pytest_collect_file = Sybil(
    parsers=[parse, SkipParser()],
    path=str(ROOT),
    patterns=["README.md", "docs/*.md", "docs/errors/*.md", "*/README.md", "plugins/*/README.md"],
    excludes=["docs/_build/*", ".nox/*", ".venv/*"],
    setup=_enter,
    teardown=_leave,
).pytest()
