"""Each error has its page, which says of it what the code says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from zaqar_core import errors

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/errors"
CLASSES = {name: found for name, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, Exception)}
each_error = pytest.mark.parametrize("name", sorted(CLASSES))


def read(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text("utf-8")


def link(name: str) -> str:
    return f"[{name}]({name}.md)"


def test_every_error_has_a_page_and_every_page_an_error() -> None:
    assert {path.stem for path in FOLDER.glob("*")} == set(CLASSES)


def test_the_index_has_every_error() -> None:
    index = (ROOT / "docs/errors.md").read_text("utf-8")
    assert {name for name in CLASSES if f"[{name}](errors/{name}.md)" not in index} == set()


@each_error
def test_the_page_is_called_like_the_error_and_says_what_kind_it_is(name: str) -> None:
    title, _, first, *_ = read(name).splitlines()
    assert title == f"# {name}"
    base = CLASSES[name].__bases__[0]
    if base is not Exception:
        value_error = ", and a `ValueError`" if issubclass(CLASSES[name], ValueError) else ""
        assert first == f"A kind of {link(base.__name__)}{value_error}."


@each_error
def test_the_page_names_the_kinds_of_the_error(name: str) -> None:
    kinds = [link(kind.__name__) for kind in CLASSES[name].__subclasses__() if kind.__module__ == errors.__name__]
    paragraphs = read(name).split("\n\n")
    named = next((paragraph for paragraph in paragraphs if paragraph.startswith("Its kinds: ")), "")
    assert re.findall(r"\[\w+\]\(\w+\.md\)", named) == kinds


@each_error
def test_the_page_says_when_what_to_do_and_whether_to_try_again(name: str) -> None:
    parts = re.findall(r"^\*\*([^*]+)\*\*", read(name), re.MULTILINE)
    assert parts == ["When.", "What to do.", "Try again?"]


@each_error
def test_an_example_raises_the_error_of_the_page(name: str) -> None:
    assert set(re.findall(r"# raises (\w+)$", read(name), re.MULTILINE)) <= {name}
