"""Programs and libraries that a compiler made: the seeds of the loader stages.

They need no libc, so that a recorded mutant can be judged again on any machine with stand-ins for the
loader; one pair is linked with the machine's own libc.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """
extern int value(void); extern int more(void); extern int spare; extern int absent(void) __attribute__((weak));
extern __thread int counted;
int *pointer = &spare;
void _start(void) { int sum = value() + more() + *pointer + counted + (absent ? absent() : 0); for (;;) (void)sum; }
"""
LIBRARY = """
extern int helper(int); extern int optional(int) __attribute__((weak));
int spare = 7; int zeros[900]; static int hidden[4] = {1, 2, 3, 4}; int *table[] = {&spare, hidden, &hidden[2], zeros};
__thread int counted = 3;
int value(void) { return helper(spare) + table[1][0]; }
int more(void) { return optional ? optional(*table[2]) : counted; }
static void __attribute__((constructor)) begin(void) { zeros[0] = 1; }
"""
OTHER = "int helper(int x) { return x + 1; } int later = 5;\n"
MAP = "LAB_1 { global: value; spare; counted; }; LAB_2 { global: more; local: *; } LAB_1;\n"
OTHER_MAP = "OTHER_1 { global: helper; later; local: *; };\n"
LIBC_PROGRAM = "extern int value(void), more(void); int main(void) { return value() + more(); }\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """Files of one directory by name, among them ``prog``. Mutants replace the one called `target`."""

    name: str
    target: str
    files: dict[str, bytes]

    @property
    def data(self) -> bytes:
        """The bytes that mutants are made from."""
        return self.files[self.target]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """The compiler and the loader of one stage."""

    compiler: str
    interpreter: str
    closure: tuple[str, ...]


TOOLCHAINS = {
    "glibc": Toolchain(
        compiler="gcc",
        interpreter="/lib64/ld-linux-x86-64.so.2",
        closure=("/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"),
    ),
    "musl": Toolchain(
        compiler="musl-gcc", interpreter="/lib/ld-musl-x86_64.so.1", closure=("/lib/ld-musl-x86_64.so.1",)
    ),
}

KINDS = {
    "gnu": (("-Wl,--hash-style=gnu", "-Wl,-z,now"), ("-pie", "-fPIE", "-Wl,-z,now")),
    "sysv": (("-Wl,--hash-style=sysv",), ("-no-pie", "-fno-pie", "-Wl,-z,lazy")),
    "both": (
        ("-Wl,--hash-style=both", "-Wl,-z,separate-code"),
        ("-pie", "-fPIE", "-Wl,-z,lazy", "-Wl,--hash-style=both"),
    ),
}
"""Linker options of library and program."""


def make(stage: str, work: Path) -> list[Seed]:
    """Every seed of a stage. Raises FileNotFoundError without the compiler."""
    tools = TOOLCHAINS[stage]
    if shutil.which(tools.compiler) is None or shutil.which("gcc") is None:
        raise FileNotFoundError(f"the {stage} stage needs gcc and {tools.compiler}")
    work.mkdir(exist_ok=True)
    for name, text in (("p.c", PROGRAM), ("l.c", LIBRARY), ("o.c", OTHER), ("l.map", MAP), ("o.map", OTHER_MAP),
                       ("c.c", LIBC_PROGRAM)):  # fmt: skip
        (work / name).write_text(text)
    seeds: list[Seed] = []
    for kind, (library_options, program_options) in KINDS.items():
        files = _linked(tools, work, kind, library_options, program_options)
        seeds += [Seed(name=f"{kind} {target}", target=target, files=files) for target in ("libseed.so", "prog")]
    program = work / "libc-prog"
    libraries = [work / f"gnu-{name}" for name in ("libseed.so", "libother.so")]
    _run(tools.compiler, "-O1", "-o", program, work / "c.c", *libraries, "-Wl,-z,lazy")
    files = {**seeds[0].files, "prog": program.read_bytes()}
    return [*seeds, Seed(name="libc libseed.so", target="libseed.so", files=files)]


def _linked(
    tools: Toolchain, work: Path, kind: str, library_options: tuple[str, ...], program_options: tuple[str, ...]
) -> dict[str, bytes]:
    library, other, program = (work / f"{kind}-{name}" for name in ("libseed.so", "libother.so", "prog"))
    bare = ("gcc", "-nostdlib", "-O1", "-fno-stack-protector", "-ftls-model=initial-exec")
    _run(*bare, "-fPIC", "-shared", "-Wl,-soname,libother.so", f"-Wl,--version-script={work}/o.map",
         *library_options, "-o", other, work / "o.c")  # fmt: skip
    _run(*bare, "-fPIC", "-shared", "-Wl,-soname,libseed.so", f"-Wl,--version-script={work}/l.map",
         *library_options, "-o", library, work / "l.c", other)  # fmt: skip
    _run(*bare, *program_options, f"-Wl,--dynamic-linker={tools.interpreter}", "-o", program, work / "p.c", library,
         other)  # fmt: skip
    return {path.name.partition("-")[2]: path.read_bytes() for path in (library, other, program)}


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True)


def symbol_offset(path: Path, name: str) -> int:
    """The value of a dynamic symbol of a library on this machine, as nm tells it."""
    told = subprocess.run(["nm", "-D", str(path)], check=True, capture_output=True, text=True).stdout
    for line in told.splitlines():
        address, _, symbol = line.rpartition(" ")
        if symbol.partition("@")[0] == name:
            return int(address.split()[0], 16)
    raise LookupError(f"{path} has no symbol {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One number of a file: where it lies, its width in bytes, what it is."""

    at: int
    width: int
    what: str


