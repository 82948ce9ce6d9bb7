"""Writes a delivery: everything in a scratch folder first, signed there, then one rename."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from buildmatrix.bundle import pack
from buildmatrix.delivery import notes
from buildmatrix.delivery.spec import Part
from buildmatrix.detect import script
from buildmatrix.errors import DistUnwritable, UsageError
from buildmatrix.repair.record import SUFFIX
from buildmatrix.signing import blobs
from buildmatrix.signing.signer import Signer

SUMS = "SHA256SUMS"
NOTES = "NOTES.md"


def write(parts: tuple[Part, ...], out: Path, signer: Signer | None) -> tuple[Path, ...]:
    """One folder a machine below `out`, which appears whole or not at all; gives the folders.

    Raises UsageError where `out` is there already, DistUnwritable, and what packing and signing raise.
    """
    if out.exists():
        raise UsageError(f"{out}: is there already", fix="name a new folder with --output: a delivery replaces nothing")
    scratch = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for part in parts:
            _part(part, scratch / part.row.uname, signer)
        scratch.rename(out)
    except OSError as error:
        raise DistUnwritable(
            f"{out}: cannot be written", why=error.strerror or str(error), fix="make room, or name another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(scratch)
    return tuple(out / part.row.uname for part in parts)


def _part(part: Part, folder: Path, signer: Signer | None) -> None:
    folder.mkdir()
    for item in part.programs:
        _copy(item.path, folder / item.after.name, item.after.sha256)
        (folder / item.after.name).chmod(0o755)
        if item.record is not None:
            shutil.copyfile(item.record, folder / f"{item.after.name}{SUFFIX}")
        for member in item.evidence:
            place = folder / member.path
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy(member.source, place, member.sha256)
    made = script.make(
        part.cause,
        part.affected.version,
        (item.before for item in part.programs),
        (item.after.sha256 for item in part.programs),
    )
    (folder / part.script).write_bytes(made)
    (folder / part.script).chmod(0o755)
    pack.write(part.back, folder)
    words = blobs.describe(signer.identity) if signer is not None else ""
    (folder / NOTES).write_bytes(notes.markdown(part, words))
    listed = tuple(_files(folder))
    (folder / SUMS).write_text("".join(f"{_digest(folder / name)}  {name}\n" for name in listed), encoding="ascii")
    if signer is not None:
        for name in (*(name for name in listed if "/" not in name), SUMS):
            blobs.sign(folder / name, signer)


def _files(folder: Path) -> Iterator[str]:
    yield from sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _copy(source: Path, target: Path, sha256: str) -> None:
    shutil.copyfile(source, target)
    if _digest(target) != sha256:
        raise UsageError(f"{source}: it changed meanwhile", fix="let nothing write to it, and run again")
