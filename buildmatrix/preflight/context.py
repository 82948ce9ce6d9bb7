"""What a loader knows when it starts: the process, its root, its host; and the libraries read so far.

`Libraries` outlives one verdict: a library is mapped and parsed once for each page size, however many
programs of the root need it. A library's own load bias is 0 here, since only differences matter.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from buildmatrix.host import Host
from buildmatrix.kinds import Kind
from buildmatrix.preflight.dynobj import DynamicObject
from buildmatrix.preflight.elfimage import PT_PHDR
from buildmatrix.preflight.elfload import Mapped
from buildmatrix.preflight.ldcache import Cache, Entry, Unusable
from buildmatrix.preflight.memory import Area, Endless
from buildmatrix.preflight.openexec import Process
from buildmatrix.preflight.verdict import Evidence, Needed
from buildmatrix.preflight.walk import MAY_READ, Failed, Found, View, permitted, resolve

if TYPE_CHECKING:
    from buildmatrix.preflight.glibc_settled import Settled

STRERROR = {
    "ENOENT": "No such file or directory", "EACCES": "Permission denied", "ENOTDIR": "Not a directory",
    "ELOOP": "Too many levels of symbolic links", "ENAMETOOLONG": "File name too long", "EISDIR": "Is a directory",
    "EINVAL": "Invalid argument", "ENXIO": "No such device or address", "ENOMEM": "Cannot allocate memory",
    "ENOEXEC": "Exec format error", "EIO": "Input/output error", "ENODEV": "No such device",
    "ELIBBAD": "Accessing a corrupted shared library", "ETXTBSY": "Text file busy", "E2BIG": "Argument list too long",
    "EBUSY": "Device or resource busy", "EPERM": "Operation not permitted", "ENOSYS": "Function not implemented",
}  # fmt: skip
"""strerror(3) of the errors that occur here (glibc and musl agree on these)."""


RTLD_KNOWS = frozenset({"ENOENT", "EACCES", "ENOMEM", "EINVAL", "EPERM"})


def rtld_strerror(name: str) -> str:
    """What glibc's ld.so says of an error: it knows five by their texts (elf/dl-minimal.c __strerror_r)."""
    return STRERROR[name] if name in RTLD_KNOWS else f"Error {getattr(errno, name, 0)}"


Key = tuple[tuple[int, int], int, str]
MOST_ASKED = 100_000


MUSL_STRERROR = {
    **STRERROR, "ELOOP": "Symbolic link loop", "ENAMETOOLONG": "Filename too long", "ENOMEM": "Out of memory",
    "EIO": "I/O error", "EOVERFLOW": "Value too large for data type",
}  # fmt: skip
"""musl's own texts (src/errno/__strerror.h)."""


class Libraries:
    """Parsed libraries by inode, page size and loader family; a value may be the error that reading gave.

    `loaders` are dynamic loaders as the kernel maps them; `settled` is what glibc's libraries find in each other;
    `caches` are ld.so.cache files by inode and byte order; `opened` and `entries` what the search
    found by path and by name.
    """

    def __init__(self) -> None:
        self.glibc: dict[Key, DynamicObject | Exception] = {}
        self.musl: dict[Key, DynamicObject | str] = {}
        self.loaders: dict[tuple[Area, ...], DynamicObject] = {}
        self.caches: dict[tuple[tuple[int, int], str], Cache | Unusable] = {}
        self.opened: dict[object, dict[str, tuple[Found | Failed, str | None]]] = {}
        self.entries: dict[object, dict[tuple[int, int, str], Entry | None]] = {}

    @cached_property
    def settled(self) -> Settled:
        """What glibc's libraries find in each other."""
        from buildmatrix.preflight.glibc_settled import Settled

        return Settled()


@dataclass(slots=True, kw_only=True)
class Start:
    """A dynamic program at its loader's first instruction, and what is found out from there on.

    `by_hand` is the path by which a loader that was started by hand opened the program.
    """

    view: View
    host: Host
    process: Process
    env: Mapping[str, str]
    libraries: Libraries
    by_hand: str = ""
    evidence: list[Evidence] = field(default_factory=list)
    depends: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    needed: list[Needed] = field(default_factory=list)
    asked: int = 0

    def ask(self) -> None:
        """Count a file that the loader looks for. Raises Endless: names times directories may be any number."""
        self.asked += 1
        if self.asked > MOST_ASKED:
            raise Endless("more files are looked for than can be followed")

    @property
    def program(self) -> str:
        """argv[0], which both loaders call the program by."""
        return self.process.argv[0] if self.process.argv else ""

    def main(self) -> DynamicObject:
        """The program as the kernel mapped it, and as its loader finds it. Raises Fault."""
        return program_of(self.process.main, by_hand=bool(self.by_hand))


def program_of(mapped: Mapped, *, by_hand: bool = False) -> DynamicObject:
    """A program by AT_PHDR: its headers lie in memory, and PT_PHDR alone tells where it was loaded. Raises Fault.

    Without PT_PHDR a loader takes 0 for the load bias, unless it mapped the program itself (`by_hand`).
    Both loaders do so (elf/rtld.c rtld_setup_main_map, ldso/dynlink.c __dls3).
    """
    program = object_of(mapped)
    if not by_hand:
        data = mapped.space.read(mapped.phdr_address, program.header.phnum * program.layout.phentsize)
        program.phdrs = program.memory_phdrs = program.layout.phdrs(data)
        program.bias = 0
    for phdr in program.phdrs:
        if phdr.type == PT_PHDR:
            program.bias = (mapped.phdr_address - phdr.vaddr) & program.layout.mask
    return program


def object_of(mapped: Mapped) -> DynamicObject:
    """An image that the kernel mapped, as a loader reads it."""
    image = mapped.image
    return DynamicObject(image.path, image.blob, image.layout, image.header, image.phdrs, mapped.space, mapped.bias)


def open_read(view: View, path: str) -> Found | Failed:
    """open(2) with O_RDONLY: directories open, devices and sockets are taken not to."""
    found = resolve(view, path)
    if isinstance(found, Failed):
        return found
    if found.inode.kind not in (Kind.REGULAR, Kind.DIRECTORY):
        return Failed(errno="ENXIO", at=found.path, why=f"is a {found.inode.kind}")
    if not permitted(found.inode, view.who, MAY_READ):
        return Failed(errno="EACCES", at=found.path, why=f"uid {view.who.uid} may not read it")
    return found
