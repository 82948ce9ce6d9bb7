"""The model as Markdown for a pull-request comment or a job summary: what fails first, and bounded. Pure.

GitHub takes 65536 characters in a comment and 1 MiB in a job summary; what does not fit is counted, not dropped
in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from buildmatrix.finding import Finding, Severity
from buildmatrix.report.model import ReportModel, Row, State, grouped
from buildmatrix.report.plain import WORDS, bytes_in_words, safe

LIMIT = 60_000
"""Bytes of UTF-8 at most, a little below what a comment may have."""
_RESERVE = 200
_SIGNS = {
    State.PASSED: "✅ passed", State.NOTE: "✅ passed, with notes", State.WARNING: "⚠️ warning",
    State.FAILED: "❌ failed", State.UNKNOWN: "❔ unknown", State.NOT_APPLICABLE: "n/a",
}  # fmt: skip
_ACTIVE = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&@:])")
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


def render(report: ReportModel, limit: int = LIMIT) -> str:
    """The whole text, at most `limit` bytes."""
    kept: list[str] = []
    used, left_out = 0, 0
    for block in _blocks(report):
        size = len(block.encode()) + 1
        if used + size > limit - _RESERVE:
            left_out += 1
            continue
        kept.append(block)
        used += size
    if left_out:
        kept.append(f"\n_{left_out} more lines do not fit here: they are in report.html and report.json._")
    return "\n".join(kept) + "\n"


def _blocks(report: ReportModel) -> Iterator[str]:
    """Lines and findings, each a block that is kept or left out as a whole."""
    yield f"## {'❌' if report.failed else '✅'} {escape(report.project)} {escape(report.version)}"
    yield ""
    counts = ", ".join(
        f"{number} {word}{'' if number == 1 else 's'}"
        for word, number in ((WORDS[severity], report.count(severity)) for severity in _ORDER)
    )
    yield f"{len(report.rows)} artifacts, {counts}." + ("" if report.whole else " Not every cell was looked at.")
    yield ""
    yield "| artifact | result | size | SHA-256 |\n| --- | --- | ---: | --- |"
    for row in sorted(report.rows, key=lambda row: row.state is not State.FAILED):
        yield _row(row)
    for image in report.images:
        digest = escape(image.index.removeprefix("sha256:")[:16])
        yield f"| image {escape(image.name)} | {_SIGNS[image.state]} |  | {digest} |"
    for severity in _ORDER:
        yield from _findings(report, severity)


def _row(row: Row) -> str:
    codes = sorted({item.rule for mark in row.marks for item in mark.findings if item.severity is Severity.ERROR})
    result = f"{_SIGNS[row.state]} {' '.join(codes)}".rstrip()
    size = bytes_in_words(row.size) if row.sha256 else "unknown"
    return f"| {escape(row.cell)} | {result} | {size} | {row.sha256[:16] or 'unknown'} |"


def _findings(report: ReportModel, severity: Severity) -> Iterator[str]:
    found = list(grouped(item for item in report.findings if item.severity is severity))
    if not found:
        return
    yield f"\n### {WORDS[severity].capitalize()}s\n"
    for finding in found:
        yield _finding(finding)


def _finding(finding: Finding) -> str:
    details = (("evidence", finding.evidence), ("why", finding.why), ("fix", finding.fix))
    lines = [f"- **{escape(finding.rule)} {escape(finding.cell)}**: {escape(finding.what)}"]
    lines += [f"  - {label}: {escape(text)}" for label, text in details if text]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text that Markdown, and GitHub's mentions and references in it, take for nothing else."""
    return _ACTIVE.sub(r"\\\1", safe(text)).replace(r"\@", "@\u200b").replace(r"\<", "&lt;").replace(r"\&", "&amp;")
