"""The files in dist/ that are derived from all records together. Pure, but for the writing.

There is no shared index that steps would have to update: whoever finishes derives it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from buildmatrix.artifact import Document, Record
from buildmatrix.deployment import RootImage
from buildmatrix.dist import PROVENANCE, SBOMS, Dist, canonical
from buildmatrix.matrix import Matrix
from buildmatrix.prepare import Commit

INDEX_SCHEMA = 1
_TYPES = {**dict.fromkeys(SBOMS.values(), "SBOM"), PROVENANCE: "Provenance"}


def files(matrix: Matrix, version: str, commit: Commit | None, records: tuple[Record, ...]) -> dict[str, bytes]:
    """Name and content of every derived file."""
    return {
        "artifacts.json": canonical([entry for record in records for entry in _artifacts(record)]),
        "checksums.txt": "".join(
            f"{item.sha256}  {record.cell}/{item.name}\n" for record in records for item in record.files
        ).encode(),
        "effective.toml": _effective(matrix, version),
        "metadata.json": canonical(_metadata(matrix, version, commit)),
    }


def write(dist: Dist, matrix: Matrix, version: str, commit: Commit | None) -> None:
    """Derive the files from the records that are there now, under the index's lock."""
    with dist.lock("index"):
        for name, data in files(matrix, version, commit, dist.records()).items():
            dist.write(dist.root / name, data)


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
    document["fleet"] = {host.name: {"host": host.words, "targets": list(host.targets)} for host in matrix.fleet}
    document["roots"] = {root.name: _root(root) for root in matrix.roots}
    return tomli_w.dumps(document).encode()
