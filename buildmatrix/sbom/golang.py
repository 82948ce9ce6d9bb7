"""Makes the Bill of a built artifact from its bytes' facts and its plan. Pure.

Modules come from the Go build info in the bytes, never from go.mod, which also names what was not linked.
The main module's version is the plan's: build info says ``(devel)`` for every local build.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix.facts import Facts, GoInfo, GoModule
from buildmatrix.sbom import properties, purl
from buildmatrix.sbom.model import Bill, Component, Learnt, Tool

DEVEL = "(devel)"
_GO_LICENCE = "BSD-3-Clause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the plan says of an artifact. `compiler` is empty without cgo; `libc` is the target's."""

    cell: str
    binary: str
    version: str
    supplier: str
    licence: str
    file: str
    size: int
    hashes: tuple[tuple[str, str], ...]
    compiler: str
    libc: str
    tools: tuple[Tool, ...]
    epoch: int | None


def bill(facts: Facts, made: Made, learnt: Learnt) -> Bill:
    """The Bill of one artifact; `learnt` adds licences and what modules require of each other."""
    info = facts.go or GoInfo(version="")
    modules = tuple(component_of(item, learnt) for item in info.modules)
    main = _main(info, made)
    standard = standard_library(info.version)
    libraries = tuple(_libraries(facts, made))
    subject = _subject(facts, info, made)
    rest = tuple(item for item in (main, standard) if item is not None)
    edges, complete = _edges(subject, rest, modules, libraries, info, learnt)
    return Bill(
        subject=subject,
        components=(*rest, *modules, *libraries),
        tools=(*made.tools, *_makers(info, made)),
        epoch=made.epoch,
        edges=edges,
        contains=((subject.ref, tuple(item.ref for item in (*rest, *modules))),),
        complete=complete,
        supplier=made.supplier,
    )


def key(module: GoModule) -> tuple[str, str]:
    """What a module is known by in `Learnt`: its own path and version, not its replacement's."""
    return module.path, module.version


def _subject(facts: Facts, info: GoInfo, made: Made) -> Component:
    module = info.main.path if info.main is not None else ""
    inside = info.path.removeprefix(module) if module and info.path.startswith(module) else ""
    return Component(
        ref=f"artifact:{made.cell}/{made.file}",
        kind="application",
        name=made.binary,
        version=made.version,
        purl=purl.golang(module, made.version, inside) if module else "",
        supplier=made.supplier,
        stated=made.licence,
        hashes=made.hashes,
        properties=(
            ("buildmatrix:cell", made.cell),
            ("buildmatrix:file", made.file),
            ("buildmatrix:size", str(made.size)),
            *properties.of(facts),
        ),
    )


def _main(info: GoInfo, made: Made) -> Component | None:
    if info.main is None:
        return None
    url = purl.golang(info.main.path, made.version)
    return Component(
        ref=url,
        kind="library",
        name=info.main.path,
        version=made.version,
        purl=url,
        supplier=made.supplier,
        stated=made.licence,
        properties=(("buildmatrix:go:build-info-version", info.main.version),),
    )


def component_of(module: GoModule, learnt: Learnt) -> Component:
    """A linked module: the replacement where there is one, but a folder, which has no version of its own."""
    used, said = module.replace or module, []
    if module.replace is not None:
        said.append(("buildmatrix:go:replaces", f"{module.path}@{module.version}"))
        if is_folder(module.replace):
            said.append(("buildmatrix:go:replaced-by-folder", module.replace.path))
            used = module
    total = used.sum if module.replace is None or used is module.replace else ""
    if total:
        said.append(("buildmatrix:go:h1", total))
    url = purl.golang(used.path, used.version)
    return Component(
        ref=url,
        kind="library",
        name=used.path,
        version=used.version,
        purl=url,
        licence=learnt.licences.get(key(module)),
        properties=tuple(said),
    )


