"""Whole root file systems in memory, with dynamic ELF files made byte by byte, for the preflight's tests.

The loaders here execute nothing: the preflight reads from a loader's bytes which libc it is, its version
and its default directories, so these bytes are what a stand-in needs.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from buildmatrix.facts import Kind
from buildmatrix.host import Host, parse
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import Inode
from buildmatrix.preflight.symhash import sysv_hash
from buildmatrix.preflight.tarfs import TreeBuilder
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.preflight.walk import Credentials, View

BASE = 0x10000
GLIBC_WORDS = (
    b"\0error while loading shared libraries\0ld.so (GNU libc) stable release version 2.36.\0"
    b"/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0\0"
)
MUSL_WORDS = b"\0musl libc (x86_64)\nVersion %s\0/etc/ld-musl-x86_64.path\x001.2.3\0\0"
GLIBC = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """An ELF64 file with one readable, writable and executable PT_LOAD that holds everything.

    `defines` maps symbols to a version ("" for none), `wants` maps undefined symbols to (version, file).
    `lazy` puts the relocations of `wants` into DT_JMPREL without DT_BIND_NOW.
    """

    interp: str = ""
    needed: tuple[str, ...] = ()
    soname: str = ""
    rpath: str = ""
    runpath: str = ""
    defines: Mapping[str, str] = field(default_factory=dict)
    wants: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    lazy: bool = False
    machine: int = 62
    ident: bytes = b"\x7fELF\x02\x01\x01" + bytes(9)
    extra: bytes = b""
    flags_1: int = 0
    type: int = 3

    def build(self) -> bytes:
        return _Builder(self).build()


class _Builder:
    def __init__(self, spec: Object) -> None:
        self.spec = spec
        self.strings = bytearray(b"\0")
        self.data = bytearray(0x400)
        self.dynamic: list[tuple[int, int]] = []

    def text(self, value: str) -> int:
        at = len(self.strings)
        self.strings += value.encode() + b"\0"
        return at

    def place(self, piece: bytes) -> int:
        self.data += bytes(-len(self.data) % 8)
        at = len(self.data)
        self.data += piece
        return at

    def build(self) -> bytes:
        spec = self.spec
        self.dynamic += [(1, self.text(name)) for name in spec.needed]
        for tag, value in ((14, spec.soname), (15, spec.rpath), (29, spec.runpath)):
            if value:
                self.dynamic.append((tag, self.text(value)))
        interp = self.place(spec.interp.encode() + b"\0") if spec.interp else 0
        self.place(spec.extra)
        self._symbols()
        if spec.flags_1:
            self.dynamic.append((0x6FFFFFFB, spec.flags_1))
        strings = self.place(bytes(self.strings))
        self.dynamic += [(5, strings), (10, len(self.strings)), (0, 0)]
        dynamic = self.place(b"".join(struct.pack("<QQ", *row) for row in self.dynamic))
        self.data += bytes(64)
        return self._headers(interp, dynamic)

    def _headers(self, interp: int, dynamic: int) -> bytes:
        size = len(self.data)
        rows = [(1, 7, 0, 0, 0, size, size, 0x1000), (2, 6, dynamic, dynamic, 0, 16 * len(self.dynamic), 0, 8)]
        if self.spec.interp:
            length = len(self.spec.interp) + 1
            rows.insert(0, (3, 4, interp, interp, 0, length, length, 1))
            size = 56 * (len(rows) + 1)
            rows.insert(0, (6, 4, 64, 64, 0, size, size, 8))
        table = b"".join(struct.pack("<IIQQQQQQ", *row) for row in rows)
        entry = 0x3F0
        numbers = (self.spec.type, self.spec.machine, 1, entry, 64, 0, 0, 64, 56, len(rows), 64, 0, 0)
        head = self.spec.ident + struct.pack("<HHIQQQIHHHHHH", *numbers)
        self.data[: len(head)] = head
        self.data[64 : 64 + len(table)] = table
        self.data[entry : entry + 1] = b"\xc3"
        return bytes(self.data)

    def _symbols(self) -> None:
        spec = self.spec
        names = [*spec.defines, *spec.wants]
        versions = {**spec.defines, **{name: version for name, (version, _) in spec.wants.items()}}
        numbers: dict[tuple[str, str], int] = {}
        symbols = [bytes(24)]
        indices = [0]
        for name in names:
            defined = name in spec.defines
            symbols.append(
                struct.pack("<IBBHQQ", self.text(name), 0x12, 0, 1 if defined else 0, 0x100 if defined else 0, 4)
            )
            file = "" if defined else spec.wants[name][1]
            version = versions[name]
            indices.append(numbers.setdefault((version, file), len(numbers) + 2) if version else 1)
        self.dynamic.append((6, self.place(b"".join(symbols))))
        chain = [*range(2, len(symbols)), 0]
        table = struct.pack(
            f"<II I {len(symbols)}I", 1, len(symbols), min(1, len(names)), 0, *chain[: len(symbols) - 1]
        )
        self.dynamic.append((4, self.place(table)))
        if numbers:
            self.dynamic.append((0x6FFFFFF0, self.place(struct.pack(f"<{len(indices)}H", *indices))))
        self._definitions({version: index for (version, file), index in numbers.items() if not file})
        self._needs({key: index for key, index in numbers.items() if key[1]})
        self._relocations(len(spec.defines))

    def _definitions(self, numbers: dict[str, int]) -> None:
        rows = list(numbers.items())
        if not rows:
            return
        piece = b""
        for position, (version, index) in enumerate(rows):
            follows = 28 if position < len(rows) - 1 else 0
            piece += struct.pack("<HHHHIII", 1, 0, index, 1, sysv_hash(version.encode()), 20, follows)
            piece += struct.pack("<II", self.text(version), 0)
        self.dynamic.append((0x6FFFFFFC, self.place(piece)))

    def _needs(self, numbers: dict[tuple[str, str], int]) -> None:
        rows = list(numbers.items())
        if not rows:
            return
        piece = b""
        for position, ((version, file), index) in enumerate(rows):
            follows = 32 if position < len(rows) - 1 else 0
            piece += struct.pack("<HHIII", 1, 1, self.text(file), 16, follows)
            piece += struct.pack("<IHHII", sysv_hash(version.encode()), 0, index, self.text(version), 0)
        self.dynamic.append((0x6FFFFFFE, self.place(piece)))

    def _relocations(self, first: int) -> None:
        kind = 7 if self.spec.lazy else 6
        count = len(self.spec.wants)
        if not count:
            return
        slots = self.place(bytes(8 * count))
        piece = b"".join(struct.pack("<QQq", slots + 8 * n, (first + n + 1) << 32 | kind, 0) for n in range(count))
        table = self.place(piece)
        if self.spec.lazy:
            self.dynamic += [(23, table), (2, len(piece)), (20, 7), (3, self.place(bytes(24)))]
        else:
            self.dynamic += [(7, table), (8, len(piece)), (9, 24)]


def loader(words: bytes = GLIBC_WORDS, soname: str = "ld-linux-x86-64.so.2") -> bytes:
    """A stand-in for a loader."""
    return Object(soname=soname, extra=words, defines={"stdin": "", "__libc_start_main": ""}).build()


def libc() -> bytes:
    """A stand-in for glibc's libc.so.6."""
    return Object(
        soname="libc.so.6",
        defines={"puts": "GLIBC_2.2.5", "newer": "GLIBC_2.34", "__libc_early_init": "GLIBC_PRIVATE"},
    ).build()


