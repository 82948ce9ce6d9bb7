"""What an SBOM of ours says beyond bytes and plan: the licences and requirements that went into it. Pure.

With these, and the bytes, the whole document can be made again on a machine without the modules' sources.
"""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.facts import GoInfo
from buildmatrix.sbom import licences
from buildmatrix.sbom.golang import component_of, key
from buildmatrix.sbom.model import Bill, Component, Learnt, Licence


def learnt(told: Bill, info: GoInfo) -> Learnt:
    """The licences and requirements of the modules in `info`, as a document's Bill tells them."""
    by_name = {(item.name, item.version): item for item in told.components}
    edges = dict(told.edges)
    known: dict[tuple[str, str], Component] = {}
    for module in info.modules:
        expected = component_of(module, Learnt())
        if (found := by_name.get((expected.name, expected.version))) is not None:
            known[key(module)] = found
    path_of = {component.ref: path for (path, _), component in known.items()}
    noted: dict[tuple[str, str], Licence | None] = {name: item.licence for name, item in known.items()}
    requires = {name: _paths(edges.get(item.ref, ()), path_of) for name, item in known.items()}
    if not told.complete:
        requires = {name: paths for name, paths in requires.items() if paths}
    if info.main is not None:
        start = next((item.ref for item in told.components if item.name == info.main.path), "")
        requires[key(info.main)] = _paths(edges.get(start, ()), path_of)
    return Learnt(licences=noted, requires=requires)


def _paths(refs: tuple[str, ...], path_of: dict[str, str]) -> tuple[str, ...]:
    return tuple(path_of[ref] for ref in refs if ref in path_of)


def merged(told: Learnt, seen: Learnt) -> Learnt:
    """What a document claims, but where this machine has the sources, what they say.

    What a document leaves open stays open: the machine that built may have had fewer sources.
    """
    return Learnt(
        licences={name: note and seen.licences.get(name, note) for name, note in told.licences.items()},
        requires={name: seen.requires.get(name, paths) for name, paths in told.requires.items()},
    )


def doubts(told: Learnt) -> Iterator[str]:
    """What cannot be true about licences, whatever the sources say."""
    for (path, version), note in sorted(told.licences.items()):
        if note is not None and not licences.is_evidence(note.expression, note.file, note.sha256):
            yield f"{path}@{version}: licence {note.expression!r} from {note.file!r}"
