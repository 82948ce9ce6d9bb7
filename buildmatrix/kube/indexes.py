"""The image indexes that manifests must name: read, proven from their bytes, and boiled down to what rules need.

An architecture counts only where a child of the index says so, its config agrees, and no program in its layers is
for another machine. Where matrix.toml says who signs, the signatures of an index in a registry must be good too.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from buildmatrix import arch, trust
from buildmatrix.errors import BuildmatrixError, UsageError
from buildmatrix.facts import ElfType
from buildmatrix.finding import Finding, Severity
from buildmatrix.images.contents import Collector, Program
from buildmatrix.imagespec import ImageSpec
from buildmatrix.oci import credentials, inspection, media, reference
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import Descriptor, Document
from buildmatrix.oci.http import Access
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.marker import is_layout
from buildmatrix.oci.registry import Registry
from buildmatrix.oci.store import Source
from buildmatrix.process import Feeder
from buildmatrix.signing.check import Context
from buildmatrix.signing.imagecheck import verify_image
from buildmatrix.signing.keyring import Keyring
from buildmatrix.signing.registry import Subject
from buildmatrix.signing.remote import Remote

_COMPATIBLE = {"amd64": (3, 62), "arm64": (40, 183)}
"""Machines that a kernel of the architecture may run as well: 32-bit libraries beside 64-bit ones."""

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An index to be read: the repository that manifests name it by, and where it lies."""

    repository: str
    target: str
    layout: Path | None = None
    foreign: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What findings call it."""
        return f"image {self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A verified index: its digest, its architectures as GOARCH, and its children's platforms by digest."""

    repository: str
    digest: str
    architectures: tuple[str, ...]
    children: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How indexes are read. `keyring` is None where there is no matrix.toml; `layers` says whether bytes are proven."""

    runner: Feeder
    access: Access
    keyring: Keyring | None = None
    layers: bool = True

    def read(self, wanted: Wanted) -> tuple[Index | None, tuple[Finding, ...]]:
        """The index, or None where it cannot be trusted, and what was found on the way."""
        try:
            if wanted.layout is not None:
                layout = Layout(wanted.layout)
                return self._judge(wanted, layout, layout.manifest(wanted.target or _only(layout)), ())
            where = reference.parse(wanted.repository)
            source = credentials.from_environment(self.runner)
            with Registry(where.registry, access=self.access, credentials=source) as registry:
                repository = registry.repository(where.repository)
                top = repository.manifest(wanted.target or "latest")
                return self._judge(wanted, repository, top, self._signatures(wanted, Remote(repository), top))
        except BuildmatrixError as error:
            found = Finding(rule=error.code, cell=wanted.label, what=error.what, why=error.why, fix=error.fix)
            return None, (found,)

    def _judge(
        self, wanted: Wanted, source: Source, top: Document, signatures: tuple[Finding, ...]
    ) -> tuple[Index | None, tuple[Finding, ...]]:
        report = inspection.inspect(source, top, unsigned=Severity.NOTE)
        findings = [item for item in report.findings if item.severity is not Severity.NOTE]
        entries = [item for item in report.entries if item.kind == "image" and item.depth]
        findings += signatures
        if not top.manifest().is_index:
            findings.append(_untrusted(
                wanted, f"{top.digest} is an image of one platform, expected an index",
                fix="name the index: a child's digest pins one architecture",
            ))  # fmt: skip
        named = {
            item.descriptor.digest: platforms.normalise(item.platform or item.config or _NOWHERE) for item in entries
        }
        for digest, one in named.items():
            if self.layers:
                findings += _machines(wanted, source, digest, one)
        if not self.layers:
            findings.append(_untrusted(
                wanted, "its layers were not read: what its programs are for is hearsay",
                fix="leave --skip-layers out", severity=Severity.WARNING,
            ))  # fmt: skip
        findings += _levels(wanted, tuple(named.values()))
        found = Index(
            repository=wanted.repository,
            digest=top.digest,
            architectures=tuple(dict.fromkeys(one.architecture for one in named.values() if one.os == "linux")),
            children={digest: str(one) for digest, one in named.items()},
        )
        good = all(item.severity is not Severity.ERROR for item in findings) and found.architectures
        return (found if good else None), tuple(findings)

    def _signatures(self, wanted: Wanted, remote: Remote, top: Document) -> tuple[Finding, ...]:
        signing = self.keyring.signing if self.keyring is not None else None
        if self.keyring is None or signing is None or signing.backend in (trust.NONE, trust.DEVELOPMENT):
            said = _untrusted(
                wanted,
                "its signatures were not verified",
                why="matrix.toml names nobody who signs for others than this machine",
                fix="set up [signing], as docs/trust.md says",
                severity=Severity.WARNING,
            )
            return (said,)
        subjects = [Subject(digest=top.digest)]
        subjects += [Subject(digest=item.digest) for item in top.manifest().manifests if _child(item)]
        return verify_image(remote, tuple(subjects), Context(policy=self.keyring.policy(), now=datetime.now(UTC)))


def _child(item: Descriptor) -> bool:
    return item.is_manifest and not item.is_attestation


_NOWHERE = platforms.Platform(os="unknown", architecture="unknown")


def _untrusted(wanted: Wanted, what: str, *, why: str = "", fix: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(rule="BM933", cell=wanted.label, what=what, why=why, fix=fix, severity=severity)


def _only(layout: Layout) -> str:
    """The digest of the one image or index that a layout holds beside signatures."""
    suffixes = tuple(f".{suffix}" for suffix in media.LEGACY_SUFFIXES)
    own = {
        item.digest: item
        for item in layout.index().manifests
        if not item.annotations.get(media.REF_NAME, "").endswith(suffixes)
        and not (item.is_manifest and layout.has_blob(item.digest) and layout.manifest(item).manifest().subject)
    }
    if len(own) != 1:
        raise UsageError(
            f"{layout.path}: got {len(own)} images, expected one", fix="name the tag or digest: REPOSITORY=LAYOUT:TAG"
        )
    return next(iter(own))


def _levels(wanted: Wanted, named: tuple[platforms.Platform, ...]) -> Iterator[Finding]:
    """A node's label says its architecture and not its level: an index without the lowest one promises too much."""
    for name in dict.fromkeys(one.architecture for one in named if one.os == "linux"):
        variants = [one.variant for one in named if (one.os, one.architecture) == ("linux", name)]
        if name in ("amd64", "arm64") and "" not in variants:
            yield _untrusted(
                wanted,
                f"{name}: got only linux/{name}/{' and /'.join(variants)}, expected linux/{name} too",
                why="kubernetes.io/arch does not say a CPU's level: an older node is given the pod all the same",
                fix="build the lowest level as well, or make sure that every node of the cluster has this one",
                severity=Severity.WARNING,
            )


