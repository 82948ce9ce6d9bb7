"""Decodes the native core's records: raw bytes and an arena in, the types of facts.py out.

Nothing here imports the native module, so a block may have come from anywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from itertools import repeat
from typing import Any, TypeVar, cast

from buildmatrix import _goinfo
from buildmatrix._layouts import (
    FACTS,
    FAT_ARCH,
    ISSUE,
    NONE,
    NOTE,
    RECORD,
    SEGMENT,
    STRING,
    SYMBOL,
    VERDEF,
    VERNEED,
)
from buildmatrix.facts import (
    AbiTag,
    Digests,
    ElfFacts,
    Facts,
    FatArch,
    Format,
    GoInfo,
    Issue,
    Kind,
    MachoFacts,
    Note,
    PeFacts,
    Segment,
    Status,
    Symbol,
    VersionDefinition,
    VersionNeed,
)

T = TypeVar("T")

WANT_SHA256, WANT_SHA512, WANT_SHA1 = 4, 8, 16

FORMATS, KINDS, STATUSES = tuple(Format), tuple(Kind), tuple(Status)

ISSUES = (
    "none",
    "short-header",
    "bad-class",
    "bad-data",
    "bad-ident-version",
    "bad-version",
    "bad-ehsize",
    "bad-phentsize",
    "phdrs-past-eof",
    "too-many-phdrs",
    "bad-shentsize",
    "shdrs-past-eof",
    "segment-past-eof",
    "filesz-over-memsz",
    "address-overflow",
    "loads-overlap",
    "loads-unsorted",
    "bad-interp",
    "second-interp",
    "dynamic-past-eof",
    "dynamic-no-null",
    "bad-strtab",
    "bad-string",
    "bad-verneed",
    "bad-verdef",
    "bad-hash",
    "bad-symtab",
    "bad-note",
    "bad-property",
    "bad-buildinfo",
    "bad-align",
    "capped",
    "bad-pe",
    "bad-macho",
    "ambiguous-vaddr",
    "dynamic-elsewhere",
    "section-past-eof",
    "bad-dynamic",
    "second-dynamic",
)
"""Slugs of the BM_ISSUE_… numbers, by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One file or directory entry of a batch. Sizes in bytes, times in ns since the epoch.

    `error` is an errno or 0. `offset` is where a read failed or the first issue lies. `facts` is None
    unless facts were asked for and `status` is OK or MALFORMED.
    """

    path: str
    root: int
    kind: Kind
    status: Status
    error: int
    offset: int
    size: int
    mtime_ns: int
    device: int
    inode: int
    mode: int
    uid: int
    gid: int
    target: str | None
    digests: Digests
    facts: Facts | None = field(repr=False)


class Arena:
    """The variable part of a block: strings and lists by offset."""

    def __init__(self, data: bytes) -> None:
        """Borrow the arena's bytes."""
        self.data = data

    def raw(self, offset: int, length: int) -> bytes | None:
        """The bytes of a bm_str, or None where it is absent."""
        return None if offset == NONE else self.data[offset : offset + length]

    def text(self, offset: int, length: int) -> str | None:
        """The same as text; bytes that are not UTF-8 survive as surrogates."""
        if offset == NONE:
            return None
        return self.data[offset : offset + length].decode("utf-8", "surrogateescape")

    def word(self, offset: int, length: int) -> str:
        """The same, where an absent string has already been reported as an issue."""
        return self.text(offset, length) or ""


def columnwise(kind: type[T]) -> Callable[[int, Iterable[Iterable[Any]]], tuple[T, ...]]:
    """What makes `count` instances of a dataclass from one column of values a member, in its order.

    A file has dozens of segments and may have a hundred thousand symbols. Setting a member of all of them at
    once leaves the loop to the interpreter's C code: a fifth of the time that as many calls of a frozen
    dataclass's constructor take.
    """
    setters = [getattr(kind, member.name).__set__ for member in fields(cast("Any", kind))]

    def make(count: int, columns: Iterable[Iterable[Any]]) -> tuple[T, ...]:
        made = tuple(map(object.__new__, repeat(kind, count)))
        for setter, column in zip(setters, columns, strict=True):
            deque(map(setter, made, column), maxlen=0)
        return made

    return make


_make_segments, _make_needs, _make_symbols = columnwise(Segment), columnwise(VersionNeed), columnwise(Symbol)

_PAIRS = {
    name.removesuffix(".0"): (name, name.removesuffix("0") + "1")
    for name in (*FACTS.names, *RECORD.names)
    if name.endswith(".0")
}


