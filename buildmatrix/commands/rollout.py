"""buildmatrix rollout: a roll-out in stages of plain manifests, one node pool after the other."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix.commands import _kube
from buildmatrix.errors import EXIT_FINDINGS, EXIT_OK

if TYPE_CHECKING:
    from buildmatrix.kube.objects import Item
    from buildmatrix.kube.rollout import Numbered

SUMMARY = "plan a roll-out in stages, one node pool after the other"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("action", choices=("plan",), help="write the stages")
    parser.add_argument(
        "sources", nargs="*", metavar="CHART|DIR|FILE", help="charts, kustomizations, manifests; else deploy.charts"
    )
    _kube.add(parser)
    parser.add_argument("--out", default="rollout", metavar="DIR", help="where the plan is written (%(default)s)")
    parser.add_argument(
        "--present", action="append", default=[], metavar="PATH",
        help="what is deployed now: a chart, manifests, or what kubectl get -o yaml says; may be repeated",
    )  # fmt: skip
    parser.add_argument("--canary", type=int, metavar="PERCENT", help="share of the canary (default: deploy.canary)")
    parser.add_argument("--argo", action="store_true", help="stage by Argo Rollouts' resource, not by Deployments")
    parser.add_argument("--dry-run", action="store_true", help="show what each stage changes, and write nothing")
    parser.add_argument("--json", action="store_true", help="print the plan as one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Check what is deployed, plan, and write; returns 1 where the check fails."""
    from buildmatrix.kube import check, rollout, stages

    work = _kube.read(arguments)
    checked = check.check(work.job, work.sources) if work.ready else ()
    _kube.show_findings([*work.findings, *(finding for item in checked for finding in item.findings)], sys.stderr)
    if not work.ready or any(item.failed for item in checked):
        return EXIT_FINDINGS
    style = stages.Style(
        canary=work.deploy.canary if arguments.canary is None else _percent(arguments.canary),
        soak=work.deploy.soak,
        argo=arguments.argo,
        namespace=arguments.namespace,
    )
    present = _present(work, arguments.present)
    items = [item for one in checked for item in one.items]
    workloads = [workload for one in checked for workload in one.workloads]
    found, told = stages.plan(items, workloads, work.job.pools, style, present)
    plan = rollout.numbered(found)
    written = rollout.files(plan)
    rollout.prove(plan, written, work.job)
    _kube.show_findings(told, sys.stderr)
    if not arguments.dry_run:
        rollout.write(Path(arguments.out).absolute(), written)
    if arguments.json:
        print(json.dumps(rollout.document(plan), sort_keys=True))
    elif arguments.dry_run:
        print("\n".join(rollout.diffs(plan, stages.deployed(present, style))))
    else:
        _show(plan, arguments.out)
    return EXIT_OK


def _percent(value: int) -> int:
    from buildmatrix.errors import UsageError

    if not 1 <= value <= 99:
        raise UsageError(f"--canary: got {value}, expected 1 to 99 percent")
    return value


def _present(work: _kube.Work, names: Sequence[str]) -> list[Item]:
    """What is deployed now."""
    from buildmatrix.kube import render

    places = tuple(Path(name).absolute() for name in names)
    return [item for source in render.sources(places, Path.cwd()) for item in work.job.renderer.render(source)]


def _show(plan: Sequence[Numbered], out: str) -> None:
    for one in plan:
        print(f"{one.stage.name}")
        for title, given in (("apply", one.stage.apply), ("gate", one.stage.gate), ("back", one.stage.back)):
            for text in one.commands(given):
                print(f"  {title:5}  {text}")
    print(f"{len(plan)} stages in {out}")
    sys.stdout.flush()
