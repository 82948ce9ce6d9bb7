"""Which objects glibc loads, and in which orders it keeps them (elf/dl-load.c, dl-deps.c, dl-sort-maps.c, rtld.c).

Preloads first, then DT_NEEDED breadth first. The search list, the chain of link maps and the order of
relocation are three different orders.
"""

from __future__ import annotations

import re
from posixpath import dirname

from buildmatrix.kinds import Kind
from buildmatrix.preflight import blame
from buildmatrix.preflight.context import Start, object_of, open_read
from buildmatrix.preflight.dynobj import DT_AUXILIARY, DT_FILTER, DT_NEEDED, DT_STRTAB
from buildmatrix.preflight.elfload import Mapped
from buildmatrix.preflight.glibc_map import LibraryMapper
from buildmatrix.preflight.glibc_open import Crash, LoadError
from buildmatrix.preflight.glibc_search import DST, Hit, Loaded, Search
from buildmatrix.preflight.libc import Glibc
from buildmatrix.preflight.memory import Fault
from buildmatrix.preflight.verdict import Needed
from buildmatrix.preflight.walk import Failed

MAX_OBJECTS = 4096
NAMING = (DT_NEEDED, DT_AUXILIARY, DT_FILTER)


class Loading:
    """The link maps of one process."""

    def __init__(self, start: Start, loader: Glibc, interpreter: Mapped) -> None:
        self.start = start
        self.search = Search(start, loader)
        main = start.main()
        origin = dirname(start.process.executable.path) if start.view.proc else None
        if start.by_hand:  # no /proc/self/exe is asked: the loader opened the file, by this name
            origin = dirname(_absolute(start, start.by_hand))
        self.main = Loaded(main, "", set(), None, origin, None)
        self.rtld = self._rtld(interpreter, start.process.interpreter_name or "")
        self.loaded: list[Loaded] = [self.main, self.rtld]
        self.closure: list[Loaded] = []
        self._named: dict[str, Loaded] = {}
        self.mapper = LibraryMapper(start.view, start.host.page_size, loader, main.layout)

    def _rtld(self, mapped: Mapped, name: str) -> Loaded:
        """The loader itself: it lies the same way in every process that the kernel maps it for alike."""
        known = self.start.libraries.loaders
        rtld = known.setdefault(mapped.space.areas, object_of(mapped))
        names = {name} | ({rtld.soname} if rtld.soname else set())
        return Loaded(rtld, name, names, None, dirname(name), None, order=1, is_loader=True)

    def load_all(self) -> None:
        """Preloads and the closure of DT_NEEDED. Raises LoadError, Crash, Fault."""
        for item in self.loaded:
            self._name(item)
        preloads = self._preloads()
        self._close(preloads)

    def _by_name(self, name: str) -> Loaded | None:
        """The first object that answers to a name, its DT_SONAME included."""
        known = self._named.get(name)
        if known is not None:
            known.names.add(name)
        return known

    def _name(self, item: Loaded) -> None:
        for name in (item.name, *item.names, item.object.soname):
            if name is not None:
                self._named.setdefault(name, item)

    def open(self, name: str, who: Loaded) -> Loaded:
        """_dl_map_object: the object behind a name. Raises LoadError."""
        known = self._by_name(name)
        if known is not None:
            return known
        hit = self.search.find(name, who, self.main)
        if hit is None:
            raise self._missing(name, who)
        return self._take(name, who, hit)

    def _take(self, name: str, who: Loaded, hit: Hit) -> Loaded:
        same = next((item for item in self.loaded if item.key == hit.found.inode.key), None)
        if same is not None:
            same.names.add(name)
            self._name(same)
            return same
        library = self.mapper.load(self.start.libraries, hit.found, hit.blob, name)
        origin = dirname(_absolute(self.start, hit.path))
        item = Loaded(library, hit.path, {name}, who, origin, hit.found.inode.key, order=len(self.loaded))
        self.loaded.append(item)
        self._name(item)
        self.start.needed.append(Needed(by=who.name or self.main.object.path, name=name, path=hit.path, rule=hit.rule))
        if len(self.loaded) > MAX_OBJECTS:
            raise LoadError(name, "cannot create shared object descriptor", why="more libraries than can be followed")
        return item

    def _missing(self, name: str, who: Loaded) -> LoadError:
        search = self.search
        text, errno = "cannot open shared object file", search.errno
        if search.other_class:
            text, errno = f"wrong ELF class: ELFCLASS{96 - self.main.object.layout.bits}", ""
        cause, why = blame.missing_library(search, name, who, self.main)
        self.start.needed.append(
            Needed(by=who.name or self.main.object.path, name=name, path=None, rule="", problem=text)
        )
        return LoadError(name, text, errno=errno, cause=cause, place=who.object.path, why=why)

    def _preloads(self) -> list[Loaded]:
        names = [(name, "LD_PRELOAD") for name in re.split("[ :]", self.start.env.get("LD_PRELOAD", "")) if name]
        if self.start.process.secure:
            names = [(name, source) for name, source in names if "/" not in name]
        names += [(name, "/etc/ld.so.preload") for name in self._preload_file()]
        found = []
        for name, source in names:
            before = len(self.loaded)
            self.search.preloads = True
            try:
                item = self.open(name, self.main)
            except LoadError as error:
                self.start.warnings.append(
                    f"ERROR: ld.so: object '{name}' from {source} cannot be preloaded ({error.text}): ignored."
                )
                continue
            finally:
                self.search.preloads = False
            if len(self.loaded) > before:
                found.append(item)
        return found

    def _preload_file(self) -> list[str]:
        found = open_read(self.start.view, "/etc/ld.so.preload")
        if isinstance(found, Failed) or found.inode.kind is not Kind.REGULAR:
            return []
        text = self.start.view.root.data(found.inode).read(0, 1 << 20).decode(errors="surrogateescape")
        return re.sub("#[^\n]*", " ", text).replace(":", " ").split()

    def _close(self, preloads: list[Loaded]) -> None:
        """_dl_map_object_deps: the breadth-first search list."""
        self.search.errno = ""
        self.closure = self._breadth_first([self.main, *preloads])

    def close_from(self, item: Loaded) -> list[Loaded]:
        """What a library opened later needs, itself first. Raises LoadError."""
        return self._breadth_first([item])

    def _breadth_first(self, queue: list[Loaded]) -> list[Loaded]:
        marked = {id(item) for item in queue}
        at = 0
        while at < len(queue):
            item = queue[at]
            for tag, name in self._names(item):
                expanded = self._expanded(item, name, tag)
                if expanded is None:
                    continue
                try:
                    dep = self.open(expanded, item)
                except LoadError:
                    if tag == DT_AUXILIARY:
                        continue
                    raise
                item.requires.append(dep)
                if id(dep) not in marked:
                    marked.add(id(dep))
                    queue.append(dep)
            at += 1
        return queue

    @staticmethod
    def _names(item: Loaded) -> tuple[tuple[int, str], ...]:
        """What an object needs; where that cannot be read, the loader dies of it."""
        library = item.object
        try:
            if any(tag in NAMING for tag, _ in library.entries):
                library.required(DT_STRTAB)
            return library.needed
        except Fault as fault:
            raise Crash(library.path, fault) from fault

    def _expanded(self, item: Loaded, name: str, tag: int) -> str | None:
        """expand_dst: a token without a value is fatal for DT_AUXILIARY alone; what else asks goes without."""
        if not re.search(DST, name):
            return name
        if self.start.process.secure:
            text = "DST not allowed in SUID/SGID programs"
            raise LoadError(name, text, cause="secure-exec", place=item.object.path, why=f"{name!r} has a token")
        expanded = self.search.expand(name, item)
        if expanded is None and tag == DT_AUXILIARY:
            raise LoadError(
                name,
                "empty dynamic string token substitution",
                errno="",
                cause="origin-without-proc",
                place=item.object.path,
            )
        return expanded

    def chain(self) -> list[Loaded]:
        """The order of l_next: as loaded, with ld.so where the search list has it."""
        others = [item for item in self.loaded if not item.is_loader]
        if self.rtld not in self.closure:
            return others
        before = self.closure[self.closure.index(self.rtld) - 1]
        at = others.index(before) + 1
        return [*others[:at], self.rtld, *others[at:]]

    # Relocation order.

    def sorted(self) -> list[Loaded]:
        """Dependents before what they need (_dl_sort_maps), the program first."""
        order: list[Loaded] = []
        done: set[int] = {id(self.main)}
        for root in reversed(self.closure):
            self._visit(root, done, order)
        order.append(self.main)
        order.reverse()
        return order

    def _visit(self, root: Loaded, done: set[int], order: list[Loaded]) -> None:
        stack: list[tuple[Loaded, bool]] = [(root, False)]
        while stack:
            item, leaving = stack.pop()
            if leaving:
                order.append(item)
                continue
            if id(item) in done:
                continue
            done.add(id(item))
            stack.append((item, True))
            stack.extend((dep, False) for dep in item.requires if id(dep) not in done)


def _absolute(start: Start, path: str) -> str:
    return path if path.startswith("/") else f"{start.view.cwd.rstrip('/')}/{path}"
