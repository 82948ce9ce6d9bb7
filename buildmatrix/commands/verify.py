"""buildmatrix verify: prove dist/ from its bytes, or one file by its signature."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from buildmatrix import pipeline, prepare, sources, verify
from buildmatrix.artifact import Outcome, Status
from buildmatrix.commands import options
from buildmatrix.dist import Dist
from buildmatrix.errors import EXIT_FINDINGS, DiskFull, DistUnwritable, UsageError
from buildmatrix.process import SubprocessRunner
from buildmatrix.report import terminal
from buildmatrix.signing import blobs
from buildmatrix.signing.check import Context
from buildmatrix.signing.refused import Refused

SUMMARY = "prove dist/ from its bytes, trusting no record"

OFFLINE = {"GOPROXY": "off", "GOSUMDB": "off", "GOTOOLCHAIN": "local", "GOVCS": "*:off", "GIT_NO_LAZY_FETCH": "1"}
"""What keeps the programs that verification starts (go, git) from the network."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("file", nargs="*", metavar="FILE", help="verify only these files, by the bundles beside them")
    parser.add_argument("--bundle", metavar="BUNDLE", help="the bundle of the one FILE (FILE.sigstore.json)")
    parser.add_argument("--offline", action="store_true", help="let no program that is started call the network")
    parser.add_argument("--no-report", action="store_true", help="leave dist/report.* as they are")
    parser.add_argument("--release", action="store_true", help="refuse development keys, and what is not signed")


def run(arguments: argparse.Namespace) -> int:
    """Verify the selected cells, and dist/ as a whole where all are selected; returns the exit status."""
    selection = options.read(arguments)
    host, runner = prepare.Host.current(), SubprocessRunner()
    if arguments.offline:
        host = replace(host, environment={**host.environment, **OFFLINE})
    keyring = prepare.keyring(selection.matrix, host, runner)
    if arguments.bundle and len(arguments.file) != 1:
        raise UsageError(f"--bundle: got {len(arguments.file)} files, expected one", fix="name the file it is for")
    if arguments.file:
        context = Context(policy=keyring.policy(), now=datetime.now(UTC))
        return _files(arguments, context)
    verification = verify.Verification(
        plan=prepare.make_plan(selection.matrix, selection.cells, selection.dist, host, runner),
        dist=Dist(selection.dist),
        sources=sources.digest(sources.find(selection.matrix, selection.dist)),
        commit=prepare.commit(selection.matrix, host, runner),
        whole=selection.whole,
        host=host,
        runner=runner,
        keyring=keyring,
        release=arguments.release,
    )
    found = verify.examine(verification)
    terminal.summary(found.outcomes, sys.stdout, verb="verified")
    if selection.whole and not arguments.no_report:
        _report(verification, found)
    return pipeline.exit_status(found.outcomes)


def _report(verification: verify.Verification, found: verify.Examination) -> None:
    """Write the reports; a dist/ that cannot be written is verified all the same, and the lack of them is told."""
    from buildmatrix.gather import publish

    if not verification.dist.root.is_dir():
        return  # nothing was built, and verifying makes no folder
    try:
        publish.everything(verification, found)
    except (DistUnwritable, DiskFull) as error:
        print(f"no report: {error}", file=sys.stderr)


def _files(arguments: argparse.Namespace, context: Context) -> int:
    outcomes = []
    for name in arguments.file:
        path = Path(name)
        bundle = Path(arguments.bundle) if arguments.bundle else blobs.bundle_path(path)
        try:
            signer = blobs.verify(path, bundle, context, release=arguments.release)
        except Refused as refused:
            finding = refused.finding(name)
            outcomes.append(Outcome(cell=name, status=Status.FAILED, findings=(finding,), exit_status=EXIT_FINDINGS))
        else:
            outcomes.append(Outcome(cell=name, status=Status.DONE, reason=blobs.describe(signer)))
    terminal.summary(tuple(outcomes), sys.stdout, verb="verified")
    return pipeline.exit_status(outcomes)
