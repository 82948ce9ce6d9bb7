"""The documents of a cell: its SBOM in every format, and its provenance.

Made in the pipeline, made again and compared by verify. Both start from the same things, the artifact's
bytes and the plan; only licences and module requirements come from module sources, which a verifying
machine may not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildmatrix import __version__
from buildmatrix.artifact import Artifact, Document, Inputs
from buildmatrix.dist import PROVENANCE, SBOMS, Dist, canonical
from buildmatrix.facts import Facts
from buildmatrix.matrix import Matrix
from buildmatrix.plan import PlannedCell

if TYPE_CHECKING:
    from buildmatrix.sbom.model import Bill, Learnt


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a build comes from, beyond its plan: commit, and the time of all documents in seconds.

    The time is SOURCE_DATE_EPOCH's, else the commit's; None where neither is known.
    """

    commit: str = ""
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the documents of one cell are made from, but for what modules' sources say."""

    planned: PlannedCell
    matrix: Matrix
    artifact: Artifact
    facts: Facts
    inputs: Inputs
    origin: Origin


def names(matrix: Matrix) -> tuple[str, ...]:
    """The file names of a cell's documents, as this matrix asks for them."""
    return (*(SBOMS[name] for name in matrix.sbom.formats), PROVENANCE)


def digest(matrix: Matrix, origin: Origin) -> str:
    """SHA-256 over what decides the documents beside artifact and inputs: once for a run."""
    decides: dict[str, Any] = {
        "version": __version__,
        "commit": origin.commit,
        "epoch": origin.epoch,
        "supplier": matrix.project.supplier,
        "licence": matrix.project.license,
        "source": matrix.project.source,
        "formats": list(matrix.sbom.formats),
        "builder": matrix.provenance.builder,
    }
    return hashlib.sha256(canonical(decides)).hexdigest()


def intact(dist: Dist, cell: str, documents: tuple[Document, ...], expected: tuple[str, ...]) -> bool:
    """Whether the recorded documents are the expected ones and lie in dist/ as they were written."""
    if tuple(item.name for item in documents) != expected:
        return False
    try:
        paths = [dist.folder(cell) / item.name for item in documents]
        return not any(path.is_symlink() for path in paths) and all(
            document(path.name, path.read_bytes()) == item for path, item in zip(paths, documents, strict=True)
        )
    except OSError:
        return False


def document(name: str, data: bytes) -> Document:
    """The record's line about a document."""
    return Document(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def learn(facts: Facts, matrix: Matrix, environment: Mapping[str, str]) -> Learnt:
    """What the sources of the artifact's modules say, as far as they are on this machine."""
    from buildmatrix import modcache
    from buildmatrix.facts import GoInfo

    info = facts.go or GoInfo(version="")
    return modcache.learn(info, matrix.module_dir, modcache.folder(environment))


def sboms(basis: Basis, learnt: Learnt) -> dict[str, bytes]:
    """File name and bytes of every SBOM that the matrix asks for."""
    made = bill(basis, learnt)
    return {SBOMS[name]: write(made, name) for name in basis.matrix.sbom.formats}


def write(made: Bill, form: str) -> bytes:
    """A Bill in one of sbom.model.FORMATS."""
    from buildmatrix.sbom import cyclonedx, spdx

    return cyclonedx.write(made) if form == "cyclonedx" else spdx.write(made)


def bill(basis: Basis, learnt: Learnt) -> Bill:
    """The Bill of a cell's artifact."""
    from buildmatrix.sbom import golang
    from buildmatrix.sbom.model import Tool

    project, artifact = basis.matrix.project, basis.artifact
    made = golang.Made(
        cell=basis.planned.cell.id,
        binary=basis.planned.cell.binary.name,
        version=basis.inputs.version,
        supplier=project.supplier,
        licence=project.license,
        file=artifact.name,
        size=artifact.size,
        hashes=(("sha256", artifact.sha256), ("sha512", artifact.sha512)),
        compiler=basis.inputs.compiler,
        libc=basis.planned.cell.target.libc if basis.planned.cell.target.cgo else "none",
        tools=(Tool(name="buildmatrix", version=__version__),),
        epoch=basis.origin.epoch,
    )
    return golang.bill(basis.facts, made, learnt)


def provenance(basis: Basis) -> bytes:
    """The statement about a cell's artifact."""
    from buildmatrix import provenance as slsa

    artifact, inputs, project = basis.artifact, basis.inputs, basis.matrix.project
    return slsa.statement(
        [
            slsa.Subject(
                name=f"{basis.planned.cell.id}/{artifact.name}",
                digests=(("sha256", artifact.sha256), ("sha512", artifact.sha512)),
            )
        ],
        build_type=slsa.BUILD_TYPE,
        external=_asked(basis),
        internal={"command": list(inputs.command), "environment": dict(inputs.settings)},
        sources=slsa.sources_of(
            basis.facts.go,
            repository=project.source,
            commit=basis.origin.commit,
            sources=inputs.sources,
            go=inputs.go,
            compiler=inputs.compiler,
        ),
        run=slsa.Run(
            builder=basis.matrix.provenance.builder,
            versions=(("buildmatrix", __version__),),
            epoch=basis.origin.epoch,
        ),
    )


def _asked(basis: Basis) -> dict[str, Any]:
    cell, target = basis.planned.cell, basis.planned.cell.target
    asked: dict[str, Any] = {
        "matrix": basis.matrix.path.name,
        "module": basis.matrix.go.module,
        "cell": cell.id,
        "binary": cell.binary.name,
        "package": cell.binary.package,
        "target": target.name,
        "version": basis.inputs.version,
        "goos": target.goos,
        "goarch": target.goarch,
        "cgo": target.cgo,
        "libc": target.libc,
        "libc-floor": target.libc_floor,
        "tags": list(target.tags),
        "flags": [*basis.matrix.go.flags, *target.flags],
        "ldflags": [*basis.matrix.go.ldflags, *target.ldflags],
        "env": dict(target.env),
    }
    if target.architecture.level_variable:
        asked["level"] = f"{target.architecture.level_variable}={target.level}"
    return asked
