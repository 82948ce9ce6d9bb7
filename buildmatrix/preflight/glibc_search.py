"""Where glibc looks for a library (elf/dl-load.c _dl_map_object, open_path, fillin_rpath).

Order: DT_RPATH of the object that asks and of those that loaded it, then of the program, all only
where the object itself has no DT_RUNPATH; LD_LIBRARY_PATH; the object's own DT_RUNPATH; ld.so.cache;
the default directories. errno is carried along as the loader's own variable, because it ends up in
the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from posixpath import normpath
from typing import NamedTuple

from buildmatrix.kinds import Kind
from buildmatrix.preflight import ldcache
from buildmatrix.preflight.context import Start, open_read
from buildmatrix.preflight.dynobj import DF_1_NODEFLIB, DT_RUNPATH, DynamicObject
from buildmatrix.preflight.glibc_hwcaps import capabilities
from buildmatrix.preflight.glibc_open import SKIP_CLASS, verify
from buildmatrix.preflight.libc import Glibc
from buildmatrix.preflight.memory import Blob
from buildmatrix.preflight.walk import Failed, Found, resolve

CACHE_PATH = "/etc/ld.so.cache"
CACHE_MOST = 64 << 20
DST = r"\$(?:\{(ORIGIN|PLATFORM|LIB)\}|(ORIGIN|PLATFORM|LIB)(?![A-Za-z0-9_]))"


@dataclass(slots=True, eq=False)
class Loaded:
    """One link map: the object, the name it was opened by, all names it answers to, who loaded it."""

    object: DynamicObject
    name: str
    names: set[str]
    loader: Loaded | None
    origin: str | None
    key: tuple[int, int] | None
    order: int = 0
    requires: list[Loaded] = field(default_factory=list)
    is_loader: bool = False

    def answers(self, name: str) -> bool:
        """_dl_name_match_p, and DT_SONAME."""
        return name == self.name or name in self.names

    @property
    def is_main(self) -> bool:
        """Whether this is the program itself."""
        return self.name == ""


class Hit(NamedTuple):
    """A library that the search settled on: the file, its bytes, the name it was opened by, the rule."""

    found: Found
    blob: Blob
    path: str
    rule: str


class Passed(NamedTuple):
    """A candidate that was there but was passed over."""

    path: str
    why: str


Opened = tuple[Found | Failed, str | None]
MOST_OPENED = 1 << 17


class Search:
    """The search of one process. `errno` is what the loader's variable would hold."""

    def __init__(self, start: Start, loader: Glibc) -> None:
        self.start = start
        self.view = start.view
        self.loader = loader
        main = start.process.main
        self.layout = main.image.layout
        self.machine = main.image.header.machine
        self.secure = start.process.secure
        self.errno = ""
        self.preloads = False
        self.other_class = False
        self.passed: list[Passed] = []
        self.lost_origin: list[str] = []
        self._exists: dict[str, bool] = {}
        self._cache: ldcache.Cache | ldcache.Unusable | None = None
        self.capabilities = capabilities(start.host, self.layout.bits, loader.version)
        self.older = self.capabilities.combinations()
        self._runs: dict[tuple[str, str | None], tuple[str, ...]] = {}
        store = start.libraries
        self._opened = store.opened.setdefault((self.view, self.layout, self.machine, loader), {})
        self._entries = store.entries.setdefault((self.capabilities.named, self.capabilities.bits), {})

    @property
    def cache(self) -> ldcache.Cache | ldcache.Unusable:
        """ld.so.cache of the root, as this loader reads it."""
        if self._cache is None:
            self._cache = self._read_cache()
        return self._cache

    def _read_cache(self) -> ldcache.Cache | ldcache.Unusable:
        found = open_read(self.view, CACHE_PATH)
        if isinstance(found, Failed):
            self.errno = found.errno
            return ldcache.Unusable(why=f"{found.at} {found.why}")
        if found.inode.kind is not Kind.REGULAR:
            return ldcache.Unusable(why="it is no regular file")
        key, caches = (found.inode.key, self.layout.order), self.start.libraries.caches
        if key not in caches:
            data = self.view.root.data(found.inode).read(0, CACHE_MOST)
            caches[key] = ldcache.read(data, little_endian=self.layout.order == "<")
        return caches[key]

    # Names and directories.

    def expand(self, text: str, who: Loaded) -> str | None:
        """Dynamic string tokens; None where one has no value and the path is dropped."""
        pieces: list[str] = []
        at = 0
        trusted = False
        for match in re.finditer(DST, text):
            name = match[1] or match[2]
            value = self._token(name, who)
            if name == "ORIGIN":
                lone = match.start() == 0 and text[match.end() : match.end() + 1] in ("", "/")
                if self.secure and not lone:
                    value = None
                trusted = self.secure and who.is_main
            if value is None:
                self.lost_origin.append(text)
                return None
            pieces += [text[at : match.start()], value]
            at = match.end()
        whole = "".join([*pieces, text[at:]])
        if trusted and not self._trusted(whole):
            self.lost_origin.append(text)
            return None
        return whole

    def _token(self, name: str, who: Loaded) -> str | None:
        if name == "ORIGIN":
            return who.origin
        if name == "LIB":
            return self.loader.lib
        self._hangs_on(bool(self.capabilities.question) and self.capabilities.platform != "aarch64")
        return self.capabilities.platform

    def _hangs_on(self, decides: bool) -> None:
        """Note that what nobody said of the CPU decides."""
        if decides and self.capabilities.question not in self.start.depends:
            self.start.depends.append(self.capabilities.question)

    def _trusted(self, path: str) -> bool:
        """is_trusted_path_normalize: below one of the default directories."""
        whole = normpath(path) + "/"
        return path.startswith("/") and any(whole.startswith(directory) for directory in self.loader.directories)

    def directories(self, text: str, separators: str, who: Loaded) -> tuple[str, ...]:
        """fillin_rpath: directories with one slash at the end; an empty entry is the working directory."""
        known = self._runs.get((text, who.origin))
        if known is not None:
            return known
        found: list[str] = []
        for entry in re.split(f"[{separators}]", text):
            expanded: str | None = entry
            if "$" in entry:
                expanded = self.expand(entry, who)
            if expanded is None or (entry and not expanded):
                continue
            directory = expanded.rstrip("/") + "/" if expanded else ""
            if expanded and not expanded.strip("/"):
                directory = "/"
            if directory not in found:
                found.append(directory)
        result = tuple(found)
        self._runs[(text, who.origin)] = result
        return result

    def runs(self, who: Loaded, program: Loaded) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The directory lists before the cache, in order, each with the rule's name; none is read before its turn."""
        if DT_RUNPATH not in who.object.tags:
            node: Loaded | None = who
            seen = False
            while node is not None:
                if DT_RUNPATH not in node.object.tags and node.object.rpath:
                    yield f"RPATH of {node.name or 'the program'}", self.directories(node.object.rpath, ":", node)
                    seen = seen or node.is_main
                node = node.loader
            if not seen and DT_RUNPATH not in program.object.tags and program.object.rpath:
                yield "RPATH of the program", self.directories(program.object.rpath, ":", program)
        path = self.start.env.get("LD_LIBRARY_PATH", "")
        if path and not self.secure:
            yield "LD_LIBRARY_PATH", self.directories(path, ":;", program)
        if who.object.runpath:
            yield f"RUNPATH of {who.name or 'the program'}", self.directories(who.object.runpath, ":", who)

    # The search.

    def find(self, name: str, who: Loaded, program: Loaded) -> Hit | None:
        """What `name` leads to, or None. Raises LoadError where a candidate is fatal."""
        self.other_class = False
        self.passed = []
        self.lost_origin = []
        if "/" in name:
            expanded = self.expand(name, who) if "$" in name else name
            return None if not expanded else self._try(expanded, "the path itself")
        for rule, directories in self.runs(who, program):
            hit = self._open_path(name, directories, rule)
            if hit is not None:
                return hit
        return self._defaults(name, bool(who.object.flags_1 & DF_1_NODEFLIB))

    def find_program(self, name: str) -> Hit | None:
        """What a loader started by hand takes for a program's name without a slash.

        It looks before it has set up any directories to search, LD_LIBRARY_PATH's included: only ld.so.cache
        answers (elf/rtld.c; observed on 2.31, 2.36 and 2.41).
        """
        entry = self.cached(name)
        return None if entry is None else self._try(entry.value, "ld.so.cache")

    def _defaults(self, name: str, nodefaults: bool = False) -> Hit | None:
        entry = None if self.secure and self.preloads else self.cached(name)
        if entry is not None and not (nodefaults and entry.value.startswith(self.loader.directories)):
            hit = self._try(entry.value, "ld.so.cache")
            if hit is not None:
                return hit
        if nodefaults:
            return None
        return self._open_path(name, self.loader.directories, "default directory")

    def cached(self, name: str) -> ldcache.Entry | None:
        """The cache's entry for a name."""
        cache = self.cache
        if isinstance(cache, ldcache.Unusable):
            return None
        flags = ldcache.FLAGS.get(self._goarch(), 0x0003)
        asked = (id(cache), flags, name)
        if asked not in self._entries:
            self._entries[asked] = ldcache.lookup(cache, name, flags, self.capabilities.named, self.capabilities.bits)
        entry = self._entries[asked]
        older = bool(entry and entry.hwcap and not entry.hwcaps)
        self._hangs_on(older and bool(entry and any(f"/{word}/" in entry.value for word in self.capabilities.open)))
        return entry

    def _goarch(self) -> str:
        host = self.start.host
        if self.layout.bits == host.row.bits:
            return host.arch
        return {"amd64": "386", "arm64": "arm"}.get(host.arch, host.arch)

    def _open_path(self, name: str, directories: tuple[str, ...], rule: str) -> Hit | None:
        for directory in directories:
            any_here = False
            for sub in self._subdirectories(directory):
                place = directory + sub
                if not self._exists.get(place, True):
                    continue
                hit = self._try(place + name, rule if not sub else f"{rule}, {sub.rstrip('/')}")
                if hit is not None:
                    self._exists[place] = True
                    if self._may_preload(hit):
                        return hit
                    self.errno = "ENOENT"
                any_here = self._note(place) or any_here
            tolerated = (
                ("ENOENT", "EACCES") if (self.loader.version or (2, 36)) < (2, 39) else ("ENOENT", "EACCES", "ENOTDIR")
            )
            if any_here and self.errno not in tolerated:
                return None
        return None

    def _may_preload(self, hit: Hit) -> bool:
        """Under AT_SECURE a library is preloaded by its name only if it is set-user-ID itself."""
        return not (self.secure and self.preloads) or bool(hit.found.inode.mode & 0o4000)

    def _subdirectories(self, directory: str) -> tuple[str, ...]:
        named: tuple[str, ...] = ()
        able = self.capabilities
        if able.named and self._note(directory + "glibc-hwcaps/", quiet=True):
            named = tuple(f"glibc-hwcaps/{level}/" for level in able.named)
        there = [name for name in able.old if self._note(f"{directory}{name}/", quiet=True)]
        if not there:
            return (*named, "")
        older = [sub for sub in self.older if sub[: sub.index("/")] in there]
        self._hangs_on(
            any(word in sub and self._note(directory + sub, quiet=True) for word in able.open for sub in older)
        )
        return (*named, *older, "")

    def _note(self, place: str, quiet: bool = False) -> bool:
        """Whether a directory exists; a failing stat sets errno as the loader's does."""
        if not place.startswith("/"):
            return True
        if place not in self._exists:
            found = resolve(self.view, place)
            if place == "/":  # the loader cuts its slash off and asks stat for "": then the top is none
                found = Failed(errno="ENOENT", at=place, why="is asked for by no name")
            self._exists[place] = isinstance(found, Found) and found.inode.kind is Kind.DIRECTORY
            if isinstance(found, Failed) and not quiet:
                self.errno = found.errno
        return self._exists[place]

    def _try(self, path: str, rule: str) -> Hit | None:
        self.start.ask()
        known = self._opened.get(path)
        found, reason = known if known is not None else self._open(path)
        if isinstance(found, Failed):
            self.errno = found.errno
            if found.errno not in ("ENOENT", "ENOTDIR"):
                self.passed.append(Passed(found.at, found.why))
            return None
        self.errno = ""
        if reason is None:
            return Hit(found, self.view.root.data(found.inode), path, rule)
        self.other_class = self.other_class or reason == SKIP_CLASS
        self.errno = "ENOENT"
        self.passed.append(
            Passed(path, "is of another ELF class" if reason == SKIP_CLASS else "is for another machine")
        )
        return None

    def _open(self, path: str) -> Opened:
        """Open a file and look at its header; remembered. Raises LoadError."""
        found = open_read(self.view, path)
        reason = None
        if isinstance(found, Found):
            self.errno = ""
            blob = self.view.root.data(found.inode)
            reason = verify(found, blob, path, self.layout, self.machine, self.loader)
        if len(self._opened) < MOST_OPENED:
            self._opened[path] = (found, reason)
        return found, reason
