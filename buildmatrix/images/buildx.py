"""The buildx engine: BuildKit runs a Dockerfile for each platform, and we join and prove what it gives.

The proven artifacts are the named context `dist`, as OS/ARCH[/VARIANT]/BINARY; an image base of matrix.toml is
the named context `base`. One target a platform, since a builder with several nodes exports only such. What
BuildKit writes stays as it is, digests and attestations included; the index over it is ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from buildmatrix import errors
from buildmatrix.builderspec import BuilderSpec, cache_of
from buildmatrix.buildx import bake, builders, program, run
from buildmatrix.buildx.bake import Target
from buildmatrix.buildx.builders import Builder
from buildmatrix.buildx.progress import Step
from buildmatrix.buildx.run import Bake, Results
from buildmatrix.dist import Dist
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import context, dockerlint, document
from buildmatrix.images.direct import Assembly
from buildmatrix.images.dockerfile import Dockerfile, Stage
from buildmatrix.imagespec import ImageSpec
from buildmatrix.matrix import Matrix
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import Descriptor, Document, blob_of
from buildmatrix.oci.layout import Layout, is_layout

_NATIVE = {"amd64": ("amd64", "386"), "arm64": ("arm64", "arm")}
"""Architectures whose programs a kernel runs beside its own, without an emulator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A Dockerfile as it was read, what it is given, and what the lint says."""

    path: Path
    root: Path
    parsed: Dockerfile | None
    digests: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    pinned: bool
    """Whether every image that it starts from is named by digest: else only BuildKit knows whether it changed."""

    @property
    def refused(self) -> bool:
        """Whether the lint found an error: it is not built."""
        return any(item.severity is Severity.ERROR for item in self.findings)


def recipe(spec: ImageSpec, matrix: Matrix, dist: Dist, names: tuple[str, ...]) -> Recipe:
    """Read and lint the Dockerfile of an image for the platforms `names`. Raises ImageInputInvalid."""
    path, root = matrix.root / spec.dockerfile, matrix.root / spec.context
    for each in (path, root):
        if not each.resolve().is_relative_to(matrix.root.resolve()):
            raise errors.ImageInputInvalid(f"{each}: leads out of the project", fix="copy it into the project")
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ImageInputInvalid(
            f"{path}: cannot be read", why=str(error), fix=f"correct images.{spec.name}.dockerfile"
        ) from error
    parsed, findings = dockerlint.read(text, spec.dockerfile, spec.name)
    contexts = ("dist",) if spec.base == "scratch" else ("dist", "base")
    if parsed is not None:
        findings = dockerlint.lint(
            dockerlint.Subject(
                image=spec.name, path=spec.dockerfile, parsed=parsed, platforms=names, contexts=contexts
            )
        )  # fmt: skip
    outside = [name for name in parsed.bases() if name not in contexts] if parsed is not None else []
    builder = _spec(matrix, spec)
    return Recipe(
        path=path,
        root=root,
        parsed=parsed,
        digests=(
            ("dockerfile", hashlib.sha256(data).hexdigest()),
            ("context", context.digest(root.resolve(), path, dist.root.resolve())),
            ("builder", builders.digest(builder) if builder is not None else ""),
        ),
        findings=findings,
        pinned=all("@sha256:" in name for name in outside),
    )


def _spec(matrix: Matrix, spec: ImageSpec) -> BuilderSpec | None:
    return next((builder for builder in matrix.builders if builder.name == spec.builder), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build: `job` says what goes in and where it goes, `folder` is empty and private to it."""

    job: Assembly
    recipe: Recipe
    buildx: program.Buildx
    folder: Path
    stage: Callable[[str], None]

    @property
    def spec(self) -> ImageSpec:
        """The image."""
        return self.job.inputs.spec

    @property
    def platforms(self) -> tuple[str, ...]:
        """Its platforms, in the order of the targets."""
        return tuple(name for name, _ in self.job.inputs.cells())


