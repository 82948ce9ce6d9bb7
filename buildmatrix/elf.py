"""The only importer of the native core: files and bytes in, facts out."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

from buildmatrix import _layouts, _records, _scan
from buildmatrix._records import Record
from buildmatrix._scan import Progress, Roots, Scan
from buildmatrix.errors import NativeMissing, ScanFailed, UsageError
from buildmatrix.facts import Facts, Status

__all__ = [
    "DIGEST_SIZES",
    "HASHES",
    "Progress",
    "Scan",
    "View",
    "facts_of_bytes",
    "hash_buffers",
    "read_facts",
    "scan",
    "scan_one",
    "scan_tree",
]

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


for _name, _layout in {"bm_facts": _layouts.FACTS, "bm_record": _layouts.RECORD}.items():
    if ffi.sizeof(_name) != _layout.size:
        raise NativeMissing(
            "the native core is from another version",
            why=f"{_name}: got {ffi.sizeof(_name)} bytes, expected {_layout.size}",
            fix="install buildmatrix again; from a checkout: pip install -e .",
        )


_failed_kernel = ffi.new("const char **")
if lib.bm_self_test(_failed_kernel):
    raise NativeMissing(
        "the native core computes wrong digests on this CPU",
        why=f"kernel {ffi.string(_failed_kernel[0]).decode()!r}: got another digest than the known answer",
        fix="report the CPU model; a virtual machine or emulator may implement the instructions wrongly",
    )

HASHES: dict[str, int] = {"sha256": lib.BM_WANT_SHA256, "sha512": lib.BM_WANT_SHA512, "sha1": lib.BM_WANT_SHA1}
"""The algorithms, by the names that hashlib and SBOMs give them, with their BM_WANT_… bits."""

DIGEST_SIZES = {"sha256": 32, "sha512": 64, "sha1": 20}
"""Sizes of their digests in bytes."""

ProgressCallback = Callable[[Progress], None]
_POLL_MS = 50


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


def _hash_bit(name: str) -> int:
    try:
        return HASHES[name]
    except KeyError:
        raise UsageError(
            f"unknown hash algorithm: got {name!r}, expected one of {', '.join(HASHES)}",
            fix="choose from " + ", ".join(HASHES),
        ) from None


def _wants(hashes: Sequence[str], facts: bool, symbols: bool) -> int:
    want = sum({_hash_bit(name) for name in hashes})
    return want | (_want(symbols) if facts or symbols else 0)


class _Batch:
    """One bm_batch as a context: whatever happens, its threads end before the block does."""

    def __init__(self, roots: Roots, want: int, threads: int) -> None:
        self.roots = roots
        self.handle = lib.bm_batch_open(want, threads)
        if self.handle == ffi.NULL:
            raise MemoryError

    def __enter__(self) -> _Batch:
        return self

    def __exit__(self, *_: object) -> None:
        lib.bm_batch_close(self.handle)

    def start(self) -> None:
        """Hand over the roots and set the workers going."""
        paths = [os.fsencode(path) for path in self.roots.paths] if self.roots.trees else []
        for path in paths:
            self._check(lib.bm_batch_add_tree(self.handle, path, len(path)), repr(path))
        if not self.roots.trees and self.roots.paths:
            joined = os.fsencode("\0".join(self.roots.paths))
            if joined.count(b"\0") != len(self.roots.paths) - 1:
                self._check(errno.EINVAL, "a path")
            self._check(lib.bm_batch_add_list(self.handle, joined, len(joined)), "a list of files")
        self._check(lib.bm_batch_start(self.handle), "worker threads")

    def _check(self, error: int, what: str) -> None:
        if error == errno.ENOMEM:
            raise MemoryError
        if error:
            raise ScanFailed(
                f"{what}: could not be scanned",
                why=f"got {errno.errorcode.get(error, str(error))} ({os.strerror(error)}), expected success",
                fix="a path must not hold a NUL byte; see the limits of the process for threads (ulimit -u)",
            )

    def progress(self) -> Progress:
        """How far the workers have come."""
        found = ffi.new("bm_progress *")
        lib.bm_batch_progress(self.handle, found)
        return Progress(files=found.files, directories=found.directories, bytes=found.bytes, errors=found.errors)

    def results(self, progress: ProgressCallback | None) -> Iterator[Scan]:
        """Every entry, in the order in which workers finish blocks. The caller's thread polls, so signals are seen."""
        while (state := lib.bm_batch_wait(self.handle, _POLL_MS)) != lib.BM_BATCH_DONE:
            if state == lib.BM_BATCH_READY:
                yield from self._take()
            if progress is not None:
                progress(self.progress())
        self._check(lib.bm_batch_error(self.handle), "the batch")
        if progress is not None:
            progress(self.progress())

    def _take(self) -> Iterator[Scan]:
        block = lib.bm_batch_take(self.handle)
        try:
            records = bytes(ffi.buffer(block.records, block.count * _layouts.RECORD.size))
            arena = bytes(ffi.buffer(block.arena, block.arena_len))
        finally:
            lib.bm_block_free(block)
        return _scan.unpack(records, arena, self.roots)


def _run(roots: Roots, want: int, threads: int, progress: ProgressCallback | None) -> Iterator[Scan]:
    with _Batch(roots, want, threads) as batch:
        batch.start()
        yield from batch.results(progress)


