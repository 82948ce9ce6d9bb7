"""Makes the Bill of a directory, archive or image from its files' digests and facts, and its packages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from buildmatrix.facts import Facts
from buildmatrix.sbom import golang, properties, purl
from buildmatrix.sbom.model import Bill, Component, Learnt, Tool
from buildmatrix.sbom.packages import Package

_UNSPECIFIC = ("buildmatrix:format",)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One regular file: its path below the top, without a leading slash, and digests by hashlib's names."""

    path: str
    size: int
    hashes: tuple[tuple[str, str], ...]
    facts: Facts | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What was found. `links` are symbolic links and their targets; `complete` is False where something failed."""

    name: str
    kind: str
    hashes: tuple[tuple[str, str], ...]
    files: tuple[File, ...]
    links: Mapping[str, str]
    packages: tuple[Package, ...]
    release: Mapping[str, str]
    complete: bool
    version: str = ""
    purl: str = ""
    own: Mapping[str, str] = field(default_factory=dict)
    """The real version of each Go main module that was built here, by its path: its build info says `(devel)`."""


def bill(tree: Tree, tools: tuple[Tool, ...], epoch: int | None) -> Bill:
    """The Bill of a tree: every file, every package with its files, every Go module in a Go binary."""
    subject = Component(
        ref=tree.purl or f"tree:{tree.name}",
        kind=tree.kind,
        name=tree.name,
        version=tree.version,
        purl=tree.purl,
        hashes=tree.hashes,
    )
    files = {item.path: _file(item) for item in tree.files}
    system = _system(tree.release)
    packages = {item: _package(item, tree.release) for item in tree.packages}
    modules, uses = _modules(tree.files, files, tree.own)
    contains = _contents(packages, files, tree.links)
    owned = {ref for _, targets in contains for ref in targets}
    loose = [item.ref for item in files.values() if item.ref not in owned]
    tops = [*(item.ref for item in packages.values()), *loose, *modules, *(item.ref for item in system)]
    return Bill(
        subject=subject,
        components=(*system, *packages.values(), *files.values(), *modules.values()),
        tools=tools,
        epoch=epoch,
        edges=((subject.ref, tuple(tops)), *uses),
        contains=((subject.ref, tuple(tops)), *contains),
        complete=tree.complete,
        phase="post-build",
    )


def _file(item: File) -> Component:
    said = properties.of(item.facts) if item.facts is not None else ()
    return Component(
        ref=f"file:{item.path}",
        kind="file",
        name=item.path,
        hashes=item.hashes,
        properties=(
            ("buildmatrix:size", str(item.size)),
            *(pair for pair in said if pair[0] not in _UNSPECIFIC or pair[1] != "other"),
        ),
    )


def _system(release: Mapping[str, str]) -> tuple[Component, ...]:
    if not release.get("ID"):
        return ()
    name, version = release["ID"], release.get("VERSION_ID", "")
    return (
        Component(
            ref=f"os:{name}@{version}",
            kind="operating-system",
            name=name,
            version=version,
            description=release.get("PRETTY_NAME", ""),
        ),
    )


def _package(item: Package, release: Mapping[str, str]) -> Component:
    distribution = release.get("ID", "")
    label = "-".join(filter(None, (distribution, release.get("VERSION_ID", ""))))
    url = item.purl(distribution, label)
    said = {"source": item.source, "architecture": item.arch, "licence": item.licence}
    return Component(
        ref=url,
        kind="library",
        name=item.name,
        version=item.version,
        purl=url,
        supplier=item.supplier,
        properties=tuple((f"buildmatrix:package:{name}", value) for name, value in said.items() if value),
    )


def _contents(
    packages: Mapping[Package, Component], files: Mapping[str, Component], links: Mapping[str, str]
) -> list[tuple[str, tuple[str, ...]]]:
    """Which files each package brought. A file belongs to the first package that lists it."""
    taken: set[str] = set()
    found = []
    for package, component in packages.items():
        refs = []
        for listed in package.files:
            path = listed if listed in files else real_path(listed, links)
            if path in files and path not in taken:
                taken.add(path)
                refs.append(files[path].ref)
        if refs:
            found.append((component.ref, tuple(refs)))
    return found


def real_path(path: str, links: Mapping[str, str]) -> str:
    """A path below the top with every symbolic link of its folders followed, as in a merged /usr."""
    for _ in range(40):  # as many as Linux follows
        parts = PurePosixPath(path).parts
        for count in range(1, len(parts)):
            head = "/".join(parts[:count])
            if head in links:
                target = links[head]
                base = "" if target.startswith("/") else "/".join(parts[: count - 1])
                path = _normal(f"{base}/{target}/{'/'.join(parts[count:])}")
                break
        else:
            return path
    return path


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _modules(
    found: Iterable[File], files: Mapping[str, Component], own: Mapping[str, str]
) -> tuple[dict[str, Component], list[tuple[str, tuple[str, ...]]]]:
    """Every Go module in any binary, once, and which file uses which."""
    modules: dict[str, Component] = {}
    uses = []
    for item in found:
        if item.facts is None or item.facts.go is None:
            continue
        refs = []
        for component in _linked(item.facts, own):
            modules.setdefault(component.ref, component)
            refs.append(component.ref)
        uses.append((files[item.path].ref, tuple(refs)))
    return modules, uses


def _linked(facts: Facts, own: Mapping[str, str]) -> Iterator[Component]:
    info = facts.go
    if info is None:
        return
    if info.main is not None:
        path, version = info.main.path, info.main.version
        if version in ("", "(devel)"):
            version = own.get(path, version)
        url = purl.golang(path, version)
        yield Component(ref=url, kind="library", name=path, version=version, purl=url)
    if (standard := golang.standard_library(info.version)) is not None:
        yield standard
    yield from (golang.component_of(item, Learnt()) for item in info.modules)
