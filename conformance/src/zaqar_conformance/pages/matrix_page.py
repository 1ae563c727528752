"""The matrix of targets as one page for people."""

from __future__ import annotations

from collections.abc import Sequence

from zaqar_conformance.matrix import capability_rows, column_names, counts, requirement_rows
from zaqar_conformance.pages.rendering import page
from zaqar_conformance.reading import ReportData
from zaqar_conformance.verdict import overall


def matrix_page(reports: Sequence[ReportData]) -> str:
    """The page for several reports: complete in itself, and it asks nothing of anybody."""
    return page(
        "matrix.html.j2",
        targets=[
            (name, report, overall(report), counts(report))
            for name, report in zip(column_names(reports), reports, strict=True)
        ],
        capabilities=capability_rows(reports),
        requirements=requirement_rows(reports),
    )
