"""Distribution packages: the databases of dpkg and apk, as bytes. Pure.

dpkg: deb-control(5) stanzas in var/lib/dpkg/status, or one file a package in var/lib/dpkg/status.d, as
distroless images have it. apk: lib/apk/db/installed (apk-tools, "installed database").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from buildmatrix.sbom import purl


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One installed package. `files` are paths without a leading slash; `licence` is as the package says it."""

    kind: str
    name: str
    version: str
    arch: str
    source: str = ""
    licence: str = ""
    supplier: str = ""
    files: tuple[str, ...] = ()

    def purl(self, distribution: str, release: str) -> str:
        """The package URL, in the namespace of the distribution (ID of os-release) with `release` as distro."""
        name = f"{distribution}/{self.name}" if distribution else self.name
        return purl.make(self.kind, name, self.version, qualifiers={"arch": self.arch, "distro": release})


class Damaged(ValueError):
    """A package database that is not what its format says."""


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a deb-control(5) file, field names in lower case, without continuation lines."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        if not line.strip():
            if found:
                yield found
            found = {}
        elif line[0] not in " \t":
            name, colon, value = line.partition(":")
            if not colon:
                raise Damaged(f"got the line {line[:60]!r}, expected a field and a colon")
            found[name.lower()] = value.strip()
    if found:
        yield found


def dpkg(status: str, lists: Mapping[str, str]) -> Iterator[Package]:
    """Every package that is there; `lists` maps the names of info/*.list and *.md5sums files to their text.

    A status without `Status` is one of status.d: its package is installed. A package whose paragraph lacks
    a name or version raises Damaged.
    """
    for fields in stanzas(status):
        states = fields.get("status", "install ok installed").split()
        if "package" not in fields:
            raise Damaged(f"got a paragraph with {', '.join(sorted(fields))[:80]}, expected a Package field")
        if states[-1:] in (["not-installed"], ["config-files"]):
            continue
        if "version" not in fields:
            raise Damaged(f"{fields['package']}: got no Version, expected one")
        name, arch = fields["package"], fields.get("architecture", "")
        yield Package(
            kind="deb",
            name=name,
            version=fields["version"],
            arch=arch,
            source=fields.get("source", "").partition(" ")[0],
            supplier=fields.get("maintainer", ""),
            files=_listed(name, arch, lists),
        )


def _listed(name: str, arch: str, lists: Mapping[str, str]) -> tuple[str, ...]:
    for stem in (f"{name}:{arch}", name):
        if (text := lists.get(f"{stem}.list")) is not None:
            return tuple(line.strip("/") for line in text.split("\n") if line.strip("/."))
        if (text := lists.get(f"{stem}.md5sums")) is not None:
            return tuple(parts[1].strip("/") for line in text.split("\n") if len(parts := line.split(None, 1)) == 2)
    return ()


def apk(text: str) -> Iterator[Package]:
    """Every package of an installed database: one-letter fields, a blank line after each package."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        folder, files = "", []
        for line in filter(None, block.split("\n")):
            letter, colon, value = line.partition(":")
            if len(letter) != 1 or not colon:
                raise Damaged(f"got the line {line[:60]!r}, expected one letter and a colon")
            if letter == "F":
                folder = value
            elif letter == "R":
                files.append(f"{folder}/{value}".lstrip("/"))
            else:
                fields.setdefault(letter, value)
        if not fields:
            continue
        if not {"P", "V"} <= set(fields):
            raise Damaged(f"got a package with {', '.join(sorted(fields))}, expected P and V among them")
        yield Package(
            kind="apk",
            name=fields["P"],
            version=fields["V"],
            arch=fields.get("A", ""),
            source=fields.get("o", ""),
            licence=fields.get("L", ""),
            supplier=fields.get("m", ""),
            files=tuple(files),
        )


def os_release(text: str) -> dict[str, str]:
    """The variables of os-release(5), quotes taken off."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[name] = value[1:-1] if quoted else value
    return found
