"""What an index says, and where it contradicts its images, or lacks something. Reads, and judges; prints nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from buildmatrix.errors import BuildmatrixError, ContentInvalid, ContentMismatch, NotInRegistry
from buildmatrix.finding import Finding, Severity
from buildmatrix.oci import belongings, content, graph, media, parallel, platform
from buildmatrix.oci.belongings import Belonging
from buildmatrix.oci.content import Descriptor, Document, Manifest
from buildmatrix.oci.platform import Platform
from buildmatrix.oci.store import Source

CODES = {
    "BM821": "an image's config names another platform than the index",
    "BM822": "an index lists a platform twice",
    "BM823": "an index or image is not signed",
    "BM824": "an index or image lists something that is not there",
    "BM825": "an attestation belongs to no image of its index",
    "BM826": "an index lists no image that could run",
    "BM827": "an entry of an index cannot be read",
    "BM828": "an index has an entry of an unknown kind",
}
WARNINGS = frozenset(("BM828",))

_TROUBLE = (ContentInvalid, ContentMismatch, NotInRegistry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One index, image or attestation. `size` is that of config and layers in bytes, as they are stored.

    `platform` is what points to it says, `config` what its own config says. `attests` is the digest that an
    attestation manifest belongs to.
    """

    descriptor: Descriptor
    kind: str
    depth: int
    platform: Platform | None = None
    config: Platform | None = None
    size: int = 0
    layers: int = 0
    created: str = ""
    attests: str = ""
    belongings: tuple[Belonging, ...] = ()
    missing: tuple[Descriptor, ...] = ()
    trouble: BuildmatrixError | None = None

    @property
    def label(self) -> str:
        """What findings call it."""
        name = str(self.platform) if self.platform and not self.platform.unknown else self.kind
        return f"{name} {self.descriptor.digest}"

    @property
    def signatures(self) -> tuple[str, ...]:
        """How it is signed, each way once."""
        found = (f"{item.place} {item.what}" for item in self.belongings if item.signature)
        return tuple(dict.fromkeys(found))

    @property
    def attestations(self) -> tuple[str, ...]:
        """The predicate or artifact types of what is attested, each once."""
        return tuple(dict.fromkeys(item.what for item in self.belongings if not item.signature))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The entries from the top down, and what is wrong with them."""

    name: str
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]


def inspect(
    source: Source,
    top: Document,
    *,
    top_is_stored: bool = True,
    unsigned: Severity = Severity.ERROR,
    threads: int = 4,
) -> Inspection:
    """Read everything that a manifest leads to, and judge it.

    `top_is_stored` is False for the index.json of a layout, which nothing can sign. `unsigned` is the
    severity of a missing signature. Raises what reading the top raises, and RegistryUnreachable and the like
    at any time: an answer that did not come is no finding.
    """
    reader = _Reader(source)
    reader.read(top.descriptor, top, 0)
    entries = parallel.each([partial(reader.complete, item) for item in reader.found], threads, (source,))
    entries = list(_attested(entries, reader.manifests))
    findings = (*_structure(entries), *_signed(entries if top_is_stored else entries[1:], unsigned))
    return Inspection(name=source.name, entries=tuple(entries), findings=findings)


class _Reader:
    """Walks an index and keeps on where a part is missing or damaged."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[Entry] = []
        self.manifests: dict[str, Manifest] = {}

    def read(self, descriptor: Descriptor, document: Document | None, depth: int) -> None:
        if len(self.found) >= graph.MAX_NODES or depth > content.MAX_DEPTH:
            raise content.invalid(self.source.name, "indexes are nested too deeply, or list too much")
        if document is None and not graph.known(descriptor):
            self.found.append(Entry(descriptor=descriptor, kind="unknown", depth=depth, platform=descriptor.platform))
            return
        try:
            manifest = (document or self.source.manifest(descriptor)).manifest()
        except _TROUBLE as trouble:
            self.found.append(
                Entry(descriptor=descriptor, kind="unread", depth=depth, platform=descriptor.platform, trouble=trouble)
            )
            return
        self.manifests[descriptor.digest] = manifest
        self.found.append(_entry(descriptor, manifest, depth))
        for item in manifest.manifests:
            self.read(item, None, depth + 1)

    def complete(self, entry: Entry) -> Entry:
        """The entry with what it takes more requests to know."""
        manifest = self.manifests.get(entry.descriptor.digest)
        if manifest is None:
            return entry
        missing = tuple(item for item in manifest.blobs if self._lacks(item))
        config, created, trouble = self._config(manifest, missing) if entry.kind == "image" else (None, "", None)
        owned = () if entry.kind == "attestation" else belongings.find(self.source, entry.descriptor.digest)
        return replace(
            entry,
            config=config,
            created=created,
            missing=missing,
            belongings=(*entry.belongings, *owned),
            trouble=trouble,
        )

    def _lacks(self, item: Descriptor) -> bool:
        if item.urls and media.is_foreign(item.media_type):
            return False
        return self.source.blob_size(item.digest) not in (item.size, -1)

    def _config(
        self, manifest: Manifest, missing: tuple[Descriptor, ...]
    ) -> tuple[Platform | None, str, BuildmatrixError | None]:
        config = manifest.config
        if config is None or config in missing or config.media_type not in media.CONFIGS:
            return None, "", None
        try:
            value = content.parse_json(self.source.read(config), f"{self.source.name}@{config.digest}")
        except _TROUBLE as trouble:
            return None, "", trouble
        return platform.from_json(value), str(value.get("created") or ""), None


