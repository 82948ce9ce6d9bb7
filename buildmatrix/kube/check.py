"""Renders every source, validates its objects and holds its workloads to the verified indexes: one report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix.deployspec import Pool
from buildmatrix.errors import BuildmatrixError, ManifestInvalid, ToolMissing
from buildmatrix.finding import Finding, worst
from buildmatrix.kube import objects, rules, yamlread
from buildmatrix.kube.indexes import Index
from buildmatrix.kube.objects import Item
from buildmatrix.kube.render import Renderer, Source
from buildmatrix.kube.rules import Other, Workload
from buildmatrix.kube.schemas import Schemas

VALUES = "values.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One source: its objects, the workloads that use our images, the containers of others, what is wrong."""

    source: Source
    items: tuple[Item, ...]
    workloads: tuple[Workload, ...]
    others: tuple[Other, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether any of its findings is an error."""
        return worst(self.findings) == "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is checked and against what. `indexes` are the verified ones by repository."""

    renderer: Renderer
    indexes: Mapping[str, Index]
    pools: tuple[Pool, ...] = ()
    kubernetes: str = ""
    crds: tuple[Item, ...] = ()


def check(job: Job, sources: tuple[Source, ...]) -> tuple[Checked, ...]:
    """One result for each source, in their order. Raises ToolMissing where a program is not there at all."""
    rendered = [(source, *_render(job.renderer, source)) for source in sources]
    schemas = Schemas(job.kubernetes, job.crds)
    declared = [tuple(_declared(schemas, items)) for _, items, _ in rendered]
    found = [
        _checked(job, schemas, source, items, (*told, *more))
        for (source, items, told), more in zip(rendered, declared, strict=True)
    ]
    return tuple(_unused(found))


def _declared(schemas: Schemas, items: tuple[Item, ...]) -> Iterator[Finding]:
    """Learn the custom kinds among objects; what is wrong with their schemas."""
    for item in items:
        try:
            schemas.declare(item)
        except ManifestInvalid as error:
            yield Finding(rule=error.code, cell=item.label, what=error.what, why=error.why, fix=error.fix)


def _render(renderer: Renderer, source: Source) -> tuple[tuple[Item, ...], tuple[Finding, ...]]:
    try:
        items = renderer.render(source)
        return items, tuple(renderer.lint(source)) if source.kind == "chart" else ()
    except ToolMissing:
        raise
    except BuildmatrixError as error:
        return (), (Finding(rule=error.code, cell=source.name, what=error.what, why=error.why, fix=error.fix),)


def _checked(job: Job, schemas: Schemas, source: Source, items: tuple[Item, ...], told: tuple[Finding, ...]) -> Checked:
    findings = [*told]
    workloads: list[Workload] = []
    others: list[Other] = []
    for item in items:
        findings += schemas.check(item)
        own, strangers, mentions = rules.examine(item, job.indexes, job.pools)
        findings += [*(one for workload in own for one in workload.findings), *mentions]
        workloads += own
        others += strangers
    if source.kind == "chart" and items:
        findings += _values(job, source, workloads)
    return Checked(
        source=source, items=items, workloads=tuple(workloads), others=tuple(others), findings=tuple(findings)
    )


def _values(job: Job, source: Source, workloads: list[Workload]) -> Iterator[Finding]:
    used = {use.index.repository: use.index for workload in workloads for use in workload.uses}
    if not used or not source.path.is_dir():
        return
    merged: dict[str, object] = {}
    for place in (source.path / VALUES, *job.renderer.settings.values):
        if place.is_file():
            try:
                merged |= values_of(place)
            except ManifestInvalid as error:
                yield Finding(rule=error.code, cell=source.name, what=error.what, why=error.why, fix=error.fix)
                return
    yield from rules.values(source.name, merged, rules.common(list(used.values())))


def values_of(place: Path) -> dict[str, object]:
    """The values in a file, at their top level. Raises ManifestInvalid."""
    found = yamlread.document(place.read_text(encoding="utf-8", errors="replace"), str(place))
    if found is None:
        return {}
    if not isinstance(found.value, dict):
        raise ManifestInvalid(f"{place}: got {type(found.value).__name__}, expected a mapping", fix="write key: value")
    return found.value


def _unused(found: list[Checked]) -> Iterator[Checked]:
    """A chart without a pod of ours was checked for nothing; of plain files, one with such a pod is enough."""
    plain = any(item.workloads for item in found if item.source.kind == "manifests")
    first = True
    for item in found:
        missing = not item.workloads and item.items and (item.source.kind != "manifests" or not plain)
        if missing and (item.source.kind != "manifests" or first):
            first = first and item.source.kind != "manifests"
            images = sorted({other.image for other in item.others})
            more = Finding(
                rule="BM932",
                cell=item.source.name,
                what="no pod uses an image of ours: nothing was proven",
                evidence=f"it uses {', '.join(images)}" if images else "it has no pods",
                fix="correct images.NAME.repository or --image, or leave it out",
            )
            yield Checked(
                source=item.source,
                items=item.items,
                workloads=(),
                others=item.others,
                findings=(*item.findings, more),
            )
        else:
            yield item


def definitions(places: tuple[Path, ...]) -> tuple[Item, ...]:
    """The objects in files with CustomResourceDefinitions. Raises ManifestInvalid."""
    found: list[Item] = []
    for place in places:
        try:
            text = place.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestInvalid(f"{place}: cannot be read", why=str(error), fix="correct deploy.crds") from error
        for document in yamlread.documents(text, str(place)):
            found += objects.items(document, str(place))
    return tuple(found)
