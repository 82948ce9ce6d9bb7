"""What is wrong with a root's ld.so.cache: stale, missing and foreign entries, for every loader in it.

The cache is recomputed as ldconfig would write it (elf/ldconfig.c): by SONAME, over the directories of
ld.so.conf and each loader's default directories, in order. Unlike ldconfig it reads libraries of every
architecture, so it also tells what an ldconfig of the wrong one left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix.arch import ARCHITECTURES, Architecture
from buildmatrix.kinds import Kind
from buildmatrix.preflight import ldcache
from buildmatrix.preflight.blame import conf_directories
from buildmatrix.preflight.context import open_read
from buildmatrix.preflight.dynobj import DynamicObject
from buildmatrix.preflight.elfimage import BE32, BE64, ET_DYN, LE32, LE64, MAGIC, PT_LOAD, Layout
from buildmatrix.preflight.elfload import prot_of
from buildmatrix.preflight.glibc_search import CACHE_MOST, CACHE_PATH
from buildmatrix.preflight.libc import Glibc, identify
from buildmatrix.preflight.memory import AddressSpace, Blob, Fault
from buildmatrix.preflight.rootfs import Unreadable
from buildmatrix.preflight.walk import Failed, Found, View, resolve

MAX_LIBRARIES = 100_000
MAX_TEXT = 64 << 20
"""Bytes of entries that are examined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library that ldconfig would enter: SONAME, flags, path, and its architecture."""

    soname: str
    flags: int
    path: str
    goarch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding: `kind` is unusable, stale, missing, foreign, duplicate or unreadable."""

    kind: str
    soname: str
    path: str
    why: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What dlopen of a SONAME would load under one loader, and by which rule; path None: nothing."""

    goarch: str
    path: str | None
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The state of one root's cache."""

    loaders: tuple[str, ...]
    entries: int
    generator: str
    libraries: tuple[Library, ...]
    problems: tuple[Problem, ...]


def loaders(view: View) -> dict[str, Glibc]:
    """The glibc loaders of the root, by GOARCH."""
    found: dict[str, Glibc] = {}
    for row in ARCHITECTURES:
        place = open_read(view, row.glibc_loader)
        if isinstance(place, Found) and place.inode.kind is Kind.REGULAR:
            blob = view.root.data(place.inode)
            loader = identify(blob, place.path)
            if isinstance(loader, Glibc) and _row(blob) is row:
                found[row.goarch] = loader
    return found


def _layout(head: bytes) -> Layout | None:
    if not head.startswith(MAGIC) or len(head) < 52:
        return None
    return {(2, 1): LE64, (1, 1): LE32, (2, 2): BE64, (1, 2): BE32}.get((head[4], head[5]))


def _row(blob: Blob) -> Architecture | None:
    head = blob.read(0, 64)
    layout = _layout(head)
    if layout is None:
        return None
    machine = layout.header(head).machine
    wanted = (machine, layout.bits, layout.order == "<")
    return next((row for row in ARCHITECTURES if (row.machine, row.bits, row.little_endian) == wanted), None)


def examine(view: View) -> Report:
    """Hold the cache against the root's libraries."""
    present = loaders(view)
    problems: list[Problem] = []
    cache = _cache(view, problems)
    known = list(_libraries(view, present, problems))
    entries = _entries(cache, problems) if cache is not None else []
    if present:
        used = _flags(present)
        problems += _stale(view, [entry for entry in entries if entry.flags in used])
        problems += _foreign(view, entries, used)
        missing = list(_missing(entries, known, present, cache is not None))
        if cache is None and not missing and isinstance(resolve(view, CACHE_PATH), Failed):
            problems.clear()  # a root without a cache, and nothing in it that needs one
        problems += missing
    return Report(
        loaders=tuple(present),
        entries=len(entries),
        generator=cache.generator if cache is not None else "",
        libraries=tuple(known),
        problems=tuple(problems),
    )


