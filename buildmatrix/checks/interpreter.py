"""BM505 loader.

A PT_INTERP names the loader that must exist where the program runs; where it is missing, execve
answers ENOENT although the program itself is there. It must be present exactly where the target's
libc says so, and be that libc's loader for that architecture. Go's own PIE mode writes a PT_INTERP
even without cgo, and so does every Go program for OpenBSD, where system calls go through libc.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation

_OPENBSD_LOADER = "/usr/libexec/ld.so"


def expected_loader(subject: Subject) -> str | None:
    """The loader's path, or None where the target must not need one."""
    target, row = subject.target, subject.architecture
    if target.goos == "openbsd":
        return _OPENBSD_LOADER
    if target.static and not (target.pie and not target.cgo):
        return None
    return row.musl_loader if target.libc == "musl" else row.glibc_loader


def _run(subject: Subject) -> Iterator[Violation]:
    if subject.elf is None:
        return
    expected, got = expected_loader(subject), subject.elf.interp
    if got == expected:
        return
    name = subject.target.name
    if expected is None:
        why = "in an image without that loader, execve fails with ENOENT (no such file or directory)"
        fix = f"set cgo = false, or libc and static, in targets.{name}"
        if not subject.target.cgo:
            fix = f"drop -buildmode=pie from targets.{name}.flags, or set pie = true and ship that loader"
    elif got is None:
        why, fix = "the target asks for a dynamically linked program", f"set static = true in targets.{name}"
    else:
        why = "the loader's path depends on architecture and libc"
        fix = f"use a C compiler for {subject.target.libc} in targets.{name}.cc"
    yield Violation(
        what=f"wrong loader (got {got or 'none'}, expected {expected or 'none'})",
        evidence=f"PT_INTERP at offset {subject.elf.interp_offset:#x}" if got else "no PT_INTERP",
        why=why,
        fix=fix,
    )


CHECK = Check(code="BM505", title="wrong loader", run=_run)
