"""What goes into an image: the entries of its layers, and one digest over everything that decides its bytes."""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from buildmatrix import errors
from buildmatrix.dist import canonical
from buildmatrix.images import attested, layer
from buildmatrix.images.document import Identity
from buildmatrix.images.layer import Entry, entries_of
from buildmatrix.imagespec import ImageSpec, platform_of
from buildmatrix.matrix import Cell, Matrix

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
"""Where the bundle lies in the image: the first place that Go looks at on Linux (crypto/x509/root_linux.go)."""

ZONEINFO = "/usr/share/zoneinfo"

_SYSTEM_BUNDLES = (
    CERTIFICATES,
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_FORMAT = 1
"""Grows whenever equal inputs begin to give other bytes."""

_MOST_ZONES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """One image's inputs. `artifacts` are paths by cell id, `digests` their SHA-256; `goroot` is Go's own folder."""

    spec: ImageSpec
    matrix: Matrix
    identity: Identity
    artifacts: Mapping[str, Path]
    digests: Mapping[str, str]
    goroot: Path | None = None
    recipe: tuple[tuple[str, str], ...] = ()
    """Digests of what else a Dockerfile is built from."""

    def cells(self) -> Iterator[tuple[str, tuple[Cell, ...]]]:
        """Each platform with its cells, in the order of the targets."""
        by_id = {cell.id: cell for cell in self.matrix.cells}
        for target in self.spec.targets:
            own = tuple(by_id[f"{binary}_{target}"] for binary in self.spec.binaries)
            yield platform_of(own[0].target), own

    def common(self) -> list[Entry]:
        """The layer that all platforms share: what stands on scratch, certificates, time zones, files."""
        found: list[Entry] = []
        if self.spec.base == "scratch":
            found.append(Entry(path="/tmp", mode=0o1777))  # noqa: S108  (a path in the image)
        if self.spec.ca_certificates:
            found.append(Entry(path=CERTIFICATES, source=self._certificates()))
        if self.spec.zoneinfo:
            found += self._zones()
        for path, source in self.spec.files:
            found += entries_of(path, self._inside(source))
        return found

    def binaries(self, cells: tuple[Cell, ...]) -> list[Entry]:
        """The layer of one platform."""
        where = self.spec.where.rstrip("/")
        return [
            Entry(path=f"{where}/{cell.file_name}", mode=0o755, source=self.artifacts[cell.id]) for cell in cells
        ]  # fmt: skip

    def _inside(self, source: str) -> Path:
        path = self.matrix.root / source
        if not path.resolve().is_relative_to(self.matrix.root.resolve()):
            raise errors.ImageInputInvalid(
                f"{path}: leads out of the project",
                why="what is outside would make the image depend on the machine that builds it",
                fix="copy the file into the project",
            )
        return path

    def _certificates(self) -> Path:
        if self.spec.ca_certificates != "system":
            return self._inside(self.spec.ca_certificates)
        for place in map(Path, _SYSTEM_BUNDLES):
            if place.is_file():
                return place.resolve()
        raise errors.ImageInputInvalid(
            "no bundle of CA certificates on this machine",
            why=f"looked at {', '.join(_SYSTEM_BUNDLES)}",
            fix="install ca-certificates, or name a file of the project: images.NAME.ca-certificates",
        )

    def _zones(self) -> Iterator[Entry]:
        """Time zones as Go ships them (lib/time/zoneinfo.zip), so that every build machine gives the same ones."""
        archive = (self.goroot or Path()) / "lib/time/zoneinfo.zip"
        try:
            with zipfile.ZipFile(archive) as zones:
                for member in zones.infolist():
                    if not member.is_dir() and member.file_size < _MOST_ZONES:
                        yield Entry(path=f"{ZONEINFO}/{member.filename}", data=zones.read(member))
        except (OSError, zipfile.BadZipFile) as error:
            raise errors.ImageInputInvalid(
                f"{archive}: the time zones of the Go toolchain cannot be read",
                why=str(error),
                fix="use a complete Go toolchain, or import time/tzdata in the program and set zoneinfo = false",
            ) from error

    def layer_key(self, entries: list[Entry]) -> str:
        """SHA-256 in hexadecimal over everything that decides a layer's bytes."""
        rows = [(entry.path, entry.mode, entry.link, entry.directory, _digest_of(entry)) for entry in entries]
        value = [_FORMAT, zlib.ZLIB_RUNTIME_VERSION, layer.LEVEL, self.identity.created, rows]
        return hashlib.sha256(canonical(value)).hexdigest()

    def digest(self) -> str:
        """SHA-256 in hexadecimal over everything that decides the image's bytes."""
        plain = {item.name: getattr(self.spec, item.name) for item in fields(self.spec)}
        identity = {item.name: getattr(self.identity, item.name) for item in fields(self.identity)}
        shared = [(entry.path, entry.mode, entry.link, _digest_of(entry)) for entry in self.common()]
        value = {
            "format": _FORMAT,
            "zlib": [zlib.ZLIB_RUNTIME_VERSION, layer.LEVEL],
            "spec": plain,
            "identity": identity,
            "artifacts": {cell.id: self.digests[cell.id] for _, cells in self.cells() for cell in cells},
            "common": shared,
            "documents": attested.decides(self.matrix),
            **({"recipe": dict(self.recipe)} if self.recipe else {}),
        }
        return hashlib.sha256(canonical(value)).hexdigest()


def _digest_of(entry: Entry) -> str:
    if entry.source is None:
        return hashlib.sha256(entry.data or b"").hexdigest()
    try:
        with entry.source.open("rb") as stream:
            if not stat.S_ISREG(entry.source.stat().st_mode):
                raise OSError(0, "got no regular file, expected one")
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise errors.ImageInputInvalid(
            f"{entry.source}: cannot be put into the image", why=error.strerror or str(error), fix="make it readable"
        ) from error
