"""zstd, which Python's standard library reads from 3.14 on; before that by its backport."""

from __future__ import annotations

from typing import IO, Any, cast


def opened(file: Any) -> IO[bytes]:
    """The plain bytes of a zstd stream that `file` (with ``read(size)``) gives."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from backports import zstd
    return cast("IO[bytes]", zstd.ZstdFile(file))


def error() -> type[Exception]:
    """What damaged zstd data raises."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from backports import zstd
    found: type[Exception] = zstd.ZstdError
    return found
