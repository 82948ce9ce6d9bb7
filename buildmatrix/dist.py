"""The only reader and writer of dist/.

Every file is written to a temporary name, flushed to disk and renamed, so that a killed process
leaves either the old file or the new one. A cell's folder is written under that cell's lock, the
derived index files under one of their own; locks are advisory (flock) and die with their holder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from buildmatrix import errors
from buildmatrix.artifact import RECORD_SCHEMA, Artifact, Document, Inputs, Record
from buildmatrix.plan import PARTIAL

STATE = ".state"
_WRITING = "write."
_ATTEMPTS = 100
RECORD = "record.json"
_LOCK_POLL_SECONDS = 0.1
SBOMS = {"cyclonedx": "sbom.cdx.json", "spdx": "sbom.spdx.json"}
"""A cell's bills of materials, by format."""
PROVENANCE = "provenance.intoto.json"
INDEX_FILES = ("artifacts.json", "checksums.txt", "effective.toml", "metadata.json")
REPORTS = {
    "html": "report.html",
    "json": "report.json",
    "markdown": "report.md",
    "sarif": "report.sarif",
    "junit": "report.xml",
}
"""What `verify` writes about dist/, by format; nothing reads it back."""


def canonical(value: object) -> bytes:
    """JSON with sorted keys and a final newline: the form of every file that buildmatrix writes."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True) + "\n").encode("ascii")


def inputs_digest(inputs: Inputs) -> str:
    """SHA-256 over the canonical form of the inputs and of the record format's version."""
    return hashlib.sha256(canonical({"schema": RECORD_SCHEMA, **_plain(inputs)})).hexdigest()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.DiskFull(
                f"{path}: no space left",
                why=error.strerror or "",
                fix="free some space and run again; nothing was lost",
            ) from error
        raise errors.DistUnwritable(
            f"{path}: cannot be written",
            why=error.strerror or str(error),
            fix="make the folder writable, or name another with --dist",
        ) from error


