"""Text for a terminal: what steers it is written out, columns stand below each other, nothing is broken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zaqar_core import Capability
from zaqar_core.cli.text import Column, capabilities, compact, cut, fields, number, seconds, table, width


@pytest.mark.parametrize("value", ["\x1b\x9b\u202e\n", {"a\x7f": ["日本", None, 1.5]}, "\U000e0001é"], ids=ascii)
def test_json_that_is_safe_to_show_is_still_the_same_json(value: Any) -> None:
    for ascii_only in (False, True):
        text = compact(value, ascii_only=ascii_only)
        assert json.loads(text) == value
        assert text.isprintable()
    assert compact(value, ascii_only=True).isascii()


def test_width_counts_columns() -> None:
    assert [width(text) for text in ("abc", "日本", "e\u0301", "ﾊ", "🎉")] == [3, 4, 1, 1, 2]


def test_cut_keeps_within_the_columns() -> None:
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"
    assert cut("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0s"),
        (0.04, "0s"),
        (1.26, "1.3s"),
        (45.9, "45s"),
        (60, "1m"),
        (185, "3m 5s"),
        (7800, "2h 10m"),
        (3600, "1h"),
        (273600, "3d 4h"),
    ],
)
def test_durations(value: float, shown: str) -> None:
    assert seconds(value) == shown


def test_one_and_many() -> None:
    assert [number(count, "message") for count in (0, 1, 2)] == ["0 messages", "1 message", "2 messages"]


def test_capabilities_are_told_by_what_is_shorter() -> None:
    everything = sorted(Capability)
    assert capabilities(everything) == f"all {len(everything)}"
    assert capabilities([one for one in everything if one != "POP"]) == "all but POP"
    assert capabilities(["FIFO", "POP"]) == "FIFO, POP"
    assert capabilities([]) == "-"


ITEMS: list[dict[str, Any]] = [
    {"name": "日本", "size": 5, "body": "x" * 60},
    {"name": "a\nb", "size": None, "body": "short"},
]
COLUMNS = (Column("name"), Column("size", right=True), Column("body", cut=True))


def test_a_table_is_aligned_and_as_wide_as_the_terminal() -> None:
    lines = table(COLUMNS, ITEMS, 40)
    assert lines == [
        "NAME  SIZE  BODY",
        f"日本     5  {'x' * 27}…",
        "a\\nb     -  short",
    ]
    assert max(map(width, lines)) == 40


def test_a_table_for_a_pipe_is_whole_and_a_narrow_terminal_still_shows_something() -> None:
    assert table(COLUMNS, ITEMS, None)[1].endswith("x" * 60)
    assert table(COLUMNS, ITEMS, 5)[1].endswith("x" * 19 + "…")


def test_one_item_in_full() -> None:
    assert fields(COLUMNS, ITEMS[1]) == ["name  a\\nb", "size  -", "body  short"]
