"""buildmatrix diff: say what changed between two releases, architecture by architecture."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix import errors
from buildmatrix.commands import options
from buildmatrix.report import terminal

if TYPE_CHECKING:
    from buildmatrix.release.difference import Difference
    from buildmatrix.release.units import Side

SUMMARY = "say what changed between two releases"

_DIGEST = 64
_SHOWN = 12
_NARROW = 20
_VISIBLE = 0.001
"""A smaller change of size is told in bytes: it would look like none in percent."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    for name in ("old", "new"):
        parser.add_argument(name, metavar=name.upper(), help="a dist folder, an OCI layout, or an image in a registry")
    options.add_registry(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/release.md)")


def run(arguments: argparse.Namespace) -> int:
    """Compare; returns 1 where the two differ."""
    from buildmatrix.release import difference

    old, new = (_side(arguments, name) for name in (arguments.old, arguments.new))
    found = difference.differences(old, new)
    if arguments.json:
        print(json.dumps(difference.as_json(old, new, found), sort_keys=True))
    else:
        width = shutil.get_terminal_size((80, 24)).columns
        for line in table(old, new, found, width):
            print(line)
    return errors.EXIT_FINDINGS if found else errors.EXIT_OK


def _side(arguments: argparse.Namespace, text: str) -> Side:
    from buildmatrix.oci import graph
    from buildmatrix.oci.layout import Layout, is_layout
    from buildmatrix.release import units

    path, tag = Path(text), ""
    if not path.is_dir() and Path(text.rpartition(":")[0]).is_dir() and text.rpartition(":")[0]:
        path, tag = Path(text.rpartition(":")[0]), text.rpartition(":")[2]
    if path.is_dir():
        return units.of_layout(Layout(path), tag) if is_layout(path) else units.of_dist(path)
    if text.startswith(("/", "./", "../")):
        raise errors.UsageError(f"{text}: there is no such folder", fix="name a dist folder, a layout, or an image")
    with options.opened(arguments, text) as (repository, target):
        return units.of_images(repository, graph.resolve(repository, target))


def table(old: Side, new: Side, found: tuple[Difference, ...], width: int) -> Iterator[str]:
    """The differences for people, no line wider than `width`: a heading for each architecture, then its rows."""
    yield from _wrapped(f"old  {old.name}", width, 5)
    yield from _wrapped(f"new  {new.name}", width, 5)
    for name in sorted({*old.units, *new.units}):
        rows = [item for item in found if item.unit == name]
        yield ""
        yield from _wrapped(f"{name}{'' if rows else '  no change'}", width, 2)
        for item in rows:
            yield from _wrapped(f"  {item.kind:<6}  {_text(item)}", width, 10)


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    text = terminal.printable(text)
    return textwrap.wrap(
        text,
        max(width, _NARROW),
        subsequent_indent=" " * indent,
        drop_whitespace=True,
        replace_whitespace=False,
        break_on_hyphens=False,
    )


def _text(item: Difference) -> str:
    if item.kind == "unit":
        return "is new" if item.new else "is gone"
    if item.kind == "size":
        before, after = int(item.old), int(item.new)
        share = (after - before) / before if before else 0.0
        grown = f"{share:+.1%}" if abs(share) >= _VISIBLE else f"{after - before:+d} B"
        return f"{_size(before)} → {_size(after)} ({grown})"
    if item.kind == "file":
        return f"{'+' if not item.old else '-' if not item.new else '~'} {item.what}"
    what = f"{item.what}: " if item.what else ""
    if not item.old or not item.new:
        return f"{what}{'+' if item.new else '-'} {_short(item.new or item.old)}"
    return f"{what}{_short(item.old)} → {_short(item.new)}"


def _short(text: str) -> str:
    return f"{text[:_SHOWN]}…" if len(text) == _DIGEST and text.isalnum() else text


def _size(count: int) -> str:
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{count / power:.1f} {unit}"
    return f"{count} B"
