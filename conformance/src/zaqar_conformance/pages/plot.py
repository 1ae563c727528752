"""Cost against depth as drawings, laid out for ``plot.svg.j2``: a plot for each state, a line for each operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zaqar_conformance.costs import BOUND

WIDTH = 340
_LEFT, _RIGHT, _TOP = 46, 14, 26
_BOTTOM_OF_TIMES, _BOTTOM_OF_TRIPS = 186, 106
_MARKS = ("circle", "square", "triangle", "diamond", "cross", "ring")


@dataclass(frozen=True, slots=True)
class Point:
    """``low`` and ``high``: the ends of the interval; None where there is none."""

    x: float
    y: float
    low: float | None
    high: float | None
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """One operation; ``mark``: the shape of its points, ``path`` what joins them."""

    operation: str
    mark: str
    style: int
    points: tuple[Point, ...]
    path: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """``bound``: where the line lies above which it costs too much; None: there is none."""

    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    bound: float | None
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class TableRow:
    """What an operation costs on the shallowest and on the deepest queue."""

    operation: str
    mark: str
    style: int
    shallow: Mapping[str, Any]
    deep: Mapping[str, Any]
    too_much: bool


@dataclass(frozen=True, slots=True)
class StateCosts:
    """The costs with messages of one state ahead. ``trips``: None where round trips were not counted."""

    state: str
    shallow: int
    deep: int
    times: Plot
    trips: Plot | None
    rows: tuple[TableRow, ...]


def costs_by_state(costs: Iterable[Mapping[str, Any]]) -> list[StateCosts]:
    """Plots and tables of what the checks of cost measured."""
    states: dict[str, list[Mapping[str, Any]]] = {}
    for cost in costs:
        states.setdefault(cost["state"], []).append(cost)
    found = [_state(state, costs) for state, costs in states.items()]
    return sorted(found, key=lambda each: -len(each.rows))


def _state(state: str, costs: Sequence[Mapping[str, Any]]) -> StateCosts:
    operations = list(dict.fromkeys(cost["operation"] for cost in costs))
    by = {name: sorted((c for c in costs if c["operation"] == name), key=lambda c: c["depth"]) for name in operations}
    counted = [cost for cost in costs if cost["round_trips"] is not None]
    rows = tuple(
        TableRow(name, _mark(index), index, each[0], each[-1], _too_much(each[0], each[-1]))
        for index, (name, each) in enumerate(by.items())
    )
    depths = sorted({cost["depth"] for cost in costs})
    return StateCosts(state, depths[0], depths[-1], _times(by, depths), _trips(by, depths) if counted else None, rows)


def _too_much(shallow: Mapping[str, Any], deep: Mapping[str, Any]) -> bool:
    trips = deep["round_trips"] is not None and deep["round_trips"] > BOUND * (shallow["round_trips"] or 0)
    return trips or (deep["low"] is not None and deep["low"] > BOUND)


def _times(by: Mapping[str, Sequence[Mapping[str, Any]]], depths: Sequence[int]) -> Plot:
    """Times relative to the shallowest queue, both axes logarithmic."""
    ratios = [cost["ratio"] for each in by.values() for cost in each if cost["ratio"]]
    ratios += [end for each in by.values() for end in (each[-1]["low"], each[-1]["high"]) if end]  # these decide
    least, most = min([0.5, *ratios]), max([2.0, *ratios])
    steps = _halves(least, most)
    least, most = min(least, steps[0]), max(most, steps[-1])

    def up(ratio: float) -> float:
        ratio = min(max(ratio, least), most)
        return _between(math.log(ratio), math.log(least), math.log(most), _BOTTOM_OF_TIMES, _TOP)

    def point(cost: Mapping[str, Any], x: float) -> Point | None:
        if not cost["ratio"]:
            return None
        sure = cost["low"] and cost["high"] and cost["low"] != cost["high"]
        title = (
            f"{cost['operation']}, {cost['depth']:,} ahead: {cost['ratio']:.2f} times, {cost['milliseconds']:.3g} ms"
        )
        return Point(x, up(cost["ratio"]), up(cost["low"]) if sure else None, up(cost["high"]) if sure else None, title)

    ticks = tuple(Tick(up(step), f"{step:g}\u00d7") for step in steps)
    return _plot(by, depths, point, ticks, _BOTTOM_OF_TIMES, up(BOUND))


def _trips(by: Mapping[str, Sequence[Mapping[str, Any]]], depths: Sequence[int]) -> Plot:
    most = max(cost["round_trips"] or 0 for each in by.values() for cost in each)
    top = max(2, math.ceil(most * 1.25))
    step = max(1, math.ceil(top / 4))

    def up(count: float) -> float:
        return _between(count, 0, top, _BOTTOM_OF_TRIPS, _TOP)

    def point(cost: Mapping[str, Any], x: float) -> Point | None:
        count = cost["round_trips"]
        if count is None:
            return None
        return Point(x, up(count), None, None, f"{cost['operation']}, {cost['depth']:,} ahead: {count:g} round trips")

    ticks = tuple(Tick(up(each), f"{each}") for each in range(0, top + 1, step))
    return _plot(by, depths, point, ticks, _BOTTOM_OF_TRIPS)


def _plot(
    by: Mapping[str, Sequence[Mapping[str, Any]]],
    depths: Sequence[int],
    point: Callable[[Mapping[str, Any], float], Point | None],
    ticks: tuple[Tick, ...],
    bottom: float,
    bound: float | None = None,
) -> Plot:
    inner = 18.0

    def across(depth: int) -> float:
        ends = math.log(depths[0]), math.log(depths[-1])
        return _between(math.log(depth), *ends, _LEFT + inner, WIDTH - _RIGHT - inner)

    lines = []
    for index, (name, costs) in enumerate(by.items()):
        aside = (index - (len(by) - 1) / 2) * 6  # side by side, where they would hide one another
        points = tuple(made for cost in costs if (made := point(cost, across(cost["depth"]) + aside)) is not None)
        path = "M" + " L".join(f"{each.x:.1f} {each.y:.1f}" for each in points) if points else ""
        lines.append(Line(name, _mark(index), index, points, path))
    names = tuple(Tick(across(depth), f"{depth:,}".replace(",", "\u202f")) for depth in depths)
    return Plot(tuple(lines), names, ticks, bound, _LEFT, WIDTH - _RIGHT, _TOP, bottom)


def _between(value: float, least: float, most: float, start: float, end: float) -> float:
    share = 0.5 if least == most else (value - least) / (most - least)
    return start + share * (end - start)


def _halves(least: float, most: float) -> list[float]:
    """Powers of two around 1, and of more where the range is wide."""
    factor = 2.0
    while math.log(most / least, factor) > 7:
        factor *= 2
    first, last = math.floor(math.log(least, factor) + 1e-9), math.ceil(math.log(most, factor) - 1e-9)
    return [factor**step for step in range(first, last + 1)]


def _mark(index: int) -> str:
    return _MARKS[index % len(_MARKS)]