class Dist:
    """One dist/ folder; `root` is absolute. Nothing is created before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._decoded: dict[str, tuple[bytes, Record]] = {}

    def folder(self, cell: str) -> Path:
        """The folder of one cell."""
        return self.root / cell

    def state(self, cell: str, what: str = "hashed") -> Path:
        """Where what was learnt about a cell may be kept beside its lock; no part of a release."""
        return self.root / STATE / f"{cell}.{what}"

    def partial(self, cell: str) -> Path:
        """The folder that a compiler may write into while the cell's lock is held, made empty."""
        path = self.root / PARTIAL / cell
        with _explained(path):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        return path

    def discard_partial(self, cell: str) -> None:
        """Remove what an unfinished build of the cell left."""
        shutil.rmtree(self.root / PARTIAL / cell, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.root / PARTIAL).rmdir()

    @contextlib.contextmanager
    def lock(self, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock of a cell or of the index.

        While another holds it, `waiting` is called ten times a second; it may raise to give up.
        """
        path = self.root / STATE / name
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("a")
        with stream:
            while not _try_lock(stream):
                if waiting is not None:
                    waiting()
                time.sleep(_LOCK_POLL_SECONDS)
            yield

    def publish(self, cell: str, built: Path) -> Path:
        """Move a finished artifact out of the partial folder into the cell's, durably."""
        final = self.folder(cell) / built.name
        with _explained(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            with built.open("rb") as stream:
                os.fsync(stream.fileno())
            built.replace(final)
            _sync_folder(final.parent)
        return final

    def write(self, path: Path, data: bytes) -> None:
        """Write one file atomically and durably; a file that already holds `data` is left alone, a link is not."""
        self.write_all({path: data})

    def write_all(self, files: Mapping[Path, bytes]) -> None:
        """Write several files, each atomically and all durably, in their order.

        Every byte is on the disk before the first name changes, so that a crash leaves the old or the new file of
        each. They share their flushes: the disk is asked for all of them at once, and for each folder once.
        """
        fresh = [path for path, data in files.items() if not _holds(path, data)]
        if not fresh:
            return
        with self._unfinished(fresh[0]) as folder:
            scratch = {path: folder / str(number) for number, path in enumerate(fresh)}
            for path, partial in scratch.items():
                with _explained(path):
                    partial.write_bytes(files[path])
            _flush(scratch)
            for path, partial in scratch.items():
                with _explained(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    partial.replace(path)
        for place in dict.fromkeys(path.parent for path in fresh):
            with _explained(place):
                _sync_folder(place)

    @contextlib.contextmanager
    def _unfinished(self, path: Path) -> Iterator[Path]:
        """A folder of this write's own among what never ships; what killed processes left there goes with it."""
        place = self.root / PARTIAL
        with _explained(path):
            folder = _made_in(place)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _sweep(place)

    def write_record(self, record: Record) -> None:
        """Write a cell's record.json."""
        self.write(self.folder(record.cell) / RECORD, encode_record(record))

    def read_record(self, cell: str) -> Record | None:
        """A cell's record, or None where there is none. Raises RecordInvalid where it is damaged."""
        path = self.folder(cell) / RECORD
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.RecordInvalid(
                f"{path}: cannot be read", why=error.strerror or str(error), fix="make it readable"
            ) from error
        known = self._decoded.get(cell)
        if known is None or known[0] != data:
            known = self._decoded[cell] = (data, decode_record(data, path))
        return known[1]

    def records(self) -> tuple[Record, ...]:
        """Every record in dist/, sorted by cell. Raises RecordInvalid for a damaged one."""
        if not self.root.is_dir():
            return ()
        cells = sorted(path.parent.name for path in self.root.glob(f"*/{RECORD}"))
        return tuple(record for record in map(self.read_record, cells) if record is not None)

    def entries(self) -> Iterator[Path]:
        """Every file under dist/ except locks and unfinished builds, sorted, relative to it.

        Raises ScanFailed for a folder that cannot be listed: what it hides would ship unseen.
        """
        for folder, names, files in os.walk(self.root, onerror=_unlistable):
            if Path(folder) == self.root:
                names[:] = [name for name in names if name not in (STATE, PARTIAL)]
            names.sort()
            links = [name for name in names if (Path(folder) / name).is_symlink()]
            for name in sorted([*files, *links]):
                yield (Path(folder) / name).relative_to(self.root)


def _unlistable(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        return  # what is not there hides nothing
    raise errors.ScanFailed(
        f"{error.filename}: cannot be listed", why=error.strerror or str(error), fix="make the folder readable"
    ) from error


def _try_lock(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _made_in(place: Path) -> Path:
    """A new folder in `place`, which others remove whenever it is empty."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            place.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f"{_WRITING}{os.getpid()}.", dir=place))
    place.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{_WRITING}{os.getpid()}.", dir=place))


def _sweep(place: Path) -> None:
    """Remove what writers left that are gone, and the folder itself where nothing else is in it."""
    with contextlib.suppress(OSError):  # whoever removes it first has done the same
        for left in place.glob(f"{_WRITING}*"):
            writer = left.name.removeprefix(_WRITING).partition(".")[0]
            if writer.isdecimal() and not _alive(int(writer)):
                shutil.rmtree(left, ignore_errors=True)
        place.rmdir()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def _holds(path: Path, data: bytes) -> bool:
    with contextlib.suppress(OSError):
        return not path.is_symlink() and path.read_bytes() == data
    return False


def _flush(written: Mapping[Path, Path]) -> None:
    """Flush files to the disk, by their final paths; several at once, since a disk commits what waits together."""

    def flush(path: Path) -> None:
        with _explained(path), written[path].open("rb") as stream:
            os.fsync(stream.fileno())

    if len(written) < 2:
        for path in written:
            flush(path)
        return
    with ThreadPoolExecutor(len(written)) as pool:
        list(pool.map(flush, written))


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def encode_record(record: Record) -> bytes:
    """A record as the bytes of record.json."""
    inputs = _plain(record.inputs) | {"settings": dict(record.inputs.settings)}
    nested = {
        "inputs": inputs,
        "artifact": _plain(record.artifact),
        "documents": [_plain(item) for item in record.documents],
    }
    return canonical({"schema": RECORD_SCHEMA, **_plain(record), **nested})


def _plain(value: Record | Inputs | Artifact | Document) -> dict[str, Any]:
    """One level of a dataclass; dataclasses.asdict copies deeply, which a no-change run would feel."""
    return {name: getattr(value, name) for name in value.__slots__}


def _check_types(record: Record) -> None:
    """Raise ValueError where a field is not what its writer puts there: readers compare and join strings."""
    inputs, artifact = record.inputs, record.artifact
    plain = {name: getattr(record, name) for name in _RECORD_STRINGS}
    plain |= {f"inputs.{name}": getattr(inputs, name) for name in ("go", "compiler", "version", "sources")}
    plain |= {f"artifact.{name}": getattr(artifact, name) for name in ("name", "sha256", "sha512")}
    plain |= {f"inputs.command[{index}]": word for index, word in enumerate(inputs.command)}
    plain |= {f"inputs.settings.{name}": value for name, value in inputs.settings}
    plain |= {f"passed[{index}]": name for index, name in enumerate(record.passed)}
    sizes = {"artifact.size": artifact.size}
    for index, item in enumerate(record.documents):
        plain |= {f"documents[{index}].name": item.name, f"documents[{index}].sha256": item.sha256}
        sizes[f"documents[{index}].size"] = item.size
    for name, value in plain.items():
        if not isinstance(value, str):
            raise ValueError(f"{name}: got {value!r}, expected a string")
    for name, size in sizes.items():
        if type(size) is not int:
            raise ValueError(f"{name}: got {size!r}, expected an integer")


_RECORD_STRINGS = ("cell", "binary", "target", "goos", "goarch", "level_variable", "level", "inputs_digest", "attested")


def decode_record(data: bytes, path: Path) -> Record:
    """The record in the bytes of a record.json; exactly what `encode_record` writes is accepted.

    Raises RecordInvalid, naming `path`, for anything else.
    """
    try:
        value: dict[str, Any] = json.loads(data)
        schema = value.pop("schema")
        if schema != RECORD_SCHEMA:
            raise ValueError(f"got schema {schema}, expected {RECORD_SCHEMA}")
        inputs = value.pop("inputs")
        settings = tuple(sorted(inputs.pop("settings").items()))
        record = Record(
            artifact=Artifact(**value.pop("artifact")),
            inputs=Inputs(command=tuple(inputs.pop("command")), settings=settings, **inputs),
            passed=tuple(value.pop("passed")),
            documents=tuple(Document(**item) for item in value.pop("documents")),
            **value,
        )
        _check_types(record)
        if encode_record(record) != data:
            raise ValueError("it is not in the form in which records are written")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise errors.RecordInvalid(
            f"{path}: not a record of this version", why=str(error), fix="build the cell again"
        ) from error
    return record
