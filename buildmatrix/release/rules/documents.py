"""Documents: an SBOM and provenance are attested about the image of every platform."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from buildmatrix.release.model import Release
from buildmatrix.release.rules.rule import Broken, Rule
from buildmatrix.signing import statement

_SBOMS = {"cyclonedx": statement.CYCLONEDX, "spdx": statement.SPDX}


def _sboms(release: Release) -> Iterator[Broken]:
    for name, predicate in _SBOMS.items():
        if name in release.policy.documents:
            yield from _about_each(release, predicate, f"an SBOM ({name})")


def _provenance(release: Release) -> Iterator[Broken]:
    yield from _about_each(release, statement.SLSA, "provenance")
    for entry in release.entries:
        for _, said in _said(release, entry.digest, statement.SLSA):
            builder = _builder(said.predicate)
            if release.policy.builder and builder != release.policy.builder:
                yield Broken(
                    what=f"{release.label(entry.digest)}: built by another builder "
                    f"(got {builder or 'none'}, expected {release.policy.builder})",
                    evidence=entry.digest,
                    why="whoever built it is not the one that provenance.builder names",
                    fix="release from there, or correct provenance.builder",
                )


def _about_each(release: Release, predicate: str, name: str) -> Iterator[Broken]:
    for entry in release.entries:
        said = list(_said(release, entry.digest, predicate))
        absent = [form for form in release.forms if form not in {form for form, _ in said}]
        if not absent and all(_speaks(item.predicate) for _, item in said):
            continue
        got = f"none in the form {' and '.join(absent)}" if absent else "an empty one"
        yield Broken(
            what=f"{release.label(entry.digest)}: got {got}, expected {name} attested by the expected identity",
            evidence=f"{predicate} about {entry.digest}",
            why="without it nobody can ask later what was in the image, or what it was built from",
            fix="release the image again with its attestations, or drop it from release.documents",
        )


def _said(release: Release, digest: str, predicate: str) -> Iterator[tuple[str, statement.Statement]]:
    """What is attested about a digest under a predicate type, each with its form."""
    for item in release.trust:
        if item.digest == digest:
            yield from ((form, said) for form, said in item.statements if said.predicate_type == predicate)


def _speaks(predicate: Any) -> bool:
    return isinstance(predicate, Mapping) and bool(predicate)


def _builder(predicate: Any) -> str:
    try:
        return str(predicate["runDetails"]["builder"]["id"])
    except (KeyError, TypeError):
        return ""


SBOM = Rule(
    code="BM904",
    title="an SBOM of every image is attested",
    broken="image of a release without an attested SBOM",
    run=_sboms,
    applies=lambda release: any(name in release.policy.documents for name in _SBOMS),
)
PROVENANCE = Rule(
    code="BM905",
    title="provenance of every image is attested",
    broken="image of a release without attested provenance, or from another builder",
    run=_provenance,
    applies=lambda release: "provenance" in release.policy.documents,
)