class Roots:
    """Builds a root and judges commands in it."""

    def __init__(self, *, glibc: bool = True) -> None:
        self.tree = TreeBuilder("test")
        if glibc:
            self.tree.put(GLIBC, loader())
            self.tree.put("/lib/x86_64-linux-gnu/libc.so.6", libc())

    def put(self, path: str, data: bytes, mode: int = 0o755) -> Roots:
        self.tree.put(path, data, mode)
        return self

    def link(self, path: str, target: str) -> Roots:
        names = [name for name in path.split("/") if name]
        inode = Inode(key=self.tree._next(), kind=Kind.SYMLINK, mode=0o777, uid=0, gid=0, size=0, target=target)
        self.tree._place(names, inode)
        return self

    def judge(
        self, path: str = "/prog", *words: str, host: str | Host = "amd64,cpu=v3", env: Mapping[str, str] | None = None,
        uid: int = 0, cwd: str = "/", proc: bool = True, noexec: tuple[str, ...] = (),
    ) -> Verdict:  # fmt: skip
        view = View(root=self.tree.root(), who=Credentials(uid=uid, gid=uid), cwd=cwd, proc=proc, noexec=noexec)
        command = Command(path=path, argv=(path, *words), env=env or {})
        target = parse(host) if isinstance(host, str) else host
        return Judge(view, target).judge(command)
