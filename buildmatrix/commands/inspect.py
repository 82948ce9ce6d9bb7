"""`buildmatrix inspect`: the table of an image index, and what is missing from it or contradicts it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildmatrix import errors
from buildmatrix.finding import Severity, worst

if TYPE_CHECKING:
    from buildmatrix.oci.content import Document
    from buildmatrix.oci.http import Access
    from buildmatrix.oci.inspection import Entry, Inspection
    from buildmatrix.oci.layout import Layout
    from buildmatrix.oci.store import Source

SUMMARY = "say what an image index holds, and where it contradicts itself or lacks something"

SCHEMA = 1
"""Version of the JSON document; docs/images.md describes it."""

_HEAD = ("PLATFORM", "DIGEST", "CONFIG", "SIZE", "LAYERS", "CREATED", "SIGNED", "ATTESTED")
_SHORT = len("sha256:") + 16


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "image", metavar="REF|LAYOUT", help="an image in a registry, or a folder with an OCI layout (with :TAG or not)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/images.md)")
    parser.add_argument("--allow-unsigned", action="store_true", help="missing signatures are warnings")
    parser.add_argument("--plain-http", action="store_true", help="speak to the registry without TLS")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust besides the system's (PEM)")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="client certificate (PEM)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its private key (PEM)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns 1 where something is missing or contradictory."""
    from buildmatrix.oci import inspection

    unsigned = Severity.WARNING if arguments.allow_unsigned else Severity.ERROR
    with _opened(arguments) as (source, top, stored):
        report = inspection.inspect(source, top, top_is_stored=stored, unsigned=unsigned)
    if arguments.json:
        print(json.dumps(as_json(report), sort_keys=True))
    else:
        _show(report)
    return errors.EXIT_FINDINGS if worst(report.findings) is Severity.ERROR else errors.EXIT_OK


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[tuple[Source, Document, bool]]:
    """The store, the manifest at the top, and whether it is stored as one."""
    folder, target = _split(arguments.image)
    if folder is not None:
        from buildmatrix.oci.layout import Layout

        layout = Layout(folder)
        yield (layout, *_top(layout, target))
        return
    from buildmatrix.oci import credentials, reference, registry
    from buildmatrix.process import SubprocessRunner

    where = reference.parse(arguments.image)
    source = credentials.from_environment(SubprocessRunner())
    with registry.Registry(where.registry, access=_access(arguments, where.registry), credentials=source) as opened:
        repository = opened.repository(where.repository)
        yield repository, repository.manifest(where.target), True


def _access(arguments: argparse.Namespace, registry: str) -> Access:
    from buildmatrix.oci.http import Access

    return Access(
        plain_http=(registry,) if arguments.plain_http else (),
        ca=arguments.ca,
        client_cert=arguments.cert,
        client_key=arguments.key,
    )


def _split(text: str) -> tuple[Path | None, str]:
    """A layout's folder and what is asked of it; no folder where the text is a reference."""
    if Path(text).is_dir():
        return Path(text), ""
    for glue in "@:":
        folder, found, target = text.rpartition(glue)
        if found and Path(folder).is_dir():
            return Path(folder), target
    if text.startswith(("/", "./", "../")):
        raise errors.UsageError(f"{text}: there is no such folder", fix="name an OCI layout, or an image reference")
    return None, ""


def _top(layout: Layout, target: str) -> tuple[Document, bool]:
    """What is inspected: the tag or digest asked for, else the one image of the layout, else its index.json."""
    from buildmatrix.oci import media

    root = layout.root()
    if target:
        return layout.manifest(target), True
    suffixes = tuple(f".{suffix}" for suffix in media.LEGACY_SUFFIXES)
    own = {
        item.digest: item
        for item in root.manifest().manifests
        if not item.annotations.get(media.REF_NAME, "").endswith(suffixes)
        and not (item.is_manifest and layout.has_blob(item.digest) and layout.manifest(item).manifest().subject)
    }
    if len(own) == 1 and (only := next(iter(own.values()))).is_index:
        return layout.manifest(only), True
    return root, False


def as_json(report: Inspection) -> dict[str, Any]:
    """The document of --json."""
    return {
        "schema": SCHEMA,
        "name": report.name,
        "entries": [_entry_json(entry) for entry in report.entries],
        "findings": [asdict(finding) for finding in report.findings],
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "digest": entry.descriptor.digest,
        "mediaType": entry.descriptor.media_type,
        "kind": entry.kind,
        "depth": entry.depth,
        "platform": str(entry.platform) if entry.platform else None,
        "configPlatform": str(entry.config) if entry.config else None,
        "size": entry.size,
        "layers": entry.layers,
        "created": entry.created or None,
        "signatures": list(entry.signatures),
        "attestations": list(entry.attestations),
        "attests": entry.attests or None,
        "missing": [item.digest for item in entry.missing],
    }


def _show(report: Inspection) -> None:
    rows = [_HEAD, *(_row(entry) for entry in report.entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    print(f"{report.name} {report.entries[0].descriptor.digest}")
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    for finding in report.findings:
        print()
        print("\n".join(map(_printable, finding.lines())))
    sys.stdout.flush()


def _row(entry: Entry) -> tuple[str, ...]:
    is_image = entry.kind == "image"
    name = str(entry.platform or entry.config or entry.kind) if is_image else entry.kind
    return tuple(
        _printable(cell)
        for cell in (
            "  " * entry.depth + name,
            entry.descriptor.digest[:_SHORT],
            str(entry.config or "-"),
            _size(entry.size) if entry.kind != "index" else "-",
            str(entry.layers) if is_image else "-",
            entry.created[:19] or "-",
            ", ".join(entry.signatures) or "-",
            ", ".join(entry.attestations) or "-",
        )
    )


def _size(count: int) -> str:
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{count / power:.1f} {unit}"
    return f"{count} B"


def _printable(text: str) -> str:
    """What a registry says, without what could steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