def assemble(build: Build) -> tuple[Descriptor | None, tuple[Finding, ...]]:
    """Build every platform, and write blobs and index into the layout; index.json is not touched.

    Returns what points to the index, or None where the findings say why there is none. Raises EngineFailed.
    """
    matrix = build.job.inputs.matrix
    spec = _spec(matrix, build.spec)
    builder = builders.ensure(build.buildx, spec, matrix.root) if spec is not None else Builder()
    build.stage("asking its builder")
    builders.reached(build.buildx, builder, build.folder)
    watch = _Watch(build, _natives(build, builder))
    refused = tuple(watch.forbidden())
    if refused:
        return None, refused
    _stage(build)
    job = Bake(
        targets=tuple(_target(build, builder, name) for name in build.platforms),
        folder=build.folder,
        readable=_readable(build),
        writable=_writable(spec),
        created=build.job.inputs.identity.created,
    )
    results = run.run(build.buildx, builder, job, watch.told)
    build.job.layout.create()
    found = [_take(build, name, results) for name in build.platforms]
    # Beyond here every platform is there, or nothing is.
    index = document.index(
        build.spec,
        build.job.inputs.identity,
        tuple((platforms.parse(name), image) for name, (image, _) in zip(build.platforms, found, strict=True)),
        tuple(extra for _, extras in found for extra in extras),
    )
    build.job.put(blob_of(index.data))
    named = {"org.opencontainers.image.ref.name": build.job.inputs.identity.version}
    return replace(index.descriptor, annotations=named), tuple(watch.emulated(results.steps))


def _natives(build: Build, builder: Builder) -> Mapping[str, str]:
    """What each node really is; nobody needs to know where nothing is run."""
    parsed = build.recipe.parsed
    if parsed is None or not any(item.word == "RUN" for stage in parsed.reached() for item in stage.instructions):
        return {name: name for name in build.platforms}
    folder = build.folder / "probe"
    folder.mkdir()
    return run.natives(build.buildx, builder, build.platforms, folder)


def _stage(build: Build) -> None:
    """The artifacts as the context `dist`, with the image's time."""
    created = build.job.inputs.identity.created
    for name, cells in build.job.inputs.cells():
        folder = build.folder / "dist" / name
        folder.mkdir(parents=True)
        for cell in cells:
            copy = folder / cell.file_name
            shutil.copyfile(build.job.inputs.artifacts[cell.id], copy)
            copy.chmod(0o755)
            os.utime(copy, (created, created))


def _output(build: Build, name: str) -> Path:
    return build.folder / "out" / bake.target_name(name)


def _target(build: Build, builder: Builder, name: str) -> Target:
    spec, identity = build.spec, build.job.inputs.identity
    notes = document.notes(spec, identity)
    cell = f"{spec.name}-{bake.target_name(name)}"
    cache = cache_of(builder.spec.cache if builder.spec is not None else "", cell)
    return Target(
        name=bake.target_name(name),
        platform=name,
        context=str(build.recipe.root.resolve()),
        dockerfile=str(build.recipe.path.resolve()),
        contexts=tuple(_contexts(build)),
        args=spec.build_args,
        labels=tuple({**notes, **dict(spec.labels)}.items()),
        annotations=tuple(f"manifest:{key}={value}" for key, value in notes.items()),
        attest=("type=provenance,mode=max",) if spec.attestations == "require" else (),
        output=f"type=oci,dest={_output(build, name)},tar=false,rewrite-timestamp=true",
        cache_from=cache[0],
        cache_to=cache[1],
    )


def _contexts(build: Build) -> Iterator[tuple[str, str]]:
    yield "dist", str(build.folder / "dist")
    base = build.job.base
    if not base.digest:
        return
    if base.name.startswith("oci:"):
        folder = build.job.inputs.matrix.root / base.name.removeprefix("oci:").partition("@")[0].partition(":")[0]
        yield "base", f"oci-layout://{folder.resolve()}@{base.digest}"
    else:
        yield "base", f"docker-image://{base.name.partition('@')[0]}@{base.digest}"


def _readable(build: Build) -> tuple[Path, ...]:
    """What the bake file may read beside its own folder."""
    found = [build.recipe.root.resolve(), build.recipe.path.resolve().parent]
    base = build.job.base
    if base.digest and base.name.startswith("oci:"):
        found.append(build.job.inputs.matrix.root.resolve())
    return tuple(dict.fromkeys(found))


def _writable(spec: BuilderSpec | None) -> tuple[Path, ...]:
    """The folder that holds the caches of all cells, where it is one of this machine."""
    found = re.search(r",path=([^,{]*/)", spec.cache) if spec is not None else None
    if found is None or spec is None or not spec.cache.startswith("type=local"):
        return ()
    folder = Path(found[1])
    folder.mkdir(parents=True, exist_ok=True)
    return (folder.resolve(),)


