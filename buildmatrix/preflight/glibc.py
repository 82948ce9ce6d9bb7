"""glibc's ld.so from its first instruction to the program's entry (elf/rtld.c dl_main).

Steps in its order: preloads, the breadth-first closure of DT_NEEDED, version checks, the x86 ISA
check, relocation from the leaves up, libc's early initialisation. Each failure carries the loader's
own text and exit status.
"""

from __future__ import annotations

import re
from posixpath import dirname

from buildmatrix.facts import Kind
from buildmatrix.preflight import blame
from buildmatrix.preflight.binding import BadType, Binder, BrokenTable, Reference, Undefined, Unversioned, Wanted
from buildmatrix.preflight.context import Start, object_of, open_read, rtld_strerror
from buildmatrix.preflight.dynobj import DT_AUXILIARY
from buildmatrix.preflight.elfload import Mapped
from buildmatrix.preflight.glibc_open import Crash, LibraryMapper, LoadError
from buildmatrix.preflight.glibc_search import Hit, Loaded, Search
from buildmatrix.preflight.glibc_versions import check_versions
from buildmatrix.preflight.isa import needed_isa
from buildmatrix.preflight.libc import Glibc
from buildmatrix.preflight.memory import Fault
from buildmatrix.preflight.symhash import sysv_hash
from buildmatrix.preflight.verdict import Evidence, Needed, Stage, Stop
from buildmatrix.preflight.walk import Failed

LIBC_SO = "libc.so.6"
MAX_OBJECTS = 4096


