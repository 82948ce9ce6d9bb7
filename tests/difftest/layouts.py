"""Layouts of libraries at random: where they lie, what lies there instead, and everything that leads a search.

A layout is files of a root, an environment and a command. The templates were linked once; names and paths are
written over the placeholders in them, so that a layout costs no compiler.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

NAMES = ("liba.so", "libb.so", "libd.so")
FOLDERS = ("/t/app", "/t/app/lib", "/t/one", "/t/two", "/t/three", "/t/locked", "/t/app/rel")
ENTRIES = (
    "/t/one", "/t/two/", "/t/two//", "/t/three", "$ORIGIN", "${ORIGIN}", "$ORIGIN/lib", "${ORIGIN}/../two",
    "/t/app/$LIB", "$ORIGIN/$LIB", "/t/$PLATFORM", "/t/${PLATFORM}/", "/usr/lib", "", "rel", "lib", "$ORIGINx",
    "/t/none", "/t/$NONE", "/t/one/../two", "/t/app/prog", "/t/locked", "/t/link", "/t/loop",
    "/t/one/${LIB", "$ORIGIN/../one", "/", ".", "$LIB",
)  # fmt: skip
CACHES = ("as it was", "as it was", "fresh", "fresh", "stale", "none", "foreign", "truncated", "garbage", "empty")
KINDS = (
    *("good",) * 40, "wrong machine", "wrong machine", "wrong class", "empty", "text", "truncated", "directory",
    "dangling", "unreadable", "loop", "link", "link", "hard link",
)  # fmt: skip
PLACE, PATH = 64, 400
DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH, DT_FLAGS_1, DT_UNKNOWN = 1, 14, 15, 29, 0x6FFFFFFB, 0x6F00BEEF
DT_AUXILIARY, DF_1_NODEFLIB = 0x7FFFFFFD, 0x800


def placeholder(number: int) -> str:
    """What stands for a name in a template."""
    return f"@{number}{'x' * (PLACE - 4)}{number}@"


PATH_PLACEHOLDER = "%" + "y" * (PATH - 2) + "%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What goes into a template: a path under a tag, what it needs, its own name."""

    needed: tuple[str, ...] = ()
    path: str | None = None
    runpath: bool = True
    soname: str | None = None
    flags: int = 0
    auxiliary: bool = False

    def into(self, template: bytes) -> bytes:
        """The template with these names."""
        data = bytearray(template)
        names = [*self.needed, *([""] * 3)][:3]
        for number, name in enumerate((*names, self.soname or "")):
            _over(data, placeholder(number), name)
        _over(data, PATH_PLACEHOLDER, self.path or "")
        at = _dynamic(data)
        seen = 0
        while (tag := struct.unpack_from("<Q", data, at)[0]) != 0:
            value = None
            if tag == DT_NEEDED:
                value = (
                    DT_UNKNOWN if seen >= len(self.needed) else DT_AUXILIARY if self.auxiliary and seen else DT_NEEDED
                )
                seen += 1
            elif tag in (DT_RPATH, DT_RUNPATH):
                value = DT_UNKNOWN if self.path is None else DT_RUNPATH if self.runpath else DT_RPATH
            elif tag == DT_SONAME and self.soname is None:
                value = DT_UNKNOWN
            elif tag == DT_FLAGS_1:
                struct.pack_into("<Q", data, at + 8, struct.unpack_from("<Q", data, at + 8)[0] | self.flags)
            if value is not None:
                struct.pack_into("<Q", data, at, value)
            at += 16
        return bytes(data)


def _over(data: bytearray, mark: str, name: str) -> None:
    at = data.find(mark.encode())
    if at >= 0:
        data[at : at + len(mark)] = name.encode().ljust(len(mark), b"\0")


