"""Data and instructions that a program may reach at run time: what a verdict on its start cannot promise.

Go keeps the names of all functions that are linked in, even in a stripped file: a program with
time.LoadLocation in it may ask for zone data. On arm64, code for newer CPUs may lie behind a check.
Both only make a verdict conditional.
"""

from __future__ import annotations

import sys
from array import array

from buildmatrix.host import Host
from buildmatrix.preflight.elfload import Image
from buildmatrix.preflight.walk import Found, View, resolve

_MOST_CODE = 16 << 20
_MOST_FILE = 256 << 20

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
    found: set[str] = set()
    for phdr in image.phdrs:
        if phdr.type == 1 and phdr.flags & 1 and phdr.filesz <= _MOST_CODE:
            code = image.blob.read(phdr.offset, phdr.filesz & -4)
            found |= _groups(code[: len(code) & -4])
    names = {"lse": "LSE atomics", "sve": "SVE"}
    return tuple(
        f"whether the {names[group]} instructions in its code are reached: the CPU has none"
        for group in sorted(found - host.features)
    )


def _groups(code: bytes) -> set[str]:
    words = array("I", code)
    if sys.byteorder == "big":
        words.byteswap()
    found = set()
    for word in words:
        if word & 0x1E000000 == 0x04000000:
            found.add("sve")
        elif word & 0x3F200C00 == 0x38200000 or word & 0x3FA07C00 == 0x08A07C00:
            found.add("lse")
    return found
