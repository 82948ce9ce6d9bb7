"""What else lies in dist/: bills, signatures, images, and where the matrix declares each target."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from buildmatrix import attest, errors, signed
from buildmatrix.artifact import Outcome
from buildmatrix.dist import SBOMS, Dist
from buildmatrix.finding import Severity
from buildmatrix.images import record
from buildmatrix.images.record import ImageRecord, layout_path
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.oci import graph
from buildmatrix.oci.layout import Layout
from buildmatrix.report.model import STATES, Bills, Change, Image, ImagePart, Location, Signed, State, worst
from buildmatrix.sbom import diff, reading
from buildmatrix.sbom.model import Bill

_SHOWN = ("added", "removed", "version", "licence")
_MOST_BYTES = 64 << 20


def bills(matrix: Matrix, dist: Dist, cells: tuple[Cell, ...]) -> Iterator[Bills]:
    """Each binary's bills, compared with that of its first target."""
    names = [name for name in attest.names(matrix) if name in SBOMS.values()]
    for binary in dict.fromkeys(cell.binary.name for cell in cells) if names else ():
        own = [cell for cell in cells if cell.binary.name == binary]
        read = {cell.target.name: _bill(dist.folder(cell.id) / names[0]) for cell in own}
        good = {name: bill for name, bill in read.items() if bill is not None}
        if good:
            first, *others = good
            yield Bills(
                binary=binary,
                first=first,
                components=len(good[first].components),
                others=tuple((name, len(good[name].components), _changes(good[first], good[name])) for name in others),
                unreadable=tuple(name for name, bill in read.items() if bill is None),
            )


def _bill(path: Path) -> Bill | None:
    """A bill, or None where there is none that can be read: verify has said so."""
    try:
        with path.open("rb") as stream:
            return reading.bill(reading.parse(stream.read(_MOST_BYTES)))
    except (OSError, reading.Unreadable):
        return None


def _changes(one: Bill, other: Bill) -> tuple[Change, ...]:
    subjects = {one.subject.name, other.subject.name}
    return tuple(
        Change(kind=item.kind, component=item.component, old=item.old, new=item.new)
        for item in diff.changes(one, other, "")
        if item.kind in _SHOWN and item.component not in subjects
    )


def signatures(dist: Dist, cells: tuple[Cell, ...]) -> Iterator[Signed]:
    """What each cell's signatures.json lists. Whether it is true is what verify's findings say."""
    for cell in cells:
        found = signed.read(dist, cell.id)
        if found:
            files = tuple((item.file, item.predicate_type or "signature of the file") for item in found)
            yield Signed(cell=cell.id, signer=_signer(dist.folder(cell.id) / signed.SIGNATURES), files=files)


def _signer(path: Path) -> str:
    try:
        signer = json.loads(path.read_bytes())["signer"]
        who = signer["subject"] or f"key {signer['fingerprint'][:16]}"
        by = f" by {signer['issuer']}" if signer["issuer"] else ""
        return f"{who}{by}" + (" (a development key)" if signer["development"] else "")
    except (OSError, ValueError, KeyError, TypeError):
        return "unreadable"


def images(matrix: Matrix, dist: Dist, outcomes: dict[str, Outcome]) -> Iterator[Image]:
    """Each image of the matrix as it lies in dist/, with what verify found."""
    for spec in matrix.images:
        outcome = outcomes.get(f"image {spec.name}")
        findings = outcome.findings if outcome is not None else ()
        try:
            kept = record.read(dist, spec.name)
            parts = tuple(_parts(dist, kept)) if kept is not None else ()
        except (errors.BuildmatrixError, OSError):
            kept, parts = None, ()
        built = State.PASSED if parts and outcome is not None else State.UNKNOWN
        worse = any(item.severity is Severity.ERROR for item in findings)
        yield Image(
            name=spec.name,
            state=State.FAILED if worse else worst((built, *(STATES[item.severity] for item in findings))),
            index=kept.index if kept is not None else "",
            engine=kept.engine if kept is not None else spec.engine,
            base=spec.base,
            parts=parts,
            findings=findings,
        )


def _parts(dist: Dist, kept: ImageRecord) -> Iterator[ImagePart]:
    layout = Layout(layout_path(dist, kept.name))
    for node in graph.walk(layout, graph.resolve(layout, kept.index)):
        blobs = tuple(node.manifest.blobs)
        kind = "index" if node.manifest.is_index else "attestation" if node.descriptor.is_attestation else "image"
        yield ImagePart(
            kind=kind,
            platform=str(node.descriptor.platform) if node.descriptor.platform is not None else "",
            digest=node.descriptor.digest,
            size=sum(item.size for item in blobs) if blobs else node.descriptor.size,
            layers=len(node.manifest.layers),
        )


def locations(matrix: Matrix, cells: tuple[Cell, ...]) -> Iterator[tuple[str, Location]]:
    """Where the matrix declares each cell's target, relative to the repository that it lies in."""
    text = matrix.path.read_text(encoding="utf-8", errors="replace").splitlines()
    path = str(matrix.path.resolve().relative_to(repository(matrix.path.resolve().parent)))
    for cell in cells:
        quoted = re.escape(cell.target.name)
        table = re.compile(rf"""\s*(?:\[\s*targets\s*\.\s*|targets\s*\.\s*)["']?{quoted}["']?\s*[\].=]""")
        line = next((number for number, line in enumerate(text, 1) if table.match(line)), 1)
        yield cell.id, Location(path=path, line=line)


def repository(folder: Path) -> Path:
    """The folder at or above this one that has a .git, else the folder itself."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), folder)
