"""SLSA v1 provenance as in-toto statements (https://slsa.dev/spec/v1.0/provenance). Pure.

A statement says what was built (subjects with their digests), from what (the commit, the sources' digest,
the toolchain, every module), by which command, and by whom. Times are the commit's or SOURCE_DATE_EPOCH's,
so that the same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from buildmatrix.dist import canonical
from buildmatrix.facts import GoInfo
from buildmatrix.sbom import purl
from buildmatrix.sbom.golang import is_folder
from buildmatrix.sbom.model import text, timestamp

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:buildmatrix:build:go:1"
_NAMESPACE = uuid.UUID("f4a5a5c6-8e0c-5d3c-9e57-2f7f0e3a5b11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One thing that was built: its name and digests by in-toto's algorithm names, in hexadecimal."""

    name: str
    digests: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One thing that went in: an in-toto resource descriptor. `annotations` hold what is no digest of a file."""

    name: str = ""
    uri: str = ""
    digests: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Who built, with what, when: `builder` is a URI, `versions` those of the builder's parts."""

    builder: str
    versions: tuple[tuple[str, str], ...]
    epoch: int | None


def statement(
    subjects: Iterable[Subject],
    *,
    build_type: str,
    external: Mapping[str, Any],
    internal: Mapping[str, Any],
    sources: Iterable[Source],
    run: Run,
) -> bytes:
    """The bytes of a statement about `subjects`: artifacts of a cell, or images of an index.

    `external` holds what the user asked for, `internal` what the builder added to it.
    """
    definition = {
        "buildType": build_type,
        "externalParameters": dict(external),
        "internalParameters": dict(internal),
        "resolvedDependencies": [_descriptor(item) for item in sources],
    }
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": text(item.name), "digest": dict(item.digests)}
                for item in sorted(subjects, key=lambda subject: subject.name)
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": {"buildDefinition": definition, "runDetails": _details(definition, run)},
        }
    )


def _details(definition: Mapping[str, Any], run: Run) -> dict[str, Any]:
    content = json.dumps(definition, sort_keys=True, separators=(",", ":")).encode("ascii")
    metadata: dict[str, Any] = {
        "invocationId": f"urn:uuid:{uuid.uuid5(_NAMESPACE, hashlib.sha256(content).hexdigest())}"
    }
    if run.epoch is not None:
        metadata |= {"startedOn": timestamp(run.epoch), "finishedOn": timestamp(run.epoch)}
    return {"builder": {"id": run.builder, "version": dict(run.versions)}, "metadata": metadata}


def _descriptor(item: Source) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": text(item.name),
        "uri": text(item.uri),
        "digest": dict(item.digests),
        "annotations": {name: text(value) for name, value in item.annotations},
    }
    return {name: value for name, value in fields.items() if value}


def sources_of(
    info: GoInfo | None, *, repository: str, commit: str, sources: str, go: str, compiler: str
) -> tuple[Source, ...]:
    """What a Go build took in: commit, digest over the source files, toolchain, modules, C compiler."""
    found = [
        Source(
            name="sources",
            uri=f"git+{repository}" if repository else "",
            digests=(("gitCommit", commit),) if commit else (),
            annotations=(("buildmatrix:sources-sha256", sources),),
        ),
        Source(name="go", uri=purl.golang("toolchain", f"v0.0.1-go{go}"), annotations=(("version", go),)),
    ]
    if compiler:
        found.append(Source(name="c-compiler", annotations=(("identity", compiler),)))
    for module in sorted(info.modules if info is not None else (), key=lambda item: (item.path, item.version)):
        used = module.replace or module
        said = [("replaces", f"{module.path}@{module.version}")] if module.replace is not None else []
        if used.sum:
            said.append(("h1", used.sum))
        uri = "" if is_folder(used) else purl.golang(used.path, used.version)
        found.append(Source(name=used.path, uri=uri, annotations=tuple(said)))
    return tuple(found)
