"""Proves an image before a tag exists: what its bytes are against what its documents and the plan say.

The source may be a layout that was just built or a registry that it was pushed to; either way every
manifest, config and layer is read again. For each platform every ELF file is held to the platform's
machine, each planned binary to the artifact in dist/, and the entrypoint and the programs that the
binaries start go through the preflight on every machine of the fleet.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from buildmatrix import arch, errors
from buildmatrix.deployment import RootImage
from buildmatrix.facts import ElfType, Kind
from buildmatrix.finding import Finding
from buildmatrix.fleet import hosts
from buildmatrix.fleet.site import Site
from buildmatrix.images import users
from buildmatrix.images.contents import Collector, Contents, Program, entry_kinds, in_container
from buildmatrix.images.document import DEFAULT_PATH
from buildmatrix.imagespec import ImageSpec, platform_of
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.oci import media
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import Descriptor, Manifest, parse_json
from buildmatrix.oci.platform import Platform
from buildmatrix.oci.store import Source
from buildmatrix.preflight.context import Libraries
from buildmatrix.preflight.walk import Failed, View, resolve

CODES = {
    "BM851": "platforms of an image are not the planned ones",
    "BM852": "index, manifest and config of an image disagree, or are not as planned",
    "BM853": "layer of an image is damaged, or not the one that its config names",
    "BM854": "program in an image is for another architecture than its platform",
    "BM855": "binary in an image is not the artifact in dist/",
    "BM856": "attestation manifests in an index against images.NAME.attestations",
    "BM857": "entry of an image's layer that no image should have",
    "BM858": "entrypoint of an image is missing, or will not execute",
}
"""Findings of this step, with their meaning."""

_COMPATIBLE = {"amd64": (3, 62), "arm64": (40, 183)}
"""Machines whose programs a kernel of the platform may run too: 32-bit libraries beside 64-bit ones."""

_BPF = 247
"""Object files for the kernel's own virtual machine: the same on every platform."""

_SHOWN = 5
"""Files that one finding names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """One platform's image: the digests of its manifest and config, and what is in it."""

    platform: Platform
    manifest: Descriptor
    config: Descriptor
    contents: Contents


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an image must be. `digests` are the SHA-256 of the artifacts in dist/ by cell id.

    `hashes` are digests that every file is to be read with, for the bills of materials.
    """

    spec: ImageSpec
    matrix: Matrix
    digests: Mapping[str, str]
    hashes: tuple[str, ...] = ()

    @property
    def cells(self) -> dict[str, tuple[Cell, ...]]:
        """The image's cells by platform, in the order of the targets and of the binaries."""
        by_id = {cell.id: cell for cell in self.matrix.cells}
        found: dict[str, tuple[Cell, ...]] = {}
        for target in self.spec.targets:
            own = tuple(by_id[f"{binary}_{target}"] for binary in self.spec.binaries)
            found[platform_of(own[0].target)] = own
        return found


def prove(plan: Plan, source: Source, top: Descriptor) -> tuple[tuple[Proven, ...], tuple[Finding, ...]]:
    """Prove the index `top`; returns what was found on each planned platform, and every finding.

    Raises what the source raises where it cannot be read at all.
    """
    index = source.manifest(top).manifest()
    name = plan.spec.name
    findings = [*_platforms(plan, index), *_attestations(plan.spec, index)]
    proven = []
    for entry in index.manifests:
        cells = _cells_of(plan, entry)
        if cells is None:
            continue
        label = f"{name} {entry.platform}"
        try:
            one, found = _Platform(plan, source, entry, cells, label).prove()
            proven.append(one)
            findings += found
        except (errors.LayerInvalid, errors.ScanFailed, errors.ContentMismatch, errors.ContentInvalid) as error:
            findings.append(_finding("BM853", label, error.what, why=error.why, fix=error.fix))
    return tuple(proven), tuple(findings)


def _finding(rule: str, label: str, what: str, **details: Any) -> Finding:
    return Finding(rule=rule, cell=f"image {label}", what=what, **details)


def _runnable(index: Manifest) -> list[Descriptor]:
    return [entry for entry in index.manifests if not _is_attestation(entry)]


def _is_attestation(entry: Descriptor) -> bool:
    return entry.is_attestation or (entry.platform is not None and entry.platform.unknown)


def _cells_of(plan: Plan, entry: Descriptor) -> tuple[Cell, ...] | None:
    if _is_attestation(entry) or entry.platform is None:
        return None
    for text, cells in plan.cells.items():
        if platforms.same(platforms.parse(text), entry.platform):
            return cells
    return None


