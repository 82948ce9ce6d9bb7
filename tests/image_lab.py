"""Images for tests: honest ones through the engine, dishonest ones document by document."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from buildmatrix.artifact import Outcome
from buildmatrix.dist import Dist
from buildmatrix.dist import canonical as dist_canonical
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import build, proof
from buildmatrix.images.record import layout_path
from buildmatrix.matrix import Matrix
from buildmatrix.oci import media
from buildmatrix.oci.content import Descriptor, blob_of, canonical, document
from buildmatrix.oci.http import Access
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import Platform, parse
from buildmatrix.process import Watcher
from tests import factory

FIXTURES = Path(__file__).parent / "fixtures" / "elf"
CREATED = 1_700_000_000
PLATFORMS = ("linux/amd64", "linux/arm64")


def elf(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def matrix_of(root: Path, **image: Any) -> Matrix:
    """A matrix with one binary for amd64 and arm64, and one image of it; `builders` are its tables of that name."""
    builders = image.pop("builders", None)
    tables = factory.document(
        targets={"amd64": {"goarch": "amd64"}, "arm64": {"goarch": "arm64"}},
        **({"builders": builders} if builders else {}),
        images={"app": {"targets": ["*"], **{key.replace("_", "-"): value for key, value in image.items()}}},
    )
    return factory.parse(tables, root)


@dataclass(slots=True)
class Lab:
    """A project whose artifacts are tiny real executables."""

    root: Path
    image: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=lambda: {"amd64": "static-amd64", "arm64": "static-arm64"})
    builders: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    """The environment of programs, such as buildx."""
    version: str = "1.2.3"
    runner: Watcher | None = None
    heard: list[str] = field(default_factory=list)
    """What was told while an image was built."""

    @property
    def matrix(self) -> Matrix:
        return matrix_of(self.root, builders=self.builders, **self.image)

    @property
    def dist(self) -> Dist:
        return Dist(self.root / "dist")

    @property
    def layout(self) -> Layout:
        return Layout(layout_path(self.dist, "app"))

    def artifacts(self) -> dict[str, Path]:
        found = {}
        for target, name in self.files.items():
            path = self.dist.folder(f"app_{target}") / "app"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(elf(name))
            found[f"app_{target}"] = path
        return found

    def digests(self) -> dict[str, str]:
        return {cell: hashlib.sha256(path.read_bytes()).hexdigest() for cell, path in self.artifacts().items()}

    def build(
        self, *, force: bool = False, created: int = CREATED, told: Callable[[str], None] | None = None
    ) -> Outcome:
        matrix = self.matrix
        self.heard.clear()
        return build.run(
            build.Job(
                spec=matrix.images[0],
                matrix=matrix,
                dist=self.dist,
                artifacts=self.artifacts(),
                digests=self.digests(),
                version=self.version,
                revision="0123456789abcdef",
                created=created,
                goroot=None,
                access=Access(),
                credentials=None,
                workers=2,
                check=lambda: None,
                force=force,
                runner=self.runner,
                environment=self.environment,
            ),
            told or self.heard.append,
        )

    def plan(self) -> proof.Plan:
        matrix = self.matrix
        return proof.Plan(spec=matrix.images[0], matrix=matrix, digests=self.digests())

    def prove(self, layout: Layout, top: Descriptor) -> tuple[Finding, ...]:
        return proof.prove(self.plan(), layout, top)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry of a hand-made layer."""

    name: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    mode: int = 0o755
    link: str = ""


def tar(members: Iterable[Member]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type, info.mode, info.linkname, info.size = member.type, member.mode, member.link, len(member.data)
            archive.addfile(info, io.BytesIO(member.data))
    return sink.getvalue()


def layer(*members: Member) -> tuple[bytes, str]:
    """A gzip layer and its diff_id."""
    plain = tar(members)
    return gzip.compress(plain, mtime=0), f"sha256:{hashlib.sha256(plain).hexdigest()}"


@dataclass(slots=True)
class HandMade:
    """An image put together by hand into a layout, every part of which can lie."""

    layout: Layout
    entries: list[Descriptor] = field(default_factory=list)

    def add(
        self,
        platform: str,
        *layers: tuple[bytes, str],
        config: dict[str, Any] | None = None,
        says: str = "",
        media_type: str = media.LAYER_GZIP,
        runs: dict[str, Any] | None = None,
    ) -> Descriptor:
        """An image for `platform`, whose config says `says` where it differs; `config` replaces its members."""
        self.layout.create()
        for data, _ in layers:
            self.layout.put_blob(blob_of(data))
        value = {
            **parse(says or platform).as_json(),
            "config": {"Entrypoint": ["/usr/local/bin/app"], "User": "65532:65532"} if runs is None else runs,
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
            **(config or {}),
        }
        made = document(canonical(value), media.CONFIG)
        self.layout.put_blob(blob_of(made.data))
        manifest = document(
            canonical(
                {
                    "schemaVersion": 2,
                    "mediaType": media.MANIFEST,
                    "config": made.descriptor.as_json(),
                    "layers": [
                        Descriptor(media_type=media_type, digest=blob_of(data).digest, size=len(data)).as_json()
                        for data, _ in layers
                    ],
                }
            ),
            media.MANIFEST,
        )
        self.layout.put_blob(blob_of(manifest.data))
        return self.list(manifest.descriptor, parse(platform))

    def list(self, entry: Descriptor, platform: Platform | None, **annotations: str) -> Descriptor:
        listed = Descriptor(
            media_type=entry.media_type,
            digest=entry.digest,
            size=entry.size,
            platform=platform,
            annotations={name.replace("__", "."): value for name, value in annotations.items()},
        )
        self.entries.append(listed)
        return listed

    def top(self) -> Descriptor:
        """The index over what was added, stored."""
        value = {
            "schemaVersion": 2,
            "mediaType": media.INDEX,
            "manifests": [entry.as_json() for entry in self.entries],
        }
        index = document(canonical(value), media.INDEX)
        self.layout.put_blob(blob_of(index.data))
        self.layout.write_index((index.descriptor,))
        return index.descriptor


def app(name: str) -> Member:
    """The artifact where it belongs."""
    return Member(name="usr/local/bin/app", data=elf(name))


def canonical_record(value: dict[str, Any]) -> bytes:
    """A record's JSON as it is written."""
    return dist_canonical(value)


def rules(findings: Iterable[Finding]) -> set[str]:
    return {item.rule for item in findings if item.severity is Severity.ERROR}
