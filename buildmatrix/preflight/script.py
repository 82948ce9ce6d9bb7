"""The first line of a script as the kernel reads it (fs/binfmt_script.c load_script).

The kernel looks at the first 256 bytes (128 before Linux 5.1). Everything after the interpreter's
name is one argument; a carriage return is part of a word like any other byte.
"""

from __future__ import annotations

from typing import NamedTuple

BLANKS = b" \t"


class Shebang(NamedTuple):
    """What load_script takes from the line: interpreter and, where there is one, its argument."""

    interpreter: bytes
    argument: bytes | None


def buffer_size(kernel: tuple[int, int]) -> int:
    """BINPRM_BUF_SIZE in bytes."""
    return 256 if kernel >= (5, 1) else 128


def parse(buffer: bytes) -> Shebang | None:
    """The line in `buffer` (exactly BINPRM_BUF_SIZE bytes, zero padded), or None: ENOEXEC.

    The caller has seen that it begins with ``#!``.
    """
    last = len(buffer) - 1
    end = _newline(buffer)
    if end is None:
        name = _skip_blanks(buffer, 2, last)
        if name is None or _terminator(buffer, name, last) is None:
            return None
        end = last
    while buffer[end - 1] in BLANKS:
        end -= 1
    name = _skip_blanks(buffer, 2, end)
    if name is None or name == end:
        return None
    separator = _terminator(buffer, name, end)
    argument = None
    if separator is not None and buffer[separator] != 0:
        argument = _skip_blanks(buffer, separator, end)
    stop = end if separator is None else separator
    word = buffer[name:stop].partition(b"\0")[0]
    text = None if argument is None else buffer[argument:end].partition(b"\0")[0]
    return Shebang(interpreter=word, argument=text)


def _newline(buffer: bytes) -> int | None:
    """The first newline; none counts behind a NUL (strnchr stops there)."""
    found = buffer.find(b"\n")
    zero = buffer.find(b"\0")
    return None if found < 0 or 0 <= zero < found else found


def _skip_blanks(buffer: bytes, first: int, last: int) -> int | None:
    for index in range(first, last + 1):
        if buffer[index] not in BLANKS:
            return index
    return None


def _terminator(buffer: bytes, first: int, last: int) -> int | None:
    for index in range(first, last + 1):
        if buffer[index] in BLANKS or buffer[index] == 0:
            return index
    return None
