"""A badge: the contract's version and the verdict, as a small SVG."""

from __future__ import annotations

from zaqar_conformance.pages.rendering import render
from zaqar_conformance.reading import ReportData
from zaqar_conformance.verdict import overall

_COLORS = {"passed": "#1a6e3c", "failed": "#b3261e", "no verdict": "#5c6066"}
_LETTER = 6.6
_PADDING = 8


def badge(report: ReportData) -> str:
    """An SVG for a README. A run that was narrowed says to what."""
    found = overall(report)
    label = f"zaqar contract {report['contract']}"
    message = f"{found.word} ({found.scope})" if found.scope else found.word
    widths = [round(len(text) * _LETTER + 2 * _PADDING) for text in (label, message)]
    return render("badge.svg.j2", label=label, message=message, color=_COLORS[found.word], widths=widths)
