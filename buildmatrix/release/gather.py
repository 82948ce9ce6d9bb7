"""Reads a release from where it lies: index, signatures, statements, tags, and every byte of every image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from buildmatrix import arch, errors
from buildmatrix.checks import alignment, floor
from buildmatrix.facts import PAGE_SIZES, ElfFacts
from buildmatrix.images import contents, proof
from buildmatrix.images.contents import Collector
from buildmatrix.imagespec import ImageSpec
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import Descriptor, Manifest, parse_json
from buildmatrix.oci.platform import Platform
from buildmatrix.oci.store import Source
from buildmatrix.release import campaigns, statement
from buildmatrix.release.model import (
    Entry,
    Git,
    Image,
    Missing,
    Planned,
    PlannedBinary,
    Program,
    Release,
    Said,
)
from buildmatrix.release.rules import tags as tag_rules
from buildmatrix.releasespec import ReleaseSpec
from buildmatrix.signing import registry as signatures
from buildmatrix.signing.check import Context
from buildmatrix.signing.imagecheck import examine
from buildmatrix.signing.registry import BUNDLE, FORMS

_DAMAGED = (
    errors.LayerInvalid,
    errors.ScanFailed,
    errors.ContentMismatch,
    errors.ContentInvalid,
    errors.NotInRegistry,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known beside the registry; what is None is taken from the release statement, or from the registry.

    `plan` and `image` come from a matrix, `said` and `git` from whoever is about to release; `tags` are those that it
    will set, whatever they are now, and `asked` is the tag that the release was looked up by.
    """

    plan: tuple[Planned, ...] | None = None
    said: Said | None = None
    git: Git | Missing | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    backend: str = ""
    asked: str = ""
    image: str = ""


def gather(
    source: Source,
    remote: signatures.Repository,
    top: Descriptor,
    policy: ReleaseSpec,
    context: Context,
    known: Known,
) -> Release:
    """The release whose index is `top`. Raises what the registry client raises where it cannot be asked."""
    index = source.manifest(top).manifest()
    entries = entries_of(index)
    trust = tuple(examine(remote, digest, context) for digest in (top.digest, *(item.digest for item in entries)))
    said = known.said or statement.find(item for _, item in trust[0].statements)
    plan = known.plan if known.plan is not None else said if isinstance(said, Missing) else said.plan
    git = known.git if known.git is not None else said if isinstance(said, Missing) else said.git
    return Release(
        name=f"{source.name}@{top.digest}",
        policy=policy,
        index=top.digest,
        entries=entries,
        trust=trust,
        images=tuple(_images(source, index)),
        plan=plan,
        said=said,
        git=git,
        tags=_with(_tags(source, policy, entries, said), known.tags),
        campaigns=campaigns.look(policy, said),
        backend=known.backend,
        forms=(BUNDLE,) if context.policy.log else FORMS,
        asked=known.asked,
        image=known.image,
    )


def entries_of(index: Manifest) -> tuple[Entry, ...]:
    """The children of an index that are images; a nested index is one without a platform."""
    return tuple(
        Entry(platform=platforms.normalise(item.platform) if item.platform and item.is_manifest else None,
              digest=item.digest)
        for item in runnable(index)
    )  # fmt: skip


def runnable(index: Manifest) -> tuple[Descriptor, ...]:
    """The entries of an index without the attestation manifests that BuildKit puts there."""
    return tuple(
        item
        for item in index.manifests
        if not item.is_attestation and not (item.platform is not None and item.platform.unknown)
    )


def planned_of(spec: ImageSpec, plan: proof.Plan) -> tuple[Planned, ...]:
    """What a matrix plans for an image."""
    return tuple(
        Planned(
            platform=platforms.parse(text),
            foreign=spec.foreign,
            binaries=tuple(
                PlannedBinary(
                    path=f"{spec.where.rstrip('/')}/{cell.file_name}",
                    sha256=plan.digests.get(cell.id, ""),
                    floor=cell.target.libc_floor,
                    page_sizes=cell.target.page_sizes,
                    level=cell.target.level,
                )
                for cell in cells
            ),
        )
        for text, cells in plan.cells.items()
    )


