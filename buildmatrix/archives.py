"""Members of tar archives and of the layers of OCI image layouts, scanned without being unpacked.

Nothing is written where the archive could choose the name. Archives that end early are errors, although
tarfile passes over that in silence: a missing file would otherwise look like one that was never there.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from buildmatrix import _zstd, elf
from buildmatrix.errors import ContentInvalid, ContentMismatch, NotInRegistry, ScanFailed
from buildmatrix.facts import Digests, Facts, Kind, Status

if TYPE_CHECKING:
    from buildmatrix.oci.graph import Node
    from buildmatrix.oci.layout import Layout

IN_MEMORY = 64 << 20
"""Members up to this size in bytes are scanned in memory, larger ones through a temporary file."""

POOL = 8 << 20
"""Bytes of members that are gathered before they are hashed side by side."""

_ZSTD = b"\x28\xb5\x2f\xfd"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_KINDS = {
    tarfile.REGTYPE: Kind.REGULAR,
    tarfile.AREGTYPE: Kind.REGULAR,
    tarfile.CONTTYPE: Kind.REGULAR,
    tarfile.GNUTYPE_SPARSE: Kind.REGULAR,
    tarfile.LNKTYPE: Kind.REGULAR,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.FIFOTYPE: Kind.FIFO,
    tarfile.CHRTYPE: Kind.CHARDEV,
    tarfile.BLKTYPE: Kind.BLOCKDEV,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberScan:
    """One member of an archive; the same properties as elf.Scan. `target` is set for both kinds of link."""

    location: str
    path: str
    kind: Kind
    status: Status
    size: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    errno: int = 0
    issue: str | None = None
    offset: int = 0
    target: str | None = None
    digests: Digests = field(default_factory=Digests)
    facts: Facts | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether status is OK."""
        return self.status is Status.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A member whose bytes wait for their digests."""

    member: tarfile.TarInfo
    data: bytes


def is_archive(path: Path) -> bool:
    """Whether a file is a tar archive, or compressed with what a tar archive may be compressed with."""
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return False  # the scan itself will report it
    return head[257:262] == b"ustar" or head.startswith((*_COMPRESSED, _ZSTD))


class Archive:
    """One tar archive: `location` names it in results, `path` is where it lies."""

    def __init__(self, path: Path, *, location: str, hashes: Sequence[str], facts: bool) -> None:
        self.path = path
        self.location = location
        self.hashes = tuple(hashes)
        self.facts = facts
        self._seen: dict[str, MemberScan] = {}

    def scan(self) -> Iterator[MemberScan]:
        """Every member in the archive's order. Raises ScanFailed where the archive is damaged."""
        try:
            with _open(self.path) as archive:
                yield from self._members(archive)
                _check_end(archive, self.location)
        except (tarfile.TarError, EOFError, OSError, ValueError, _zstd.error()) as cause:
            raise _damaged(self.location, str(cause) or type(cause).__name__) from cause

    def _members(self, archive: tarfile.TarFile) -> Iterator[MemberScan]:
        pool: list[_Pending] = []
        for member in archive:
            if member.isreg() and member.size <= IN_MEMORY:
                pool.append(_Pending(member=member, data=_read(archive, member)))
                if sum(len(each.data) for each in pool) >= POOL:
                    yield from self._digest(pool)
                    pool = []
                continue
            yield from self._digest(pool)
            pool = []
            yield self._large(archive, member) if member.isreg() else self._other(member)
        yield from self._digest(pool)

    def _digest(self, pool: Sequence[_Pending]) -> Iterator[MemberScan]:
        found = {name: elf.hash_buffers(name, [each.data for each in pool]) for name in self.hashes} if pool else {}
        for index, each in enumerate(pool):
            facts = elf.facts_of_bytes(each.data) if self.facts else None
            digests = Digests(**{name: values[index].hex() for name, values in found.items()})
            yield self._regular(each.member, digests, facts)

    def _regular(self, member: tarfile.TarInfo, digests: Digests, facts: Facts | None) -> MemberScan:
        issue = facts.issues[0] if facts and facts.issues else None
        result = self._entry(
            member,
            status=Status.MALFORMED if issue else Status.OK,
            issue=issue.code if issue else None,
            offset=issue.offset if issue else 0,
            digests=digests,
            facts=facts,
        )
        self._seen[member.name] = result
        return result

    def _large(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> MemberScan:
        with tempfile.NamedTemporaryFile(prefix="buildmatrix-") as copy:
            stream = archive.extractfile(member)
            while stream is not None and (piece := stream.read(1 << 20)):
                copy.write(piece)
            copy.flush()
            if copy.tell() != member.size:
                raise _damaged(self.location, f"{member.name}: got {copy.tell()} bytes, expected {member.size}")
            scan = elf.scan_one(copy.name, hashes=self.hashes, facts=self.facts)
            if scan.status not in {Status.OK, Status.MALFORMED}:
                raise _damaged(self.location, f"{member.name}: its temporary copy has status {scan.status}")
            return self._regular(member, scan.digests, scan.facts)

    def _other(self, member: tarfile.TarInfo) -> MemberScan:
        """Links, directories and devices. A hard link has the content of the member that it names."""
        if not member.islnk():
            return self._entry(member, target=member.linkname if member.issym() else None)
        linked = self._seen.get(member.linkname)
        if linked is None:
            return self._entry(member, status=Status.ESCAPES, target=member.linkname)
        return self._entry(
            member,
            status=linked.status,
            size=linked.size,
            issue=linked.issue,
            offset=linked.offset,
            target=member.linkname,
            digests=linked.digests,
            facts=linked.facts,
        )

    def _entry(self, member: tarfile.TarInfo, **values: Any) -> MemberScan:
        common: dict[str, Any] = {
            "location": f"{self.location}:{member.name}",
            "path": member.name,
            "kind": _KINDS.get(member.type, Kind.UNKNOWN),
            "status": Status.OK,
            "size": member.size,
            "mode": member.mode,
            "uid": member.uid,
            "gid": member.gid,
            "mtime_ns": int(member.mtime * 1_000_000_000),
        }
        return MemberScan(**(common | values))


def _open(path: Path) -> tarfile.TarFile:
    with path.open("rb") as stream:
        head = stream.read(4)
    if head == _ZSTD:
        return _open_zstd(path)
    return tarfile.open(path, "r:*", errorlevel=2)


def _open_zstd(path: Path) -> tarfile.TarFile:
    return tarfile.open(fileobj=_zstd.opened(path.open("rb")), mode="r:", errorlevel=2)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    data = stream.read() if stream is not None else b""
    if len(data) != member.size:
        message = f"{member.name}: got {len(data)} bytes, expected {member.size}"
        raise tarfile.ReadError(message)
    return data


def _check_end(archive: tarfile.TarFile, location: str) -> None:
    """Hold the end of the archive to POSIX pax: at least one block of zeros after the last member.

    Reads on to the end of the file, so that a compressor's own check sum is compared as well.
    """
    stream = cast(IO[bytes], archive.fileobj)
    stream.seek(archive.offset)
    end = stream.read(tarfile.BLOCKSIZE)
    if end != bytes(tarfile.BLOCKSIZE):
        raise _damaged(location, f"at byte {archive.offset}: got {len(end)} other bytes, expected the end marker")
    while stream.read(1 << 20):
        pass


def _damaged(location: str, why: str) -> ScanFailed:
    return ScanFailed(
        f"{location}: the archive could not be read to its end",
        why=why,
        fix="fetch or build the archive again; it is truncated or damaged",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer blob of an image layout. `images` names the manifests that hold it, by platform."""

    digest: str
    path: Path
    images: tuple[str, ...]


def layers(layout: Path) -> tuple[Layer, ...]:
    """Every layer that index.json leads to, once each, in order of first mention.

    Follows nested indexes. Every manifest's bytes are held to its digest (image-layout specification,
    "blobs"); raises ScanFailed where they differ or a blob is missing.
    """
    from buildmatrix.oci import media
    from buildmatrix.oci.layout import Layout

    store = Layout(layout)
    found: dict[str, list[str]] = {}
    try:
        for node in _nodes(store):
            for descriptor in node.manifest.layers:
                if media.is_layer(descriptor.media_type):
                    names = found.setdefault(descriptor.digest, [])
                    names.append(str(node.descriptor.platform or "unknown"))
        return tuple(
            Layer(digest=digest, path=store.blob_path(digest), images=tuple(dict.fromkeys(platforms)))
            for digest, platforms in found.items()
        )
    except (ContentInvalid, ContentMismatch, NotInRegistry) as cause:
        raise _damaged(str(layout), "\n    ".join(filter(None, (cause.what, cause.why)))) from cause


def _nodes(store: Layout) -> Iterator[Node]:
    from buildmatrix.oci import graph

    for entry in store.index().manifests:
        if graph.known(entry):
            yield from graph.walk(store, entry)


def scan_layout(layout: Path, *, hashes: Sequence[str], facts: bool) -> Iterator[MemberScan]:
    """The members of every layer. A layer whose bytes differ from its digest raises ScanFailed."""
    found = layers(layout)
    for layer in found:
        blob = elf.scan_one(layer.path, hashes=("sha256",), facts=False)
        if f"sha256:{blob.digests.sha256}" != layer.digest:
            raise _damaged(str(layout), f"a layer's bytes differ: got {blob.digests.sha256}, expected {layer.digest}")
        location = f"{layout}@{layer.digest[:19]}"
        yield from Archive(layer.path, location=location, hashes=hashes, facts=facts).scan()
