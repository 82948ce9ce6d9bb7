"""The only importer of the native core: files and bytes in, facts out."""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from pathlib import Path
from typing import Any

from buildmatrix import _records
from buildmatrix._records import Record
from buildmatrix.errors import NativeMissing, ScanFailed
from buildmatrix.facts import Facts, Status

try:
    from buildmatrix._native import ffi, lib
except ImportError as _cause:
    raise NativeMissing(
        "the native core could not be loaded",
        why=str(_cause),
        fix="install buildmatrix again; from a checkout: pip install -e .",
    ) from _cause


class View(IntEnum):
    """Whose eyes an ELF file is read with: BM_VIEW_… of native/bm.h.

    SPEC believes EI_CLASS and EI_DATA. A kernel looks at neither and reads every file in its own class
    and byte order (Linux fs/binfmt_elf.c), which the other members force.
    """

    SPEC = 0
    ELF32_LE = 0x0101
    ELF64_LE = 0x0102
    ELF32_BE = 0x0201
    ELF64_BE = 0x0202


for _name, _layout in {"bm_facts": _records.FACTS, "bm_record": _records.RECORD}.items():
    if ffi.sizeof(_name) != _layout.size:
        raise NativeMissing(
            "the native core is from another version",
            why=f"{_name}: got {ffi.sizeof(_name)} bytes, expected {_layout.size}",
            fix="install buildmatrix again; from a checkout: pip install -e .",
        )


def _want(symbols: bool) -> int:
    return int(lib.BM_WANT_FACTS | (lib.BM_WANT_SYMBOLS if symbols else 0))


def _take(block: Any, error: Any) -> Record:
    """The one record of a block, which is freed."""
    if block == ffi.NULL:
        raise MemoryError(os.strerror(error[0]))
    try:
        records = bytes(ffi.buffer(block.records, ffi.sizeof("bm_record")))
        return _records.decode_record(records, 0, bytes(ffi.buffer(block.arena, block.arena_len)))
    finally:
        lib.bm_block_free(block)


def _facts(record: Record, name: str) -> Facts:
    if record.facts is not None:
        return record.facts
    if record.status is Status.NOMEM:
        raise MemoryError
    reason = os.strerror(record.error) if record.error else f"at byte {record.offset}"
    raise ScanFailed(
        f"{name}: its facts could not be read",
        why=f"got status {record.status} ({reason}), expected ok",
        fix="make the file readable and let nothing write to it while it is scanned",
    )


def read_facts(path: str | os.PathLike[str], *, symbols: bool = False, view: View = View.SPEC) -> Facts:
    """The facts of one file. Follows symlinks; reads only what it needs.

    Raises ScanFailed where the file cannot be opened or read in full. A malformed file is no error: its
    facts carry `issues`.
    """
    try:
        descriptor = os.open(Path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as cause:
        raise ScanFailed(
            f"{os.fspath(path)}: could not be opened",
            why=f"got {errno.errorcode.get(cause.errno or 0, 'an error')} ({cause.strerror}), expected a readable file",
            fix="check the path and its permissions",
        ) from cause
    try:
        error = ffi.new("int *")
        return _facts(_take(lib.bm_scan_fd(descriptor, _want(symbols), view, error), error), os.fspath(path))
    finally:
        os.close(descriptor)


def facts_of_bytes(data: bytes, *, symbols: bool = False, view: View | None = None) -> Facts:
    """The facts of a file whose content is `data`; see `read_facts`."""
    error = ffi.new("int *")
    block = lib.bm_scan_memory(ffi.from_buffer(data), len(data), _want(symbols), view or View.SPEC, error)
    return _facts(_take(block, error), "<bytes>")
