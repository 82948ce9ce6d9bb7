"""The program itself, once it has been given control: its entry, its pages, what kind of program it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildmatrix.host import Host
from buildmatrix.preflight.elfimage import EM_AARCH64, PT_LOAD
from buildmatrix.preflight.elfload import Image, Mapped, entry_elsewhere, entry_fault
from buildmatrix.preflight.rootfs import FileBlob
from buildmatrix.preflight.verdict import Evidence, Stage, Stop

if TYPE_CHECKING:
    from buildmatrix.facts import Facts, GoInfo


def check_entry(mapped: Mapped, host: Host, *, loader: bool = False) -> None:
    """Whether the first instruction can be fetched. Raises Stop."""
    fault = entry_fault(host, mapped)
    if fault is None:
        return
    area = mapped.space.find(mapped.entry)
    cause, fix = "bad-interpreter" if loader else "bad-elf", "link the file again"
    text = "lies in no PT_LOAD" if area is None else "lies in a segment without PF_X"
    if fault == "SIGBUS" and mapped.image.header.machine == EM_AARCH64 and mapped.entry & 3:
        text = "is no multiple of four"
    elif fault == "SIGBUS":
        cause, fix = "truncated", "copy the file again and compare its SHA-256"
        text = "lies on a page past the end of the file"
    raise Stop(
        Stage.RUNTIME_SIGNAL,
        cause,
        Evidence(place=mapped.image.path, offset=24, text=f"entry {mapped.image.header.entry:#x} {text}"),
        signal=fault,
        fix=fix,
        depends=("what the kernel happens to map there",) if entry_elsewhere(mapped) else (),
    )


def check_pages(image: Image, host: Host) -> None:
    """Whether every page of the file is there. Raises Stop."""
    for phdr in image.phdrs:
        end = phdr.offset + phdr.filesz
        if phdr.type == PT_LOAD and phdr.filesz and (end - 1) // host.page_size * host.page_size >= image.blob.size:
            raise Stop(
                Stage.RUNTIME_SIGNAL,
                "truncated",
                Evidence(
                    place=image.path,
                    offset=image.blob.size,
                    text=f"the file ends here; a PT_LOAD goes on to {end:#x}",
                ),
                signal="SIGBUS",
                fix="copy the file again and compare its SHA-256",
                depends=("whether the program reaches the pages that are missing",),
            )


def facts_of(image: Image) -> Facts:
    """The native reader's facts of a file."""
    from buildmatrix import elf

    if isinstance(image.blob, FileBlob):
        return elf.read_facts(image.blob.path)
    return elf.facts_of_bytes(image.blob.read(0, image.blob.size))


GO_MAGIC = b"\xff Go buildinf:"
SEARCHED = 64 << 20
"""Files up to this size in bytes are searched for Go's mark before the native reader is loaded for them."""


def go_info(image: Image) -> GoInfo | None:
    """Go build info, or None."""
    size = image.blob.size
    if size <= SEARCHED and GO_MAGIC not in image.blob.read(0, size):
        return None
    return facts_of(image).go
