"""The files in dist/ that are derived from all records together. Pure, but for the writing.

There is no shared index that steps would have to update: whoever finishes derives it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from buildmatrix import signed
from buildmatrix.artifact import Document, Record
from buildmatrix.deployment import RootImage
from buildmatrix.dist import PROVENANCE, SBOMS, Dist, canonical
from buildmatrix.matrix import Matrix
from buildmatrix.prepare import Commit
from buildmatrix.signed import Signature

INDEX_SCHEMA = 1
_TYPES = {**dict.fromkeys(SBOMS.values(), "SBOM"), PROVENANCE: "Provenance"}


def files(
    matrix: Matrix,
    version: str,
    commit: Commit | None,
    records: tuple[Record, ...],
    signatures: Mapping[str, tuple[Signature, ...]],
) -> dict[str, bytes]:
    """Name and content of every derived file; `signatures` are the bundles of each cell."""
    listed = [entry for record in records for entry in _artifacts(record)]
    listed += [_signature(record, item) for record in records for item in signatures.get(record.cell, ())]
    return {
        "artifacts.json": canonical(listed),
        "checksums.txt": "".join(
            f"{item.sha256}  {record.cell}/{item.name}\n" for record in records for item in record.files
        ).encode(),
        "effective.toml": _effective(matrix, version),
        "metadata.json": canonical(_metadata(matrix, version, commit)),
    }


def write(dist: Dist, matrix: Matrix, version: str, commit: Commit | None) -> None:
    """Derive the files from the records that are there now, under the index's lock."""
    with dist.lock("index"):
        records = dist.records()
        for name, data in files(matrix, version, commit, records, signatures(dist, records)).items():
            dist.write(dist.root / name, data)


def signatures(dist: Dist, records: tuple[Record, ...]) -> dict[str, tuple[Signature, ...]]:
    """The bundles of each cell that has a record, as its signatures.json lists them."""
    return {record.cell: signed.read(dist, record.cell) for record in records}


def _signature(record: Record, signature: Signature) -> dict[str, Any]:
    """A bundle in GoReleaser's field names; `file` says what it is for."""
    return {
        "name": signature.name,
        "path": f"{record.cell}/{signature.name}",
        "goos": record.goos,
        "goarch": record.goarch,
        "target": record.target,
        "type": "Signature",
        "binary": record.binary,
        "file": signature.file,
        "size": signature.size,
        "sha256": signature.sha256,
    }


def _artifacts(record: Record) -> Iterator[dict[str, Any]]:
    """The entries of a cell in GoReleaser's field names: the binary, then what is said about it."""
    for item in record.files:
        entry = {
            "name": item.name,
            "path": f"{record.cell}/{item.name}",
            "goos": record.goos,
            "goarch": record.goarch,
            "target": record.target,
            "type": _TYPES[item.name] if isinstance(item, Document) else "Binary",
            "binary": record.binary,
            "size": item.size,
            "sha256": item.sha256,
        }
        if record.level_variable:
            entry[record.level_variable.lower()] = record.level
        yield entry


def _metadata(matrix: Matrix, version: str, commit: Commit | None) -> dict[str, Any]:
    value: dict[str, Any] = {"schema": INDEX_SCHEMA, "project_name": matrix.project.name, "version": version}
    said = {name: getattr(matrix.project, name) for name in ("supplier", "license", "source")}
    value |= {name: text for name, text in said.items() if text}
    value["sboms"] = {name: SBOMS[name] for name in matrix.sbom.formats}
    value["provenance"] = PROVENANCE
    if commit is not None:
        value |= {"commit": commit.hash, "commit_time": commit.time}
    return value


def _root(root: RootImage) -> dict[str, Any]:
    user = f"{root.uid}:{root.gid}"
    plain = {"path": root.path, "targets": list(root.targets), "path-env": root.path_env}
    return plain | {"user": user, "where": root.where}


def _effective(matrix: Matrix, version: str) -> bytes:
    import tomli_w

    document: dict[str, Any] = {
        "schema": INDEX_SCHEMA,
        "project": {
            "name": matrix.project.name,
            "version": version,
            "supplier": matrix.project.supplier,
            "license": matrix.project.license,
            "source": matrix.project.source,
        },
        "sbom": {"formats": list(matrix.sbom.formats)},
        "provenance": {"builder": matrix.provenance.builder},
        "go": {
            "module": matrix.go.module,
            "toolchain": matrix.go.toolchain,
            "zig": matrix.go.zig,
            "flags": list(matrix.go.flags),
            "ldflags": list(matrix.go.ldflags),
        },
        "cells": {},
    }
    for cell in matrix.cells:
        settings = {name: getattr(cell.target, name) for name in cell.target.__slots__ if name not in ("name", "env")}
        plain = {
            name.replace("_", "-"): list(item) if isinstance(item, tuple) else item for name, item in settings.items()
        }
        plain |= {"binary": cell.binary.name, "package": cell.binary.package, "env": dict(cell.target.env)}
        plain["exec"] = list(cell.binary.exec)
        document["cells"][cell.id] = plain
    document["signing"] = {
        name.replace("_", "-"): list(value) if isinstance(value := getattr(matrix.signing, name), tuple) else value
        for name in matrix.signing.__slots__
    }
    document["fleet"] = {host.name: {"host": host.words, "targets": list(host.targets)} for host in matrix.fleet}
    document["roots"] = {root.name: _root(root) for root in matrix.roots}
    return tomli_w.dumps(document).encode()