def is_folder(module: GoModule) -> bool:
    """Whether a replacement is a local folder (https://go.dev/ref/mod#go-mod-file-replace)."""
    return module.path in (".", "..") or module.path.startswith(("./", "../", "/"))


def standard_library(version: str) -> Component | None:
    """Go's standard library as a component: `version` as build info gives it, with ``go`` in front."""
    if not version:
        return None
    number = version.removeprefix("go").partition(" ")[0]
    url = purl.golang("stdlib", number)
    return Component(
        ref=url,
        kind="library",
        name="stdlib",
        version=f"go{number}",
        purl=url,
        supplier="The Go Authors",
        stated=_GO_LICENCE,
        description="Go standard library and runtime",
    )


def _makers(info: GoInfo, made: Made) -> Iterator[Tool]:
    if info.version:
        yield Tool(name="go", version=info.version.removeprefix("go"))
    if made.compiler:
        words = made.compiler.split()
        numbered = len(words) > 1 and words[1][:1].isdigit()
        yield Tool(name=words[0], version=words[1] if numbered else made.compiler)


def _libraries(facts: Facts, made: Made) -> Iterator[Component]:
    """Shared libraries that the file asks for, and a C library that is linked into it."""
    elf = facts.elf
    needed = elf.needed if elf is not None else ()
    for name in dict.fromkeys(needed):
        versions = sorted({item.version for item in elf.version_needs if item.library == name}) if elf else []
        said = [("buildmatrix:elf:symbol-version", version) for version in versions]
        if made.libc != "none":
            said.append(("buildmatrix:libc", made.libc))
        yield Component(
            ref=f"needed:{name}",
            kind="library",
            name=name,
            description=f"shared library that the loader must find ({made.libc})",
            properties=(*said, ("buildmatrix:c-compiler", made.compiler)) if made.compiler else tuple(said),
            external=True,
        )
    if not needed and made.libc != "none" and made.compiler:
        yield Component(
            ref=f"linked:{made.libc}",
            kind="library",
            name=made.libc,
            description="C library, linked in by the C compiler",
            properties=(("buildmatrix:c-compiler", made.compiler), ("buildmatrix:linked", "static")),
        )


def _edges(
    subject: Component,
    rest: tuple[Component, ...],
    modules: tuple[Component, ...],
    libraries: tuple[Component, ...],
    info: GoInfo,
    learnt: Learnt,
) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], bool]:
    """Every ref with what it depends on, and whether that is the whole truth.

    A requirement counts where the required module was linked. What nothing is known to require hangs on
    the main module, which is where the build began.
    """
    refs = {module.path: component.ref for module, component in zip(info.modules, modules, strict=True)}
    found: dict[str, tuple[str, ...]] = {item.ref: () for item in (*modules, *rest, *libraries)}
    complete = True
    for module, component in zip(info.modules, modules, strict=True):
        required = learnt.requires.get(key(module))
        complete = complete and required is not None
        found[component.ref] = tuple(refs[path] for path in required or () if path in refs and path != module.path)
    start = next((item.ref for item in rest if info.main is not None and item.name == info.main.path), subject.ref)
    direct = () if info.main is None else learnt.requires.get(key(info.main), ())
    complete = complete and (info.main is None or key(info.main) in learnt.requires)
    named = tuple(refs[path] for path in direct if path in refs)
    reached = _reached(named, found)
    loose = tuple(ref for ref in refs.values() if ref not in reached)
    standard = tuple(item.ref for item in rest if item.ref != start)
    found[start] = (*named, *loose, *standard)
    outer = (start,) if start != subject.ref else found[start]
    found[subject.ref] = (*outer, *(item.ref for item in libraries))
    return tuple(sorted(found.items())), complete


def _reached(start: tuple[str, ...], edges: dict[str, tuple[str, ...]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        ref = waiting.pop()
        if ref not in seen:
            seen.add(ref)
            waiting += edges.get(ref, ())
    return seen