def _dynamic(data: bytearray) -> int:
    phoff, phnum = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    for at in range(phoff, phoff + 56 * phnum, 56):
        if struct.unpack_from("<I", data, at)[0] == 2:
            return int(struct.unpack_from("<Q", data, at + 8)[0])
    raise ValueError("the template has no PT_DYNAMIC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a layout: bytes and mode, or a link."""

    data: bytes = b""
    mode: int = 0o755
    link: str = ""
    hard: str = ""
    folder: bool = False


@dataclass(slots=True, kw_only=True)
class Layout:
    """Everything that one execution depends on; `story` says it in words."""

    files: dict[str, Entry] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    command: str = "/t/app/prog"
    argv: tuple[str, ...] = ("/t/app/prog",)
    cwd: str = "/"
    cache: str = "as it was"
    vanish: tuple[str, ...] = ()
    story: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """The linked templates, the multiarch name, the platform, and the default directories' extra places."""

    program: bytes
    library: bytes
    foreign: bytes
    interpreter: str
    multiarch: str
    platform: str
    musl: bool
    native: bool

    @property
    def folders(self) -> tuple[str, ...]:
        """Where libraries may lie."""
        own = f"/usr/lib/{self.multiarch}"
        subs = ("glibc-hwcaps/x86-64-v2", "glibc-hwcaps/x86-64-v3", "glibc-hwcaps/x86-64-v4", "tls", "haswell",
                "x86_64", "aarch64", "atomics", "tls/haswell/x86_64", "tls/x86_64", "haswell/avx512_1",
                "tls/aarch64/atomics",
                "avx512_1/x86_64", "tls/aarch64", "haswell/x86_64")  # fmt: skip
        extra = tuple(f"{base}/{sub}" for base in (own, "/t/one", "/t/app/lib", "/t/three") for sub in subs)
        return (*FOLDERS * 8, *(own, "/usr/lib", "/usr/local/lib", "/lib") * 6, f"/t/app/lib/{self.multiarch}",
                f"/t/{self.platform}", *extra)  # fmt: skip


def layout(rng: random.Random, templates: Templates) -> Layout:
    """One layout at random."""
    made = Layout()
    _program(rng, templates, made)
    for name in NAMES:
        for folder in sorted({rng.choice(templates.folders) for _ in range(rng.choice((2, 3, 5, 8)))}):
            _library(rng, templates, made, f"{folder}/{name}", name)
    _environment(rng, templates, made)
    _command(rng, templates, made)
    if not templates.musl:
        made.cache = rng.choice(CACHES)
        if made.cache == "stale":
            made.vanish = tuple(path for path in made.files if path.endswith(".so") and rng.random() < 0.4)
    else:
        _path_file(rng, templates, made)
    made.story += [f"cache {made.cache}", f"gone: {' '.join(made.vanish)}", f"env {made.env}",
                   f"{made.command} {made.argv} in {made.cwd}"]  # fmt: skip
    return made


def _search_path(rng: random.Random) -> str | None:
    if rng.random() < 0.35:
        return None
    return ":".join(rng.choice(ENTRIES) for _ in range(rng.choice((1, 1, 2, 3, 5))))


def _names(rng: random.Random, own: str | None, templates: Templates) -> Names:
    pool = [*NAMES, *NAMES, *NAMES, "/t/one/liba.so", "$ORIGIN/libb.so", "libnone.so", "lib/libd.so"]
    if own is None:
        needed = tuple(rng.sample(pool[:9], rng.choice((1, 2, 2, 3))) if rng.random() < 0.9 else rng.sample(pool, 2))
    else:
        needed = tuple(rng.sample(pool, rng.choice((0, 0, 1, 1, 2)))) if rng.random() < 0.5 else ()
    soname = rng.choice((own, own, own, None, "libother.so", "libd.so")) if own else None
    return Names(
        needed=needed,
        path=_search_path(rng),
        runpath=rng.random() < 0.6,
        soname=soname,
        flags=DF_1_NODEFLIB if rng.random() < 0.08 else 0,
        auxiliary=rng.random() < 0.08,
    )


def _program(rng: random.Random, templates: Templates, made: Layout) -> None:
    names = _names(rng, None, templates)
    mode = 0o755
    if rng.random() < 0.12 and templates.native:
        mode = rng.choice((0o4755, 0o2755))
    made.files["/t/app/prog"] = Entry(data=names.into(templates.program), mode=mode)
    made.story.append(f"prog {mode:o} {names}")


def _library(rng: random.Random, templates: Templates, made: Layout, path: str, name: str) -> None:
    kind = rng.choice(KINDS)
    names = _names(rng, name, templates)
    data = names.into(templates.library)
    others = [each for each, entry in made.files.items() if each.endswith(".so") and entry.data]
    entry = Entry(data=data)
    if kind == "wrong machine":
        entry = Entry(data=names.into(templates.foreign))
    elif kind == "wrong class":
        entry = Entry(data=data[:4] + b"\1" + data[5:18] + b"\3" + data[19:])
    elif kind in ("empty", "text", "truncated"):
        entry = Entry(
            data={"empty": b"", "text": b"INPUT ( liba.so )\n" * 9, "truncated": data[: len(data) // 3]}[kind]
        )
    elif kind == "directory":
        entry = Entry(folder=True)
    elif kind == "unreadable":
        entry = Entry(data=data, mode=0o600)
    elif kind in ("dangling", "loop"):
        entry = Entry(link="/t/none/lib.so" if kind == "dangling" else name)
    elif kind in ("link", "hard link") and others:
        entry = Entry(link=rng.choice(others)) if kind == "link" else Entry(hard=rng.choice(others))
    made.files[path] = entry
    made.story.append(f"{path} {kind} {entry.link or entry.hard or names}")


def _environment(rng: random.Random, templates: Templates, made: Layout) -> None:
    if rng.random() < 0.4:
        path = _search_path(rng)
        if path is not None:
            made.env["LD_LIBRARY_PATH"] = path.replace(":", ";", 1) if rng.random() < 0.1 else path
    preloads = ("liba.so", "/t/two/libb.so", "libnone.so", "$ORIGIN/libd.so", "/t/app/$LIB/liba.so", "libd.so",
                "rel/liba.so", "/t/one/libd.so", "/t/locked/liba.so")  # fmt: skip
    if rng.random() < 0.25:
        made.env["LD_PRELOAD"] = rng.choice((" ", ":")).join(rng.choice(preloads) for _ in range(rng.choice((1, 1, 2))))
    if rng.random() < 0.06 and not templates.musl:
        text = f"# {rng.choice(preloads)}\n{rng.choice(preloads)} {rng.choice(preloads)}\n"
        made.files["/etc/ld.so.preload"] = Entry(data=text.encode(), mode=0o644)
        made.story.append(f"ld.so.preload {text!r}")


def _command(rng: random.Random, templates: Templates, made: Layout) -> None:
    made.cwd = rng.choice(("/", "/", "/t/app", "/t/one"))
    if rng.random() < 0.15:
        made.command = rng.choice(("/t/toprog", "/t/app/../app/prog", "/t/linked/prog"))
    elif made.cwd == "/t/app" and rng.random() < 0.5:
        made.command = rng.choice(("./prog", "../app/prog", "lib/../prog"))
    made.argv = (rng.choice((made.command, made.command, "other")),)
    if rng.random() < 0.08 and templates.native and not templates.musl:
        options = ("--library-path", _search_path(rng) or "/t/one") if rng.random() < 0.5 else ()
        made.argv = (templates.interpreter, *options, made.command)
        made.command = templates.interpreter


def _path_file(rng: random.Random, templates: Templates, made: Layout) -> None:
    if rng.random() < 0.4:
        words = [rng.choice((*FOLDERS, "/lib", "/usr/lib", "", "rel")) for _ in range(rng.choice((0, 1, 2, 3)))]
        text = rng.choice((":", "\n")).join(words) + rng.choice(("", "\n"))
        name = f"/etc/ld-musl-{templates.platform}.path"
        made.files[name] = Entry(data=text.encode(), mode=rng.choice((0o644, 0o644, 0o600)))
        made.story.append(f"path file {text!r} {made.files[name].mode:o}")
