"""buildmatrix helm: hold charts and manifests to the verified image index, or write what is missing into them."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from buildmatrix.commands import _kube
from buildmatrix.errors import EXIT_FINDINGS, EXIT_OK
from buildmatrix.report.terminal import printable

if TYPE_CHECKING:
    from buildmatrix.kube.check import Checked
    from buildmatrix.kube.fix import Mended
    from buildmatrix.kube.rules import Workload

SUMMARY = "hold charts and manifests to the verified image index, or mend them"

SCHEMA = 1
"""Version of the JSON document; docs/kubernetes.md describes it."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("action", choices=("check", "fix"), help="judge, or write constraint and digest")
    parser.add_argument(
        "sources", nargs="*", metavar="CHART|DIR|FILE", help="charts, kustomizations, manifests; else deploy.charts"
    )
    _kube.add(parser)
    parser.add_argument("--dry-run", action="store_true", help="of fix: show the difference, and write nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/kubernetes.md)")


def run(arguments: argparse.Namespace) -> int:
    """Check, or mend; returns 1 where something is wrong, or remains so."""
    work = _kube.read(arguments)
    if arguments.action == "fix":
        return _fix(work, arguments)
    from buildmatrix.kube import check

    checked = check.check(work.job, work.sources) if work.ready else ()
    if arguments.json:
        print(json.dumps(_json(work, checked), sort_keys=True))
    else:
        _show(work, checked)
    return EXIT_OK if work.ready and not any(item.failed for item in checked) else EXIT_FINDINGS


def _fix(work: _kube.Work, arguments: argparse.Namespace) -> int:
    from buildmatrix.kube import fix

    if not work.ready:
        _kube.show_findings(work.findings)
        return EXIT_FINDINGS
    mended = fix.plan(work.job, work.sources)
    if not arguments.dry_run:
        fix.write(mended)
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "written": not arguments.dry_run, **_mended_json(mended)}, sort_keys=True))
    else:
        _show_mended(mended, dry=arguments.dry_run)
    return EXIT_OK if fix.complete(mended) else EXIT_FINDINGS


def _mended_json(mended: Mended) -> dict[str, Any]:
    return {"files": [{"path": item.name, "diff": item.diff()} for item in mended.changes]}


def _show_mended(mended: Mended, *, dry: bool) -> None:
    for item in mended.changes:
        sys.stdout.write(item.diff())
    count = len(mended.changes)
    if not count:
        print("nothing to change")
    else:
        print(f"{count} {'file' if count == 1 else 'files'} {'would be changed' if dry else 'changed'}")
    _kube.show_findings(mended.warnings)


def _json(work: _kube.Work, checked: tuple[Checked, ...]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "images": [
            {"repository": item.repository, "digest": item.digest, "architectures": list(item.architectures)}
            for item in work.indexes
        ],
        "findings": [asdict(item) for item in work.findings],
        "sources": [
            {
                "source": item.source.name,
                "kind": item.source.kind,
                "workloads": [_workload_json(one) for one in item.workloads],
                "others": [asdict(other) for other in item.others],
                "findings": [asdict(finding) for finding in item.findings],
            }
            for item in checked
        ],
    }


def _workload_json(workload: Workload) -> dict[str, Any]:
    return {
        "pod": workload.pod.label,
        "images": [{"container": use.container, "image": use.image} for use in workload.uses],
        "allowed": sorted(workload.allowed),
        "expected": list(workload.architectures),
    }


def _show(work: _kube.Work, checked: tuple[Checked, ...]) -> None:
    for index in work.indexes:
        print(f"{index.repository}@{index.digest}  {', '.join(index.architectures)}")
    for item in checked:
        for one in item.workloads:
            said = ", ".join(sorted(one.allowed)) if len(one.allowed) < 5 else "not bound"
            print(f"{'FAIL' if one.findings else 'ok  '}  {printable(one.pod.label)}  {said}")
        for other in item.others:
            print(f"-     {printable(other.pod)}: {printable(other.container)} uses {printable(other.image)}: not ours")
    findings = [*work.findings, *(finding for item in checked for finding in item.findings)]
    _kube.show_findings(findings)
    errors = sum(item.severity == "error" for item in findings)
    pods = sum(len(item.workloads) for item in checked)
    words = "1 workload" if pods == 1 else f"{pods} workloads"
    print(f"{words} of ours in {len(checked)} sources, {errors} {'error' if errors == 1 else 'errors'}")
    sys.stdout.flush()
