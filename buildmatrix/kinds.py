"""What a directory entry is: apart from the other facts, because whoever looks at no file needs no more."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a directory entry is, by lstat(2)."""

    UNKNOWN = "unknown"
    REGULAR = "regular"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    CHARDEV = "chardev"
    BLOCKDEV = "blockdev"
