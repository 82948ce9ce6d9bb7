"""OCI image layouts on disk, read and written: a store of the same shape as a registry's repository.

Reading trusts nothing: every manifest is held to its digest, unknown media types are passed over as the
image specification demands, and what a layout claims is capped. Writing is atomic: each file appears under
its name when all its bytes are on the disk, and index.json, which alone makes content visible, comes last.
The same calls give the same bytes.

Source: OCI image specification 1.1, image-layout.md.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from buildmatrix.errors import ContentInvalid, ContentMismatch, NotInRegistry
from buildmatrix.oci import content, media, reference
from buildmatrix.oci.content import Blob, Descriptor, Document, Manifest
from buildmatrix.oci.marker import is_layout

__all__ = ["Layout", "is_layout"]

_VERSION = {"imageLayoutVersion": "1.0.0"}


class Layout:
    """One layout. Tags are the ``org.opencontainers.image.ref.name`` annotations of index.json's entries."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self._lock = threading.RLock()

    # Reading

    def root(self) -> Document:
        """index.json. Raises ContentInvalid where there is none, or the layout's version is not 1."""
        marker = content.parse_json(self._file(self.path / "oci-layout", 4096), f"{self.name}/oci-layout")
        version = str(marker.get("imageLayoutVersion", ""))
        if version.partition(".")[0] != "1":
            raise content.invalid(self.name, f"got the layout version {version!r}, expected '1.0.0'")
        return content.document(self._file(self.path / "index.json", content.MAX_MANIFEST), media.INDEX)

    def index(self) -> Manifest:
        """index.json, parsed."""
        found = self.root().manifest()
        if not found.is_index:
            raise content.invalid(f"{self.name}/index.json", "got an image manifest, expected an index")
        return found

    def resolve(self, target: str) -> Descriptor | None:
        """The first entry with this tag, or what lies under this digest; None where there is none."""
        if ":" not in target:
            fitting = (item for item in self.index().manifests if item.annotations.get(media.REF_NAME) == target)
            return next(fitting, None)
        listed = next((item for item in self.index().manifests if item.digest == target), None)
        if listed is not None or not self.has_blob(target):
            return listed
        return self.manifest(target).descriptor

    def manifest(self, target: str | Descriptor) -> Document:
        """An index or manifest, held to its digest, and to its size where a descriptor is given.

        Raises NotInRegistry, ContentMismatch, ContentInvalid.
        """
        if isinstance(target, str) and ":" not in target:
            found = self.resolve(target)
            if found is None:
                raise NotInRegistry(
                    f"{self.name}: has no tag {target}", fix=f"it has {', '.join(self.tags()) or 'none'}"
                )
            target = found
        wanted = target if isinstance(target, Descriptor) else None
        digest = target.digest if isinstance(target, Descriptor) else target
        what = f"{self.name}@{digest}" + (f" ({wanted.platform})" if wanted and wanted.platform else "")
        data = self._file(self.blob_path(digest), content.MAX_MANIFEST)
        if (got := content.digest_of(data, digest.partition(":")[0])) != digest:
            raise _mismatch(what, got, digest)
        if wanted is not None and len(data) != wanted.size:
            raise _mismatch(what, f"{len(data)} bytes", f"{wanted.size} bytes")
        media_type = wanted.media_type if wanted else ""
        return Document(media_type=media_type or _own_type(data, what), data=data, digest=digest)

    def blob_path(self, digest: str) -> Path:
        """Where a blob lies. Raises ContentInvalid for what is no digest, so that no name leads elsewhere."""
        if not reference.is_digest(digest):
            raise content.invalid(self.name, f"got the digest {digest!r}, expected sha256: and 64 hexadecimal digits")
        algorithm, _, value = digest.partition(":")
        return self.path / "blobs" / algorithm / value

    def blob_size(self, digest: str) -> int | None:
        """The size in bytes of a blob that is there, or None."""
        try:
            return self.blob_path(digest).stat().st_size
        except OSError:
            return None

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is there."""
        return self.blob_size(digest) is not None

    def blob(self, descriptor: Descriptor) -> Blob:
        """A blob to read from; read whole, it is held to its digest at the end."""
        return Blob(digest=descriptor.digest, size=descriptor.size, open=partial(self._read, descriptor))

    def _read(self, descriptor: Descriptor, offset: int) -> Iterator[bytes]:
        path = self.blob_path(descriptor.digest)
        if not path.is_file():
            raise NotInRegistry(f"{self.name}@{descriptor.digest}: is not in the layout", fix="build or copy it again")
        pieces = content.blob_of_file(path, descriptor.digest).open(offset)
        if offset:
            return pieces
        return content.checked(pieces, descriptor.digest, descriptor.size, f"{self.name}@{descriptor.digest}")

    def read(self, descriptor: Descriptor, limit: int = content.MAX_MANIFEST) -> bytes:
        """A small blob (a config, a payload), verified. Raises ContentInvalid past `limit` bytes."""
        if descriptor.size > limit:
            raise content.invalid(
                f"{self.name}@{descriptor.digest}", f"got {descriptor.size} bytes, expected at most {limit}"
            )
        return b"".join(self._read(descriptor, 0))

    def tags(self) -> tuple[str, ...]:
        """Every tag, in the order of the entries."""
        names = (item.annotations.get(media.REF_NAME, "") for item in self.index().manifests)
        return tuple(dict.fromkeys(name for name in names if name))

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """The entries of index.json whose manifests name `digest` as their subject."""
        found = {}
        for item in self.index().manifests:
            if item.is_manifest or item.is_index:
                document = self.manifest(item)
                manifest = document.manifest()
                if manifest.subject is not None and manifest.subject.digest == digest:
                    found[item.digest] = content.referrer(document, manifest)
        return tuple(item for item in found.values() if artifact_type in ("", item.artifact_type))

    def _file(self, path: Path, limit: int) -> bytes:
        try:
            with path.open("rb") as stream:
                data = stream.read(limit + 1)
        except FileNotFoundError as cause:
            raise NotInRegistry(f"{path}: is not in the layout", fix="build or copy the layout again") from cause
        except OSError as cause:
            raise ContentInvalid(f"{path}: cannot be read", why=cause.strerror or str(cause)) from cause
        if len(data) > limit:
            raise content.invalid(str(path), f"got more than {limit} bytes, expected at most {limit}")
        return data

    # Writing

    def create(self) -> Layout:
        """Make the layout where there is none; what is there stays. Returns itself."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        if not (self.path / "oci-layout").is_file():
            _write(self.path / "oci-layout", (content.canonical(_VERSION),))
        if not (self.path / "index.json").is_file():
            self.write_index(())
        return self

    def put_blob(self, blob: Blob, mount_from: str = "") -> bool:  # noqa: ARG002  (a registry's)
        """Store a blob unless it is there; whether bytes were written. Raises ContentMismatch, and stores nothing."""
        path = self.blob_path(blob.digest)
        if self.blob_size(blob.digest) == blob.size:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content.checked(blob.open(0), blob.digest, blob.size, f"{self.name}@{blob.digest}"))
        return True

    def put_manifest(self, document: Document, tag: str = "", *, top: bool = False) -> Descriptor:
        """Store a manifest; index.json lists it where it has a tag or a subject, or is a `top` one."""
        self.put_blob(replace(content.blob_of(document.data), digest=document.digest))
        listed = tag or top or document.manifest().subject is not None
        if listed:
            annotations = {media.REF_NAME: tag} if tag else {}
            self.list_entry(replace(document.descriptor, annotations=annotations))
        return document.descriptor

    def put_referrers(self, documents: Sequence[Document]) -> None:
        """Store manifests with subjects; index.json lists them."""
        for document in documents:
            self.put_manifest(document)

    def list_entry(self, entry: Descriptor) -> None:
        """Add an entry to index.json in place of one with the same tag, or the same digest where it has none."""
        with self._lock:
            name = entry.annotations.get(media.REF_NAME, "")
            held = [item for item in self.index().manifests if not _replaced(item, entry, name)]
            if not name and any(item.digest == entry.digest for item in held):
                return
            self.write_index((*held, entry))

    def write_index(self, entries: Sequence[Descriptor]) -> None:
        """Write index.json with these entries, in their order, and nothing else."""
        document = {
            "schemaVersion": 2,
            "mediaType": media.INDEX,
            "manifests": [entry.as_json() for entry in entries],
        }
        _write(self.path / "index.json", (content.canonical(document),))


def _replaced(item: Descriptor, entry: Descriptor, name: str) -> bool:
    own = item.annotations.get(media.REF_NAME, "")
    return own == name if name and own else item.digest == entry.digest and not own


def _own_type(data: bytes, what: str) -> str:
    return content.parse_manifest(data, "", what).media_type


def _mismatch(what: str, got: str, expected: str) -> ContentMismatch:
    return ContentMismatch(
        f"{what}: got {got}, expected {expected}",
        why="the file's bytes are not those that its name and what points to it say",
        fix="build or copy the layout again",
    )


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file under another name, see it onto the disk, and rename it."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
