"""The signatures of a cell: what is signed and how, what is kept, what is checked.

Beside each file of a cell lies its bundle, ``<file>.sigstore.json``. The artifact and its record are signed as
files; what is said about the artifact is signed as an attestation, so that it cannot be taken for another's.
signatures.json says who signed; it is what an index is made of, and decides nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from buildmatrix.artifact import Artifact, Record
from buildmatrix.dist import PROVENANCE, RECORD, SBOMS, Dist, canonical
from buildmatrix.finding import Finding
from buildmatrix.signing import bundle, check, statement, strict
from buildmatrix.signing.check import Context, Identity
from buildmatrix.signing.keyring import Keyring
from buildmatrix.signing.refused import Refused
from buildmatrix.signing.signer import Content, Signer
from buildmatrix.signing.statement import Statement

SCHEMA = 1
SIGNATURES = "signatures.json"
PREDICATES = {
    SBOMS["cyclonedx"]: statement.CYCLONEDX,
    SBOMS["spdx"]: statement.SPDX,
    PROVENANCE: statement.SLSA,
}
"""The predicate type under which a document of a cell is attested. A provenance file is a whole statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One bundle of a cell: the file that it is for, its own name, size and SHA-256, and its predicate type."""

    file: str
    name: str
    size: int
    sha256: str
    predicate_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What is signed of a cell: the artifact as it was just hashed, and the names of its documents."""

    cell: str
    artifact: Artifact
    documents: tuple[str, ...]

    @classmethod
    def of(cls, record: Record) -> Files:
        """What is signed of a cell by its record, whose digests the caller has compared."""
        names = tuple(item.name for item in record.documents)
        return cls(cell=record.cell, artifact=record.artifact, documents=names)

    @property
    def names(self) -> tuple[str, ...]:
        """Every file that has a bundle."""
        return (self.artifact.name, *self.documents, RECORD)


def names(file_name: str, documents: tuple[str, ...]) -> tuple[str, ...]:
    """The files in a signed cell's folder that signing adds."""
    return (*(f"{name}{bundle.SUFFIX}" for name in (file_name, *documents, RECORD)), SIGNATURES)


def sign(dist: Dist, files: Files, signer: Signer) -> tuple[Signature, ...]:
    """Sign everything of a cell; all bundles and the record of them are written together.

    Call under the cell's lock, once nothing of the cell changes any more. Raises what the signer raises.
    """
    bundles = {name: bundle.encode(_bundle(dist, files, name, signer)) for name in files.names}
    made = [_signature(name, data) for name, data in bundles.items()]
    written = {f"{name}{bundle.SUFFIX}": data for name, data in bundles.items()}
    written[SIGNATURES] = _encode(files.cell, signer.identity, made)
    dist.write_all({dist.folder(files.cell) / name: data for name, data in written.items()})
    return tuple(made)


def _bundle(dist: Dist, files: Files, name: str, signer: Signer) -> bundle.Bundle:
    path = dist.folder(files.cell) / name
    if name == files.artifact.name:
        return signer.message(Content(sha256=bytes.fromhex(files.artifact.sha256), source=path))
    data = path.read_bytes()
    return signer.message(Content.of(data)) if name == RECORD else signer.attest(_payload(files, name, data))


def _payload(files: Files, name: str, data: bytes) -> bytes:
    """The statement that is attested for a document: itself, or the artifact's digest and the document."""
    kind = PREDICATES[name]
    if kind == statement.SLSA:
        return data
    subjects = ((files.artifact.name, files.artifact.sha256),)
    return statement.encode(Statement(subjects=subjects, predicate_type=kind, predicate=strict.decode(data, name)))


def _signature(name: str, data: bytes) -> Signature:
    digest = hashlib.sha256(data).hexdigest()
    return Signature(
        file=name,
        name=f"{name}{bundle.SUFFIX}",
        size=len(data),
        sha256=digest,
        predicate_type=PREDICATES.get(name, ""),
    )


def _encode(cell: str, identity: Identity, made: list[Signature]) -> bytes:
    signer = {name: getattr(identity, name) for name in identity.__slots__}
    listed = [{name: getattr(item, name) for name in item.__slots__} for item in made]
    return canonical({"schema": SCHEMA, "cell": cell, "signer": signer, "signatures": listed})


