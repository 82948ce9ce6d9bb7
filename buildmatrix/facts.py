"""What the bytes of a file say: types only.

`elf.py` makes these from the native core's records; checks, preflight, SBOM and reports read them.
Nothing here judges. Strings that came out of a file are decoded as UTF-8 with ``surrogateescape``,
so that every byte survives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from buildmatrix.kinds import Kind

__all__ = ["Kind"]  # lies apart, but is one of the facts

PAGE_SIZES = (4096, 16384, 65536)
"""Page sizes in bytes, in the order of every per-page-size tuple below."""


class Format(StrEnum):
    """What a file is, by its first bytes."""

    OTHER = "other"
    EMPTY = "empty"
    ELF = "elf"
    PE = "pe"
    MACHO = "macho"
    MACHO_FAT = "macho-fat"
    SCRIPT = "script"
    ARCHIVE = "archive"


class Status(StrEnum):
    """How reading one file went. Only OK and MALFORMED mean that every byte was seen."""

    OK = "ok"
    OPEN = "open-failed"
    STAT = "stat-failed"
    READ = "read-failed"
    CHANGED = "changed-during-scan"
    SHRANK = "shrank-during-scan"
    NOT_REGULAR = "not-a-regular-file"
    NOMEM = "out-of-memory"
    CANCELLED = "cancelled"
    ESCAPES = "escapes-root"
    MALFORMED = "malformed"
    DIRECTORY = "directory-unreadable"


class ElfType(IntEnum):
    """e_type (System V gABI, chapter 4)."""

    NONE = 0
    REL = 1
    EXEC = 2
    DYN = 3
    CORE = 4


class SegmentType(IntEnum):
    """The p_type values that rules look at (gABI and GNU extensions)."""

    NULL = 0
    LOAD = 1
    DYNAMIC = 2
    INTERP = 3
    NOTE = 4
    SHLIB = 5
    PHDR = 6
    TLS = 7
    GNU_EH_FRAME = 0x6474E550
    GNU_STACK = 0x6474E551
    GNU_RELRO = 0x6474E552
    GNU_PROPERTY = 0x6474E553


PF_X, PF_W, PF_R = 1, 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One structural defect: `code` is a stable slug, `offset` a byte offset in the file."""

    code: str
    offset: int
    detail: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One program header; offsets, addresses and sizes in bytes. `type` may be any p_type."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNeed:
    """One entry of .gnu.version_r (LSB Core, Symbol Versioning)."""

    library: str
    version: str
    weak: bool
    hash: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDefinition:
    """One entry of .gnu.version_d; `base` marks the file's own name."""

    name: str
    base: bool
    weak: bool
    hash: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """One dynamic symbol. `version` is the raw versym index without the hidden bit, 0 for none."""

    name: str
    defined: bool
    binding: int
    type: int
    visibility: int
    section: int
    version: int
    hidden: bool
    value: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One note of a PT_NOTE segment."""

    name: str
    type: int
    desc: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GoModule:
    """A module line of Go build info. `sum` is an ``h1:`` dirhash, never a file's SHA-256."""

    path: str
    version: str
    sum: str = ""
    replace: GoModule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoInfo:
    """Go build info (cmd/go/internal/modload, runtime/debug.BuildInfo)."""

    version: str
    path: str = ""
    main: GoModule | None = None
    modules: tuple[GoModule, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()

    def setting(self, key: str) -> str | None:
        """The value of one build setting such as ``GOARCH``, or None where it is absent."""
        return next((value for name, value in self.settings if name == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbiTag:
    """NT_GNU_ABI_TAG: the oldest kernel that the file was linked for."""

    os: int
    version: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFacts:
    """What an ELF file says of itself, by the specification's view (EI_CLASS and EI_DATA decide).

    `machine_le` and `machine_be` are e_machine read in either byte order: the kernel reads it in its
    own order whatever EI_DATA says. `class_by_layout` is 32, 64 or 0 by header sizes.
    Per-page-size tuples follow PAGE_SIZES.
    """

    bits: int
    little_endian: bool
    elf_class: int
    elf_data: int
    ident_version: int
    osabi: int
    abiversion: int
    ident_pad_set: bool
    class_by_layout: int
    type: int
    machine: int
    machine_le: int
    machine_be: int
    version: int
    flags: int
    entry: int
    ehsize: int
    phoff: int
    phentsize: int
    phnum: int
    phnum_raw: int
    shoff: int
    shentsize: int
    shnum: int
    shstrndx: int
    segments: tuple[Segment, ...] = field(repr=False)
    page_incongruent: tuple[bool, bool, bool]
    page_overlap: tuple[bool, bool, bool]
    max_align_common: int
    load_low: int
    load_high: int
    interp: str | None
    interp_offset: int
    interp_count: int
    dynamic: bool
    needed: tuple[str, ...]
    soname: str | None
    rpath: str | None
    runpath: str | None
    dt_flags: int
    dt_flags_1: int
    version_needs: tuple[VersionNeed, ...] = field(repr=False)
    version_definitions: tuple[VersionDefinition, ...] = field(repr=False)
    symbol_count: int
    symbols: tuple[Symbol, ...] | None = field(repr=False)
    has_gnu_hash: bool
    has_sysv_hash: bool
    has_relr: bool
    notes: tuple[Note, ...] = field(repr=False)
    build_id: str | None
    go_build_id: str | None
    abi_tag: AbiTag | None
    x86_isa_needed: int
    x86_isa_used: int
    x86_features: int
    aarch64_features: int
    property_present: bool
    property_unsorted: bool
    stack_flags: int | None
    relro: bool
    bind_now: bool
    textrel: bool
    pie: bool
    static_pie: bool
    has_sections: bool
    has_symtab: bool
    has_debug: bool
    has_tls: bool
    described_end: int
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PeFacts:
    """COFF machine, subsystem and characteristics of a PE file (Microsoft PE format)."""

    machine: int
    bits: int
    subsystem: int
    characteristics: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MachoFacts:
    """CPU type and file type of a thin Mach-O file (mach-o/loader.h)."""

    cputype: int
    cpusubtype: int
    bits: int
    filetype: int
    flags: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FatArch:
    """One slice of a fat Mach-O file: CPU type, byte range, Go build info of the slice."""

    cputype: int
    cpusubtype: int
    offset: int
    size: int
    go: GoInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything one file's bytes say. Exactly one of elf, pe, macho, fat, shebang fits `format`."""

    format: Format
    size: int
    issues: tuple[Issue, ...] = ()
    elf: ElfFacts | None = None
    pe: PeFacts | None = None
    macho: MachoFacts | None = None
    fat: tuple[FatArch, ...] = ()
    shebang: str | None = None
    go: GoInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """Hexadecimal digests that were asked for; None where one was not."""

    sha256: str | None = None
    sha512: str | None = None
    sha1: str | None = None
