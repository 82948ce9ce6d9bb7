"""BM507 wrong C library.

A glibc program on a musl system (or the reverse) fails in the loader or, worse, half works. The
flavour shows in the loader's name, in the names of needed libraries and of version needs
(GLIBC_2.x), and, in a static program, in the ABI tag note that glibc's start files carry. Linux only:
other systems have one C library each.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.facts import ElfFacts


def flavours(elf: ElfFacts) -> dict[str, str]:
    """The C libraries that a file shows signs of, each with its first sign."""
    found: dict[str, str] = {}
    if elf.interp is not None:
        flavour = "musl" if "/ld-musl-" in elf.interp else "glibc"
        found.setdefault(flavour, f"PT_INTERP {elf.interp}")
    for library in elf.needed:
        if library in ("libc.so.6", "libpthread.so.0", "libdl.so.2"):
            found.setdefault("glibc", f"DT_NEEDED {library}")
        elif library == "libc.so" or library.startswith("libc.musl-"):
            found.setdefault("musl", f"DT_NEEDED {library}")
    for need in elf.version_needs:
        if need.version.startswith("GLIBC_"):
            found.setdefault("glibc", f"version need {need.version}")
    if elf.abi_tag is not None and elf.interp is None:
        found.setdefault("glibc", "NT_GNU_ABI_TAG note in a static program")
    return found


def _run(subject: Subject) -> Iterator[Violation]:
    if subject.elf is None or subject.target.goos != "linux":
        return
    expected = subject.target.libc
    if expected == "none" and subject.target.pie:
        expected = "glibc"
    for flavour, sign in flavours(subject.elf).items():
        only_loader = sign.startswith("PT_INTERP") and expected == "none"
        if flavour != expected and not only_loader:  # a loader where none may be is BM505
            yield Violation(
                what=f"wrong C library (got {flavour}, expected {expected})",
                evidence=sign,
                why=f"a {flavour} program needs {flavour}'s loader and symbols where it runs",
                fix=f"set cgo, libc and cc of targets.{subject.target.name} so that they agree",
            )


CHECK = Check(code="BM507", title="wrong C library", run=_run)