def _cache(view: View, problems: list[Problem]) -> ldcache.Cache | None:
    found = open_read(view, CACHE_PATH)
    if isinstance(found, Failed):
        problems.append(Problem(kind="unusable", soname="", path=CACHE_PATH, why=found.why, fix="run ldconfig"))
        return None
    regular = found.inode.kind is Kind.REGULAR
    data = view.root.data(found.inode).read(0, CACHE_MOST) if regular else b""
    for little in (True, False):
        cache = ldcache.read(data, little_endian=little)
        if isinstance(cache, ldcache.Cache):
            return cache
    why = cache.why if isinstance(cache, ldcache.Unusable) else ""
    problems.append(Problem(kind="unusable", soname="", path=CACHE_PATH, why=why, fix="run ldconfig"))
    return None


def _entries(cache: ldcache.Cache, problems: list[Problem]) -> list[ldcache.Entry]:
    """The entries that can be read, as many as memory is granted for."""
    entries: list[ldcache.Entry] = []
    why, room = "", MAX_TEXT
    for entry in cache.entries:
        if entry is None:
            why = "entries point outside the file"
            continue
        room -= len(entry.key) + len(entry.value) + 256
        if room < 0:
            why = f"its {len(cache.entries)} entries are more than can be examined: {len(entries)} were"
            break
        entries.append(entry)
    if why:
        problems.append(Problem(kind="unusable", soname="", path=CACHE_PATH, why=why, fix="run ldconfig"))
    return entries


def _stale(view: View, entries: list[ldcache.Entry]) -> Iterator[Problem]:
    for entry in entries:
        found = resolve(view, entry.value)
        if isinstance(found, Failed):
            yield Problem(kind="stale", soname=entry.key, path=entry.value, why=f"{found.at} {found.why}",
                          fix="run ldconfig")  # fmt: skip


def _flags(present: dict[str, Glibc]) -> set[int]:
    """Entry flags that the root's loaders look at."""
    own = {ldcache.FLAGS[goarch] for goarch in present if goarch in ldcache.FLAGS}
    return own | {flag for one in own for flag in ldcache.ACCEPTED.get(one, ())}


def _foreign(view: View, entries: list[ldcache.Entry], used: set[int]) -> Iterator[Problem]:
    for entry in entries:
        named = ldcache.ARCH_NAMES.get(entry.flags, f"{entry.flags:#06x}")
        if entry.flags not in used:
            yield Problem(kind="foreign", soname=entry.key, path=entry.value,
                          why=f"is entered for {named}, and the root has no such loader",
                          fix="run the ldconfig of the root's own architecture")  # fmt: skip
            continue
        found = open_read(view, entry.value)
        if isinstance(found, Failed) or found.inode.kind is not Kind.REGULAR:
            continue
        row = _row(view.root.data(found.inode))
        own = None if row is None else ldcache.FLAGS.get(row.goarch)
        if own is not None and entry.flags not in (own, *ldcache.ACCEPTED.get(own, ())):
            what = row.goarch if row is not None else "another architecture"
            yield Problem(kind="foreign", soname=entry.key, path=entry.value,
                          why=f"is entered for {named}, but the file is for {what}", fix="run ldconfig")  # fmt: skip


def _missing(
    entries: list[ldcache.Entry], known: list[Library], present: dict[str, Glibc], usable: bool
) -> Iterator[Problem]:
    cached = {(entry.key, entry.flags) for entry in entries}
    for library in known:
        if library.goarch not in present or (library.soname, library.flags) in cached:
            continue
        default = library.path.rpartition("/")[0] + "/" in present[library.goarch].directories
        if default:
            continue  # the loader finds it without the cache
        why = "is not in the cache" if usable else "would have to be in the cache"
        yield Problem(kind="missing", soname=library.soname, path=library.path,
                      why=f"{why}, and its directory is searched through the cache alone",
                      fix=f"run the ldconfig of {library.goarch} in the root")  # fmt: skip