def _images(source: Source, index: Manifest) -> Iterable[Image]:
    for item in runnable(index):
        if item.platform is None or not item.is_manifest:
            continue
        platform = platforms.normalise(item.platform)
        try:
            programs: tuple[Program, ...] | Missing = _programs(source, item, platform)
        except _DAMAGED as error:
            programs = Missing(why=f"{error.what}{': ' if error.why else ''}{error.why}")
        yield Image(platform=platform, digest=item.digest, programs=programs)


def read_contents(source: Source, entry: Descriptor, hashes: tuple[str, ...] = ()) -> contents.Contents:
    """An image's root file system, every layer held to its digest and to what the config names.

    Every file is hashed with `hashes`. Raises LayerInvalid, ScanFailed, ContentInvalid, ContentMismatch.
    """
    manifest = source.manifest(entry).manifest()
    if manifest.config is None:
        raise errors.ContentInvalid(f"{source.name}@{entry.digest}: got no config, expected an image's")
    label = f"{source.name}@{entry.digest[:19]}"
    config = parse_json(source.read(manifest.config), f"{label}: config")
    layers = {layer.digest: layer for layer in manifest.layers}
    collector = Collector(label, lambda digest: source.blob(layers[digest]).open(0), hashes=hashes)
    wanted = proof.diff_ids(config)
    if len(wanted) != len(manifest.layers):
        raise errors.ContentInvalid(
            f"{label}: got {len(manifest.layers)} layers, expected the {len(wanted)} that its config names"
        )
    for layer, diff_id in zip(manifest.layers, wanted, strict=True):
        read = collector.add(layer.digest)
        for got, expected in ((read.digest, layer.digest), (read.diff_id, diff_id)):
            if got != expected:
                raise errors.ContentMismatch(f"{label}: layer {layer.digest[:19]}: got {got}, expected {expected}")
    return collector.contents()


def _programs(source: Source, entry: Descriptor, platform: Platform) -> tuple[Program, ...]:
    row = arch.BY_GOARCH.get(arch.normalise(platform.architecture) or "")
    if row is None:
        raise errors.ContentInvalid(f"{platform}: got an architecture that is not known, expected one that Go has")
    return tuple(_program(item, row) for item in read_contents(source, entry).programs)


def _program(item: contents.Program, row: arch.Architecture) -> Program:
    facts = item.facts.elf
    foreign = "" if proof.machine_fits(item, row) else arch.machine_name(facts.machine) if facts else "unreadable"
    return Program(
        path=item.path,
        sha256=item.sha256,
        needs=needs(facts) if facts is not None else "",
        pages=_pages(facts) if facts is not None else {},
        foreign=foreign,
    )


def needs(facts: ElfFacts) -> str:
    """The highest glibc version that a file cannot do without, as ``2.34``; empty where it needs none."""
    found = floor.highest(tuple(item for item in facts.version_needs if not item.weak))
    return found.version.removeprefix("GLIBC_") if found is not None else ""


def _pages(facts: ElfFacts) -> dict[int, str]:
    found = {size: alignment.defect(facts, index) for index, size in enumerate(PAGE_SIZES)}
    return {size: its for size, its in found.items() if its not in ("", alignment.EXPOSED)}


def _tags(
    source: Source, policy: ReleaseSpec, entries: tuple[Entry, ...], said: Said | Missing
) -> dict[str, str] | Missing:
    """The tags that a release must have and those that none may have, as far as they are there."""
    try:
        names = [name for name in source.tags() if tag_rules.forbidden(policy, name)]
    except (errors.RegistryFailed, errors.RegistryDenied, errors.NotInRegistry) as error:
        return Missing(why=error.what)
    if isinstance(said, Said):
        own = tuple(entry.platform for entry in entries if entry.platform is not None)
        names += tag_rules.expected(policy, own, version=said.version, created=said.created, commit=said.git.commit)
    found = {name: source.resolve(name) for name in dict.fromkeys(names)}
    return {name: item.digest for name, item in found.items() if item is not None}


def _with(found: dict[str, str] | Missing, more: Mapping[str, str]) -> dict[str, str] | Missing:
    return found if isinstance(found, Missing) else {**found, **more}
