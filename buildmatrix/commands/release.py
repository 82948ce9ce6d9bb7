"""buildmatrix release: build, prove, sign and judge a release before it gets a tag; or judge one in a registry."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

from buildmatrix import errors, releasing, shipping
from buildmatrix.commands import options
from buildmatrix.matrix import Matrix
from buildmatrix.release import gate
from buildmatrix.report import progress as live
from buildmatrix.report import terminal

SUMMARY = "build, prove, sign and judge a release before it gets a tag; or judge one in a registry"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="images of matrix.toml; all where none is named")
    parser.add_argument("--check", metavar="REF", help="judge this release, by whomever it was made; build nothing")
    options.add_terms(parser)
    options.add_registry(parser)
    parser.add_argument("--repository", metavar="REPOSITORY", help="push there instead of images.NAME.repository")
    parser.add_argument("--key", metavar="FILE", help="sign with this private key instead of the one of [signing]")
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/release.md)")


def run(arguments: argparse.Namespace) -> int:
    """Release, or judge; returns the exit status."""
    return _check(arguments) if arguments.check else _release(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from buildmatrix.release import terms

    if arguments.names or arguments.repository or arguments.key:
        raise errors.UsageError(
            "--check: got options of a release, expected none: nothing is built or signed",
            fix="name the release by --check alone; whom to trust is said by --trusted-key or the matrix",
        )
    with options.opened(arguments, arguments.check) as (repository, target):
        _, verdict = terms.judge(repository, target, options.terms(arguments))
    if arguments.json:
        print(json.dumps(gate.as_json(verdict), sort_keys=True))
    else:
        _show((verdict,))
    return errors.EXIT_OK if verdict.passed else errors.EXIT_FINDINGS


def _release(arguments: argparse.Namespace) -> int:
    arguments.matrix = arguments.matrix or options.DEFAULT_MATRIX
    selection = options.read(arguments)
    matrix = _signed_by(selection.matrix, arguments.key)
    specs = shipping.select(matrix, arguments.names)
    with live.progress() as progress:
        done = releasing.run(
            releasing.Work(
                matrix=matrix,
                specs=specs,
                dist=selection.dist,
                targets=shipping.repositories(specs, arguments.repository),
                access=options.access(arguments),
                listener=progress,
            )
        )
    if arguments.json:
        print(json.dumps(_json(done), sort_keys=True))
        return done.exit_status
    if done.outcomes:
        terminal.summary(done.outcomes, sys.stdout, verb="verified")
    _show(done.verdicts)
    for name, digest in done.tags:
        print(f"{name}  {digest}")
    if not done.tags:
        print("nothing was released: no tag was set")
    return done.exit_status


def _signed_by(matrix: Matrix, key: str | None) -> Matrix:
    from pathlib import Path

    if key is None:
        return matrix
    return replace(matrix, signing=replace(matrix.signing, backend="key", key=str(Path(key).absolute())))


def _json(done: releasing.Released) -> dict[str, object]:
    return {
        "schema": gate.SCHEMA,
        "released": bool(done.tags),
        "cells": [
            {"cell": item.cell, "failed": item.failed, "reason": item.reason,
             "codes": sorted({finding.rule for finding in item.findings})}
            for item in done.outcomes
        ],
        "verdicts": [gate.as_json(item) for item in done.verdicts],
        "tags": dict(done.tags),
    }  # fmt: skip


def _show(verdicts: tuple[gate.Verdict, ...]) -> None:
    for line in gate.lines(verdicts, terminal.coloured(sys.stdout)):
        print(line)