def read(dist: Dist, cell: str) -> tuple[Signature, ...]:
    """The bundles that a cell's signatures.json lists; none where it is missing or damaged, as verify then says."""
    try:
        value = json.loads((dist.folder(cell) / SIGNATURES).read_bytes())
        return tuple(Signature(**item) for item in value["signatures"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def kept(dist: Dist, files: Files, keyring: Keyring) -> bool:
    """Whether everything of an unchanged cell is signed by today's signer and still good.

    What was found once is remembered beside the lock, under a digest of every byte that it rests on; it only
    decides whether to sign again, and verify never asks it.
    """
    digest = _digest(dist, files, keyring)
    if not digest:
        return False
    state = dist.state(files.cell, "signed")
    now = datetime.now(UTC).timestamp()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(state.read_bytes())
        if known["digest"] == digest and (known["until"] is None or now < known["until"]):
            return True
    context = Context(policy=keyring.policy(), now=datetime.now(UTC), exact=True)
    identities, refused = examine(dist, files, context)
    if refused or not _by_today(identities, keyring):
        return False
    remember(dist, files, keyring)
    return True


def _by_today(identities: list[Identity], keyring: Keyring) -> bool:
    """Whether today's signer made them; a keyless signer is another key each time, and the policy decides."""
    if keyring.signing.backend == "keyless":
        return True
    own = keyring.signer().identity
    return all(identity == own for identity in identities)


def remember(dist: Dist, files: Files, keyring: Keyring) -> None:
    """Note that the cell's signatures are good, until a certificate without a time stamp expires."""
    state = dist.state(files.cell, "signed")
    until = _until(dist, files)
    scratch = state.with_name(f"{state.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # it only saves time
        scratch.write_text(json.dumps({"digest": _digest(dist, files, keyring), "until": until}), encoding="ascii")
        scratch.replace(state)


def _until(dist: Dist, files: Files) -> float | None:
    from buildmatrix.signing import certificates

    data = (dist.folder(files.cell) / f"{RECORD}{bundle.SUFFIX}").read_bytes()
    material = bundle.decode(data, RECORD).material
    if not material.certificate or material.timestamps or material.entries:
        return None
    return certificates.load(material.certificate, RECORD).not_valid_after_utc.timestamp()


def _digest(dist: Dist, files: Files, keyring: Keyring) -> str:
    """SHA-256 over the record, every bundle and today's signer; empty where one of them is not there.

    The record holds the digests of artifact and documents, which whoever calls has compared.
    """
    today = keyring.today()
    if not today:
        return ""
    digest = hashlib.sha256(f"{SCHEMA} {today} {files.artifact.sha256}".encode())
    try:
        for name in (RECORD, *names(files.artifact.name, files.documents)):
            data = (dist.folder(files.cell) / name).read_bytes()
            digest.update(f"\0{name} {len(data)}\0".encode())
            digest.update(data)
    except OSError:
        return ""
    return digest.hexdigest()


def findings(dist: Dist, files: Files, keyring: Keyring, *, now: datetime, release: bool) -> Iterator[Finding]:
    """What is wrong with the signatures of a cell; `files.artifact` is what was hashed just now.

    `release` refuses development keys, and cells that are not signed at all.
    """
    if not keyring.enabled:
        if release:
            yield _unsigned(files.cell, "signing.backend is none")
        return
    context = Context(policy=keyring.policy(), now=now, exact=True)
    identities, refused = examine(dist, files, context)
    yield from refused
    if release and any(identity.development for identity in identities):
        yield Finding(
            rule="BM750",
            cell=files.cell,
            what="got signatures by a development key, expected a release's signer",
            why="a development key has no password, and was made without anybody's decision",
            fix="set signing.backend and signing.key in matrix.toml, and build again",
        )
    if not refused:
        yield from _record_findings(dist, files, identities)


def _unsigned(cell: str, why: str) -> Finding:
    return Finding(
        rule="BM730",
        cell=cell,
        what="got no signature, expected one for every file",
        why=why,
        fix="set signing.backend in matrix.toml, and build again",
    )


def examine(dist: Dist, files: Files, context: Context) -> tuple[list[Identity], list[Finding]]:
    """Who signed each file, and what is wrong with the bundles of the others."""
    identities, refused = [], []
    for name in files.names:
        path = dist.folder(files.cell) / f"{name}{bundle.SUFFIX}"
        try:
            identities.append(_check(dist, files, name, path, context))
        except Refused as problem:
            refused.append(problem.finding(files.cell))
    return identities, refused


def _check(dist: Dist, files: Files, name: str, path: Path, context: Context) -> Identity:
    data = _read_bundle(path)
    what = path.name
    if name == files.artifact.name:
        return check.message(data, bytes.fromhex(files.artifact.sha256), context, what)
    document = _read_document(dist.folder(files.cell) / name)
    if name == RECORD:
        return check.message(data, hashlib.sha256(document).digest(), context, what)
    payload = _payload(files, name, document)
    signer, said = check.attestation(data, context, what, predicate_type=PREDICATES[name], payload=payload)
    if all(digest != files.artifact.sha256 for _, digest in said.subjects):
        raise Refused(
            "BM745",
            f"{what}: got an attestation about sha256:{said.subjects[0][1]}, expected sha256:{files.artifact.sha256}",
            why="it belongs to another artifact, or was swapped",
            fix="build and sign again",
        )
    return signer


def _read_bundle(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise Refused(
            "BM730",
            f"{path.name}: got no signature, expected one beside the file",
            why="it was removed, or the file was never signed",
            fix="sign it: buildmatrix build, with the signer of signing.backend",
        )
    return _read_document(path)


def _read_document(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(
            "BM731",
            f"{path.name}: cannot be read",
            why=error.strerror or str(error),
            fix="restore it, or build again",
        ) from error


def _record_findings(dist: Dist, files: Files, identities: list[Identity]) -> Iterator[Finding]:
    """Compare signatures.json with what the bundles say."""
    folder = dist.folder(files.cell)
    made = [_signature(name, (folder / f"{name}{bundle.SUFFIX}").read_bytes()) for name in files.names]
    try:
        got = (folder / SIGNATURES).read_bytes()
    except OSError:
        got = b""
    if len(set(identities)) == 1 and got == _encode(files.cell, identities[0], made):
        return
    yield Finding(
        rule="BM747",
        cell=files.cell,
        what=f"{SIGNATURES} {'missing' if not got else 'does not say what the signatures say'}",
        why="it was altered, or the files of one cell were signed by several signers",
        fix="sign again: buildmatrix build",
    )
