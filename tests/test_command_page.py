"""What the documentation shows of the command ``zaqar`` is what it does: commands, their output, exit codes."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from zaqar_core.cli.exits import MEANINGS

ROOT = Path(__file__).parents[1]
PAGES = ("docs/command.md", "README.md", "zaqar_core/README.md")

_example = re.compile(r"^```sh\n(?P<commands>.*?)^```\n+(?:^```text\n(?P<output>.*?)^```$)?", re.MULTILINE | re.DOTALL)
_ends = re.compile(r"(?<![\w./-])zaqar |ZAQAR_")


def examples(page: str) -> list[tuple[str, str | None]]:
    """Commands of the page that call ``zaqar``, each with the output that is shown, if any."""
    found = _example.finditer((ROOT / page).read_text("utf-8"))
    return [(one["commands"], one["output"]) for one in found if _ends.search(one["commands"])]


@pytest.mark.parametrize("page", PAGES)
def test_commands_write_what_the_page_shows(page: str, tmp_path: Path) -> None:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "ZAQAR_URI": "sqlite:///queues.db"}
    for commands, shown in examples(page):
        done = subprocess.run(
            ["sh", "-eu", "-c", commands],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{commands}{done.stdout}"
        if shown is not None:
            same = doctest.OutputChecker().check_output(
                shown, done.stdout, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            )
            assert same, f"{commands}wrote\n{done.stdout}"


def test_every_page_has_examples() -> None:
    assert {page: bool(examples(page)) for page in PAGES} == dict.fromkeys(PAGES, True)
    outputs = [shown for _, shown in examples("docs/command.md") if shown]
    assert (ROOT / "docs/command.md").read_text("utf-8").count("```text\n") == len(outputs)


def test_exit_codes_are_those_of_the_program() -> None:
    section = (ROOT / "docs/command.md").read_text("utf-8").partition("## Exit codes\n")[2]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(str(code.value), meaning) for code, meaning in MEANINGS.items()]
