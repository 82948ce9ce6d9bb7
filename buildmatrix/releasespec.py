"""What a release must be: the table [release]. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from buildmatrix import schema
from buildmatrix.errors import Problem

PLACEHOLDERS = {
    "version-tag": ("version", "timestamp", "commit"),
    "platform-tag": ("version", "machine", "timestamp", "commit"),
}
_NEEDED = {"version-tag": ("version",), "platform-tag": ("machine", "timestamp")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSpec:
    """Table [release]. `documents` are names of schema.DOCUMENTS, `builder` the builder that provenance must name.

    An empty `builder` is any.
    """

    version_tag: str = "{version}"
    platform_tag: str = "{version}-{machine}-{timestamp}"
    forbidden_tags: tuple[str, ...] = ("latest",)
    floating_tags: str = "forbid"
    documents: tuple[str, ...] = schema.DOCUMENTS
    clean_tree: bool = True
    annotated_tag: bool = True
    reproducible: bool = False
    validation: str = ""
    promoted_from: tuple[str, ...] = ()
    builder: str = ""


DEFAULT = ReleaseSpec()
"""The rules where a matrix says nothing."""


def read(
    values: dict[str, Any], *, formats: tuple[str, ...] = schema.FORMATS, builder: str = ""
) -> tuple[ReleaseSpec, list[Problem]]:
    """The table from values that are valid by type, and every problem in it. `formats` are those of [sbom]."""
    filled = {key.name: values.get(key.name, key.default) for key in schema.RELEASE}
    if filled["documents"] is None:
        filled["documents"] = (*formats, "provenance")
    problems = list(_problems(filled))
    found = {name.replace("-", "_"): value for name, value in filled.items()}
    return ReleaseSpec(**found, builder=builder), problems


def _problems(values: dict[str, Any]) -> Iterator[Problem]:
    for name, known in PLACEHOLDERS.items():
        text = values[name]
        lacking = [word for word in _NEEDED[name] if f"{{{word}}}" not in text]
        unknown = [word for word in re.findall(r"\{([^{}]*)\}", text) if word not in known]
        rest = re.sub(r"\{[a-z]+\}", "", text)
        if lacking or unknown or "{" in rest or "}" in rest:
            needed = " and ".join(f"{{{word}}}" for word in _NEEDED[name])
            yield Problem(
                key=f"release.{name}",
                got=repr(text),
                expected=f"a tag with {needed}, and no other placeholder than "
                + ", ".join(f"{{{word}}}" for word in known),
            )
