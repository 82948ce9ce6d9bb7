"""A release as the rules see it: what was found out, and what nobody could find out. Types only.

Everything that may be unknown is a Missing with its reason, so that a rule cannot take silence for good news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildmatrix.oci.platform import Platform
from buildmatrix.releasespec import ReleaseSpec
from buildmatrix.signing.imagecheck import Examined
from buildmatrix.signing.registry import FORMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that could not be found out, and why."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBinary:
    """One binary that an image must hold. `floor` is the oldest glibc promised, or empty; `sha256` may be unknown."""

    path: str
    sha256: str = ""
    floor: str = ""
    page_sizes: tuple[int, ...] = ()
    level: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One platform that the release must have, with its binaries; `foreign` are globs over programs that are data."""

    platform: Platform
    binaries: tuple[PlannedBinary, ...]
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A child of the index."""

    platform: Platform | None
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One ELF file of an image. `needs` is the highest glibc version it cannot do without, such as 2.34, or empty.

    `pages` has, for each page size in bytes under which its segments cannot be mapped, what is wrong; `foreign` is the
    machine that it is for, where that is not the platform's.
    """

    path: str
    sha256: str
    needs: str
    pages: Mapping[int, str]
    foreign: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One platform's image as its bytes are; `programs` is Missing where they could not be read."""

    platform: Platform
    digest: str
    programs: tuple[Program, ...] | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """The checkout that a release was built from.

    `changed` are the files that differ from the commit, untracked ones included; `tags` the tags of the commit, each
    with whether it is annotated.
    """

    commit: str
    changed: tuple[str, ...]
    tags: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the release statement says: the signed word of who released about what a registry cannot show.

    `created` is in seconds since 1970, `platforms` maps each to the digest of its manifest. `reproduced` is None
    where nobody built twice.
    """

    image: str
    version: str
    created: int
    git: Git
    reproduced: bool | None
    plan: tuple[Planned, ...]
    platforms: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaigns:
    """What the validation store holds of this version. `worse` names what got worse since the release before it, or was
    measured for that one and not for this."""

    version: str
    measured: bool
    worse: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Everything that rules judge. `name` is REPOSITORY@DIGEST of the index.

    `tags` are the tags that lead to the index or a child, or will, each with its digest; expected ones that are not
    there are absent. `trust` has one entry for the index, then one for each child.
    """

    name: str
    policy: ReleaseSpec
    index: str
    entries: tuple[Entry, ...]
    trust: tuple[Examined, ...]
    images: tuple[Image, ...]
    plan: tuple[Planned, ...] | Missing
    said: Said | Missing
    git: Git | Missing
    tags: Mapping[str, str] | Missing
    campaigns: Campaigns | Missing = Missing(why="no validation store was asked")
    backend: str = ""
    """The signing backend of whoever releases; empty where the release is somebody else's."""
    forms: tuple[str, ...] = FORMS
    """The forms that signatures and attestations must have; a keyless one's log entry fits into bundles only."""
    asked: str = ""
    """The tag that the release was looked up by; empty where that was a digest."""
    image: str = ""
    """The image of a matrix that it should be; empty where no matrix says so."""

    @property
    def digests(self) -> tuple[str, ...]:
        """The index and its children."""
        return (self.index, *(entry.digest for entry in self.entries))

    def label(self, digest: str) -> str:
        """What messages call a digest: a platform, or the index."""
        for entry in self.entries:
            if entry.digest == digest:
                return str(entry.platform) if entry.platform is not None else "entry without a platform"
        return "index"
