"""`buildmatrix ldcache`: what is wrong with a root's ld.so.cache."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from buildmatrix import errors

if TYPE_CHECKING:
    from buildmatrix.preflight.ldcache_doctor import Answer, Report

SUMMARY = "find stale, missing and foreign entries of an ld.so.cache"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("root", metavar="ROOT", help="the root file system; of any architecture")
    parser.add_argument(
        "--open", metavar="SONAME", action="append", default=[], help="say what a dlopen would load; repeatable"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from buildmatrix.preflight import ldcache_doctor
    from buildmatrix.preflight.rootfs import DirectoryRoot
    from buildmatrix.preflight.walk import View

    view = View(root=DirectoryRoot(arguments.root))
    report = ldcache_doctor.examine(view)
    answers = {soname: ldcache_doctor.dlopen(view, soname) for soname in arguments.open}
    if arguments.json:
        document = {
            "schema": 1,
            "loaders": list(report.loaders),
            "entries": report.entries,
            "generator": report.generator,
            "problems": [asdict(problem) for problem in report.problems],
            "dlopen": {soname: [asdict(answer) for answer in found] for soname, found in answers.items()},
        }
        print(json.dumps(document, sort_keys=True))
    else:
        _show(arguments.root, report, answers)
    failed = bool(report.problems) and bool(report.loaders)
    unfound = any(answer.path is None for found in answers.values() for answer in found)
    return errors.EXIT_FINDINGS if failed or unfound else errors.EXIT_OK


def _show(root: str, report: Report, answers: dict[str, tuple[Answer, ...]]) -> None:
    if not report.loaders:
        print(f"{root}: no glibc loader, so nothing reads ld.so.cache")
    else:
        print(f"{root}: {report.entries} entries, read by glibc for {', '.join(report.loaders)}; "
              f"{len(report.libraries)} libraries, {len(report.problems)} problems")  # fmt: skip
        for problem in report.problems:
            print(f"{problem.kind} {problem.soname or problem.path}: {problem.path}: {problem.why}")
            if problem.fix:
                print(f"  fix: {problem.fix}")
    for soname, found in answers.items():
        for answer in found:
            print(
                f"{soname} ({answer.goarch}): {answer.path or 'not found'}"
                + (f" ({answer.rule})" if answer.rule else "")
            )
