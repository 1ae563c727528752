"""Text from anywhere, made safe for a terminal: a server, a message or a plugin must not steer it."""

from __future__ import annotations

import unicodedata

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    r"""The text in one line: all that steers a terminal or is invisible is written as JSON does: ``\n``, ``\u001b``.

    That is every control character (C0, DEL, C1), bidirectional controls, other format characters, line separators,
    surrogates (a byte that was no UTF-8 may be one), and code points that are private or not assigned.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(char) if unicodedata.category(char) in _UNSAFE else char for char in text)


def printable_lines(text: str) -> str:
    """The text with its line feeds, such as a traceback; each line as :func:`printable` gives it."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return _SHORT.get(char) or "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
