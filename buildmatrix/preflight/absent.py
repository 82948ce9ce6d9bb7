"""What the name of a PT_INTERP that is not there tells: another libc, another system, or just missing."""

from __future__ import annotations

from buildmatrix.host import Host
from buildmatrix.preflight.walk import Found, View, resolve

FOREIGN_LOADERS = {
    "/libexec/ld-elf.so.1": "FreeBSD",
    "/usr/libexec/ld-elf.so.2": "DragonFly BSD",
    "/usr/libexec/ld.elf_so": "NetBSD",
    "/libexec/ld.elf_so": "NetBSD",
    "/usr/libexec/ld.so": "OpenBSD",
    "/lib/ld.so.1": "Solaris",
    "/lib/64/ld.so.1": "Solaris",
    "/lib/amd64/ld.so.1": "Solaris",
    "/usr/lib/amd64/ld.so.1": "Solaris",
    "/system/bin/linker64": "Android",
    "/system/bin/linker": "Android",
}


def family(name: str) -> str:
    """The libc whose loader goes by this name: ``musl``, ``glibc`` or nothing."""
    base = name.rpartition("/")[2]
    if base.startswith("ld-musl-"):
        return "musl"
    return "glibc" if base.startswith(("ld-linux", "ld64.so", "ld.so")) else ""


def interpreter_cause(view: View, host: Host, name: str) -> tuple[str, str, str]:
    """Cause, evidence and fix for an interpreter that the root lacks."""
    system = FOREIGN_LOADERS.get(name)
    if system is not None and not (name == "/lib/ld.so.1" and host.arch.startswith("mips")):
        return "wrong-os", f"{name} is the loader of {system}", "build with GOOS=linux"
    own = family(name)
    other, there = ("musl", host.row.musl_loader) if own == "glibc" else ("glibc", host.row.glibc_loader)
    expected = host.row.glibc_loader if own == "glibc" else host.row.musl_loader
    if own and name.rpartition("/")[2] == expected.rpartition("/")[2] and isinstance(resolve(view, there), Found):
        fix = f"build for {other} (or statically), or use a base image with {own}"
        return "wrong-libc", f"the root has {other}'s loader {there}, not {own}'s {name}", fix
    fix = f"put {name} and its libraries into the root, or link statically (CGO_ENABLED=0)"
    return "missing-interpreter", f"{name} is not in the root", fix
