"""What is said about an image: an SBOM for each platform, and provenance for each platform and for the index.

    proof (files, digests, facts) ─┬─ documents beside the layout, named in the record
    plan, base, artifacts ─────────┘      └─ attestations of each digest, when it is pushed

The same bytes and the same plan give the same documents. So `verify`, and a push that has read the image back,
make each document again and compare; nobody's word is taken, and two platforms' documents cannot be swapped.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from buildmatrix import __version__, attest, errors, inventory, proof, provenance
from buildmatrix.artifact import Document
from buildmatrix.dist import PROVENANCE, SBOMS, Dist
from buildmatrix.facts import Facts
from buildmatrix.finding import Finding, Severity
from buildmatrix.images.contents import Contents
from buildmatrix.images.proof import Proven
from buildmatrix.images.record import ImageRecord, documents_path
from buildmatrix.imagespec import ImageSpec, platform_of
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.oci.content import Descriptor
from buildmatrix.preflight.rootfs import Inode
from buildmatrix.provenance import Source
from buildmatrix.sbom import purl, tree
from buildmatrix.sbom.model import Bill, Tool, timestamp
from buildmatrix.signing import statement
from buildmatrix.signing.registry import Attestation, Subject

BUILD_TYPE = "urn:buildmatrix:build:image:1"
INDEX = "index"
"""What stands in a platform's place in the name of a document about the index."""

_MOST_BYTES = 256 << 20
_UNSAID = ("repository", "tags", "moving_tags", "smoke", "name")
"""Settings of an image that decide nothing of its bytes, or have a place of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the documents of one image are made from, beside its bytes.

    `digests` are the SHA-256 of the artifacts by cell id, `recipe` those of what a Dockerfile was built from;
    `created` is in seconds.
    """

    spec: ImageSpec
    matrix: Matrix
    digests: Mapping[str, str]
    version: str
    revision: str
    created: int
    base_digest: str
    recipe: tuple[tuple[str, str], ...] = ()

    def cells(self, platform: str) -> tuple[Cell, ...]:
        """The cells of a platform, in the order of the binaries."""
        by_id = {cell.id: cell for cell in self.matrix.cells}
        for target in self.spec.targets:
            own = tuple(by_id[f"{binary}_{target}"] for binary in self.spec.binaries)
            if platform_of(own[0].target) == platform:
                return own
        return ()


def hashes(matrix: Matrix) -> tuple[str, ...]:
    """The digests of every file that the bills need: SPDX prescribes SHA-1 (SPDX 2.3, clause 8.4)."""
    found = {"cyclonedx": ("sha256",), "spdx": ("sha256", "sha1")}
    return tuple(dict.fromkeys(name for form in matrix.sbom.formats for name in found[form]))


def decides(matrix: Matrix) -> dict[str, Any]:
    """What decides the documents beside the image's own inputs."""
    return {
        "version": __version__,
        "licence": matrix.project.license,
        "source": matrix.project.source,
        "formats": list(matrix.sbom.formats),
        "builder": matrix.provenance.builder,
    }


def platforms(matrix: Matrix, spec: ImageSpec) -> tuple[str, ...]:
    """The platforms of an image, in the order of its targets."""
    by_id = {cell.id: cell for cell in matrix.cells}
    return tuple(platform_of(by_id[f"{spec.binaries[0]}_{target}"].target) for target in spec.targets)


def names(matrix: Matrix, platforms_of: tuple[str, ...]) -> tuple[str, ...]:
    """The file names of an image's documents, sorted."""
    about = [_name(platform, name) for platform in platforms_of for name in attest.names(matrix)]
    return tuple(sorted([*about, _name(INDEX, PROVENANCE)]))


def _name(about: str, name: str) -> str:
    return f"{about.replace('/', '-')}.{name}"


# Made


def make(basis: Basis, index: Descriptor, proven: tuple[Proven, ...]) -> tuple[dict[str, bytes], tuple[Finding, ...]]:
    """Every document of an image by file name, and what the bills could not tell.

    The proof must have hashed every file (`hashes`).
    """
    made: dict[str, bytes] = {}
    findings: list[Finding] = []
    for one in proven:
        platform = str(one.platform)
        if basis.matrix.sbom.formats:
            bill, unsaid = _bill(basis, one)
            findings += unsaid
            for form in basis.matrix.sbom.formats:
                made[_name(platform, SBOMS[form])] = attest.write(bill, form)
        made[_name(platform, PROVENANCE)] = _provenance(basis, platform, one.manifest, _artifacts(basis, platform))
    images = [
        Source(name=_label(basis.spec, str(one.platform)), digests=(_digest(one.manifest),)) for one in proven
    ]  # fmt: skip
    made[_name(INDEX, PROVENANCE)] = _provenance(basis, "", index, images)
    return made, tuple(findings)