def _pair(raw: dict[str, Any], name: str) -> tuple[int, int]:
    first, second = _PAIRS[name]
    return raw[first], raw[second]


def _issues(arena: Arena, raw: dict[str, Any]) -> tuple[Issue, ...]:
    return tuple(
        Issue(code=ISSUES[code], offset=offset, detail=detail)
        for offset, code, detail in ISSUE.items(arena.data, *_pair(raw, "issues"))
    )


def _segments(arena: Arena, raw: dict[str, Any]) -> tuple[Segment, ...]:
    offset, count = _pair(raw, "segments")
    return _make_segments(count, zip(*SEGMENT.items(arena.data, offset, count), strict=True)) if count else ()


def _needs(arena: Arena, raw: dict[str, Any]) -> tuple[VersionNeed, ...]:
    offset, count = _pair(raw, "verneeds")
    if not count:
        return ()
    lib, lib_len, ver, ver_len, hashes, flags, indices = zip(*VERNEED.items(arena.data, offset, count), strict=True)
    weak = [bits & 2 != 0 for bits in flags]
    return _make_needs(count, (map(arena.word, lib, lib_len), map(arena.word, ver, ver_len), weak, hashes, indices))


def _definitions(arena: Arena, raw: dict[str, Any]) -> tuple[VersionDefinition, ...]:
    return tuple(
        VersionDefinition(
            name=arena.word(name, length), base=bool(flags & 1), weak=bool(flags & 2), hash=hashed, index=index
        )
        for name, length, hashed, flags, index in VERDEF.items(arena.data, *_pair(raw, "verdefs"))
    )


def _symbols(arena: Arena, raw: dict[str, Any]) -> tuple[Symbol, ...] | None:
    offset, count = _pair(raw, "symbols")
    if offset == NONE:
        return None
    if not count:
        return ()
    columns = zip(*SYMBOL.items(arena.data, offset, count), strict=True)
    names, lengths, values, sizes, sections, versions, infos, others = columns
    return _make_symbols(
        count,
        (
            map(arena.word, names, lengths),
            [section != 0 for section in sections],
            [info >> 4 for info in infos],
            [info & 15 for info in infos],
            [other & 3 for other in others],
            sections,
            [version & 0x7FFF for version in versions],
            [version > 0x7FFF for version in versions],
            values,
            sizes,
        ),
    )


def _notes(arena: Arena, raw: dict[str, Any]) -> tuple[Note, ...]:
    return tuple(
        Note(name=arena.word(name, length), type=kind, desc=arena.raw(desc, desc_length) or b"")
        for name, length, kind, desc, desc_length, _ in NOTE.items(arena.data, *_pair(raw, "notes"))
    )


def _abi_tag(raw: dict[str, Any]) -> AbiTag | None:
    if not raw["abi_tag_present"]:
        return None
    return AbiTag(os=raw["abi_os"], version=(raw["abi_major"], raw["abi_minor"], raw["abi_patch"]))


_SAME = (
    "elf_class", "elf_data", "ident_version", "osabi", "abiversion", "type", "machine", "machine_le",
    "machine_be", "version", "flags", "entry", "ehsize", "phoff", "phentsize", "phnum", "phnum_raw", "shoff",
    "shentsize", "shnum", "shstrndx", "max_align_common", "load_low", "load_high", "interp_offset",
    "interp_count", "dt_flags", "dt_flags_1", "symbol_count", "x86_isa_needed", "x86_isa_used",
    "described_end",
)  # fmt: skip
_FLAGS = (
    "ident_pad_set", "has_gnu_hash", "has_sysv_hash", "has_relr", "property_present", "property_unsorted",
    "relro", "bind_now", "textrel", "pie", "static_pie", "has_sections", "has_symtab", "has_debug", "has_tls",
    "truncated",
)  # fmt: skip
_BY_PAGE = {name: [f"{name}.{size}" for size in range(3)] for name in ("page_incongruent", "page_overlap")}
_TEXTS = (
    "interp", "soname", "rpath", "runpath", "go_build_id",
)  # fmt: skip