def _platforms(plan: Plan, index: Manifest) -> Iterator[Finding]:
    """The set of runnable platforms, exactly as planned; a nested index or an entry without a platform is none."""
    name, have = plan.spec.name, []
    for entry in _runnable(index):
        if entry.platform is None or not entry.is_manifest:
            yield _finding(
                "BM851", name, f"entry {entry.digest[:19]} is no image of a platform (got {entry.media_type})",
                fix="build the image again; an index of images holds manifests with a platform",
            )  # fmt: skip
        else:
            have.append(platforms.normalise(entry.platform))
    wanted = [platforms.parse(text) for text in plan.cells]
    for platform in platforms.duplicates(have):
        yield _finding("BM851", name, f"platform {platform} twice in the index", fix="build the image again")
    for text, rows in (("missing from", [p for p in wanted if p not in have]), ("unplanned in", _extra(have, wanted))):
        for platform in rows:
            yield _finding(
                "BM851", name, f"platform {platform} {text} the index",
                evidence=f"index has {', '.join(map(str, have)) or 'none'}; "
                f"images.{name}.targets plans {', '.join(map(str, wanted))}",
                why="a node of a platform that is missing cannot pull it, and nobody has checked an unplanned one",
                fix=f"build it again, or correct images.{name}.targets",
            )  # fmt: skip


def _extra(have: list[Platform], wanted: list[Platform]) -> list[Platform]:
    return [platform for platform in dict.fromkeys(have) if platform not in wanted]


def _attestations(spec: ImageSpec, index: Manifest) -> Iterator[Finding]:
    found = [entry for entry in index.manifests if _is_attestation(entry)]
    runnable = {entry.digest for entry in _runnable(index)}
    if spec.attestations == "forbid" and found:
        yield _finding(
            "BM856", spec.name, f"{len(found)} attestation manifests in the index, expected none",
            why="some registries and clients take them for platforms",
            fix=f'build with provenance and SBOM of BuildKit off, or set images.{spec.name}.attestations = "allow"',
        )  # fmt: skip
    about = {entry.annotations.get(media.REFERENCE_DIGEST, "") for entry in found}
    if spec.attestations == "require" and runnable - about:
        yield _finding(
            "BM856", spec.name, f"no attestation for {', '.join(sorted(digest[:19] for digest in runnable - about))}",
            fix="build with BuildKit's attestations on",
        )  # fmt: skip
    for digest in sorted(about - runnable):
        yield _finding(
            "BM856", spec.name, f"an attestation is about {digest[:19] or 'nothing'}, which is not in the index",
            fix="build the image again",
        )  # fmt: skip