def _label(spec: ImageSpec, platform: str) -> str:
    return f"{spec.name} {platform}".rstrip()


def _digest(descriptor: Descriptor) -> tuple[str, str]:
    algorithm, _, value = descriptor.digest.partition(":")
    return algorithm, value


def _bill(basis: Basis, one: Proven) -> tuple[Bill, list[Finding]]:
    """The bill of one platform's root file system; gaps in it are told as findings of the image."""
    spec, label = basis.spec, _label(basis.spec, str(one.platform))
    found, unsaid = inventory.of_root(one.contents.root, _read(one.contents, hashes(basis.matrix)), spec.name)
    qualifiers = {"arch": one.platform.architecture, "os": one.platform.os, "variant": one.platform.variant}
    found = replace(
        found,
        hashes=(_digest(one.manifest),),
        version=basis.version,
        purl=purl.make("oci", spec.name.lower(), one.manifest.digest, qualifiers=qualifiers),
        own=_own(basis, one),
    )
    made = tree.bill(found, (Tool(name="buildmatrix", version=__version__),), basis.created)
    # A database of an unknown kind cannot be helped by building again; the bill says that it is incomplete.
    told = [
        replace(
            item, cell=f"image {label}", what=f"{item.cell}: {item.what}",
            severity=Severity.WARNING if item.rule == "BM724" else Severity.ERROR,
        )
        for item in unsaid
    ]  # fmt: skip
    return replace(made, supplier=basis.matrix.project.supplier), told


def _read(contents: Contents, wanted: tuple[str, ...]) -> Any:
    def seen(inode: Inode) -> tuple[tuple[tuple[str, str], ...], Facts | None] | None:
        found = contents.seen.get(inode.key)
        if found is None or not set(wanted) <= set(found.digests):
            return None
        return tuple((name, found.digests[name]) for name in wanted), found.facts

    return seen


def _own(basis: Basis, one: Proven) -> dict[str, str]:
    """The version of the main modules of our own artifacts, by their path."""
    ours = {basis.digests.get(cell.id) for cell in basis.cells(str(one.platform))}
    return {
        program.facts.go.main.path: basis.version
        for program in one.contents.programs
        if program.sha256 in ours and program.facts.go is not None and program.facts.go.main is not None
    }


def _artifacts(basis: Basis, platform: str) -> list[Source]:
    return [
        Source(name=f"{cell.id}/{cell.file_name}", digests=(("sha256", basis.digests.get(cell.id, "")),))
        for cell in basis.cells(platform)
    ]


def _provenance(basis: Basis, platform: str, subject: Descriptor, more: list[Source]) -> bytes:
    spec, matrix = basis.spec, basis.matrix
    external = {
        "matrix": matrix.path.name,
        "image": spec.name,
        "platforms": [platform] if platform else list(platforms(basis.matrix, basis.spec)),
        "version": basis.version,
        **{item.name.replace("_", "-"): _plain(getattr(spec, item.name)) for item in fields(spec)
           if item.name not in _UNSAID},
    }  # fmt: skip
    return provenance.statement(
        [provenance.Subject(name=_label(spec, platform), digests=(_digest(subject),))],
        build_type=BUILD_TYPE,
        external=external,
        internal={"created": timestamp(basis.created)},
        sources=[*_sources(basis), *more],
        run=provenance.Run(
            builder=matrix.provenance.builder, versions=(("buildmatrix", __version__),), epoch=basis.created
        ),
    )


def _plain(value: Any) -> Any:
    """A setting as JSON: sorted pairs are an object again."""
    if isinstance(value, tuple) and value and all(isinstance(item, tuple) for item in value):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _sources(basis: Basis) -> Iterator[Source]:
    """What every image took in: the commit, the base, and the parts of a Dockerfile's build."""
    project = basis.matrix.project
    if project.source or basis.revision:
        yield Source(
            name="sources",
            uri=f"git+{project.source}" if project.source else "",
            digests=(("gitCommit", basis.revision),) if basis.revision else (),
        )
    if basis.base_digest:
        algorithm, _, value = basis.base_digest.partition(":")
        yield Source(name="base", digests=((algorithm, value),), annotations=(("reference", basis.spec.base),))
    for name, value in basis.recipe:
        if value:
            yield Source(name=name, digests=(("sha256", value),))