def _elf(arena: Arena, raw: dict[str, Any]) -> ElfFacts:
    """Members whose name and meaning are the same on both sides are copied by name."""
    same: dict[str, Any] = {name: raw[name] for name in _SAME}
    same.update((name, raw[name] != 0) for name in _FLAGS)
    same.update((name, arena.text(*_pair(raw, name))) for name in _TEXTS)
    same.update((name, tuple(raw[key] != 0 for key in keys)) for name, keys in _BY_PAGE.items())
    build_id = arena.raw(*_pair(raw, "build_id"))
    return ElfFacts(
        bits=32 * raw["read_class"],
        little_endian=raw["read_data"] == 1,
        class_by_layout=32 * raw["class_by_layout"],
        segments=_segments(arena, raw),
        dynamic=raw["has_dynamic"] != 0,
        needed=tuple(arena.word(*item) for item in STRING.items(arena.data, *_pair(raw, "needed"))),
        version_needs=_needs(arena, raw),
        version_definitions=_definitions(arena, raw),
        symbols=_symbols(arena, raw),
        notes=_notes(arena, raw),
        build_id=None if build_id is None else build_id.hex(),
        abi_tag=_abi_tag(raw),
        x86_features=raw["x86_feature_1_and"],
        aarch64_features=raw["aarch64_feature_1_and"],
        stack_flags=raw["stack_flags"] if raw["stack_present"] else None,
        **same,
    )


def _go(arena: Arena, version: tuple[int, int], modinfo: tuple[int, int]) -> tuple[GoInfo | None, tuple[Issue, ...]]:
    """Go build info, and an issue where its module text is not as Go writes it."""
    name = arena.text(*version)
    if name is None:
        return None, ()
    try:
        return _goinfo.parse(name, arena.raw(*modinfo) or b""), ()
    except ValueError:
        return GoInfo(version=name), (Issue(code="bad-buildinfo", offset=0, detail=0),)


def _fat(arena: Arena, raw: dict[str, Any]) -> tuple[FatArch, ...]:
    return tuple(
        FatArch(cputype=cpu, cpusubtype=sub, offset=offset, size=size, go=_go(arena, (ver, ver_len), (mod, mod_len))[0])
        for cpu, sub, offset, size, ver, ver_len, mod, mod_len in FAT_ARCH.items(arena.data, *_pair(raw, "fat"))
    )


def _pe(raw: dict[str, Any]) -> PeFacts:
    return PeFacts(
        machine=raw["machine"],
        bits=32 * raw["read_class"],
        subsystem=raw["pe_subsystem"],
        characteristics=raw["pe_characteristics"],
    )


def _macho(raw: dict[str, Any]) -> MachoFacts:
    return MachoFacts(
        cputype=raw["macho_cputype"],
        cpusubtype=raw["macho_cpusubtype"],
        bits=32 * raw["read_class"],
        filetype=raw["macho_filetype"],
        flags=raw["flags"],
    )


def decode_facts(data: bytes, offset: int) -> Facts:
    """The facts at `offset` of an arena whose bytes are `data`."""
    arena = Arena(data)
    raw = FACTS.at(data, offset)
    form = FORMATS[raw["format"]]
    go, go_issues = _go(arena, _pair(raw, "go_version"), _pair(raw, "go_modinfo"))
    return Facts(
        format=form,
        size=raw["file_size"],
        issues=_issues(arena, raw) + go_issues,
        elf=_elf(arena, raw) if form is Format.ELF else None,
        pe=_pe(raw) if form is Format.PE else None,
        macho=_macho(raw) if form is Format.MACHO else None,
        fat=_fat(arena, raw),
        shebang=arena.text(*_pair(raw, "shebang")),
        go=go,
    )


def _digests(raw: dict[str, Any]) -> Digests:
    have = raw["have"]
    return Digests(
        sha256=raw["sha256"].hex() if have & WANT_SHA256 else None,
        sha512=raw["sha512"].hex() if have & WANT_SHA512 else None,
        sha1=raw["sha1"].hex() if have & WANT_SHA1 else None,
    )


_STAT = ("root", "error", "offset", "size", "mtime_ns", "device", "inode", "mode", "uid", "gid")


def decode_record(records: bytes, index: int, data: bytes) -> Record:
    """Record number `index` of a block: `records` and `data` are its records' and its arena's bytes."""
    arena = Arena(data)
    raw = RECORD.at(records, index * RECORD.size)
    status = STATUSES[raw["status"]]
    facts = None if raw["facts"] == NONE else decode_facts(data, raw["facts"])
    if status is Status.OK and facts is not None and facts.issues:
        status = Status.MALFORMED
    same: dict[str, Any] = {name: raw[name] for name in _STAT}
    return Record(
        path=arena.word(*_pair(raw, "path")),
        kind=KINDS[raw["kind"]],
        status=status,
        target=arena.text(*_pair(raw, "target")),
        digests=_digests(raw),
        facts=facts,
        **same,
    )
