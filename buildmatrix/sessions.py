"""The matrix as nox sessions: `register()` in a noxfile makes one or more for every target.

Sessions only translate: each runs one `buildmatrix` command, with what follows `--` appended. State
passes through dist/ alone, so `nox -j` works. Nox flattens exit statuses to 1; Makefiles that need
the real one call `buildmatrix`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nox

from buildmatrix import cli, errors, matrix


def register(path: str | Path = matrix.FILE_NAME) -> None:
    """Register build-TARGET, verify-TARGET, build-all, verify-all, plan, doctor and repro.

    Where the matrix has images, image-NAME, run-NAME and push-NAME for each, image-all and release; where it has
    deploy.charts, helm; where it has faults, faults-TARGET for each target that they concern.

    `path` is the matrix file, relative to the noxfile's folder. Ends the program with the exit status
    2 and one message where the file has problems.
    """
    try:
        parsed = matrix.read(Path(path).absolute())
    except errors.BuildmatrixError as error:
        sys.exit(_report(error))
    file = ("--matrix", str(path))
    for target in parsed.targets:
        _session(f"build-{target}", ("build", *file, "--target", target), f"Build and check {target}.", "build")
        _session(f"verify-{target}", ("verify", *file, "--target", target), f"Verify {target}.", "verify")
    _session("build-all", ("build", *file), "Build and check every cell.", "")
    _session("verify-all", ("verify", *file), "Prove dist/ from its bytes.", "")
    for spec in parsed.images:
        _session(f"image-{spec.name}", ("image", spec.name, *file), f"Build and prove the image {spec.name}.", "image")
        _session(f"run-{spec.name}", ("run", spec.name, *file), f"Start the image {spec.name} on the local engine.", "")
        _session(f"push-{spec.name}", ("push", spec.name, *file), f"Publish the image {spec.name}.", "")
    if parsed.images:
        _session("image-all", ("image", *file), "Build and prove every image.", "")
        _session("release", ("release", *file), "Build, prove, sign and judge a release, and tag it last.", "")
    if parsed.deploy.charts:
        _session("helm", ("helm", "check", *file), "Hold charts and manifests to the images in dist/.", "")
    for target in _under_faults(parsed):
        _session(f"faults-{target}", ("faults", "run", *file, "--target", target), f"Run {target} under faults.", "")
    _session("plan", ("plan", *file), "Show every cell's exact command; run nothing.", "")
    _session("doctor", ("doctor", *file), "Say what is here, what is missing for which session, and what mends it.", "")
    _session("repro", ("repro", *file), "Build twice in different folders and compare.", "")


def _under_faults(parsed: matrix.Matrix) -> tuple[str, ...]:
    """The targets with a workload that some fault concerns, in file order."""
    names = {name for fault in parsed.faults for name in fault.workloads}
    cells = {cell for workload in parsed.workloads if workload.name in names for cell in workload.cells}
    return tuple(dict.fromkeys(cell.target.name for cell in parsed.cells if cell.id in cells))


def _report(error: errors.BuildmatrixError) -> int:
    print(error, file=sys.stderr)
    return error.exit_status


def _session(name: str, arguments: tuple[str, ...], summary: str, tag: str) -> None:
    def run(session: nox.Session) -> None:
        status = cli.main([*arguments, *session.posargs])
        if status == errors.EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        if status:
            session.error(f"buildmatrix {arguments[0]} ended with exit status {status}")

    run.__doc__ = summary
    decorate: Callable[[Callable[[nox.Session], None]], object] = nox.session(
        name=name, python=False, default=False, tags=[tag] if tag else []
    )
    decorate(run)
