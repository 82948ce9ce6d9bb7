"""What an SBOM costs: ours of one artifact against syft's of the same file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench import measure, orchestration, peers
from bench.measure import Result
from buildmatrix import artifact, attest, elf, matrix, plan, steps, toolchain
from buildmatrix.facts import Facts

CELLS = ("archprobe_amd64", "archstore_amd64-glibc")


def basis(cell: str, dist: Path) -> attest.Basis:
    """What a build of this repository's own cell would describe; the artifact must be in `dist`."""
    parsed = matrix.read(orchestration.ROOT / matrix.FILE_NAME)
    chosen = next(item for item in parsed.cells if item.id == cell)
    go = toolchain.find_go(parsed, os.environ)
    compilers = {}
    if chosen.target.cgo:
        compilers[cell] = toolchain.find_cc(chosen.target, parsed.go.zig, os.environ)
    made = plan.make(
        parsed, (chosen,), dist=dist, version="v1.0.0", go=go, compilers=compilers, passed={}, cores=2, memory=1 << 32
    )
    scan = steps.require(steps.scan_file(dist / cell / chosen.file_name), cell)
    inputs = artifact.Inputs(
        command=made.cells[0].command.recorded,
        settings=made.cells[0].command.settings,
        go=go.version,
        compiler=compilers[cell].label if compilers else "",
        version=made.version,
        sources="00" * 32,
    )
    facts = scan.facts
    if facts is None:
        raise SystemExit(f"{cell}: no facts")
    return attest.Basis(
        planned=made.cells[0],
        matrix=parsed,
        artifact=steps.artifact_of(chosen.file_name, scan),
        facts=facts,
        inputs=inputs,
        origin=attest.Origin(commit="00" * 20, epoch=1_700_000_000),
    )


def _scanned(made: attest.Basis, path: Path) -> None:
    """Read, hash and describe: all that syft does, in both formats."""
    scan = elf.scan_one(path, hashes=("sha256", "sha512"))
    if not isinstance(scan.facts, Facts):
        raise SystemExit(f"{path}: no facts")
    described(replace(made, facts=scan.facts))


def described(made: attest.Basis) -> dict[str, bytes]:
    """Both SBOMs of an artifact that was scanned, with licences and graph from the module cache."""
    return attest.sboms(made, attest.learn(made.facts, made.matrix, os.environ))


def syft(program: Path, path: Path) -> dict[str, object]:
    """syft's CycloneDX document of a file."""
    environment = {**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    done = subprocess.run(
        [program, "scan", "-q", "-o", "cyclonedx-json", f"file:{path}"],
        check=True, capture_output=True, env=environment,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return found


def bills() -> Iterator[Result]:
    """SBOMs of this repository's artifacts, which are built first."""
    program, dist = peers.syft(), orchestration.ROOT / "dist"
    orchestration.build(CELLS)
    for cell in CELLS:
        made = basis(cell, dist)
        path = dist / cell / made.artifact.name
        yield measure.compare(
            f"SBOM of {cell}",
            f"syft {peers.SYFT[1]}",
            partial(_scanned, made, path),
            partial(syft, program, path),
            unit="SBOMs",
            amount=1,
            target=20,
            rounds=5,
        )
        seconds = min(measure.once(partial(described, made)) for _ in range(20))
        yield Result(
            name=f"SBOM beyond hashing, {cell}", peer="15 ms", unit="SBOMs", amount=1, ours=seconds, theirs=0.015,
            median=seconds / 0.015, target=1, most=True,
        )  # fmt: skip
