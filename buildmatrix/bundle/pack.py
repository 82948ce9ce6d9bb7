"""From contents to an archive: SHA256SUMS, the script, bundle.json, and one tar.gz that is the same bytes each time.

The script holds the SHA-256 of SHA256SUMS, which lists every other file; so who trusts the script, or the
signature of the archive, trusts all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from buildmatrix import arch, scripts
from buildmatrix.bundle.spec import PAYLOAD, SCHEMA, Contents, Unit
from buildmatrix.dist import canonical
from buildmatrix.errors import BundleRefused, DistUnwritable
from buildmatrix.images import layer
from buildmatrix.images.layer import Entry

SUMS = "SHA256SUMS"
DESCRIPTION = "bundle.json"
SUFFIX = ".tar.gz"


def write(contents: Contents, folder: Path) -> Path:
    """Write the bundle's archive into a folder, replacing an older one at once; gives its path.

    Raises BundleRefused where a member is no longer what it was found to be, DistUnwritable.
    """
    path = folder / f"{contents.stem}{SUFFIX}"
    found = tuple(entries(contents))
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as stream:
            layer.write(found, stream, time=contents.time)
            stream.flush()
            os.fsync(stream.fileno())
        _check(contents)
        scratch.replace(path)
    except OSError as error:
        raise DistUnwritable(
            f"{path}: cannot be written",
            why=error.strerror or str(error),
            fix="make the folder writable, or name another with --output",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
    return path


def _check(contents: Contents) -> None:
    """A file that was written to while it was packed has other bytes in the archive than its digest says."""
    for member in contents.members:
        with member.source.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != member.sha256:
                raise BundleRefused(
                    f"{member.source}: it changed while it was packed", fix="let nothing write to it, and run again"
                )


def entries(contents: Contents) -> Iterator[Entry]:
    """Every file of the archive."""
    top = f"/{contents.stem}"
    listing = sums(contents)
    yield Entry(path=f"{top}/{contents.script}", data=script(contents, listing), mode=0o755)
    yield Entry(path=f"{top}/{SUMS}", data=listing)
    yield Entry(path=f"{top}/{DESCRIPTION}", data=describe(contents))
    for member in contents.members:
        yield Entry(path=f"{top}/{member.path}", source=member.source, mode=0o755 if member.program else 0o644)


def describe(contents: Contents) -> bytes:
    """bundle.json: what the bundle holds, for programs."""
    files = {member.path: {"sha256": member.sha256, "size": member.size} for member in contents.members}
    names = {"name": contents.name, "version": contents.version, "machine": contents.machine, "to": contents.to}
    return canonical({"schema": SCHEMA, **names, "unit": contents.unit, "cells": list(contents.cells), "files": files})


def sums(contents: Contents) -> bytes:
    """SHA256SUMS in the form that `sha256sum -c` reads: everything but itself and the script."""
    found = {member.path: member.sha256 for member in contents.members}
    found[DESCRIPTION] = hashlib.sha256(describe(contents)).hexdigest()
    return "".join(f"{found[path]}  {path}\n" for path in sorted(found)).encode("ascii")


def script(contents: Contents, listing: bytes) -> bytes:
    """The rollback script."""
    row, single = contents.row, contents.unit is Unit.FILE
    programs = [str(PurePosixPath(item.path).relative_to(PAYLOAD)) for item in contents.payload if item.program]
    values = {
        "NAME": contents.payload[0].path.rpartition("/")[2] if single else contents.name,
        "VERSION": contents.version,
        "MACHINE": contents.machine,
        "KERNELS": " ".join(arch.kernels(row, contents.level)),
        "COMPATIBLE": " ".join(arch.compatible_kernels(row)),
        "IDENTITY": f"{row.bits // 32} {row.machine}",
        "LOADERS": " ".join(contents.loaders),
        "UNIT": contents.unit,
        "PAYLOAD": contents.payload[0].path if single else PAYLOAD,
        "PROGRAMS": " ".join(programs),
        "SUMS": hashlib.sha256(listing).hexdigest(),
        "WANTED": contents.payload[0].sha256 if single else "",
        "TO": contents.to,
    }
    return scripts.filled(scripts.template("buildmatrix.bundle", "rollback.sh"), values)