def _take(build: Build, name: str, results: Results) -> tuple[Document, tuple[Descriptor, ...]]:
    """One platform's manifest and its attestations, with every blob held to its digest in our layout."""
    layout = Layout(_output(build, name))
    said = results.targets[bake.target_name(name)].digest
    if not is_layout(layout.path) or not said:
        raise _incomplete(build, name, "buildx wrote no image for it")
    listed = layout.resolve(said)
    if listed is None:
        raise _incomplete(build, name, f"its layout lacks the image {said[:19]} that buildx names")
    top = layout.manifest(listed)
    entries = top.manifest().manifests if listed.is_index else (replace(listed, platform=None),)
    images = [entry for entry in entries if not entry.is_attestation]
    if len(images) != 1:
        raise _incomplete(build, name, f"it has {len(images)} images, expected one")
    extras = tuple(entry for entry in entries if entry.is_attestation)
    for entry in (*images, *extras):
        manifest = layout.manifest(entry)
        for blob in manifest.manifest().blobs:
            build.job.check()
            build.job.put(layout.blob(blob))
        build.job.put(blob_of(manifest.data))
    return layout.manifest(images[0]), extras


def _incomplete(build: Build, name: str, why: str) -> errors.EngineFailed:
    return errors.EngineFailed(
        f"image {build.spec.name}: no image for {name}", why=why, fix="run it again; look at the builder's log"
    )


class _Watch:
    """Steps as they run, held against what their node can run by itself."""

    def __init__(self, build: Build, natives: Mapping[str, str]) -> None:
        self._build = build
        self._natives = natives
        self._names = {bake.target_name(name): name for name in build.platforms}

    def forbidden(self) -> Iterator[Finding]:
        """The steps of the Dockerfile that would run emulated, where the image forbids it."""
        parsed = self._build.recipe.parsed
        if self._build.spec.emulation or parsed is None:
            return
        for name in self._build.platforms:
            for stage in parsed.reached():
                for item in stage.instructions:
                    if item.word == "RUN" and self._emulates(stage, name):
                        yield self._finding(name, f"line {item.line}: RUN {item.text[:80]}")

    def _finding(self, name: str, step: str) -> Finding:
        native = self._natives[name] or "unknown"
        return Finding(
            rule="BM877",
            cell=f"image {self._build.spec.name} {name}",
            what=f"{step} would run under emulation (its node is {native}, expected {name})",
            why="emulated compilers are ten times slower, and their results are of another machine",
            fix="write FROM --platform=$BUILDPLATFORM for that stage, add a node of the platform, or set "
            f"images.{self._build.spec.name}.emulation = true",
        )

    def _emulates(self, stage: Stage, name: str) -> bool:
        parsed, native = self._build.recipe.parsed, self._natives[name]
        written = parsed.platform_of(stage) if parsed is not None else ""
        if "BUILD" in written:
            return False  # $BUILDPLATFORM is the node's own
        if not native:
            return True  # nobody said what it is
        own = platforms.parse(native).architecture
        wanted = platforms.parse(written if written and "$" not in written else name).architecture
        return wanted not in _NATIVE.get(own, (own,))

    def told(self, step: Step) -> None:
        """Hear of a step that begins. Raises EngineFailed where it runs emulated and must not."""
        name = self._names.get(step.target, step.target)
        emulated = self._is_emulated(step)
        words = " ".join(step.words.split())[:60]
        self._build.stage(f"{name}: {words}" + (" (emulated)" if emulated else ""))
        if emulated and not self._build.spec.emulation:
            finding = self._finding(name, f"{step.stage} {words}".strip())
            raise errors.EngineFailed(finding.what, why=finding.why, fix=finding.fix)

    def _is_emulated(self, step: Step) -> bool:
        parsed, name = self._build.recipe.parsed, self._names.get(step.target)
        if not step.runs or name is None or parsed is None:
            return False
        stage = next((each for each in parsed.stages if each.label == step.stage), parsed.final)
        return self._emulates(stage, name)

    def emulated(self, steps: tuple[Step, ...]) -> Iterator[Finding]:
        """The steps that ran emulated, with their time."""
        for step in steps:
            if self._is_emulated(step) and not step.cached:
                yield Finding(
                    rule="BM878",
                    cell=f"image {self._build.spec.name} {self._names[step.target]}",
                    what=f"{step.stage} {' '.join(step.words.split())[:80]} ran emulated".strip(),
                    evidence=f"{step.seconds or 0.0:.1f} s on {self._natives[self._names[step.target]] or 'unknown'}",
                    fix="write FROM --platform=$BUILDPLATFORM for that stage, or add a node of the platform",
                    severity=Severity.WARNING,
                )
