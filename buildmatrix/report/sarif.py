"""The model as SARIF 2.1.0, in the shape that code scanning takes. Pure.

OASIS SARIF 2.1.0 (2020) and GitHub's "SARIF support for code scanning": locations relative to the repository's root,
one rule a code with help, and fingerprints that stay the same from run to run, so that a finding that stays is one
alert. Artifacts are no files of the repository: a finding is shown at the line of matrix.toml that declares its target.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import quote

from buildmatrix.finding import Finding, Severity
from buildmatrix.report.model import Location, ReportModel
from buildmatrix.report.plain import safe

VERSION = "2.1.0"
FINGERPRINT = "buildmatrix/v1"
MOST_RESULTS = 5000
"""Code scanning shows no more; errors come first, so that it is notes that are left out, and a notification says so."""
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
_PRECISE = {"precision": "very-high"}
_VOLATILE = re.compile(r"[0-9a-f]{16,}…?|0x[0-9a-f]+|\b\d+\b")
_ORDER = tuple(_LEVELS)


def render(report: ReportModel) -> str:
    """The log with one run."""
    found = sorted(report.findings, key=lambda item: _ORDER.index(item.severity))
    rules = sorted({item.rule for item in found} | {code for column in report.columns for code in column.codes})
    places = dict(report.locations)
    run = {
        "tool": {"driver": _driver(report, rules)},
        "automationDetails": {"id": "buildmatrix/"},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The root of the repository."}}},
        "invocations": [_invocation(len(found))],
        "results": _results(found[:MOST_RESULTS], rules, places),
    }
    if report.commit:
        run["properties"] = {"commit": report.commit, "version": safe(report.version)}
    document = {"$schema": _SCHEMA, "version": VERSION, "runs": [run]}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _driver(report: ReportModel, rules: list[str]) -> dict[str, Any]:
    titles = dict(report.titles)
    return {
        "name": "buildmatrix",
        "semanticVersion": report.tool,
        "rules": [_rule(code, titles.get(code, "")) for code in rules],
    }


def _rule(code: str, title: str) -> dict[str, Any]:
    text = safe(title) or code
    return {
        "id": code,
        "name": code,
        "shortDescription": {"text": text},
        "fullDescription": {"text": text},
        "help": {
            "text": f"{text}. `buildmatrix codes {code}` explains it.",
            "markdown": f"{text}. `buildmatrix codes {code}` explains it.",
        },
        "properties": {"tags": ["supply-chain", "portability"], **_PRECISE},
    }


def _invocation(count: int) -> dict[str, Any]:
    value: dict[str, Any] = {"executionSuccessful": True}
    if count > MOST_RESULTS:
        text = f"{count} findings, of which the {MOST_RESULTS} worst are listed; report.json has all of them"
        value["toolExecutionNotifications"] = [{"level": "warning", "message": {"text": text}}]
    return value


def _results(found: list[Finding], rules: list[str], places: dict[str, Location]) -> list[dict[str, Any]]:
    """One result a finding; findings that would have the same fingerprint are counted apart."""
    numbers = {code: index for index, code in enumerate(rules)}
    seen: dict[str, int] = {}
    results = []
    for finding in found:
        identity = _identity(finding)
        number = seen[identity] = seen.get(identity, 0) + 1
        place = places.get(finding.cell, places[""])
        results.append(_result(finding, numbers[finding.rule], place, f"{identity}:{number}"))
    return results


def _identity(finding: Finding) -> str:
    """A digest of what a finding is about; numbers and digests, which change from build to build, are left out."""
    stable = "\0".join((finding.rule, finding.cell, _VOLATILE.sub("#", finding.what)))
    return hashlib.sha256(stable.encode("utf-8", "surrogateescape")).hexdigest()


def _result(finding: Finding, index: int, place: Location, fingerprint: str) -> dict[str, Any]:
    details = (("evidence", finding.evidence), ("why", finding.why), ("fix", finding.fix))
    text = "\n".join([f"{finding.cell}: {finding.what}", *(f"{label}: {item}" for label, item in details if item)])
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": "\n".join(map(safe, text.split("\n")))},
        "partialFingerprints": {FINGERPRINT: fingerprint},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(place.path, safe="/"), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": place.line},
                },
                "logicalLocations": [{"name": safe(finding.cell), "kind": "member"}],
            }
        ],
    }
