"""The structs of native/bm.h as Python's struct module reads them, member by member.

A test holds every size and offset against the compiled module, and `elf.py` compares the sizes when it
loads. Nothing here imports the native module.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

NONE = 0xFFFFFFFF
"""BM_NONE: the offset of an absent string or list."""


class Layout:
    """A C struct with native alignment.

    `members` is a text of ``code: names`` lines, where code is a struct code (``2I`` for a bm_str or a
    bm_list, ``3x`` for padding). A member of several values yields ``name.0``, ``name.1``, …
    """

    def __init__(self, members: str) -> None:
        """Lay out the members in order and pad the tail to the widest of them."""
        self.offsets: dict[str, int] = {}
        self.names: list[str] = []
        codes, widest = "@", "B"
        for line in members.split("\n"):
            code, _, names = line.strip().partition(": ")
            for name in names.split():
                self.offsets[name] = struct.calcsize(f"{codes}0{code[-1]}")
                self.names += _value_names(name, code)
                codes += code
            widest = max(widest, code[-1:], key=_alignment)
        self.struct = struct.Struct(f"{codes}0{widest}")
        self.size = self.struct.size

    def at(self, data: bytes, offset: int) -> dict[str, Any]:
        """The values of the struct at `offset`, by name."""
        return dict(zip(self.names, self.struct.unpack_from(data, offset), strict=True))

    def items(self, data: bytes, offset: int, count: int) -> Iterator[tuple[Any, ...]]:
        """The values of `count` structs that lie one after another."""
        if not count:
            return iter(())
        return self.struct.iter_unpack(data[offset : offset + count * self.size])


def _alignment(code: str) -> int:
    return struct.calcsize(code) if code and code not in "sx" else 1


def _value_names(name: str, code: str) -> list[str]:
    count = int(code[:-1] or 1)
    if code[-1] == "x":
        return []
    return [name] if count == 1 or code[-1] == "s" else [f"{name}.{index}" for index in range(count)]


STRING = Layout("I: off len")
ISSUE = Layout("Q: offset\nI: code detail")
SEGMENT = Layout("I: type flags\nQ: offset vaddr paddr filesz memsz align")
VERNEED = Layout("2I: library version\nI: hash\nH: flags index")
VERDEF = Layout("2I: name\nI: hash\nH: flags index")
SYMBOL = Layout("2I: name\nQ: value size\nH: section version\nB: info other\n2x: pad")
NOTE = Layout("2I: name\nI: type\n2I: desc\nI: pad")
FAT_ARCH = Layout("I: cputype cpusubtype\nQ: offset size\n2I: go_version go_modinfo")

FACTS = Layout(
    """I: format issue_first
    2I: issues
    B: elf_class elf_data ident_version osabi abiversion ident_pad_set go_format class_by_layout
    H: type machine machine_le machine_be
    I: version flags ehsize phentsize phnum shentsize shnum shstrndx phnum_raw interp_count
    B: read_class read_data
    6x: pad0
    Q: entry phoff shoff file_size described_end
    2I: segments
    3B: page_incongruent page_overlap
    B: has_load has_dynamic
    Q: load_low load_high max_align_common
    2I: interp
    Q: interp_offset
    B: stack_present stack_flags relro textrel bind_now pie static_pie has_relr
    B: has_symtab has_debug has_eh_frame_hdr truncated has_sections has_tls has_init_array pad1
    2I: needed soname rpath runpath
    Q: dt_flags dt_flags_1
    2I: verneeds verdefs
    I: symbol_count has_gnu_hash has_sysv_hash verneed_num
    2I: symbols notes build_id go_build_id
    B: abi_tag_present property_present property_unsorted pad2
    I: abi_os abi_major abi_minor abi_patch
    I: x86_isa_needed x86_isa_used x86_feature_1_and aarch64_feature_1_and
    2I: go_version go_modinfo shebang fat
    I: pe_subsystem pe_characteristics macho_filetype macho_cputype macho_cpusubtype pad3"""
)

RECORD = Layout(
    """2I: path
    I: root kind status error issue facts
    Q: offset size mtime_ns device inode
    I: mode uid gid have
    2I: target
    32s: sha256
    64s: sha512
    20s: sha1
    I: pad"""
)
