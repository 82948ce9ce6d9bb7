"""What a bill of materials says, before any format: types only."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """What a module's licence file says: SPDX ids joined by AND, the file's name and SHA-256 as evidence."""

    expression: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part. `ref` is unique in its bill; `kind` is a CycloneDX component type.

    `hashes` are digests of the component's own file, by hashlib's names: never an ``h1:`` sum, which is no
    digest of a file. `stated` is a licence that its maker declares, `licence` one found in its sources.
    """

    ref: str
    kind: str
    name: str
    version: str = ""
    purl: str = ""
    supplier: str = ""
    stated: str = ""
    licence: Licence | None = None
    hashes: tuple[tuple[str, str], ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    description: str = ""
    external: bool = False
    """Not contained, but needed beside it at run time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that took part in making the subject or the bill."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A subject, its components, and what depends on what. `epoch` is in seconds, None where no time is known.

    `edges` maps a ref to the refs that it depends on; `contains` a ref to what is packed in it. `complete`
    says that every dependency between components is in `edges`.
    """

    subject: Component
    components: tuple[Component, ...]
    tools: tuple[Tool, ...]
    epoch: int | None
    edges: tuple[tuple[str, tuple[str, ...]], ...] = ()
    contains: tuple[tuple[str, tuple[str, ...]], ...] = ()
    complete: bool = True
    supplier: str = ""
    phase: str = "build"
    """The CycloneDX lifecycle phase: ``build`` for an artifact, ``post-build`` for what was found in a tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What neither bytes nor plan say, but module sources: licences and requirements by (path, version).

    A module that is not in them had no sources at hand; a licence of None stands for sources that have none
    which is known.
    """

    licences: dict[tuple[str, str], Licence | None] = field(default_factory=dict)
    requires: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


def timestamp(epoch: int) -> str:
    """Seconds since the epoch as RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def text(value: str) -> str:
    r"""A string that JSON can carry: bytes of a file that are not UTF-8 become ``\xNN``."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