TABLES: dict[int, tuple[str, tuple[tuple[int, str], ...]]] = {
    2: ("symtab", ((4, "name"), (1, "info"), (1, "other"), (2, "shndx"), (8, "value"), (8, "size"))),
    11: ("dynsym", ((4, "name"), (1, "info"), (1, "other"), (2, "shndx"), (8, "value"), (8, "size"))),
    4: ("rela", ((8, "offset"), (4, "type"), (4, "symbol"), (8, "addend"))),
    6: ("dynamic", ((8, "tag"), (8, "value"))),
    0x6FFFFFF6: ("gnu_hash", ((4, "word"),)),
    5: ("hash", ((4, "word"),)),
    0x6FFFFFFF: ("versym", ((2, "index"),)),
    0x6FFFFFFE: ("verneed", ((2, "half"), (2, "half"), (4, "word"), (4, "word"), (4, "word"))),
    0x6FFFFFFD: ("verdef", ((2, "half"), (2, "half"), (2, "half"), (2, "half"), (4, "word"), (4, "word"), (4, "word"),
                            (4, "word"), (4, "word"))),
    3: ("strtab", ((1, "byte"),)),
    7: ("note", ((4, "word"),)),
    14: ("init_array", ((8, "pointer"),)),
}  # fmt: skip
EHDR = (*((1, f"ident{index}") for index in range(16)), (2, "type"), (2, "machine"), (4, "version"), (8, "entry"),
        (8, "phoff"), (8, "shoff"), (4, "flags"), (2, "ehsize"), (2, "phentsize"), (2, "phnum"))  # fmt: skip
PHDR = ((4, "type"), (4, "flags"), (8, "offset"), (8, "vaddr"), (8, "paddr"), (8, "filesz"), (8, "memsz"), (8, "align"))


def fields(data: bytes) -> dict[str, list[Field]]:
    """Every number of an ELF64 file that somebody may read, by table."""
    found = {"ehdr": _rows(0, 62, EHDR, "ehdr")}
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    phnum, shnum = struct.unpack_from("<H", data, 56)[0], struct.unpack_from("<H", data, 60)[0]
    found["phdr"] = _rows(phoff, 56 * phnum, PHDR, "phdr")
    for index in range(shnum):
        at = shoff + 64 * index
        kind, flags = struct.unpack_from("<I", data, at + 4)[0], struct.unpack_from("<Q", data, at + 8)[0]
        offset, size = struct.unpack_from("<QQ", data, at + 24)
        if flags & 2 and kind in TABLES:
            name, layout = TABLES[kind]
            found.setdefault(name, []).extend(_rows(offset, size, layout, name))
    return found


def _rows(start: int, size: int, layout: tuple[tuple[int, str], ...], name: str) -> list[Field]:
    rows: list[Field] = []
    at = 0
    while at < size:
        for width, what in layout:
            rows.append(Field(at=start + at, width=width, what=f"{name}+{at:#x}.{what}"))
            at += width
    return [row for row in rows if row.at + row.width <= start + size]
