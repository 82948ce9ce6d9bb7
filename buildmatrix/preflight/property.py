"""PT_GNU_PROPERTY as the arm64 kernel checks it (fs/binfmt_elf.c parse_elf_properties), and ISA bits."""

from __future__ import annotations

from buildmatrix.preflight.elfimage import Phdr
from buildmatrix.preflight.memory import Blob

NT_GNU_PROPERTY_TYPE_0 = 5
NOTE_ROOM = 12 + 1024
AARCH64_FEATURE_1_AND = 0xC0000000


def property_error(blob: Blob, phdr: Phdr, bits: int) -> str | None:
    """The errno that the kernel answers to this segment with, or None where it accepts it."""
    if phdr.filesz > NOTE_ROOM:
        return "ENOEXEC"
    if phdr.offset >= 1 << 63:
        return "EIO"
    data = blob.read(phdr.offset, phdr.filesz)
    if len(data) < 16:
        return "EIO"
    namesz, descsz, kind = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4, 8))
    if kind != NT_GNU_PROPERTY_TYPE_0 or namesz != 4 or data[12:16] != b"GNU\0":
        return "ENOEXEC"
    if descsz > len(data) - 16:
        return "ENOEXEC"
    return _properties(data[16 : 16 + descsz], bits)


def _properties(data: bytes, bits: int) -> str | None:
    """Of the properties of an AArch32 file only order and lengths are looked at (arch_parse_elf_property)."""
    align = bits // 8
    at, previous = 0, -1
    while at != len(data):
        if at > len(data) or at % align:
            return "EIO"
        if len(data) - at < 8:
            return "ENOEXEC"
        kind = int.from_bytes(data[at : at + 4], "little")
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        step = -(-size // align) * align
        if size > len(data) - at - 8 or step > len(data) - at - 8 or kind <= previous:
            return "ENOEXEC"
        if kind == AARCH64_FEATURE_1_AND and size != 4 and bits == 64:
            return "ENOEXEC"
        previous = kind
        at += 8 + step
    return None
