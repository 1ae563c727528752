"""Values as text for a terminal: safe to show, measured in columns, aligned."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zaqar_core.capabilities import Capability
from zaqar_core.terminal import printable

_MARKS = frozenset({"Mn", "Me"})
_GAP = "  "
_NARROWEST = 20
"""A column that is cut keeps so many columns of the terminal at least; the line then wraps."""
_NAMES = (
    (re.compile(r"\bconnect_timeout\b"), "--timeout"),
    (re.compile(r"^timeout is\b"), "--timeout is"),
    (re.compile(r"\b(pool|flavor|queue|subscription)s\.(list|update|create)\b(?:\(\))?"), r"zaqar \1 \2"),
    (re.compile(r"\bconnect with codecs=\['([a-z0-9_.-]+)'\]"), r"pass --codec \1"),
    (re.compile(r"(?<=\bmarker), or None(?: to start)?\b"), ""),
)
"""What the library calls things in its messages, and what the command calls them."""


@dataclass(frozen=True, slots=True)
class Column:
    """A part of an item: its key there, its title, and how its value is written."""

    key: str
    write: Callable[[Any], str] | None = None
    title: str = ""
    right: bool = False
    cut: bool = False
    """Whether it may be shortened to the width of the terminal."""

    def text(self, item: Mapping[str, Any]) -> str:
        """The item's value, safe to show."""
        value = item.get(self.key)
        if value is None:
            return "-"
        return printable(self.write(value) if self.write else str(value))

    @property
    def heading(self) -> str:
        """What stands above the column, safe to show."""
        return printable(self.title or self.key.replace("_", " ")).upper()


def compact(value: object, *, ascii_only: bool = False) -> str:
    """Any JSON value in one line, safe to show and still JSON."""
    return printable(json.dumps(value, ensure_ascii=ascii_only))


def in_command_words(text: str) -> str:
    """A message of the library as the command says it: with options and commands in place of arguments and methods."""
    for name, words_of_the_command in _NAMES:
        text = name.sub(words_of_the_command, text)
    return text


def seconds(value: float) -> str:
    """A duration that people read: ``0.2s``, ``45s``, ``3m 5s``, ``2h 10m``, ``3d 4h``."""
    if value < 10:
        return f"{round(value, 1):g}s"
    whole = int(value)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit}" + (f" {rest}{name}" if rest else "")
    return f"{whole}s"


def number(count: int, noun: str) -> str:
    """So many of them: ``1 message``, ``2 messages``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def words(values: Iterable[object]) -> str:
    """Several values in one line."""
    return ", ".join(map(str, values)) or "-"


def capabilities(names: Sequence[str]) -> str:
    """A set of capabilities, told by what it lacks where that is shorter."""
    missing = [one.value for one in Capability if one.value not in names]
    if not missing:
        return f"all {len(names)}"
    return f"all but {words(missing)}" if len(missing) < len(names) else words(names)


def width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def cut(text: str, columns: int) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    if width(text) <= columns:
        return text
    kept, room = [], columns - 1
    for char in text:
        room -= _width(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + "…"


def table(columns: Sequence[Column], items: Iterable[Mapping[str, Any]], most: int | None) -> list[str]:
    """Lines of aligned columns; ``most``: the terminal's width, None where nothing need be cut."""
    rows = [[column.heading for column in columns], *([column.text(item) for column in columns] for item in items)]
    widths = [max(width(row[place]) for row in rows) for place in range(len(columns))]
    for place, column in enumerate(columns):
        if most is not None and column.cut:
            others = sum(widths) - widths[place] + len(_GAP) * (len(columns) - 1)
            widths[place] = min(widths[place], max(_NARROWEST, most - others))
    return [_line(columns, row, widths) for row in rows]


def fields(columns: Sequence[Column], item: Mapping[str, Any]) -> list[str]:
    """One item, a line for each of its parts."""
    longest = max(len(column.heading) for column in columns)
    return [f"{column.heading.lower():{longest}}{_GAP}{column.text(item)}" for column in columns]


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> str:
    cells = []
    for column, cell, room in zip(columns, row, widths, strict=True):
        shown = cut(cell, room) if column.cut else cell
        padding = " " * (room - width(shown))
        cells.append(padding + shown if column.right else shown + padding)
    return _GAP.join(cells).rstrip(" ")


def _width(char: str) -> int:
    if unicodedata.category(char) in _MARKS:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