def scan(
    paths: Iterable[str | os.PathLike[str]],
    *,
    hashes: Sequence[str] = ("sha256",),
    facts: bool = True,
    symbols: bool = False,
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> Iterator[Scan]:
    """Facts and digests of files, each opened and read once; one Scan for each path, in no order.

    `Scan.root` is the place of its path among those given. Paths may be symbolic links; what is not a
    regular file in the end is reported and not opened. `threads` 0 is one for each processor.
    `progress` is called in the caller's thread, about every 50 ms. Leaving the iterator stops the
    workers. Nothing about a single file is raised: look at `Scan.status`.
    """
    roots = Roots(paths=[os.fspath(path) for path in paths], trees=False)
    return _run(roots, _wants(hashes, facts, symbols), threads, progress)


def scan_tree(
    root: str | os.PathLike[str],
    *,
    hashes: Sequence[str] = ("sha256",),
    facts: bool = True,
    symbols: bool = False,
    threads: int = 0,
    progress: ProgressCallback | None = None,
    all_entries: bool = False,
    recognised: bool = False,
) -> Iterator[Scan]:
    """The same for what lies below a directory: regular files, symbolic links, and whatever failed.

    Symbolic links are reported with their target and never followed. `all_entries` adds directories,
    devices, pipes and sockets, which are never opened. `recognised` leaves out files of no known format,
    empty files and links; it needs `facts`.
    """
    want = _wants(hashes, facts, symbols)
    want |= lib.BM_WANT_ALL_ENTRIES if all_entries else 0
    want |= lib.BM_WANT_RECOGNISED if recognised and facts else 0
    return _run(Roots(paths=[os.fspath(root)], trees=True), want, threads, progress)


def scan_one(
    path: str | os.PathLike[str], *, hashes: Sequence[str] = ("sha256",), facts: bool = True, symbols: bool = False
) -> Scan:
    """The Scan of one file; see `scan`."""
    return next(iter(list(scan([path], hashes=hashes, facts=facts, symbols=symbols, threads=1))))


def hash_buffers(algorithm: str, buffers: Sequence[bytes | bytearray | memoryview]) -> list[bytes]:
    """The digests of many buffers, in their order, side by side on one core."""
    bit, size, count = _hash_bit(algorithm), DIGEST_SIZES[algorithm], len(buffers)
    views = [ffi.from_buffer("uint8_t[]", buffer) for buffer in buffers]
    digests = bytearray(size * count)
    error = lib.bm_hash_many(
        bit,
        ffi.new("const uint8_t *[]", views),
        ffi.new("size_t[]", [len(view) for view in views]),
        count,
        ffi.from_buffer("uint8_t[]", digests, require_writable=True),
    )
    if error:
        raise MemoryError
    return [bytes(digests[start : start + size]) for start in range(0, size * count, size)]


_MOST_STATES = 0xFFFF


class Literals:
    """Finds the lines of a text that hold one of many literals; every byte is looked at once.

    An automaton of Aho and Corasick (CACM 18, 1975). Raises UsageError for an empty literal, one with a newline,
    and for more than 65534 bytes of literals.
    """

    _AT_ONCE = 512

    def __init__(self, literals: Iterable[bytes]) -> None:
        """Build the automaton of `literals`."""
        words = sorted(set(literals))
        if any(not word or b"\n" in word for word in words):
            raise UsageError("literals: got an empty one, or one with a newline, expected bytes of one line")
        if sum(map(len, words)) >= _MOST_STATES:
            raise UsageError(f"literals: got more than {_MOST_STATES - 1} bytes in all, expected fewer")
        table, self._accepting = _automaton(words)
        self._table = ffi.from_buffer("uint16_t[]", table)
        if not lib.bm_lines_table(self._table, len(table) // 256):
            raise UsageError("literals: got a table with successors that are no states, expected none")
        self._spans = ffi.new("size_t[]", 2 * self._AT_ONCE)
        self._at = ffi.new("size_t *")

    def lines(self, text: bytes) -> list[tuple[int, int]]:
        """Begin and end (without the newline) of each such line, in order. For one thread at a time."""
        found: list[tuple[int, int]] = []
        view = ffi.from_buffer("uint8_t[]", text)
        self._at[0] = 0
        while True:
            count = lib.bm_lines(
                self._table, self._accepting, view, len(text), self._at, self._spans, self._AT_ONCE
            )  # fmt: skip
            numbers = ffi.unpack(self._spans, 2 * count) if count else []
            found += zip(numbers[::2], numbers[1::2], strict=True)
            if count < self._AT_ONCE:
                return found


def _automaton(words: list[bytes]) -> tuple[array[int], int]:
    """Successors of all states, and the first state that has read a word: those stand last."""
    children: list[dict[int, int]] = [{}]
    ends: set[int] = set()
    for word in words:
        state = 0
        for byte in word:
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
            state = children[state][byte]
        ends.add(state)
    rows: list[list[int]] = [[0] * 256 for _ in children]
    fails = [0] * len(children)
    for byte, child in children[0].items():
        rows[0][byte] = child
    order = list(children[0].values())
    for state in order:  # grows: breadth first
        if fails[state] in ends:
            ends.add(state)
        rows[state] = list(rows[fails[state]])
        for byte, child in children[state].items():
            fails[child] = rows[state][byte]
            rows[state][byte] = child
            order.append(child)
    names = {old: new for new, old in enumerate(sorted(range(len(children)), key=lambda item: item in ends))}
    table = array("H")
    for old in sorted(names, key=lambda item: names[item]):
        table.extend(names[item] for item in rows[old])
    return table, len(children) - len(ends)


def describe() -> str:
    """Which hash kernels this CPU gets, and how many files each thread keeps in flight."""
    parts = []
    for name in ("sha256", "sha512", "sha1"):
        bit = _hash_bit(name)
        width = int(lib.bm_hash_width(bit))
        kernel = ffi.string(lib.bm_hash_kernel(bit, width)).decode("ascii")
        parts.append(f"{name} {kernel}")
    return ", ".join(parts)