# Kept


def write(dist: Dist, spec: ImageSpec, made: Mapping[str, bytes]) -> tuple[Document, ...]:
    """Write an image's documents, remove those of older ones, and give the record's lines about them."""
    folder = documents_path(dist, spec.name)
    dist.write_all({folder / name: data for name, data in made.items()})
    for path in folder.iterdir():
        if path.name not in made:
            path.unlink(missing_ok=True)
    return tuple(attest.document(name, made[name]) for name in sorted(made))


def read(dist: Dist, spec: ImageSpec, names_of: tuple[str, ...]) -> dict[str, bytes]:
    """The documents that lie beside an image, as far as they are regular files."""
    found = {name: _regular(documents_path(dist, spec.name) / name) for name in names_of}
    return {name: data for name, data in found.items() if data is not None}


def _regular(path: Path) -> bytes | None:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with path.open("rb") as stream:
            return stream.read(_MOST_BYTES)
    except OSError:
        return None


def intact(dist: Dist, spec: ImageSpec, kept: ImageRecord, expected: tuple[str, ...]) -> bool:
    """Whether the recorded documents are the expected ones, tell everything, and lie there as they were written."""
    if tuple(item.name for item in kept.documents) != expected or not kept.complete:
        return False
    lying = read(dist, spec, expected)
    return all(item.name in lying and attest.document(item.name, lying[item.name]) == item for item in kept.documents)


# Held against bytes and plan


def differing(
    basis: Basis, index: Descriptor, proven: tuple[Proven, ...], got: Mapping[str, bytes]
) -> Iterator[Finding]:
    """What is wrong with the documents of an image whose bytes were just read; also what the bills cannot tell."""
    wanted, unsaid = make(basis, index, proven)
    yield from unsaid
    fix = f"build the image again: buildmatrix image {basis.spec.name}"
    owners = {_digest(one.manifest)[1]: f"image {_label(basis.spec, str(one.platform))}" for one in proven}
    owners[_digest(index)[1]] = f"image {basis.spec.name}"
    labels = {_slug(one): f"image {_label(basis.spec, str(one.platform))}" for one in proven}
    for name, expected in sorted(wanted.items()):
        cell = labels.get(name.partition(".")[0], f"image {basis.spec.name}")
        if name not in got:
            yield Finding(
                rule="BM711", cell=cell, what=f"{name} missing, or not a regular file",
                why="nobody downstream could tell what the image is made of and where it comes from", fix=fix,
            )  # fmt: skip
            continue
        for rule, what, why in proof.held(name, got[name], expected, owners, cell):
            yield Finding(rule=rule, cell=cell, what=f"{name} is {what}", why=why, fix=fix)


def _slug(one: Proven) -> str:
    return str(one.platform).replace("/", "-")


# Attested


def subjects(
    basis: Basis, index: Descriptor, proven: tuple[Proven, ...], documents: Mapping[str, bytes]
) -> tuple[Subject, ...]:
    """The index and every image with what is attested about each."""
    made = [Subject(digest=index.digest, attestations=(_attestation(PROVENANCE, documents[_name(INDEX, PROVENANCE)]),))]
    for one in proven:
        said = (_attestation(name, documents[_name(str(one.platform), name)]) for name in attest.names(basis.matrix))
        made.append(Subject(digest=one.manifest.digest, attestations=tuple(said)))
    return tuple(made)


def _attestation(name: str, data: bytes) -> Attestation:
    """A document as a predicate: a bill is one, a provenance file is a statement around one."""
    kinds = {SBOMS["cyclonedx"]: statement.CYCLONEDX, SBOMS["spdx"]: statement.SPDX, PROVENANCE: statement.SLSA}
    try:
        value = json.loads(data)
        return Attestation(
            predicate_type=kinds[name], predicate=value["predicate"] if name == PROVENANCE else value
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise errors.SigningFailed(
            f"{name}: cannot be attested", why=str(error), fix="build the image again"
        ) from error