def _libraries(view: View, present: dict[str, Glibc], problems: list[Problem]) -> Iterator[Library]:
    """Every library that would be entered, the first of each SONAME and architecture."""
    directories = list(conf_directories(view))
    directories += [directory.rstrip("/") for loader in present.values() for directory in loader.directories]
    seen: set[tuple[str, int]] = set()
    done: set[tuple[int, int]] = set()
    for directory in directories:
        place = resolve(view, directory)
        if isinstance(place, Failed) or place.inode.kind is not Kind.DIRECTORY or place.inode.key in done:
            continue
        done.add(place.inode.key)
        try:
            for library in _in_directory(view, directory, place):
                if (library.soname, library.flags) not in seen and len(seen) < MAX_LIBRARIES:
                    seen.add((library.soname, library.flags))
                    yield library
        except Unreadable as error:
            problems.append(Problem(kind="unreadable", soname="", path=error.place, why=str(error)))


def _in_directory(view: View, directory: str, place: Found) -> Iterator[Library]:
    for name in view.root.names(place.inode):
        if ".so" not in name or not name.startswith(("lib", "ld-", "ld.so", "ld64.so")):
            continue
        found = open_read(view, f"{directory}/{name}")
        if isinstance(found, Failed) or found.inode.kind is not Kind.REGULAR:
            continue
        library = read_library(view.root.data(found.inode), found.path)
        if library is None:
            continue
        goarch, soname = library
        flags = ldcache.FLAGS.get(goarch)
        if flags is not None and _named_so(name, soname or name):
            yield Library(soname=soname or name, flags=flags, path=f"{directory}/{name}", goarch=goarch)


def _named_so(name: str, soname: str) -> bool:
    """A development link such as libx.so is no entry of its own; its target is."""
    return name == soname or not name.endswith(".so")


def read_library(blob: Blob, path: str) -> tuple[str, str | None] | None:
    """GOARCH and SONAME of a shared library, or None where it is none that can be read."""
    head = blob.read(0, 64)
    layout, row = _layout(head), _row(blob)
    if layout is None or row is None:
        return None
    header = layout.header(head)
    if header.type != ET_DYN or header.phentsize != layout.phentsize:
        return None
    phdrs = layout.phdrs(blob.read(header.phoff, header.phnum * layout.phentsize))
    space = AddressSpace(4096)
    for phdr in phdrs:
        if phdr.type == PT_LOAD and phdr.filesz and (phdr.vaddr - phdr.offset) % 4096 == 0 and phdr.filesz < 1 << 40:
            low = space.down(phdr.vaddr)
            space.map(low, space.up(phdr.vaddr + phdr.filesz), prot_of(phdr.flags) | 1, blob, space.down(phdr.offset))
    try:
        return row.goarch, DynamicObject(path, blob, layout, header, phdrs, space, 0).soname
    except Fault:
        return None


def dlopen(view: View, soname: str) -> tuple[Answer, ...]:
    """What each loader of the root would load for a SONAME that no RPATH or LD_LIBRARY_PATH catches."""
    answers = []
    for goarch, loader in loaders(view).items():
        answers.append(_answer(view, goarch, loader, soname))
    return tuple(answers)


def _answer(view: View, goarch: str, loader: Glibc, soname: str) -> Answer:
    candidates = []
    cache = _cache(view, [])
    entry = None if cache is None else ldcache.lookup(cache, soname, ldcache.FLAGS.get(goarch, 3), ())
    if entry is not None:
        candidates.append((entry.value, "ld.so.cache"))
    candidates += [(directory + soname, "default directory") for directory in loader.directories]
    for path, rule in candidates:
        found = open_read(view, path)
        if isinstance(found, Found) and found.inode.kind is Kind.REGULAR:
            row = _row(view.root.data(found.inode))
            if row is not None and row.goarch == goarch:
                return Answer(goarch=goarch, path=path, rule=rule)
    return Answer(goarch=goarch, path=None, rule="")
