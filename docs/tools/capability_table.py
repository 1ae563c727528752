"""Write the capability table of README.md from reports: ``capability_table.py REPORT.json ...`` (``nox -s table``)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[2] / "README.md"
BEGIN = "<!-- capabilities: begin; made by `nox -s table` -->\n"
END = "<!-- capabilities: end -->\n"


def main(paths: list[str]) -> None:
    """Put the table made from these reports between the marks of the README."""
    reports = [json.loads(Path(path).read_text("utf-8")) for path in paths]
    before, rest = README.read_text("utf-8").split(BEGIN)
    _, after = rest.split(END)
    README.write_text(before + BEGIN + table(reports) + END + after, "utf-8")


def table(reports: list[dict[str, Any]]) -> str:
    """A row for each capability, a column for each report."""
    verdicts = [{each["name"]: each["verdict"] for each in report["capabilities"]} for report in reports]
    lines = [
        "| capability | " + " | ".join(report["target"] for report in reports) + " |",
        "|---|" + "---|" * len(reports),
        *(f"| `{name}` | " + " | ".join(column[name] for column in verdicts) + " |" for name in verdicts[0]),
        "| checks | " + " | ".join(_counts(report["outcomes"]) for report in reports) + " |",
    ]
    return "\n".join(lines) + "\n"


def _counts(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in reversed(outcomes.items()) if count)


if __name__ == "__main__":
    main(sys.argv[1:])