def _machines(wanted: Wanted, source: Source, digest: str, named: platforms.Platform) -> Iterator[Finding]:
    """Every program in a child must be for the platform that the index names: its bytes decide."""
    row = arch.BY_GOARCH.get(named.architecture)
    if row is None or named.os != "linux":
        return
    manifest = source.manifest(digest).manifest()
    layers: dict[str, Descriptor] = {layer.digest: layer for layer in manifest.layers}
    collector = Collector(f"{wanted.label} {named}", lambda name: source.blob(layers[name]).open(0))
    for layer in manifest.layers:
        if collector.add(layer.digest).digest != layer.digest:
            yield _untrusted(wanted, f"{named}: layer {layer.digest} has other bytes", fix="push the image again")
    wrong = [
        f"{program.path} ({_machine(program)})"
        for program in collector.contents().programs
        if not _fits(program, row) and not any(fnmatch.fnmatchcase(program.path, glob) for glob in wanted.foreign)
    ]
    if wrong:
        yield _untrusted(
            wanted,
            f"{named}: got programs for another machine: {', '.join(wrong[:_SHOWN])}",
            why="the index promises an architecture that its bytes do not have",
            fix=f"build that platform again; list what is only data in images.NAME.foreign ({len(wrong)} files)",
        )


def _machine(program: Program) -> str:
    return arch.machine_name(program.facts.elf.machine) if program.facts.elf is not None else "unreadable"


def _fits(program: Program, row: arch.Architecture) -> bool:
    facts = program.facts.elf
    if facts is None:
        return False
    if facts.type not in (ElfType.EXEC, ElfType.DYN):
        return True
    return facts.machine == row.machine or facts.machine in _COMPATIBLE.get(row.goarch, ())


def parse(text: str, specs: tuple[ImageSpec, ...], images: Path | None) -> Wanted:
    """One --image: a reference, a layout, or REPOSITORY=LAYOUT. `images` is dist/images/. Raises UsageError."""
    name, glue, place = text.partition("=")
    if glue:
        folder, target = _split(place)
        if folder is None:
            raise UsageError(f"{place}: got no OCI layout, expected one after {name}=")
        return _wanted(_repository(name), target, folder, specs)
    folder, target = _split(text)
    if folder is not None:
        return _wanted(_owner(text, folder, specs, images), target, folder, specs)
    where = reference.parse(text)
    return _wanted(where.name, where.target, None, specs)


def _wanted(repository: str, target: str, layout: Path | None, specs: tuple[ImageSpec, ...]) -> Wanted:
    foreign = {_repository(spec.repository): spec.foreign for spec in specs if spec.repository}
    return Wanted(repository=repository, target=target, layout=layout, foreign=foreign.get(repository, ()))


def _repository(text: str) -> str:
    where = reference.parse(text)
    if where.tag or where.digest:
        raise UsageError(f"{text}: got a tag or digest, expected a repository alone before the =")
    return where.name


def _split(text: str) -> tuple[Path | None, str]:
    """A layout's folder and what is asked of it; no folder where there is none."""
    for glue in ("", "@", ":"):
        folder, found, target = text.rpartition(glue) if glue else (text, "", "")
        if (found or not glue) and folder and is_layout(Path(folder)):
            return Path(folder).absolute(), target
    if text.startswith(("/", "./", "../")):
        raise UsageError(f"{text}: got no OCI layout, expected a folder with one, or an image reference")
    return None, ""


def _owner(text: str, folder: Path, specs: tuple[ImageSpec, ...], images: Path | None) -> str:
    """The repository that a layout's image is published in: that of its [images.NAME], else of the only one."""
    published = [spec for spec in specs if spec.repository]
    own = [spec for spec in published if images is not None and folder == images / spec.name]
    found = own or published
    if len(found) != 1:
        raise UsageError(
            f"{text}: got a layout, and {len(found)} repositories that it could be for, expected one",
            fix="write --image REPOSITORY=LAYOUT",
        )
    return _repository(found[0].repository)


def declared(specs: tuple[ImageSpec, ...], images: Path) -> tuple[Wanted, ...]:
    """The images of matrix.toml that have a repository, as they lie in dist/. Raises UsageError where there is none."""
    found = tuple(
        Wanted(repository=_repository(spec.repository), target="", layout=images / spec.name, foreign=spec.foreign)
        for spec in specs
        if spec.repository
    )
    if not found:
        raise UsageError(
            "nobody said which image is deployed",
            fix="set images.NAME.repository in matrix.toml, or give --image REF or --image REPOSITORY=LAYOUT",
        )
    return found
