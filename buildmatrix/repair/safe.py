"""When a file may be edited at all: every reason to refuse, with the rebuild that does it right. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from buildmatrix import arch
from buildmatrix.arch import ARCHITECTURES, Architecture
from buildmatrix.checks.alignment import mappable
from buildmatrix.errors import RepairRefused
from buildmatrix.facts import ElfFacts, ElfType, Facts
from buildmatrix.repair.advice import Rebuild
from buildmatrix.repair.edits import Edits

GLIBC, MUSL = "glibc", "musl"
_GLIBC_NAMES = ("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2")
_PAGE_SIZES = (4096, 16384, 65536)
_SIGNED_MODULE = b"~Module signature appended~\n"

Advise = Callable[[str, str], Rebuild]
"""A key of the file's target and its value, as the rebuild that sets it."""


def check(name: str, facts: Facts, edits: Edits, advise: Advise) -> tuple[ElfFacts, Architecture]:
    """The facts of a file that may be edited. Raises RepairRefused."""
    elf, row = _readable(name, facts)
    _wanted(name, edits)
    _kind(name, elf, facts, edits, advise)
    _libraries(name, elf, edits)
    _libc(name, elf, row, edits, advise)
    _pages(name, elf, edits, advise)
    return elf, row


def _refused(name: str, what: str, why: str, fix: str) -> RepairRefused:
    return RepairRefused(f"{name}: {what}", why=why, fix=fix)


def _readable(name: str, facts: Facts) -> tuple[ElfFacts, Architecture]:
    elf = facts.elf
    if elf is None:
        raise _refused(
            name, f"got a file of the format {facts.format}, expected ELF", "patchelf edits ELF files",
            "name the executable itself",
        )  # fmt: skip
    if facts.issues or elf.truncated:
        issue = facts.issues[0].code if facts.issues else "truncated"
        raise _refused(
            name,
            f"got a damaged ELF file ({issue})",
            "what is damaged cannot be edited safely",
            "build or copy it again",
        )
    row = arch.by_machine(elf.machine, elf.bits, elf.little_endian)
    if row is None or elf.type not in (ElfType.EXEC, ElfType.DYN):
        raise _refused(
            name, f"got {arch.machine_name(elf.machine)}, type {elf.type}, expected an executable or a library",
            "nobody could say what the edit does to it", "build it again",
        )  # fmt: skip
    return elf, row


def signed_inside(tail: bytes) -> bool:
    """Whether a file ends with a signature of its own bytes (kernel modules: scripts/sign-file.c)."""
    return tail.endswith(_SIGNED_MODULE)


def _wanted(name: str, edits: Edits) -> None:
    words = [edits.interpreter or "", edits.rpath or "", *(word for pair in edits.replaced for word in pair)]
    if any(not word.isprintable() for word in words) or any("" in pair for pair in edits.replaced):
        raise _refused(name, "got an empty or unprintable name", "no loader finds that", "correct the option")
    if edits.interpreter is not None and not edits.interpreter.startswith("/"):
        raise _refused(
            name, f"got the loader {edits.interpreter!r}, expected an absolute path",
            "the kernel looks a relative one up in the working directory", "name it by its path on the host",
        )  # fmt: skip
    if not edits.any and not edits.page_size:
        raise _refused(name, "got nothing to change", "", "say --interpreter, --rpath or --replace-needed")


def _kind(name: str, elf: ElfFacts, facts: Facts, edits: Edits, advise: Advise) -> None:
    static = not elf.dynamic or (elf.interp is None and elf.static_pie)
    if static:
        what = "a static Go program" if facts.go is not None else "a static program"
        wants_pages = edits.page_size and not edits.any
        rebuild = advise("page-sizes", f"[{edits.page_size}]") if wants_pages else advise("cgo", "true")
        raise _refused(
            name, f"got {what}, expected one with a loader",
            "it has neither loader nor run path nor libraries that an edit could change", str(rebuild),
        )  # fmt: skip
    if edits.interpreter is not None and elf.interp is None:
        raise _refused(
            name, "got a library, expected a program with PT_INTERP", "a library is loaded by its program's loader",
            "leave --interpreter out",
        )  # fmt: skip
    if not elf.has_sections:
        raise _refused(
            name, "got a file without section headers", "patchelf finds by them what it edits",
            "repair the file that it was stripped from, or build it again",
        )  # fmt: skip


