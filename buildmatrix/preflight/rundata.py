"""Data and instructions that a program may reach at run time: what a verdict on its start cannot promise.

Go keeps the names of all functions that are linked in, even in a stripped file: a program with
time.LoadLocation in it may ask for zone data. On arm64, code for newer CPUs may lie behind a check.
Both only make a verdict conditional.
"""

from __future__ import annotations

from buildmatrix.host import Host
from buildmatrix.preflight.elfimage import PT_LOAD
from buildmatrix.preflight.elfload import Image
from buildmatrix.preflight.walk import Found, View, resolve

_MOST_CODE = 16 << 20
_MOST_FILE = 256 << 20
PROGBITS, EXECINSTR = 1, 4

_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_ZONES = ("/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo")

GO_DATA = (
    (b"time.LoadLocation\0", b"time/tzdata.", _ZONES, "time zone data (/usr/share/zoneinfo)"),
    (
        b"net.(*Resolver).goLookupIPCNAMEOrder\0",
        b"",
        ("/etc/resolv.conf",),
        "name resolution (/etc/resolv.conf, /etc/hosts)",
    ),
    (b"crypto/x509.loadSystemRoots\0", b"", _CERTIFICATES, "CA certificates (/etc/ssl/certs/ca-certificates.crt)"),
)
"""Linked function, what makes it independent, the files it reads (any will do), in words."""


def go_data(image: Image, view: View) -> tuple[str, ...]:
    """What a Go program may look for at run time and this root lacks."""
    if image.blob.size > _MOST_FILE:
        return ("what data files the program reads: it is too large to be searched",)
    data = image.blob.read(0, image.blob.size)
    lacks = []
    for function, instead, files, words in GO_DATA:
        linked = function in data and not (instead and instead in data)
        if linked and not any(isinstance(resolve(view, name), Found) for name in files):
            lacks.append(f"whether the program asks for {words} at run time: the root has none")
    return tuple(lacks)


def starts_programs(image: Image) -> bool:
    """Whether a Go program links os/exec."""
    return image.blob.size <= _MOST_FILE and b"os/exec.(*Cmd).Start\0" in image.blob.read(0, image.blob.size)


def arm64_code(image: Image, host: Host) -> tuple[str, ...]:
    """Instruction groups in the code that this arm64 CPU lacks; whether they are reached, bytes do not tell."""
    if host.arch != "arm64" or host.features is None or image.layout.bits != 64 or {"lse", "sve"} <= host.features:
        return ()
    from buildmatrix.preflight.groups_a64 import groups

    found: set[str] = set()
    for offset, size in _code(image):
        code = image.blob.read(offset, min(size, _MOST_CODE) & -4)
        found |= groups(code[: len(code) & -4])
    names = {"lse": "LSE atomics", "sve": "SVE"}
    return tuple(
        f"whether the {names[group]} instructions in its code are reached: the CPU has none"
        for group in sorted(found - host.features)
    )


def _code(image: Image) -> tuple[tuple[int, int], ...]:
    """Offsets and sizes of instructions: the executable sections where there are any, else the executable segments.

    Linkers put read-only data into an executable segment, so sections are the better witness here; nothing
    else hangs on them.
    """
    header, blob = image.header, image.blob
    sections = []
    if header.shentsize == 64 and 0 < header.shoff < blob.size:
        table = blob.read(header.shoff, 64 * header.shnum)
        for row in image.layout.unpack("IIQQQQIIQQ").iter_unpack(table[: len(table) // 64 * 64]):
            _, kind, flags, _, offset, size, *_ = row
            if kind == PROGBITS and flags & EXECINSTR and offset < blob.size:
                sections.append((offset, min(size, blob.size - offset)))
    if sections:
        return tuple(sections)
    return tuple((phdr.offset, phdr.filesz) for phdr in image.phdrs if phdr.type == PT_LOAD and phdr.flags & 1)
