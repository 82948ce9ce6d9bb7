"""The model as JUnit XML: one suite an artifact, one case a check. Pure.

The dialect that Jenkins, GitLab and GitHub actions read: testsuites, testsuite, testcase, failure, error, skipped,
system-out. A check that could not look is an error, or skipped where verify passes that over with a note; no reader
takes either for a pass.
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from buildmatrix.finding import Finding, Severity
from buildmatrix.report.model import Mark, ReportModel, Row, State
from buildmatrix.report.plain import safe


def render(report: ReportModel) -> str:
    """The document with its declaration. A note is no failure, and a warning fails nothing either: both are output."""
    top = ET.Element("testsuites", name=safe(f"buildmatrix {report.project} {report.version}"))
    seconds = {timing.cell: timing.seconds for timing in report.timings}
    titles = {column.key: column.title for column in report.columns}
    for row in report.rows:
        suite = _suite(top, row.cell, report.epoch, seconds.get(row.cell))
        for mark in row.marks:
            _case(suite, row, mark, _name(mark.column, titles[mark.column]))
    for image in report.images:
        suite = _suite(top, f"image {image.name}", report.epoch, None)
        _found(suite, f"image {image.name}", "proof", image.findings, image.state is State.UNKNOWN)
    if report.whole:
        _found(_suite(top, "dist", report.epoch, None), "dist", "contents", report.other, unknown=False)
    _count(top)
    ET.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(top, encoding="unicode") + "\n"


def _name(key: str, title: str) -> str:
    return f"{key} {title}" if key.startswith("BM") else title


def _suite(top: ET.Element, name: str, epoch: int | None, seconds: float | None) -> ET.Element:
    values = {"name": safe(name)}
    if epoch is not None:
        values["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch))
    values["time"] = f"{seconds or 0:.3f}"
    return ET.SubElement(top, "testsuite", values)


def _case(suite: ET.Element, row: Row, mark: Mark, name: str) -> None:
    case = _found(suite, row.cell, name, mark.findings, mark.state is State.UNKNOWN)
    if mark.state is State.NOT_APPLICABLE:
        ET.SubElement(case, "skipped", message=safe(mark.seen))
    elif not mark.findings and mark.seen:
        ET.SubElement(case, "system-out").text = safe(mark.seen)


def _found(suite: ET.Element, owner: str, name: str, findings: Sequence[Finding], unknown: bool) -> ET.Element:
    case = ET.SubElement(suite, "testcase", classname=safe(owner), name=safe(name), time="0.000")
    failures = [item for item in findings if item.severity is Severity.ERROR]
    if failures:
        message = "; ".join(safe(f"{item.rule} {item.what}") for item in failures)
        ET.SubElement(case, "failure", message=message, type=safe(failures[0].rule)).text = _text(failures)
    elif unknown and findings:
        ET.SubElement(case, "skipped", message=safe(f"not looked at: {findings[0].what}"))
    elif unknown:
        ET.SubElement(case, "error", message="could not be looked at", type="unknown")
    rest = [item for item in findings if item.severity is not Severity.ERROR]
    if rest:
        ET.SubElement(case, "system-out").text = _text(rest)
    return case


def _text(findings: Sequence[Finding]) -> str:
    return "\n".join(safe(line) for finding in findings for line in finding.lines())


def _count(top: ET.Element) -> None:
    """Totals, from what is there."""
    for element in (*top, top):
        element.set("tests", str(len(element.findall(".//testcase"))))
        element.set("failures", str(len(element.findall(".//failure"))))
        element.set("errors", str(len(element.findall(".//error"))))
        element.set("skipped", str(len(element.findall(".//skipped"))))
