"""Mends a chart: its values where its templates use them, else its templates.

Templates are programs, so that no reading of them tells what a change will do. Each change is tried on a copy, the
chart is rendered again by Helm, and the change stays only where that ended findings and began none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from buildmatrix.errors import ReferenceInvalid
from buildmatrix.kube import constraint, rules
from buildmatrix.kube.check import VALUES
from buildmatrix.kube.draft import DIGEST, MENDABLE, PLACEMENT, Draft, count, refused
from buildmatrix.kube.indexes import Index
from buildmatrix.kube.mend import bound
from buildmatrix.kube.objects import Path as Place
from buildmatrix.kube.objects import at
from buildmatrix.kube.rules import CONSTRAINTS, Use, Workload
from buildmatrix.kube.yamledit import Editor
from buildmatrix.oci import reference

Attempt = Callable[[], None]

_FILE = Path(VALUES)
_CONTAINERS = re.compile(r"^(?P<indent> +)containers:\s*(#.*)?$")
_MOST_TRIES = 200


def mend(draft: Draft) -> None:
    """Mend the chart in a draft as far as it goes. Raises FixRefused where it cannot be rendered at all."""
    checked = draft.check()
    if not checked.items:
        raise refused(draft.source, checked.findings)
    used = _used(checked.workloads)
    names = rules.common(list(used.values()))
    if not names:
        raise refused(draft.source, checked.findings)
    if count(checked, MENDABLE):
        draft.better(partial(draft.edit, _FILE, partial(_constraints, names=names)), frozenset(("BM929",)))
    _repeat(draft, DIGEST, _digests)
    _repeat(draft, PLACEMENT, _placements)


def _used(workloads: tuple[Workload, ...]) -> dict[str, Index]:
    return {use.index.repository: use.index for workload in workloads for use in workload.uses}


def _constraints(editor: Editor, names: tuple[str, ...]) -> None:
    have = at(editor.value(), (CONSTRAINTS,))
    editor.set_names((CONSTRAINTS,), constraint.kept(have, names))


def _repeat(draft: Draft, ended: frozenset[str], attempts: Callable[[Draft, Workload], Iterator[Attempt]]) -> None:
    """Try one change after the other until there is nothing left that any of them would end."""
    for _ in range(_MOST_TRIES):
        broken = [one for one in draft.check().workloads if any(item.rule in ended for item in one.findings)]
        if not any(draft.better(attempt, ended) for workload in broken for attempt in attempts(draft, workload)):
            return


def _digests(draft: Draft, workload: Workload) -> Iterator[Attempt]:
    for use in workload.uses:
        if use.parsed.digest == use.index.digest:
            continue
        digest = use.index.digest
        values = Editor(draft.read(_FILE), VALUES).value()
        for path in _images(values, use):
            yield partial(_set, draft, (*path, "digest"), digest)
            yield partial(_set, draft, (*path, "digest"), digest.partition(":")[2])
            tag = str(at(values, (*path, "tag")) or use.parsed.tag or "").partition("@")[0]
            yield partial(_set, draft, (*path, "tag"), f"{tag}@{digest}")
        for path in _texts(values, use):
            yield partial(_set, draft, path, constraint.image(str(at(values, path)), digest))
        place = Path(workload.pod.item.template)
        if use.image in draft.read(place):
            yield partial(_replace, draft, place, use.image, constraint.image(use.image, digest))


def _set(draft: Draft, path: Place, value: str) -> None:
    draft.edit(_FILE, lambda editor: editor.set(path, value))


def _replace(draft: Draft, place: Path, old: str, new: str) -> None:
    whole = re.compile(rf"{re.escape(old)}(?![A-Za-z0-9_.@:/-])")
    draft.write(place, whole.sub(lambda _: new, draft.read(place)))


def _images(value: object, use: Use, path: Place = ()) -> Iterator[Place]:
    """The mappings in values that say the image's repository, in one word or with the registry apart."""
    if isinstance(value, dict):
        words = [value.get(key) for key in ("registry", "repository")]
        name = "/".join(word for word in words if isinstance(word, str) and word)
        if isinstance(words[1], str) and _repository(name) == use.index.repository:
            yield path
        for key, inner in value.items():
            yield from _images(inner, use, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _images(inner, use, (*path, index))


def _texts(value: object, use: Use) -> Iterator[Place]:
    from buildmatrix.kube.objects import strings

    for path, text in strings(value):
        if path[-1:] != ("repository",) and _repository(text) == use.index.repository:
            yield path


def _repository(text: str) -> str:
    try:
        return reference.parse(text).name
    except ReferenceInvalid:
        return ""


def _placements(draft: Draft, workload: Workload) -> Iterator[Attempt]:
    values = Editor(draft.read(_FILE), VALUES).value()
    for path in _named(values, "nodeSelector"):
        yield partial(_in_values, draft, path, partial(constraint.selector, names=workload.architectures))
    for path in _named(values, "affinity"):
        yield partial(_affinity, draft, path, workload)
    for path in _named(values, "tolerations"):
        yield partial(_tolerate, draft, path, workload)
    place = Path(workload.pod.item.template)
    lines = draft.read(place).splitlines(keepends=True)
    for number, line in enumerate(lines):
        if _CONTAINERS.match(line.rstrip("\r\n")):
            yield partial(_insert, draft, place, lines, number, workload)


def _named(value: object, name: str, path: Place = ()) -> Iterator[Place]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == name:
                yield (*path, key)
            else:
                yield from _named(inner, name, (*path, key))


def _in_values(draft: Draft, path: Place, change: Callable[[Editor, Place], None]) -> None:
    draft.edit(_FILE, lambda editor: change(editor, path))


def _affinity(draft: Draft, path: Place, workload: Workload) -> None:
    names = _names(draft, workload)

    def change(editor: Editor) -> None:
        constraint.affinity(editor, path, names)
        beside = (*path[:-1], "tolerations")
        if at(editor.value(), beside) is not None:
            constraint.tolerations(editor, beside, draft.job.pools, names)

    draft.edit(_FILE, change)


def _tolerate(draft: Draft, path: Place, workload: Workload) -> None:
    draft.edit(
        _FILE, lambda editor: constraint.tolerations(editor, path, draft.job.pools, bound(workload))
    )  # fmt: skip


def _names(draft: Draft, workload: Workload) -> tuple[str, ...]:
    said = at(Editor(draft.read(_FILE), VALUES).value(), (CONSTRAINTS,))
    return constraint.kept(said, workload.architectures)


def _insert(draft: Draft, place: Path, lines: list[str], number: int, workload: Workload) -> None:
    """Put the constraint before `containers:`, above the comments that belong to that."""
    found = _CONTAINERS.match(lines[number].rstrip("\r\n"))
    indent = found["indent"] if found else ""
    while number and lines[number - 1].startswith(f"{indent}#"):
        number -= 1
    unbound = any(item.rule in ("BM923", "BM924") for item in workload.findings)
    block = _affinity_block(indent) if unbound else []
    names = _names(draft, workload)
    if needed := constraint.missing(workload.pod.spec.get("tolerations"), draft.job.pools, names):
        block += _tolerations_block(indent)
        draft.edit(_FILE, partial(_add, items=needed))
    newline = "\r\n" if lines[number].endswith("\r\n") else "\n"
    draft.write(place, "".join([*lines[:number], *(f"{line}{newline}" for line in block), *lines[number:]]))


def _add(editor: Editor, items: list[dict[str, str]]) -> None:
    for item in items:
        editor.add(("tolerations",), item)


def _affinity_block(indent: str) -> list[str]:
    text = f"""\
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: kubernetes.io/arch
              operator: In
              values:
                {{{{- toYaml $.Values.{CONSTRAINTS} | nindent {len(indent) + 16} }}}}"""
    return [indent + line for line in text.split("\n")]


def _tolerations_block(indent: str) -> list[str]:
    text = f"""\
{{{{- with $.Values.tolerations }}}}
tolerations:
  {{{{- toYaml . | nindent {len(indent) + 2} }}}}
{{{{- end }}}}"""
    return [indent + line for line in text.split("\n")]
