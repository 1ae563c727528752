"""A history as a drawing: a lane for each client, a bar for each operation, as laid out for ``timeline.svg.j2``.

What matters is which operation began or ended before which. So the order of all beginnings and ends is exact, and
lengths are not: a stretch of time is drawn longer the longer it is, but by its logarithm, and never so short that a
bar cannot hold its name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from zaqar_conformance.history import telling

MOST = 60
"""How many operations are drawn."""
LANE = 40
"""The height of a lane; lengths are in CSS pixels."""
BAR = 24
_TOP = 24
_LETTER = 6.8
_PADDING = 12
_LONGEST = 4_000
"""Characters of a call, or of its result, that are shown."""
_IDLE = 50_000_000
"""Nanoseconds in which nothing happens, from which on the drawing says how long it was."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One operation. ``number``: its place in the history, from 1. ``x`` to ``x + width``: from begin to end."""

    number: int
    label: str
    x: float
    y: float
    width: float
    outcome: str
    offending: bool
    title: str


@dataclass(frozen=True, slots=True)
class Idle:
    """A stretch in which no operation was under way."""

    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One operation in words."""

    number: int
    client: str
    call: str
    result: str
    outcome: str
    start: str
    length: str
    offending: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """``names``: the ids behind the short names. ``total``: how many operations the history has."""

    width: float
    height: float
    lanes: tuple[str, ...]
    bars: tuple[Bar, ...]
    idles: tuple[Idle, ...]
    rows: tuple[Row, ...]
    names: tuple[tuple[str, str], ...]
    total: int
    text: str
    """What the check saw, with short names."""


def timeline(
    history: Sequence[Mapping[str, Any]], offending: Sequence[int], total: int, message: str = ""
) -> Timeline | None:
    """Lay out the part of a history that shows what is wrong; None if there is no history."""
    if not history:
        return None
    chosen = telling(len(history), offending, MOST)
    shown = [history[index] for index in chosen]
    all_wrong = set(offending)
    wrong = [index in all_wrong for index in chosen]
    names = _short_names(shown)
    lanes = tuple(dict.fromkeys(operation["client"] for operation in shown))
    texts = [_call(operation) for operation in shown]
    labels = [_label(index + 1, operation) for index, operation in zip(chosen, shown, strict=True)]
    edges, places = _places(shown, labels)
    origin = edges[0]
    bars, rows = [], []
    for index, operation, bad, label, text in zip(chosen, shown, wrong, labels, texts, strict=True):
        call, result = (_cut(_renamed(each, names)) for each in text)
        start, end = operation["start"], operation["end"]
        length = duration(end - start)
        y = _TOP + LANE * lanes.index(operation["client"]) + (LANE - BAR) / 2
        title = f"{index + 1}: {operation['client']} {call}, {operation['outcome']}, {length}"
        x = places[start]
        width = max(places[end] - x, _room(label))  # more only if it took no time at all
        bars.append(Bar(index + 1, label, x, y, width, operation["outcome"], bad, title))
        since = f"+{duration(start - origin)}"
        rows.append(Row(index + 1, operation["client"], call, result, operation["outcome"], since, length, bad))
    return Timeline(
        width=max(bar.x + bar.width for bar in bars) + _PADDING,
        height=_TOP + LANE * len(lanes),
        lanes=lanes,
        bars=tuple(bars),
        idles=_idles(shown, edges, places),
        rows=tuple(rows),
        names=tuple((short, long) for long, short in names.items()),
        total=total,
        text=_renamed(message, names),
    )


def duration(nanoseconds: float) -> str:
    """A length of time for people: three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return (
                f"{nanoseconds / size:.3g} {unit}" if nanoseconds < 1000 * size else f"{nanoseconds / size:.0f} {unit}"
            )
    return f"{nanoseconds:.0f} ns"


