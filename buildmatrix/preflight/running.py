"""The host model of the machine that we run on: uname, auxv, /proc/cpuinfo, binfmt_misc, sysctl."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path

from buildmatrix import arch, errors
from buildmatrix.host import Handler, Host, with_kernel, with_page_size

_V2 = {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
"""Words of /proc/cpuinfo behind each x86-64 psABI level (abm stands for LZCNT)."""

_ARM_WORDS = {"atomics": "lse", "paca": "pauth", "bti": "bti", "sve": "sve", "sve2": "sve2"}
"""Words of /proc/cpuinfo on arm64 (arch/arm64/kernel/cpuinfo.c) and the features they stand for."""


def running() -> Host:
    """The running machine. Raises UsageError on an architecture that the table lacks."""
    name = arch.normalise(os.uname().machine)
    if name is None:
        raise errors.UsageError(
            f"the running machine is {os.uname().machine}, which is not in the table", fix="say --host"
        )
    host = with_kernel(Host(name="this machine", arch=name), os.uname().release)
    host = with_page_size(host, os.sysconf("SC_PAGE_SIZE"))
    soft = resource.getrlimit(resource.RLIMIT_STACK)[0]
    host = replace(
        host,
        stack_limit=soft if soft != resource.RLIM_INFINITY else 1 << 62,
        memory=_memory(),
        mmap_min_addr=_number("/proc/sys/vm/mmap_min_addr", 65536),
        protected_symlinks=bool(_number("/proc/sys/fs/protected_symlinks", 1)),
        handlers=_handlers(Path("/proc/sys/fs/binfmt_misc")),
    )
    return _cpu(host)


def _number(path: str, default: int) -> int:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return default


def _memory() -> int | None:
    """RAM and swap in bytes; None where another overcommit mode than the default decides."""
    if _number("/proc/sys/vm/overcommit_memory", -1) != 0:
        return None
    try:
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        return sum(int(rows[name].split()[0]) for name in ("MemTotal", "SwapTotal")) << 10
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _cpu(host: Host) -> Host:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return host
    words = next(
        (set(line.partition(":")[2].split()) for line in lines if line.lower().startswith(("flags", "features"))), None
    )
    if words is None:
        return host
    if host.arch == "amd64":
        level = next(name for name, need in (("v4", _V4), ("v3", _V3), ("v2", _V2), ("v1", set())) if need <= words)
        makers = {line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")}
        return replace(host, level=level, intel="GenuineIntel" in makers if makers else None)
    if host.arch == "arm64":
        return replace(host, features=frozenset(_ARM_WORDS[word] for word in words & _ARM_WORDS.keys()))
    return host


def _handlers(folder: Path) -> tuple[Handler, ...]:
    try:
        entries = [entry for entry in folder.iterdir() if entry.name not in ("register", "status")]
        texts = [(entry.name, entry.read_text(encoding="utf-8", errors="replace")) for entry in entries]
        if (folder / "status").read_text(encoding="ascii").strip() != "enabled":
            return ()
    except OSError:
        return ()
    found = (parse_entry(name, text) for name, text in texts)
    return tuple(handler for handler in found if handler is not None)


def parse_entry(name: str, text: str) -> Handler | None:
    """One file of binfmt_misc as a handler, or None where it is disabled or not understood."""
    lines = text.splitlines()
    if not lines or lines[0] != "enabled":
        return None
    fields = dict(line.partition(" ")[::2] for line in lines[1:])
    try:
        return Handler(
            name=name,
            interpreter=fields["interpreter"],
            flags=fields.get("flags:", ""),
            offset=int(fields.get("offset", "0")),
            magic=bytes.fromhex(fields.get("magic", "")),
            mask=bytes.fromhex(fields.get("mask", "")),
            extension=fields.get("extension", "").removeprefix("."),
        )
    except (KeyError, ValueError):
        return None
