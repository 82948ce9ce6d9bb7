"""Outcomes as rows on a terminal or in a log.

Plain text with a little colour, so that a run in which nothing changed does not pay for a layout library.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from typing import TextIO

from buildmatrix.artifact import Outcome, Status
from buildmatrix.finding import Finding, Severity

_RED, _GREEN, _YELLOW, _DIM, _RESET = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
_SHORT_DIGEST = 16
_NAMED_CELLS = 3


def coloured(stream: TextIO) -> bool:
    """Whether a stream takes colour: a terminal, and neither NO_COLOR nor TERM=dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def summary(outcomes: Iterable[Outcome], stream: TextIO, *, verb: str) -> None:
    """One row per cell, then every finding and failure with cause and fix, then one line of counts."""
    outcomes = tuple(outcomes)
    colour = coloured(stream)
    names = max((len(item.cell) for item in outcomes), default=0)
    width = shutil.get_terminal_size((120, 24)).columns if stream.isatty() else 200
    for outcome in outcomes:
        print(_row(outcome, names, width, colour, verb), file=stream)
    details = [line for outcome in outcomes for line in _details(outcome, colour)]
    details += _notes(outcomes, colour)
    if details:
        print("", *details, sep="\n", file=stream)
    print(_counts(outcomes, verb), file=stream)


def _row(outcome: Outcome, names: int, width: int, colour: bool, verb: str) -> str:
    if outcome.failed:
        mark, tint, word = "FAIL", _RED, "failed"
    elif outcome.status is Status.SKIPPED:
        mark, tint, word = "ok", _DIM, outcome.reason or "skipped"
    else:
        mark, tint, word = "ok", _GREEN, verb
    if outcome.failed and outcome.findings:
        word = " ".join(sorted({item.rule for item in outcome.findings if item.severity is Severity.ERROR}))
    cells = f"{outcome.cell:<{names}}  {word:<9}"
    if outcome.artifact is not None:
        digest = outcome.artifact.sha256[:_SHORT_DIGEST]
        cells += f"  {outcome.artifact.size / 1e6:7.1f} MB  sha256:{digest}"
    text = f"{mark:<4}  {cells}".rstrip()
    text = text if len(text) <= width else text[: max(width - 1, 0)] + "…"
    return f"{tint}{text[:4]}{_RESET}{text[4:]}" if colour else text


def _details(outcome: Outcome, colour: bool) -> list[str]:
    lines = []
    if outcome.status is Status.FAILED and outcome.reason:
        lines += _tinted(outcome.reason.splitlines(), _RED if colour else "")
    for finding in outcome.findings:
        if finding.severity is not Severity.NOTE:
            lines += finding_lines(finding, colour)
    return lines


def _notes(outcomes: tuple[Outcome, ...], colour: bool) -> list[str]:
    """Every note once, with the cells that it is about: the same one often concerns a whole row of targets."""
    cells: dict[Finding, list[str]] = {}
    for outcome in outcomes:
        for finding in outcome.findings:
            if finding.severity is Severity.NOTE:
                cells.setdefault(replace(finding, cell=""), []).append(finding.cell)
    lines = []
    for note, names in cells.items():
        shown = ", ".join(names[:_NAMED_CELLS])
        more = len(names) - _NAMED_CELLS
        named = replace(note, cell=f"{shown} and {more} more" if more > 0 else shown)
        lines += finding_lines(named, colour)
    return lines


def finding_lines(finding: Finding, colour: bool) -> list[str]:
    """One finding, its first line in the colour of its severity."""
    tint = {Severity.ERROR: _RED, Severity.WARNING: _YELLOW, Severity.NOTE: _DIM}[finding.severity]
    return _tinted(list(finding.lines()), tint if colour else "")


def printable(text: str) -> str:
    """Text with what a terminal would act on written as escapes: it may come out of an artifact."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in text)


def _tinted(lines: list[str], tint: str) -> list[str]:
    lines = [printable(line) for line in lines]
    return [f"{tint}{lines[0]}{_RESET}", *lines[1:]] if tint and lines else lines


def _counts(outcomes: tuple[Outcome, ...], verb: str) -> str:
    failed = sum(item.failed for item in outcomes)
    skipped = sum(item.status is Status.SKIPPED and not item.failed for item in outcomes)
    warnings = sum(finding.severity is Severity.WARNING for item in outcomes for finding in item.findings)
    parts = [f"{len(outcomes) - failed - skipped} {verb}"]
    parts += [f"{count} {name}" for count, name in ((skipped, "unchanged"), (failed, "failed")) if count]
    if warnings:
        parts.append(f"{warnings} warning" + ("s" if warnings > 1 else ""))
    return ", ".join(parts)
