"""musl's loader from its first instruction to the program's entry (ldso/dynlink.c __dls3).

It believes every file that it can map: neither class nor machine nor versions are looked at. It names
every library that is missing and every symbol that is not found, and gives up at the end with 127.
Everything is bound at once.
"""

from __future__ import annotations

from posixpath import dirname

from buildmatrix.facts import Kind
from buildmatrix.preflight.context import MUSL_STRERROR, Start, object_of, open_read
from buildmatrix.preflight.dynobj import (
    DT_PLTREL,
    DT_PLTRELSZ,
    DT_RELA,
    DT_RELASZ,
    DT_RELR,
    DT_RELRSZ,
    DT_RELSZ,
    DynamicObject,
    Reloc,
)
from buildmatrix.preflight.elfimage import (
    PT_GNU_RELRO,
    Layout,
)
from buildmatrix.preflight.elfload import Mapped
from buildmatrix.preflight.libc import Musl
from buildmatrix.preflight.memory import Fault
from buildmatrix.preflight.musl_map import map_library
from buildmatrix.preflight.musl_symbols import TYPES, Dso, Types, find_symbol, fix_of
from buildmatrix.preflight.symhash import gnu_hash
from buildmatrix.preflight.verdict import Evidence, Needed, Stage, Stop
from buildmatrix.preflight.walk import Failed, Found, below

DEFAULT_PATH = "/lib:/usr/local/lib:/usr/lib"
RESERVED = ("c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet.")
PASSED_ERRORS = ("ENOENT", "ENOTDIR", "EACCES", "ENAMETOOLONG")
STT_IFUNC = 10