def _libraries(name: str, elf: ElfFacts, edits: Edits) -> None:
    for old, new in edits.replaced:
        if old not in elf.needed:
            raise _refused(
                name,
                f"does not need {old}",
                f"it needs {', '.join(elf.needed) or 'nothing'}",
                "correct --replace-needed",
            )
        if new in elf.needed:
            raise _refused(
                name, f"needs {new} already", "the same library would be named twice", "build it without " + old
            )


def family(path: str) -> str | None:
    """Which C library a loader or library belongs to, by its name; None where the name does not tell."""
    base = posixpath.basename(path)
    if base.startswith(("ld-musl-", "libc.musl-")) or base == "libc.so":
        return MUSL
    loaders = {posixpath.basename(row.glibc_loader) for row in ARCHITECTURES}
    return GLIBC if base in loaders or base in _GLIBC_NAMES else None


def _libc(name: str, elf: ElfFacts, row: Architecture, edits: Edits, advise: Advise) -> None:
    own = next((found for item in (elf.interp, *elf.needed) if item and (found := family(item))), None)
    if any(need.version.startswith("GLIBC_") for need in elf.version_needs):
        own = GLIBC
    targets = [edits.interpreter] if edits.interpreter is not None else []
    for wanted in (*targets, *(new for _, new in edits.replaced)):
        other = family(wanted)
        if other is not None and own is not None and other != own:
            raise _refused(
                name, f"got {wanted}, which is {other}'s, for a program that was linked for {own}",
                "versions of symbols, structures and thread-local storage differ between them: an edit makes it start "
                "and then fail", str(advise("libc", f'"{other}"')),
            )  # fmt: skip
    for wanted in targets:
        known = {posixpath.basename(loader) for loader in (row.glibc_loader, row.musl_loader)}
        base = posixpath.basename(wanted)
        if base not in known:
            owner = next((item.uname for item in ARCHITECTURES if base in _names(item)), "no system that is known here")
            raise _refused(
                name,
                f"got the loader {wanted}, which is of {owner}, expected {' or '.join(sorted(known))} for {row.uname}",
                "the kernel does not start a program whose loader it cannot execute", f"name {row.uname}'s loader",
            )  # fmt: skip


def _names(row: Architecture) -> tuple[str, ...]:
    return (posixpath.basename(row.glibc_loader), posixpath.basename(row.musl_loader))


def _pages(name: str, elf: ElfFacts, edits: Edits, advise: Advise) -> None:
    if not edits.page_size:
        return
    if edits.page_size not in _PAGE_SIZES:
        raise _refused(
            name, f"got pages of {edits.page_size} bytes, expected 4096, 16384 or 65536", "no kernel has such pages",
            "correct --page-size",
        )  # fmt: skip
    sizes = mappable(elf)
    wanted = [size for size in _PAGE_SIZES if size <= edits.page_size]
    if edits.page_size not in sizes:
        listed = ", ".join(map(str, wanted))
        raise _refused(
            name, f"can be mapped with pages of {', '.join(map(str, sizes)) or 'no'} bytes only",
            "addresses and offsets of what is linked cannot be moved afterwards: patchelf aligns only what it adds",
            str(advise("page-sizes", f"[{listed}]")),
        )  # fmt: skip
    if not edits.any:
        raise _refused(
            name, f"can be mapped with pages of {edits.page_size} bytes already", "", "nothing has to be repaired"
        )