def _entry(descriptor: Descriptor, manifest: Manifest, depth: int) -> Entry:
    attests = descriptor.annotations.get(media.REFERENCE_DIGEST, "") if descriptor.is_attestation else ""
    kind = "attestation" if descriptor.is_attestation else "index" if manifest.is_index else _image_kind(manifest)
    return Entry(
        descriptor=descriptor,
        kind=kind,
        depth=depth,
        platform=descriptor.platform,
        size=sum(item.size for item in manifest.blobs),
        layers=len(manifest.layers),
        attests=attests,
        belongings=tuple(
            Belonging(signature=False, place="index", what=what)
            for what in (belongings.predicates(manifest) if descriptor.is_attestation else ())
        ),
    )


def _image_kind(manifest: Manifest) -> str:
    return (
        "image" if manifest.is_image and manifest.config and manifest.config.media_type in media.CONFIGS else "artifact"
    )


def _attested(entries: list[Entry], manifests: dict[str, Manifest]) -> Iterator[Entry]:
    """The entries; an image also has what an attestation manifest of its index says about it."""
    found: dict[str, list[Belonging]] = {}
    for entry in entries:
        if entry.attests and entry.descriptor.digest in manifests:
            what = entry.attestations or ("attestation",)
            found.setdefault(entry.attests, []).extend(
                Belonging(signature=False, place="index", what=item) for item in what
            )
    for entry in entries:
        more = tuple(found.get(entry.descriptor.digest, ()))
        yield replace(entry, belongings=(*entry.belongings, *more)) if more else entry


def _structure(entries: list[Entry]) -> Iterator[Finding]:
    for entry in entries:
        yield from _readable(entry)
    images = [entry for entry in entries if entry.kind == "image"]
    for entry in images:
        yield from _contradiction(entry)
    yield from _twice(images)
    yield from _orphans(entries)
    unread = any(entry.kind == "unread" for entry in entries)
    if entries[0].kind == "index" and not images and not unread:
        yield _finding("BM826", entries[0], f"{len(entries) - 1} entries and no image among them", fix="build it again")


def _readable(entry: Entry) -> Iterator[Finding]:
    trouble = entry.trouble
    if trouble is not None:
        rule = "BM824" if isinstance(trouble, NotInRegistry) else "BM827"
        yield _finding(rule, entry, trouble.what, why=trouble.why, fix=trouble.fix)
    for item in entry.missing:
        yield _finding(
            "BM824",
            entry,
            f"lists a blob that is not there, or not of that size ({item.media_type}, {item.size} bytes)",
            evidence=item.digest,
            why="an engine that pulls this image fails",
            fix="push it again",
        )
    if entry.kind == "unknown":
        yield _finding(
            "BM828",
            entry,
            f"got the media type {entry.descriptor.media_type}, expected an index or image manifest",
            why="engines pass over it, and so does this inspection",
            fix="find out which tool wrote it",
        )


def _contradiction(entry: Entry) -> Iterator[Finding]:
    config, named = entry.config, entry.platform
    if config is None:
        return
    if config.unknown:
        yield _finding("BM821", entry, "got a config without a platform, expected one", fix="build it again")
    elif named is not None and _contradict(named, config):
        yield _finding(
            "BM821",
            entry,
            f"the index says {named}, its config says {config}",
            why="engines choose by the index and run what the config describes",
            fix="build that platform again; the ELF files in it decide what it is",
        )


def _contradict(named: Platform, config: Platform) -> bool:
    """Whether two platforms exclude each other; a variant that only one of them has excludes nothing."""
    if not platform.same_architecture(named, config):
        return True
    return bool(named.variant and config.variant) and not platform.same(named, config)


def _twice(images: list[Entry]) -> Iterator[Finding]:
    listed = [(entry, entry.platform or entry.config) for entry in images]
    known = [(entry, found) for entry, found in listed if found is not None and not found.unknown]
    for index, (entry, found) in enumerate(known):
        earlier = next((other for other, one in known[:index] if platform.same(one, found)), None)
        if earlier is not None:
            yield _finding(
                "BM822",
                entry,
                f"{found} is listed twice",
                evidence=f"first as {earlier.descriptor.digest}",
                why="engines take the first, so that this one is never used",
                fix="leave one of them out",
            )


def _orphans(entries: list[Entry]) -> Iterator[Finding]:
    known = {entry.descriptor.digest for entry in entries if entry.kind != "attestation"}
    for entry in entries:
        if entry.kind == "attestation" and entry.attests not in known:
            yield _finding(
                "BM825",
                entry,
                f"it attests {entry.attests or 'nothing'}, which the index does not list",
                why="nobody who verifies an image of this index will look at it",
                fix="build the index again",
            )


def _signed(entries: list[Entry], severity: Severity) -> Iterator[Finding]:
    for entry in entries:
        if entry.kind in ("index", "image") and not entry.signatures:
            yield _finding(
                "BM823",
                entry,
                "is not signed",
                why="a signature of the index says nothing to who pulls an image by its digest, and the reverse",
                fix="sign the index and every image in it",
                severity=severity,
            )


def _finding(
    rule: str,
    entry: Entry,
    what: str,
    *,
    evidence: str = "",
    why: str = "",
    fix: str = "",
    severity: Severity = Severity.ERROR,
) -> Finding:
    severity = Severity.WARNING if rule in WARNINGS else severity
    return Finding(rule=rule, cell=entry.label, what=what, evidence=evidence, why=why, fix=fix, severity=severity)
