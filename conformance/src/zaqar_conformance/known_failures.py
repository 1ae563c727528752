"""What a driver is known to fail: a TOML file in which every entry has a reason, and none may be out of date.

[[failure]]
check = "list_pages_by_marker"       # or: requirement = "LST-001", for every check that names it
reason = "the server's cursor forgets deleted keys; tracked as issue 12"
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zaqar_conformance.check import Check


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """One entry; either ``check`` or ``requirement`` is given."""

    check: str | None
    requirement: str | None
    reason: str

    def covers(self, check: Check) -> bool:
        """Whether the entry is about this check."""
        return check.name == self.check or self.requirement in check.requirements

    def __str__(self) -> str:
        return f"{self.check or self.requirement}: {self.reason}"


class KnownFailuresError(Exception):
    """The file cannot be used: unreadable, or an entry that is wrong or has no reason."""


def load(path: Path | None) -> list[KnownFailure]:
    """The entries of the file, [] without one. Raises ``KnownFailuresError``."""
    if path is None:
        return []
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise KnownFailuresError(f"{path}: {error}") from error
    if not data.keys() <= {"failure"} or not isinstance(data.get("failure", []), list):
        raise KnownFailuresError(f"{path}: only [[failure]] tables belong here")
    return [_entry(path, table) for table in data.get("failure", [])]


def _entry(path: Path, table: dict[str, Any]) -> KnownFailure:
    named = sorted(table.keys() - {"reason"})
    if named not in (["check"], ["requirement"]) or not all(isinstance(value, str) for value in table.values()):
        raise KnownFailuresError(
            f"{path}: an entry has a text 'check' or 'requirement', and a 'reason'; this has {table}"
        )
    if not table.get("reason", "").strip():
        raise KnownFailuresError(f"{path}: the entry for {table[named[0]]} lacks a reason; say why it fails")
    return KnownFailure(table.get("check"), table.get("requirement"), table["reason"].strip())