class GlibcStart:
    """One start of one program under glibc. `run` returns what was loaded or raises Stop."""

    def __init__(self, start: Start, loader: Glibc, interpreter: Mapped) -> None:
        self.start = start
        self.loader = loader
        self.version = loader.version or (2, 36)
        self.search = Search(start, loader)
        process = start.process
        main = start.main()
        origin = dirname(process.executable.path) if start.view.proc else None
        self.main = Loaded(main, "", set(), None, origin, None)
        self.rtld = self._rtld(interpreter, process.interpreter_name or "")
        self.loaded: list[Loaded] = [self.main, self.rtld]
        self.closure: list[Loaded] = []
        self.lazy: list[tuple[Loaded, Undefined | Unversioned]] = []
        self.mapper = LibraryMapper(start.view, start.host.page_size, loader, main.layout)

    @staticmethod
    def _rtld(mapped: Mapped, name: str) -> Loaded:
        rtld = object_of(mapped)
        names = {name} | ({rtld.soname} if rtld.soname else set())
        return Loaded(rtld, name, names, None, dirname(name), None, order=1, is_loader=True)

    def run(self) -> list[Loaded]:
        """Everything that is loaded, in search order. Raises Stop."""
        place = self.main.object.path
        try:
            self._check_main()
            preloads = self._preloads()
            self._close(preloads)
            check_versions(self)
            self._isa()
            self._relocate()
            self._early_init()
        except LoadError as error:
            raise self._fatal(error) from error
        except Crash as crash:
            raise self._crashed(crash.place, crash.fault) from crash
        except Fault as fault:
            raise self._crashed(place, fault) from fault
        return self.closure

    # Failures.

    def _crashed(self, place: str, fault: Fault) -> Stop:
        cause = (
            "bad-library" if place != self.main.object.path else "truncated" if fault.signal == "SIGBUS" else "bad-elf"
        )
        return Stop(
            Stage.LOADER,
            cause,
            Evidence(
                place=place,
                text=f"the loader reads address {fault.address:#x}, which "
                + ("is past the end of the file" if fault.signal == "SIGBUS" else "nothing is mapped at"),
            ),
            signal=fault.signal,
            fix="copy or link the file again",
        )

    def _fatal(self, error: LoadError, name: str | None = None) -> Stop:
        told = error.name if name is None else name
        number = f": {rtld_strerror(error.errno)}" if error.errno else ""
        told_text = f"{told}: {error.text}" if told else error.text
        message = f"{self.start.program}: error while loading shared libraries: {told_text}{number}"
        if not error.text:
            message = "Inconsistency detected by ld.so: "
        evidence = Evidence(place=error.place or told, offset=error.offset, text=error.why or error.text)
        return Stop(
            Stage.LOADER,
            error.cause,
            evidence,
            exit_status=127,
            message=message,
            fix=blame.fix_library(error.cause, told),
        )

    def _check_main(self) -> None:
        if self.main.object.dynamic_address is None:
            return
        tags = self.main.object.tags
        if not tags.get(5) and tags.get(1) is not None:
            raise Fault("SIGSEGV", 0)

    # Loading.

    def _by_name(self, name: str) -> Loaded | None:
        for item in self.loaded:
            if item.answers(name):
                return item
            if not item.is_main and item.object.soname == name:
                item.names.add(name)
                return item
        return None

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
            return same
        library = self.mapper.load(self.start.libraries, hit.found, hit.blob, name)
        place = hit.path if hit.path.startswith("/") else f"{self.start.view.cwd.rstrip('/')}/{hit.path}"
        item = Loaded(library, hit.path, {name}, who, dirname(place), hit.found.inode.key, order=len(self.loaded))
        self.loaded.append(item)
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
            try:
                item = self.open(name, self.main)
            except LoadError as error:
                self.start.warnings.append(
                    f"ERROR: ld.so: object '{name}' from {source} cannot be preloaded ({error.text}): ignored."
                )
                continue
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
            for tag, name in item.object.needed:
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

    def _expanded(self, item: Loaded, name: str, tag: int) -> str | None:
        """expand_dst: a token without a value is fatal for DT_NEEDED."""
        if "$" not in name:
            return name
        expanded = self.search.expand(name, item)
        if expanded is None and tag != DT_AUXILIARY:
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

    # ISA level.

    def _isa(self) -> None:
        if self.start.host.arch != "amd64" or self.version < (2, 33):
            return
        level = self.start.host.x86_level()
        for item in reversed(self._sorted()):
            wanted = needed_isa(item.object)
            if item.is_loader or wanted <= 1:
                continue
            if level is None:
                self.start.depends.append(f"the CPU's x86-64 level: {item.object.path} asks for v{wanted.bit_length()}")
            elif wanted & ~((1 << level) - 1):
                told = item.name or self.start.program
                raise Stop(
                    Stage.LOADER,
                    "isa-level",
                    Evidence(
                        place=item.object.path,
                        text=f"GNU_PROPERTY_X86_ISA_1_NEEDED is x86-64-v"
                        f"{wanted.bit_length()}, the CPU is x86-64-v{level}",
                    ),
                    exit_status=127,
                    message=f"{told}: CPU ISA level is lower than required",
                    fix=f"build with -march=x86-64-v{level} or lower",
                )

    # Relocation.

    def _sorted(self) -> list[Loaded]:
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

    def _relocate(self) -> None:
        binder = Binder(self.closure, self.main.object.header.machine)
        at_once = bool(self.start.env.get("LD_BIND_NOW"))
        order = [item for item in reversed(self._sorted()) if not item.is_main and not item.is_loader]
        key = (at_once, *(id(item.object) for item in self.closure[1:] if not item.is_loader))
        if key not in self.start.libraries.bound:
            for item in order:
                self._relocate_one(binder, item, at_once or item.object.bind_now)
            self._remember(key)
        self._relocate_one(binder, self.main, at_once or self.main.object.bind_now)
        if self.rtld in self.closure:
            self._relocate_one(binder, self.rtld, True)

    def _remember(self, key: tuple[int, ...]) -> None:
        """Whether the libraries also find everything without this program."""
        alone = Binder(self.closure[1:], self.main.object.header.machine)
        try:
            for item in self.closure[1:]:
                for table in ("eager", "plt"):
                    for reference in alone.references(item.object, table):
                        alone.bind(item, reference)
        except (Undefined, Unversioned, BrokenTable, BadType, Fault):
            return
        self.start.libraries.bound.add(key)

    def _relocate_one(self, binder: Binder, item: Loaded, at_once: bool) -> None:
        try:
            self._bind(binder, item, at_once)
        finally:
            if item.object.unsure and item.object.unsure not in self.start.depends:
                self.start.depends.append(item.object.unsure)

    def _bind(self, binder: Binder, item: Loaded, at_once: bool) -> None:
        try:
            for reference in binder.references(item.object, "eager"):
                binder.bind(item, reference)
            for reference in binder.references(item.object, "plt"):
                self._slot(binder, item, reference, at_once)
        except Undefined as error:
            raise self._undefined(error) from error
        except Unversioned as error:
            raise self.unversioned(error, Stage.LOADER) from error
        except BrokenTable as error:
            raise self._broken(error) from error
        except BadType as error:
            raise LoadError(
                error.where.name or self.start.program,
                f"unexpected reloc type 0x{error.kind:02x}",
                cause="bad-elf" if item.is_main else "bad-library",
                place=item.object.path,
            ) from error

    def _broken(self, error: BrokenTable) -> Stop | Crash:
        place = error.where.object.path
        if error.how != "assertion":
            return Crash(place, Fault(error.how, error.address))
        return Stop(
            Stage.LOADER,
            "bad-elf" if error.where.is_main else "bad-library",
            Evidence(place=place, text="DT_RELACOUNT counts a relocation that is not relative"),
            exit_status=127,
            message="Inconsistency detected by ld.so: ",
            fix="link the file again",
        )

    def _slot(self, binder: Binder, item: Loaded, reference: Reference, at_once: bool) -> None:
        """A lazy slot is bound on its first call; what cannot be bound then is kept, for the program only."""
        if at_once or not reference.slot:
            binder.bind(item, reference)
            return
        if not item.is_main:
            return
        try:
            binder.bind(item, reference)
        except (Undefined, Unversioned) as error:
            self.lazy.append((item, error))

    def _undefined(self, error: Undefined) -> Stop:
        told = error.where.name or self.start.program
        cause = blame.undefined_cause(error, self.closure)
        return Stop(
            Stage.LOADER,
            cause,
            Evidence(place=error.where.object.path, text=f"{error.text}: no library in the search list defines it"),
            exit_status=127,
            message=f"{self.start.program}: symbol lookup error: {told}: {error.text}",
            fix="ship the library version that defines it, or build against the one in the root",
        )

    def unversioned(self, error: Unversioned, stage: Stage) -> Stop:
        """The failed assertion of check_match as a Stop."""
        return Stop(
            stage,
            "symbol-version-missing",
            Evidence(
                place=error.provider.object.path,
                text=f"has no version table, but {error.symbol} is wanted "
                f"with version {error.version}: ld.so's check_match asserts",
            ),
            exit_status=127,
            message="Inconsistency detected by ld.so: dl-lookup.c: ",
            fix=f"ship the library that defines {error.version}",
        )

    # libc.

    def _early_init(self) -> None:
        libc = next((item for item in self.closure if item.object.soname == LIBC_SO), None)
        if libc is None or self.version < (2, 32):
            return
        private = Wanted(b"GLIBC_PRIVATE", sysv_hash(b"GLIBC_PRIVATE"), None, False)
        found = Binder([libc], libc.object.header.machine).lookup(b"__libc_early_init", private, 1, libc)
        if found is None:
            raise Stop(
                Stage.LOADER,
                "libc-mismatch",
                Evidence(
                    place=libc.object.path,
                    text="lacks __libc_early_init: it is not of the same build as "
                    f"ld.so {'.'.join(map(str, self.version))}",
                ),
                exit_status=127,
                message="Inconsistency detected by ld.so: dl-call-libc-early-init.c: ",
                fix="let ld.so and libc.so.6 come from one glibc package",
            )
