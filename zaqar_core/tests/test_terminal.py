"""Text for a terminal: what steers it is written out."""

from __future__ import annotations

import unicodedata

import pytest

from zaqar_core.terminal import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("añb 日本 🎉", "añb 日本 🎉"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred\x07", "\\u001b[31mred\\u0007"),
        ("\x7f\x9b2J", "\\u007f\\u009b2J"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("\udc80", "\\udc80"),
        ("\U000e0001", "\\udb40\\udc01"),
    ],
    ids=ascii,
)
def test_what_would_steer_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_lines_and_nothing_else_gets_through() -> None:
    assert printable_lines("a\r\n\x1b[2Jb\n") == "a\\r\n\\u001b[2Jb\n"


def test_no_character_that_steers_gets_through() -> None:
    everything = "".join(map(chr, range(0x110000)))
    left = {unicodedata.category(char) for char in printable(everything)}
    assert not left & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
