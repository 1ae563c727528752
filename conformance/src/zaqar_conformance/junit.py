"""The report as JUnit XML, for what reads that: a suite for each section, a case for each check."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.report import CheckResult, Report
from zaqar_conformance.requirements import load
from zaqar_core.terminal import printable_lines

_BROKEN = {Outcome.FAILED: "failure", Outcome.NOT_IMPLEMENTED: "failure", Outcome.ERROR: "error"}
_FINE = (Outcome.PASSED, Outcome.OBSERVED)


def to_junit(report: Report) -> str:
    """One ``testsuites`` element. What is neither passed nor broken is skipped, with its outcome as the message.

    An entry of ``known_failures.toml`` that is out of date is a failed case of its own.
    """
    root = ET.Element("testsuites", name=f"zaqar-conformance {report.target}", time=f"{report.seconds:.3f}")
    for section in load(report.contract).sections:
        results = [result for result in report.checks if result.requirements[0].startswith(f"{section.prefix}-")]
        if results:
            _suite(root, report, section.title, results)
    if report.stale_known_failures:
        suite = ET.SubElement(root, "testsuite", name="known failures", time="0")
        for entry in report.stale_known_failures:
            case = ET.SubElement(suite, "testcase", name=entry, classname="known_failures", time="0")
            ET.SubElement(case, "failure", message="this entry is out of date; take it out")
        _count(suite)
    _count(root)
    ET.indent(root)
    # Characters that XML cannot hold, or that steer a terminal, are escaped as in JSON.
    return printable_lines(ET.tostring(root, encoding="unicode", xml_declaration=True)) + "\n"


def _suite(root: ET.Element, report: Report, title: str, results: list[CheckResult]) -> None:
    seconds = sum(result.seconds for result in results)
    suite = ET.SubElement(root, "testsuite", name=title, time=f"{seconds:.3f}", timestamp=report.started)
    for result in results:
        name = f"{result.name} [{' '.join(result.requirements)}]"
        case = ET.SubElement(suite, "testcase", name=name, classname=report.target, time=f"{result.seconds:.3f}")
        message = f"{result.outcome}: {result.message}"
        if result.outcome in _BROKEN:
            broken = ET.SubElement(case, _BROKEN[result.outcome], message=message)
            broken.text = f"{result.details}\nreproduce: {result.reproduce}"
        elif result.outcome not in _FINE:
            ET.SubElement(case, "skipped", message=message)
        if result.notes:
            ET.SubElement(case, "system-out").text = "\n".join(result.notes)
    _count(suite)


def _count(element: ET.Element) -> None:
    element.set("tests", str(len(element.findall(".//testcase"))))
    element.set("failures", str(len(element.findall(".//failure"))))
    element.set("errors", str(len(element.findall(".//error"))))
    element.set("skipped", str(len(element.findall(".//skipped"))))
