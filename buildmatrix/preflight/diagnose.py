"""Why no binary format of the kernel took a file: the cause behind ENOEXEC, told from the bytes.

The kernel says ENOEXEC to everything it does not know; which of its tests failed first does not
matter to the person who has to repair the file. Nothing here decides whether a file runs.
"""

from __future__ import annotations

from buildmatrix import arch
from buildmatrix.host import Host
from buildmatrix.preflight.elfimage import BE64, LE64, MAGIC, Layout
from buildmatrix.preflight.verdict import Evidence, Stop, refused

_EM_COMPAT = {"arm64": {40}, "amd64": {3, 6}}
_TYPES = {0: "ET_NONE", 1: "ET_REL (an object file: link it)", 4: "ET_CORE (a core dump)"}

_KNOWN = (
    (b"MZ", "a PE file, for Windows"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O file, for macOS"),
    (b"\xce\xfa\xed\xfe", "a Mach-O file, for macOS"),
    (b"\xca\xfe\xba\xbe", "a fat Mach-O file or a Java class"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"PK\x03\x04", "a zip archive"),
    (b"!<arch>\n", "an ar archive"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for"),
    (b"\x00asm", "a WebAssembly module"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<html", "an HTML page"),
)


def unknown_format(place: str, head: bytes, size: int, host: Host) -> Stop:
    """The Stop for a file that no format took. `head` is its first 256 bytes or fewer."""
    if head.startswith(MAGIC):
        return _elf(place, head, size, host)
    if head.startswith(b"#!"):
        return _bad_line(place, head)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n\t ")
    if text.startswith(b"#!"):
        what = "a UTF-8 byte order mark" if head.startswith(b"\xef\xbb\xbf") else "blank space"
        return refused(
            "ENOEXEC",
            "bad-shebang",
            Evidence(place=place, offset=0, text=f"{what} stands before #!, so the kernel sees no script"),
            fix="make #! the first two bytes of the file",
        )
    if not size:
        return refused(
            "ENOEXEC",
            "unknown-format",
            Evidence(place=place, offset=0, text="the file is empty"),
            fix="build or copy the file again; a shell runs an empty file with status 0",
        )
    what = next((name for magic, name in _KNOWN if head.startswith(magic)), "")
    text_like = not what and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head[:64])
    what = what or ("text without a #! line" if text_like else "neither ELF magic nor #!")
    fix = "begin it with a line such as #!/bin/sh" if text_like else "ship the executable itself"
    return refused(
        "ENOEXEC",
        "unknown-format",
        Evidence(place=place, offset=0, text=f"first bytes {head[:4].hex(' ')}: {what}"),
        fix=fix,
    )


def _bad_line(place: str, head: bytes) -> Stop:
    line = head[2:].partition(b"\n")[0].strip(b" \t\0")
    why = "the interpreter's name does not end within the first 256 bytes" if line else "#! names no interpreter"
    return refused(
        "ENOEXEC",
        "bad-shebang",
        Evidence(place=place, offset=2, text=why),
        fix="write #! and an absolute path of an interpreter, short enough for the kernel's buffer",
    )


def _elf(place: str, head: bytes, size: int, host: Host) -> Stop:
    native = Layout(host.row.bits, "<" if host.row.little_endian else ">")
    header = native.header(head)
    if size < native.ehsize and (size < 52 or native.bits == 32 or head[4] != 1):
        return refused(
            "ENOEXEC",
            "truncated",
            Evidence(place=place, offset=size, text=f"the file ends at byte {size}, inside the ELF header"),
            fix="copy the file again and compare its SHA-256",
        )
    other = (BE64 if host.row.little_endian else LE64).header(head)
    machine = arch.machine_name(header.machine)
    if header.machine == host.row.machine:
        return _own_machine(place, head, header.type, size, host, native)
    if header.machine in _EM_COMPAT.get(host.arch, set()):
        return _no_compat(place, machine, host)
    if other.machine == host.row.machine:
        return refused(
            "ENOEXEC",
            "wrong-endian",
            Evidence(
                place=place,
                offset=18,
                text=f"e_machine read in the host's byte order is "
                f"{header.machine:#x}; in the other order it is {arch.machine_name(other.machine)}",
            ),
            fix=f"build for {host.arch} in the host's byte order",
        )
    if header.machine > 0xFF and arch.machine_name(other.machine)[:1] != "e":
        machine = f"{arch.machine_name(other.machine)}, of the other byte order"
    return refused(
        "ENOEXEC",
        "wrong-machine",
        Evidence(
            place=place, offset=18, text=f"e_machine is {header.machine:#x} ({machine}), the host is {host.row.uname}"
        ),
        fix=f"ship the build for {host.arch} (Go: GOARCH={host.arch}; images: --platform linux/{host.row.oci})",
    )


def _no_compat(place: str, machine: str, host: Host) -> Stop:
    return refused(
        "ENOEXEC",
        "compat32-unavailable",
        Evidence(
            place=place, offset=18, text=f"a 32-bit {machine} file; this {host.arch} host does not run 32-bit programs"
        ),
        fix=f"build for {host.arch}",
    )


def _own_machine(place: str, head: bytes, kind: int, size: int, host: Host, native: Layout) -> Stop:
    header = native.header(head)
    if kind not in (2, 3):
        return refused(
            "ENOEXEC",
            "wrong-elf-type",
            Evidence(place=place, offset=16, text=f"e_type is {_TYPES.get(kind, hex(kind))}, not ET_EXEC or ET_DYN"),
            fix="link an executable",
        )
    if header.phentsize != native.phentsize and head[4] == 1 and native.bits == 64:
        return refused(
            "ENOEXEC",
            "compat32-unavailable",
            Evidence(
                place=place, offset=4, text=f"ELFCLASS32 for {host.row.uname} (x32, ILP32): the kernel has no such ABI"
            ),
            fix=f"build for the 64-bit ABI of {host.arch}",
        )
    if header.phentsize != native.phentsize:
        at = 54 if native.bits == 64 else 42
        return refused(
            "ENOEXEC",
            "bad-elf",
            Evidence(place=place, offset=at, text=f"e_phentsize is {header.phentsize}, expected {native.phentsize}"),
            fix="link the file again",
        )
    if header.phoff + header.phnum * native.phentsize > size:
        cause = "truncated" if 0 < header.phoff < 1 << 40 else "bad-elf"
        return refused(
            "ENOEXEC",
            cause,
            Evidence(
                place=place, offset=header.phoff, text=f"the program headers end past the file's end at byte {size}"
            ),
            fix="copy the file again and compare its SHA-256",
        )
    return refused(
        "ENOEXEC",
        "bad-elf",
        Evidence(
            place=place,
            offset=56 if native.bits == 64 else 44,
            text=f"e_phnum is {header.phnum}, which this kernel does not accept",
        ),
        fix="link the file again",
    )
