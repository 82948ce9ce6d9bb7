"""What kernels did, kept: the ordinary tests hold the model to it without any kernel.

One JSON object a line: the host, the files that are not `furnished`, the path that was executed, mounts and
handlers, and the outcome. Files are compressed; most of each is a sled.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from buildmatrix.host import Handler, Host
from tests.difftest.guest import Entry, as_root
from tests.difftest.outcome import agrees, predict
from tests.difftest.samples import furnished

FOLDER = Path(__file__).parent.parent / "fixtures" / "difftest"
HOST_FIELDS = ("page_size", "va_bits", "mmap_min_addr", "memory", "compat32", "protected_symlinks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One execution: `files` stand beside the furnished ones."""

    story: str
    host: Host
    files: dict[str, Entry]
    path: str
    observed: str
    noexec: tuple[str, ...] = ()

    def predicted(self) -> str | None:
        """What the model says of it today."""
        return predict(as_root(furnished() | self.files), self.host, self.path, self.noexec)

    def holds(self) -> bool:
        """Whether the model agrees, or says that it cannot know."""
        return agrees(self.predicted(), self.observed)


def _entry(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        key: value
        for key, value in dataclasses.asdict(entry).items()
        if key != "data" and value != getattr(Entry(), key)
    }
    if entry.data:
        row["data"] = base64.b64encode(zlib.compress(entry.data, 9)).decode("ascii")
    return row


def _handler(handler: Handler) -> dict[str, Any]:
    return {"name": handler.name, "interpreter": handler.interpreter, "flags": handler.flags,
            "offset": handler.offset, "magic": handler.magic.hex()}  # fmt: skip


def line(record: Record) -> str:
    """A record as JSON."""
    host = {key: getattr(record.host, key) for key in HOST_FIELDS}
    host["kernel"] = list(record.host.kernel)
    row: dict[str, Any] = {
        "story": record.story,
        "host": host,
        "files": {name: _entry(entry) for name, entry in record.files.items()},
        "path": record.path,
        "observed": record.observed,
    }
    if record.host.handlers:
        row["handlers"] = [_handler(handler) for handler in record.host.handlers]
    if record.noexec:
        row["noexec"] = list(record.noexec)
    return json.dumps(row, sort_keys=True)


def read(path: Path) -> Iterator[Record]:
    """Every record of a file."""
    for text in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(text)
        host = dict(row["host"])
        rows = [{**one, "magic": bytes.fromhex(one["magic"])} for one in row.get("handlers", ())]
        base = Host(name="recorded", arch="arm64", kernel=tuple(host.pop("kernel")), kernel_known=True)
        yield Record(
            story=row["story"],
            host=replace(base, handlers=tuple(Handler(**one) for one in rows), **host),
            files={name: _read_entry(entry) for name, entry in row["files"].items()},
            path=row["path"],
            observed=row["observed"],
            noexec=tuple(row.get("noexec", ())),
        )


def _read_entry(row: dict[str, Any]) -> Entry:
    data = zlib.decompress(base64.b64decode(row["data"])) if "data" in row else b""
    return Entry(**{**row, "data": data})


def write(path: Path, records: Iterable[Record]) -> None:
    """Put records into a file, in place of what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line(record) + "\n" for record in records), encoding="utf-8")
