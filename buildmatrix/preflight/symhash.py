"""The two hash functions of ELF symbol tables."""

from __future__ import annotations


def sysv_hash(name: bytes) -> int:
    """The System V ABI's hash of a symbol's name."""
    value = 0
    for byte in name:
        value = 16 * value + byte
        value ^= value >> 24 & 0xF0
    return value & 0x0FFFFFFF


_GNU: dict[bytes, int] = {}


def gnu_hash(name: bytes) -> int:
    """The GNU hash of a symbol's name (remembered)."""
    value = _GNU.get(name)
    if value is None:
        value = 5381
        for byte in name:
            value = value * 33 + byte
        if len(_GNU) > 1 << 18:
            _GNU.clear()
        value = _GNU[name] = value & 0xFFFFFFFF
    return value