class _Platform:
    """One platform's image on its way through the proof."""

    def __init__(self, plan: Plan, source: Source, entry: Descriptor, cells: tuple[Cell, ...], label: str) -> None:
        self.plan, self.source, self.entry, self.cells, self.label = plan, source, entry, cells, label
        self.target = cells[0].target
        self.platform = platforms.normalise(entry.platform or platforms.parse(platform_of(self.target)))

    def prove(self) -> tuple[Proven, list[Finding]]:
        manifest = self.source.manifest(self.entry).manifest()
        if manifest.config is None:
            raise errors.ContentInvalid(
                f"{self.label}: got an index inside the index, expected a manifest", fix="build the image again"
            )
        config = parse_json(self.source.read(manifest.config), f"{self.label}: config")
        layers = {layer.digest: layer for layer in manifest.layers}
        collector = Collector(
            self.label, lambda digest: self.source.blob(layers[digest]).open(0), hashes=self.plan.hashes
        )  # fmt: skip
        findings = [*self._config(config, manifest)]
        for layer, diff_id in zip(manifest.layers, diff_ids(config), strict=False):
            read = collector.add(layer.digest)
            findings += self._layer(layer, diff_id, read.digest, read.diff_id)
        contents = collector.contents()
        findings += [*self._entries(contents), *self._machines(contents), *self._artifacts(contents)]
        findings += self._execution(contents, config.get("config") or {})
        proven = Proven(platform=self.platform, manifest=self.entry, config=manifest.config, contents=contents)
        return proven, findings

    def _config(self, config: dict[str, Any], manifest: Manifest) -> Iterator[Finding]:
        said = platforms.from_json(config)
        if not platforms.same(said, self.platform):
            yield _finding(
                "BM852", self.label, f"its config says {said}, its entry in the index {self.platform}",
                evidence=f"config {manifest.config.digest[:19] if manifest.config else ''}",
                why="engines choose by the index and check by the config: one of them lies",
                fix="build the image again for this platform alone",
            )  # fmt: skip
        got, expected = len(manifest.layers), len(diff_ids(config))
        if got != expected:
            yield _finding(
                "BM852", self.label, f"manifest has {got} layers, config names {expected}", fix="build it again"
            )
        own, spec = config.get("config") or {}, self.plan.spec
        planned = {"User": spec.user, "WorkingDir": spec.workdir, "StopSignal": spec.stop_signal}
        for key, value in planned.items():
            if value and own.get(key) != value:
                yield _finding(
                    "BM852", self.label, f"{key}: got {own.get(key)!r}, expected {value!r}",
                    fix=f"build the image again, or correct images.{spec.name}",
                )  # fmt: skip

    def _layer(self, layer: Descriptor, diff_id: str, digest: str, plain: str) -> Iterator[Finding]:
        for what, got, expected in (("bytes", digest, layer.digest), ("content", plain, diff_id)):
            if got != expected:
                yield _finding(
                    "BM853", self.label, f"layer {layer.digest[:19]}: other {what} (got {got}, expected {expected})",
                    fix="build or push the image again",
                )  # fmt: skip

    def _entries(self, contents: Contents) -> Iterator[Finding]:
        if contents.problems:
            yield self._listed("BM857", "entries that lead out of the root or to nothing", list(contents.problems))
        for kind, paths in sorted(entry_kinds(contents.root).items()):
            if kind in (Kind.CHARDEV, Kind.BLOCKDEV):
                yield self._listed("BM857", "device files", paths)

    def _listed(self, rule: str, what: str, rows: list[str], **details: Any) -> Finding:
        shown = "; ".join(rows[:_SHOWN]) + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")
        details.setdefault("fix", "leave them out of the layer")
        return _finding(rule, self.label, f"{what}: {shown}", **details)

    def _machines(self, contents: Contents) -> Iterator[Finding]:
        row = arch.BY_GOARCH[self.target.goarch]
        foreign: dict[str, list[str]] = {}
        for program in contents.programs:
            if machine_fits(program, row) or self._allowed(program.path):
                continue
            facts = program.facts.elf
            name = arch.machine_name(facts.machine) if facts is not None else "unreadable"
            foreign.setdefault(name, []).append(program.path)
        for name, paths in sorted(foreign.items()):
            yield self._listed(
                "BM854",
                f"got {name} in an image for {self.platform} (expected {arch.machine_name(row.machine)})",
                paths,
                why="starting it gives «exec format error» there",
                fix=f"build these files for {row.goarch} (COPY --from a stage of $BUILDPLATFORM is a common cause); "
                f"list them in images.{self.plan.spec.name}.foreign where they are only data",
            )

    def _allowed(self, path: str) -> bool:
        return any(fnmatch.fnmatchcase(path, glob) for glob in self.plan.spec.foreign)

    def _artifacts(self, contents: Contents) -> Iterator[Finding]:
        """Each planned binary lies where it should and is the artifact; a Dockerfile may put it elsewhere."""
        spec = self.plan.spec
        anywhere = {program.sha256: program.path for program in contents.programs}
        by_path = {program.path: program for program in contents.programs}
        for cell in self.cells:
            expected = self.plan.digests.get(cell.id, "")
            path = f"{spec.where.rstrip('/')}/{cell.file_name}"
            program = by_path.get(_real(contents, path))
            if program is not None and program.sha256 == expected:
                continue
            if spec.engine == "buildx" and expected in anywhere:
                continue
            got = f"got sha256:{program.sha256[:16]}" if program is not None else "it is not there"
            yield _finding(
                "BM855", self.label, f"{path} is not {cell.id} ({got}, expected sha256:{expected[:16]})",
                why="what was checked and signed is another file than what would run",
                fix=f"build the image again: buildmatrix image {spec.name} --force"
                if spec.engine == "direct"
                else "copy the artifact from the named context dist instead of compiling in the Dockerfile",
            )  # fmt: skip

    def _execution(self, contents: Contents, own: dict[str, Any]) -> Iterator[Finding]:
        env = dict(str(pair).partition("=")[::2] for pair in own.get("Env") or [])
        path_env = env.get("PATH", DEFAULT_PATH)
        uid, gid = users.ids(contents.root, str(own.get("User") or "0"))
        root = RootImage(
            name="", path="", targets=(), path_env=path_env, uid=uid, gid=gid, where=self.plan.spec.where
        )  # fmt: skip
        site = Site(root, in_container(contents.root), Libraries(), env, own.get("WorkingDir") or "/")
        site.words = "the image"
        machines = hosts.declared(self.plan.matrix, self.target) or hosts.sensible(self.target)
        command = [*(own.get("Entrypoint") or []), *(own.get("Cmd") or [])]
        fix = f"correct images.{self.plan.spec.name}.entrypoint"
        found: list[Finding] = []
        if command:
            found += site.program(self.cells[0], str(command[0]), machines, "BM858", fix)
        else:
            found.append(_finding("BM858", self.label, "neither Entrypoint nor Cmd in the config", fix=fix))
        for cell in self.cells:
            for program in cell.binary.exec:
                found += site.program(cell, program, machines)
        yield from (replace(item, cell=f"image {self.label}") for item in dict.fromkeys(found))


def diff_ids(config: dict[str, Any]) -> list[str]:
    """The digests of an image's plain layers, as its config names them."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return [str(item) for item in found] if isinstance(found, list) else []


def machine_fits(program: Program, row: arch.Architecture) -> bool:
    """Whether a file may lie in an image of an architecture: executables and libraries must be for it."""
    facts = program.facts.elf
    if facts is None:
        return False
    if facts.machine == _BPF or facts.type not in (ElfType.EXEC, ElfType.DYN):
        return True
    if facts.machine in _COMPATIBLE.get(row.goarch, ()) and facts.machine != row.machine:
        return True
    return facts.machine == row.machine and facts.little_endian == row.little_endian


def _real(contents: Contents, path: str) -> str:
    """Where a path leads inside the root, through links such as /bin."""
    found = resolve(View(root=contents.root), path)
    return path if isinstance(found, Failed) else str(PurePosixPath(found.path))
