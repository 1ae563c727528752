"""Write the capability table of README.md from reports: ``capability_table.py REPORT.json ...`` (``nox -s table``)."""

from __future__ import annotations

import sys
from pathlib import Path

from zaqar_conformance.matrix import capability_table
from zaqar_conformance.reading import read

README = Path(__file__).parents[2] / "README.md"
BEGIN = "<!-- capabilities: begin; made by `nox -s table` -->\n"
END = "<!-- capabilities: end -->\n"


def main(paths: list[str]) -> None:
    """Put the table made from these reports between the marks of the README."""
    before, rest = README.read_text("utf-8").split(BEGIN)
    _, after = rest.split(END)
    table = capability_table([read(Path(path)) for path in paths])
    README.write_text(before + BEGIN + table + END + after, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