def _places(shown: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> tuple[list[int], dict[int, float]]:
    """The instants at which something begins or ends, and where each is drawn."""
    edges = sorted({operation[edge] for operation in shown for edge in ("start", "end")})
    index = {edge: place for place, edge in enumerate(edges)}
    xs = [float(_PADDING)]
    for before, after in pairwise(edges):
        xs.append(xs[-1] + 6 + 5 * math.log10(1 + (after - before) / 1000))
    for operation, label in sorted(zip(shown, labels, strict=True), key=lambda pair: pair[0]["end"]):
        start, end = index[operation["start"]], index[operation["end"]]
        lacking = _room(label) - (xs[end] - xs[start])
        if lacking > 0:  # only what comes later moves, so that no other bar gets shorter
            later = max(end, start + 1)
            xs[later:] = [x + lacking for x in xs[later:]]
    return edges, dict(zip(edges, xs, strict=True))


def _idles(shown: Sequence[Mapping[str, Any]], edges: Sequence[int], places: Mapping[int, float]) -> tuple[Idle, ...]:
    found = []
    for before, after in pairwise(edges):
        busy = any(each["start"] <= before and after <= each["end"] for each in shown)
        if not busy and after - before >= _IDLE:
            found.append(Idle(places[before], places[after] - places[before], duration(after - before)))
    return tuple(found)


def _label(number: int, operation: Mapping[str, Any]) -> str:
    sign = {"ok": "", "refused": " ✗", "unknown": " ?"}[operation["outcome"]]
    name = operation["name"].removeprefix("messages.")
    short = {"claims.create": "claim", "claims.update": "renew", "claims.delete": "release", "bulk_delete": "delete"}
    return f"{number} {short.get(name, name)}{sign}"


def _room(label: str) -> float:
    return len(label) * _LETTER + _PADDING


def _call(operation: Mapping[str, Any]) -> tuple[str, str]:
    arguments = ", ".join(f"{name}={_value(value)}" for name, value in operation["arguments"].items())
    result = "" if operation["result"] is None else _value(operation["result"])
    return f"{operation['name']}({arguments})", result


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short_names(shown: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Short names for the ids of messages and claims, by first appearance: ``m1``, ``c1``."""
    messages: dict[str, None] = {}
    claims: dict[str, None] = {}
    for operation in shown:
        name, arguments, result = operation["name"], operation["arguments"], operation["result"]
        if name in ("messages.post", "messages.get", "messages.pop", "claims.get", "messages.bulk_delete"):
            messages |= dict.fromkeys(_strings(result))
        if isinstance(result, dict):
            messages |= dict.fromkeys(_strings(result.get("messages")) + _strings(result.get("ids")))
            claims |= dict.fromkeys(_strings([result.get("id")]))
        own = claims if name.startswith("claims.") else messages
        own |= dict.fromkeys(_strings([arguments.get("id")]))
        messages |= dict.fromkeys(_strings(arguments.get("ids")))
        claims |= dict.fromkeys(_strings([arguments.get("claim")]) + _strings(arguments.get("claims")))
    return {
        **{long: f"m{number}" for number, long in enumerate(messages, 1)},
        **{long: f"c{number}" for number, long in enumerate(claims, 1)},
    }


def _strings(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str) and each] if isinstance(value, list) else []


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters; report.json has them)"


def words(text: str) -> set[str]:
    """The words of a text that may be ids."""
    return {word.rstrip(".") for _, word, _ in _WORD.findall(text)}


_WORD = re.compile(r'("?)([\w.~-]+)("?)')
"""A run of the characters that ids are made of, in quotes or not."""


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """The text with short names, in time that grows with its length and not with the number of names."""

    def rename(found: re.Match[str]) -> str:
        before, word, after = found.groups()
        end = word[len(word.rstrip(".")) :] if word not in names else ""  # an id may end a sentence
        short = names.get(word.removesuffix(end))
        if short is None:
            return found[0]
        return short + end if before and after else before + short + end + after

    return _WORD.sub(rename, text)
