"""The release statement: what a registry cannot show of a release, as a predicate that its releaser signs.

It is attested about the index, under the predicate type TYPE, like an SBOM; docs/release.md gives its shape. So a
release can be judged from a registry alone: version, commit, checkout and promises come from a trusted signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from buildmatrix.errors import ReferenceInvalid
from buildmatrix.oci import platform as platforms
from buildmatrix.release.model import Git, Missing, Planned, PlannedBinary, Said
from buildmatrix.signing.statement import Statement

TYPE = "urn:buildmatrix:release:1"
_WRONG = (KeyError, TypeError, ValueError, AttributeError, ReferenceInvalid)


def encode(said: Said) -> dict[str, Any]:
    """The predicate."""
    return {
        "image": said.image,
        "version": said.version,
        "created": said.created,
        "git": {
            "commit": said.git.commit,
            "changed": list(said.git.changed),
            "tags": [{"name": name, "annotated": annotated} for name, annotated in said.git.tags],
        },
        "reproduced": said.reproduced,
        "platforms": dict(sorted(said.platforms)),
        "plan": [_planned(item) for item in said.plan],
    }


def _planned(item: Planned) -> dict[str, Any]:
    return {
        "platform": str(item.platform),
        "foreign": list(item.foreign),
        "binaries": [
            {
                "path": binary.path,
                "sha256": binary.sha256,
                "libc-floor": binary.floor,
                "page-sizes": list(binary.page_sizes),
                "level": binary.level,
            }
            for binary in item.binaries
        ],
    }


def decode(value: Any) -> Said:
    """The statement in a predicate. Raises ValueError where it has another shape."""
    try:
        git = value["git"]
        return Said(
            image=_text(value["image"]),
            version=_text(value["version"]),
            created=_number(value["created"]),
            git=Git(
                commit=_text(git["commit"]),
                changed=tuple(map(_text, git["changed"])),
                tags=tuple((_text(tag["name"]), _flag(tag["annotated"])) for tag in git["tags"]),
            ),
            reproduced=None if value["reproduced"] is None else _flag(value["reproduced"]),
            plan=tuple(map(_plan, value["plan"])),
            platforms=tuple(sorted((_text(key), _text(item)) for key, item in value["platforms"].items())),
        )
    except _WRONG as error:
        raise ValueError(f"it has another shape: {type(error).__name__} {error}") from error


def _plan(value: Mapping[str, Any]) -> Planned:
    return Planned(
        platform=platforms.parse(_text(value["platform"])),
        foreign=tuple(map(_text, value["foreign"])),
        binaries=tuple(
            PlannedBinary(
                path=_text(item["path"]),
                sha256=_text(item["sha256"]),
                floor=_text(item["libc-floor"]),
                page_sizes=tuple(map(_number, item["page-sizes"])),
                level=_text(item["level"]),
            )
            for item in value["binaries"]
        ),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"got {type(value).__name__}, expected a string")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise TypeError(f"got {value!r}, expected a whole number")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"got {type(value).__name__}, expected true or false")
    return value


def find(statements: Iterable[Statement]) -> Said | Missing:
    """The one release statement among what trusted identities attest.

    Several that tell of different releases are none: nobody could say which one holds. Of equal ones the one counts
    that says it was built twice.
    """
    found = []
    for item in statements:
        if item.predicate_type == TYPE:
            try:
                found.append(decode(item.predicate))
            except ValueError as error:
                return Missing(why=str(error))
    if not found:
        return Missing(why="none is attested")
    about = {(said.image, said.version, said.created, said.git, said.platforms, said.plan) for said in found}
    if len(about) > 1:
        return Missing(why="several tell of different releases")
    return next((said for said in found if said.reproduced is True), found[0])
