"""Reports read back from their JSON: what ``html``, ``matrix``, ``diff`` and ``badge`` work on."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from zaqar_conformance.report import SCHEMA_VERSION

ReportData = dict[str, Any]
"""A report as ``report.schema.json`` describes it."""


class UnusableReport(ValueError):
    """A file is no report, or of a schema that this version cannot read; says why, and what to do."""


def read(path: Path) -> ReportData:
    """The report in a file; one of an older schema as if it had been written today. Raises ``UnusableReport``."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UnusableReport(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UnusableReport(f"{path} is no JSON ({error}); name a report.json of `run --report`") from error
    if not isinstance(data, dict) or "schema_version" not in data:
        raise UnusableReport(f"{path} is no report of zaqar-conformance; name a report.json of `run --report`")
    version = data["schema_version"]
    report: ReportData = _from_first(data) if version == 1 else data
    if version not in (1, SCHEMA_VERSION):
        raise UnusableReport(
            f"{path} has schema_version {version!r}; this zaqar-conformance reads 1 to {SCHEMA_VERSION}: "
            "use the version that wrote it, or a newer one"
        )
    wrong = best_match(_validator().iter_errors(report))
    if wrong is not None:
        raise UnusableReport(f"{path} is no report: {wrong.json_path} {wrong.message[:200]}; run the suite again")
    return report


def _from_first(data: ReportData) -> ReportData:
    """The first schema had no costs, and said neither where in a history the fault shows nor that a run was quick."""
    checks = data.get("checks")
    for check in checks if isinstance(checks, list) else ():
        if isinstance(check, dict):
            check.setdefault("offending", [])
            check.setdefault("costs", [])
    return {"quick": False, **data, "schema_version": SCHEMA_VERSION}


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(
        json.loads(files("zaqar_conformance").joinpath("report.schema.json").read_text("utf-8"))
    )
