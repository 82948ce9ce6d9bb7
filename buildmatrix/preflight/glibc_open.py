"""Opening one library as glibc does (elf/dl-load.c open_verify), and how a loader gives up.

A file for another machine or class is passed over and the search goes on; anything else that is wrong
with it is fatal. Messages are the loader's own.
"""

from __future__ import annotations

from buildmatrix.kinds import Kind
from buildmatrix.preflight.elfimage import ET_DYN, ET_EXEC, MAGIC, Header, Layout
from buildmatrix.preflight.libc import Glibc
from buildmatrix.preflight.memory import Blob, Fault
from buildmatrix.preflight.walk import Found

SKIP_MACHINE, SKIP_CLASS = "machine", "class"


class LoadError(Exception):
    """_dl_signal_error: the object's name, the text, errno's name, and for us the cause and a place."""

    def __init__(
        self,
        name: str,
        text: str,
        *,
        errno: str = "",
        cause: str = "bad-library",
        place: str = "",
        offset: int | None = None,
        why: str = "",
        depends: str = "",
    ) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text
        self.errno = errno
        self.cause = cause
        self.place = place
        self.offset = offset
        self.why = why
        self.depends = depends


class Crash(Exception):
    """The loader itself gets a signal while it reads this object."""

    def __init__(self, place: str, fault: Fault, depends: str = "") -> None:
        super().__init__(f"{place}: {fault}")
        self.place = place
        self.fault = fault
        self.depends = depends


def verify(found: Found, blob: Blob, path: str, layout: Layout, machine: int, loader: Glibc) -> str | None:
    """open_verify on an open file: None where it is fit, else which of the two reasons to pass it over.

    Raises LoadError. `path` is the name it was opened by.
    """
    if found.inode.kind is Kind.DIRECTORY:
        raise LoadError(path, "cannot read file data", errno="EISDIR", place=found.path, why="is a directory")
    head = blob.read(0, layout.ehsize)
    if len(head) < layout.ehsize:
        raise LoadError(path, "file too short", place=found.path, offset=blob.size, why=f"has {blob.size} bytes")
    text, offset = _ident_error(head, layout)
    header = layout.header(head)
    if text == SKIP_CLASS:
        return SKIP_CLASS
    if text and offset and loader.machine_first and header.machine != machine:
        return SKIP_MACHINE
    if text:
        raise LoadError(path, text, place=found.path, offset=offset, why=f"its header reads {head[:16].hex(' ')}")
    if header.version != 1:
        raise LoadError(path, "ELF file version does not match current one", place=found.path, offset=20)
    if header.machine != machine:
        return SKIP_MACHINE
    _header_error(found, blob, path, layout, header)
    return None


def _header_error(found: Found, blob: Blob, path: str, layout: Layout, header: Header) -> None:
    if header.type not in (ET_DYN, ET_EXEC):
        raise LoadError(path, "only ET_DYN and ET_EXEC can be loaded", place=found.path, offset=16)
    if header.phentsize != layout.phentsize:
        raise LoadError(path, "ELF file's phentsize not the expected size", place=found.path, offset=54)
    size = header.phnum * layout.phentsize
    if header.phoff >= 1 << 63 or len(blob.read(header.phoff, size)) < size:
        errno = "EINVAL" if header.phoff >= 1 << 63 else ""
        raise LoadError(
            path,
            "cannot read file data",
            errno=errno,
            place=found.path,
            offset=header.phoff,
            why="its program headers lie past the end of the file",
            depends="what lies before the loader's buffer" if header.phoff + size > layout.mask else "",
        )


def _ident_error(head: bytes, layout: Layout) -> tuple[str, int]:  # noqa: PLR0911  (one return for each of the loader's own)
    data = 1 if layout.order == "<" else 2
    osabi, version = head[7], head[8]
    if not head.startswith(MAGIC):
        return "invalid ELF header", 0
    if head[4] != layout.bits // 32:
        return SKIP_CLASS, 4
    if head[5] != data:
        return f"ELF file data encoding not {'little' if data == 1 else 'big'}-endian", 5
    if head[6] != 1:
        return "ELF file version ident does not match current one", 6
    if osabi not in (0, 3):
        return "ELF file OS ABI invalid", 7
    if version and not (osabi == 3 and version < 4):
        return "ELF file ABI version invalid", 8
    if any(head[9:16]):
        return "nonzero padding in e_ident", 9
    return "", 0