class MuslStart:
    """One start of one program under musl. `run` returns what was loaded or raises Stop."""

    def __init__(self, start: Start, loader: Musl, interpreter: Mapped) -> None:
        self.start = start
        self.loader = loader
        process = start.process
        own = object_of(interpreter)
        self.layout: Layout = process.main.image.layout
        self.machine = own.header.machine
        self.ldso = Dso(own, process.interpreter_name or "libc.so", "libc.so", None, None)
        name = process.filename if not process.filename.startswith("/proc/") else start.program
        program = start.main()
        program.musl = own.musl = True
        self.app = Dso(program, name, "", None, None, kernel_mapped=True)
        self.chain: list[Dso] = [self.app]
        self.lines: list[str] = []
        self.causes: list[tuple[str, Evidence]] = []
        self.errno = ""
        self._system_path: str | None = None
        self._rpaths: dict[int, str | None] = {}

    def run(self) -> list[Dso]:
        """Everything that is loaded, in search order. Raises Stop."""
        try:
            if not self.start.process.secure:
                self._preload(self.start.env.get("LD_PRELOAD", ""))
            for item in self.chain:
                self._direct_deps(item)
            for item in (*self.chain[1:], self.app):
                if item is not self.ldso:
                    self._relocate(item)
        except Fault as fault:
            raise Stop(
                Stage.LOADER,
                "bad-elf",
                Evidence(
                    place=self.app.object.path,
                    text=f"the loader reads address {fault.address:#x} and gets {fault.signal}",
                ),
                signal=fault.signal,
                fix="link the file again",
            ) from fault
        if self.lines:
            cause, evidence = self.causes[0]
            raise Stop(
                Stage.LOADER,
                cause,
                evidence,
                *(row[1] for row in self.causes[1:4]),
                exit_status=127,
                message=self.lines[0],
                fix=fix_of(cause),
            )
        self._relr()
        self._foreign()
        return self.chain

    def _error(self, line: str, cause: str, evidence: Evidence) -> None:
        self.lines.append(line)
        self.causes.append((cause, evidence))

    # Loading.

    def _preload(self, text: str) -> None:
        for name in text.replace(":", " ").split():
            self._load(name, None)

    def _direct_deps(self, item: Dso) -> None:
        if item is self.ldso:
            return
        for tag, name in item.object.needed:
            if tag != 1:
                continue
            dep = self._load(name, item)
            if dep is not None:
                item.requires.append(dep)
                continue
            reason = MUSL_STRERROR.get(self.errno, self.errno)
            self._error(
                f"Error loading shared library {name}: {reason} (needed by {item.name})",
                *self._missing_cause(name, item),
            )
            self.start.needed.append(Needed(by=item.name, name=name, path=None, rule="", problem=reason))

    def _missing_cause(self, name: str, item: Dso) -> tuple[str, Evidence]:
        if self.errno == "ENOEXEC":
            return "bad-library", Evidence(place=item.object.path, text=f"{name} is found, but it is no ELF library")
        lost = self._rpaths.get(id(item))
        text = f"{name} is in no directory that musl searches: {self._system()}"
        origin = item.object.runpath or item.object.rpath or ""
        if lost is None and "$ORIGIN" in origin.replace("{", "").replace("}", "") and item.kernel_mapped:
            if self.start.process.secure:
                return "secure-exec", Evidence(place=item.object.path, text=f"{origin!r} is ignored under AT_SECURE")
            if not self.start.view.proc:
                return "origin-without-proc", Evidence(place=item.object.path, text=f"{origin!r} needs /proc/self/exe")
        return "missing-library", Evidence(place=item.object.path, text=text)

    def _load(self, name: str, needed_by: Dso | None) -> Dso | None:
        """load_library: the object, or None with errno set."""
        if not name:
            self.errno = "EINVAL"
            return None
        if self._is_self(name):
            if self.ldso not in self.chain:
                self.chain.append(self.ldso)
            return self.ldso
        if "/" in name:
            return self._open(name, name, needed_by)
        known = next((item for item in self.chain[1:] if item.shortname == name), None)
        if known is not None:
            return known
        if len(name.encode(errors="surrogateescape")) > 255:
            return None
        found = self._search(name, needed_by)
        return None if found is None else self._open(found[0], name, needed_by, found[1])

    def _is_self(self, name: str) -> bool:
        return name == self.ldso.name or (name.startswith("lib") and name[3:].startswith(RESERVED))

    def _search(self, name: str, needed_by: Dso | None) -> tuple[str, str] | None:
        """path_open over every list: the path and the rule, or None with errno set."""
        lists: list[tuple[str, str]] = []
        env = self.start.env.get("LD_LIBRARY_PATH", "")
        if env and not self.start.process.secure:
            lists.append((env, "LD_LIBRARY_PATH"))
        asker = needed_by
        while asker is not None:
            path = self._rpath(asker)
            if path is not None:
                lists.append((path, f"RPATH of {asker.name}"))
            asker = asker.needed_by
        for path, rule in lists:
            found = self._path_open(name, path)
            if found is not None:
                return (found, rule) if found else None
        found = self._path_open(name, self._system())
        return (found, "system path") if found else None

    def _path_open(self, name: str, path: str) -> str | None:
        """The path that opens; "" where an error ends every search; None where nothing does."""
        for directory in path.replace("\n", ":").split(":"):
            if not directory:
                continue
            place = f"{directory}/{name}"
            if len(place.encode(errors="surrogateescape")) >= 512:
                continue
            found = open_read(self.start.view, place)
            if isinstance(found, Found):
                return place
            self.errno = found.errno
            if found.errno not in PASSED_ERRORS:
                return ""
        return None

    def _system(self) -> str:
        """sys_path: the path file next to the loader's prefix, else the built-in list."""
        if self._system_path is None:
            prefix = dirname(dirname(self.ldso.name)).rstrip("/") if self.ldso.name.startswith("/") else ""
            place = f"{prefix}/etc/ld-musl-{self.loader.name}.path"
            found = open_read(self.start.view, place)
            if isinstance(found, Found):
                regular = found.inode.kind is Kind.REGULAR
                data = self.start.view.root.data(found.inode).read(0, 1 << 20) if regular else b""
                self._system_path = data.partition(b"\0")[0].decode(errors="surrogateescape")
            else:
                self._system_path = DEFAULT_PATH if found.errno == "ENOENT" else ""
        return self._system_path

    def _rpath(self, item: Dso) -> str | None:
        """fixup_rpath: DT_RUNPATH or DT_RPATH with $ORIGIN; None where it is not to be used."""
        key = id(item)
        if key not in self._rpaths:
            self._rpaths[key] = self._fixed_rpath(item)
        return self._rpaths[key]

    def _fixed_rpath(self, item: Dso) -> str | None:
        original = item.object.runpath if item.object.runpath is not None else item.object.rpath
        if original is None or "$" not in original:
            return original
        if original.count("$") != original.count("$ORIGIN") + original.count("${ORIGIN}"):
            return None
        name = item.name
        if item.kernel_mapped:
            if self.start.process.secure or not self.start.view.proc:
                return None if self.start.process.secure else original.replace("${ORIGIN}", ".").replace("$ORIGIN", ".")
            name = self.start.process.executable.path
        origin = name.rpartition("/")[0] if "/" in name else "."
        if self.start.process.secure and not origin.startswith("/"):
            return None
        return original.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)

    def _open(self, path: str, name: str, needed_by: Dso | None, rule: str = "the path itself") -> Dso | None:
        found = open_read(self.start.view, path)
        if isinstance(found, Failed):
            self.errno = found.errno
            return None
        known = next((item for item in self.chain[1:] if item.key == found.inode.key), None)
        if known is not None:
            if not known.shortname and path != name:
                known.shortname = known.name.rpartition("/")[2]
            return known
        library = self._mapped(found)
        if library is None:
            return None
        if self._is_libc(library):
            return self._load("libc.so", needed_by)
        item = Dso(library, path, path.rpartition("/")[2] if path != name else "", needed_by, found.inode.key)
        item.foreign = library.header.machine if library.header.machine != self.machine else 0
        self.chain.append(item)
        if library.unsure:
            self.start.depends.append(library.unsure)
        asker = needed_by.name if needed_by else "LD_PRELOAD"
        self.start.needed.append(Needed(by=asker, name=name, path=path, rule=rule))
        return item

    def _mapped(self, found: Found) -> DynamicObject | None:
        if found.inode.kind is Kind.DIRECTORY:
            self.errno = "EISDIR"
            return None
        noexec = below(found.path, self.start.view.noexec)
        key = (found.inode.key, self.start.host.page_size, f"musl {self.layout.bits} {noexec}")
        known = self.start.libraries.musl.get(key)
        if known is None:
            known = map_library(
                self.start.view.root.data(found.inode),
                found.path,
                self.layout,
                self.start.host.page_size,
                noexec is not None,
            )
            self.start.libraries.musl[key] = known
        if isinstance(known, str):
            self.errno = known
            return None
        return known

    def _is_libc(self, library: DynamicObject) -> bool:
        """Whether it is another libc, which musl replaces by itself."""
        return all(
            find_symbol([Dso(library, "", "", None, None)], name, need_definition=True) is not None
            for name in (b"__libc_start_main", b"stdin")
        )

    # Relocation.

    def _relocate(self, item: Dso) -> None:
        """reloc_all: DT_JMPREL, DT_REL, DT_RELA, in this order."""
        types = TYPES.get(self.machine)
        self._whole_tables(item)
        for reloc in (*item.object.plt(), *item.object.eager()):
            kind = reloc.type & 0x7FFFFFFF
            if kind == 0:
                continue
            if reloc.symbol and not self._bound(item, reloc, kind, types):
                continue
            if types is not None and kind not in types.known:
                cause = (
                    "wrong-library-arch" if item.foreign else "bad-library" if item is not self.app else "wrong-libc"
                )
                self._error(
                    f"Error relocating {item.name}: unsupported relocation type {kind}",
                    cause,
                    Evidence(place=item.object.path, text=f"relocation type {kind} means nothing to musl"),
                )
        self._protect(item)

    def _protect(self, item: Dso) -> None:
        """RELRO: mprotect over a range that is not mapped as a whole is an error."""
        page = self.start.host.page_size
        for phdr in item.object.phdrs:
            if phdr.type != PT_GNU_RELRO:
                continue
            start, end = phdr.vaddr & -page, (phdr.vaddr + phdr.memsz) & self.layout.mask & -page
            if start != end and not item.object.space.covers(start + item.object.bias, end + item.object.bias):
                self.start.depends.append(f"what is mapped next to {item.object.path}")
                self._error(
                    f"Error relocating {item.name}: RELRO protection failed: Out of memory",
                    "bad-elf" if item is self.app else "bad-library",
                    Evidence(
                        place=item.object.path, text=f"PT_GNU_RELRO {start:#x} to {end:#x} is not mapped as a whole"
                    ),
                )

    @staticmethod
    def _whole_tables(item: Dso) -> None:
        """A size that is no multiple of an entry is counted down past zero, until a read fails."""
        tags, word = item.object.tags, item.object.layout.word
        slot = 3 if tags.get(DT_PLTREL) == DT_RELA else 2
        for size, entry in ((DT_PLTRELSZ, slot), (DT_RELSZ, 2), (DT_RELASZ, 3)):
            if tags.get(size, 0) % (entry * word):
                raise Fault("SIGSEGV", 0)

    def _bound(self, item: Dso, reloc: Reloc, kind: int, types: Types | None) -> bool:
        symbol = item.object.symbol(reloc.symbol)
        if symbol.binding == 0:
            return True
        name = item.object.string(symbol.name)
        head = self.chain[1:] if types is not None and kind == types.copy else self.chain
        found = find_symbol(head, name, need_definition=types is not None and kind == types.plt)
        if found is not None or (symbol.shndx == 0 and symbol.binding == 2):
            return True
        text = name.decode(errors="replace")
        self._error(
            f"Error relocating {item.name}: {text}: symbol not found",
            self._symbol_cause(name),
            Evidence(
                place=item.object.path, text=f"{text} is undefined, and nothing that is loaded defines it for musl"
            ),
        )
        return False

    def _symbol_cause(self, name: bytes) -> str:
        if any(cause in ("missing-library", "bad-library") for cause, _ in self.causes):
            return "missing-symbol"
        for other in self.chain:
            if any(
                symbol.shndx and symbol.type == STT_IFUNC for symbol in other.object.candidates(name, gnu_hash(name))
            ):
                return "wrong-libc"
        return "missing-symbol"

    def _relr(self) -> None:
        version = self.loader.version
        if version is None or version >= (1, 2, 4):
            return
        for item in self.chain:
            if item is not self.ldso and item.object.tags.get(DT_RELR) and item.object.tags.get(DT_RELRSZ):
                shown = ".".join(map(str, version))
                raise Stop(
                    Stage.RUNTIME_SIGNAL,
                    "musl-too-old",
                    Evidence(
                        place=item.object.path,
                        text=f"DT_RELR: musl {shown} does not know it (1.2.4 does), so its pointers stay unrelocated",
                    ),
                    signal="SIGSEGV",
                    fix="link with -Wl,-z,nopack-relative-relocs, or use musl 1.2.4 or later",
                )

    def _foreign(self) -> None:
        item = next((item for item in self.chain if item.foreign), None)
        if item is None:
            return
        signal = "SIGILL" if self.start.host.arch == "arm64" else "SIGSEGV"
        raise Stop(
            Stage.RUNTIME_SIGNAL,
            "wrong-library-arch",
            Evidence(
                place=item.object.path,
                offset=18,
                text=f"e_machine is {item.foreign:#x}: musl checks no machine, maps the file, and its code is run",
            ),
            signal=signal,
            depends=("which of the foreign bytes are executed first",),
            fix="install the library for the program's own architecture",
        )
