"""Which objects musl loads (ldso/dynlink.c load_library, load_deps, path_open, fixup_rpath).

It believes every file that it can map. It names every library that is missing, and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import dirname

from buildmatrix.kinds import Kind
from buildmatrix.preflight.context import MUSL_STRERROR, Start, object_of, open_read
from buildmatrix.preflight.dynobj import DT_NEEDED, DT_STRTAB, DynamicObject
from buildmatrix.preflight.elfimage import PT_INTERP, Layout
from buildmatrix.preflight.elfload import Mapped
from buildmatrix.preflight.glibc_dynamic import mark_written
from buildmatrix.preflight.libc import Musl
from buildmatrix.preflight.musl_map import donate, map_library
from buildmatrix.preflight.musl_symbols import Dso, find_symbol
from buildmatrix.preflight.verdict import Evidence, Needed
from buildmatrix.preflight.walk import Failed, Found, below

DEFAULT_PATH = "/lib:/usr/local/lib:/usr/lib"
RESERVED = ("c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet.")
PASSED_ERRORS = ("ENOENT", "ENOTDIR", "EACCES", "ENAMETOOLONG")


class MuslLoading:
    """The chain of one process, and what was printed about it."""

    def __init__(self, start: Start, loader: Musl, interpreter: Mapped) -> None:
        self.start = start
        self.loader = loader
        process = start.process
        own = object_of(interpreter)
        program = start.main()
        program.musl = own.musl = True
        self.layout: Layout = process.main.image.layout
        self.machine = own.header.machine
        self.ldso = Dso(own, self._loader_name(program), "libc.so", None, None)
        name = process.filename if not process.filename.startswith("/proc/") else start.program
        self.app = Dso(program, name, "", None, None, kernel_mapped=True)
        self.chain: list[Dso] = [self.app]
        self.lines: list[str] = []
        self.causes: list[tuple[str, Evidence]] = []
        self.errno = ""
        self._system_path: str | None = None
        self._rpaths: dict[int, str | None] = {}

    @staticmethod
    def _loader_name(program: DynamicObject) -> str:
        named = [phdr.vaddr for phdr in program.memory_phdrs if phdr.type == PT_INTERP]
        if not named or not named[-1]:
            return "libc.so"
        return program.space.string((named[-1] + program.bias) & program.layout.mask).decode(errors="surrogateescape")

    def load_all(self) -> None:
        """Preloads and everything needed. Raises Fault."""
        program = self.app.object
        program.required(DT_STRTAB)
        donate(program)
        mark_written(program, moved=False)
        if not self.start.process.secure:
            self._preload(self.start.env.get("LD_PRELOAD", ""))
        for item in self.chain:
            self._direct_deps(item)

    def error(self, line: str, cause: str, evidence: Evidence) -> None:
        """What is printed at once; in the end the loader gives up for it."""
        self.lines.append(line)
        self.causes.append((cause, evidence))

    def _preload(self, text: str) -> None:
        for name in text.replace(":", " ").split():
            self._load(name, None)

    def _direct_deps(self, item: Dso) -> None:
        if item is self.ldso:
            return
        for tag, value in item.object.entries:
            if tag != DT_NEEDED:
                continue
            name = item.object.string(value).decode(errors="surrogateescape")
            dep = self._load(name, item)
            if dep is not None:
                item.requires.append(dep)
                continue
            reason = MUSL_STRERROR.get(self.errno, self.errno)
            self.error(
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
        for path, rule in self._lists(needed_by):
            found = self._path_open(name, path)
            if found is not None:
                return (found, rule) if found else None
        found = self._path_open(name, self._system())
        return (found, "system path") if found else None

    def _lists(self, asker: Dso | None) -> Iterator[tuple[str, str]]:
        """The lists before the system's path; a DT_RUNPATH is not read before it is its turn."""
        env = self.start.env.get("LD_LIBRARY_PATH", "")
        if env and not self.start.process.secure:
            yield env, "LD_LIBRARY_PATH"
        while asker is not None:
            path = self._rpath(asker)
            if path is not None:
                yield path, f"RPATH of {asker.name}"
            asker = asker.needed_by

    def _path_open(self, name: str, path: str) -> str | None:
        """The path that opens; "" where an error ends every search; None where nothing does."""
        for directory in path.replace("\n", ":").split(":"):
            if not directory:
                continue
            place = f"{directory}/{name}"
            if len(place.encode(errors="surrogateescape")) >= 512:
                continue
            self.start.ask()
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
                return None  # readlink's -1 is larger than any buffer
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
