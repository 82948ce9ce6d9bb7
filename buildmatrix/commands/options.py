"""Options that several commands share, and what they select."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix import matrix, plan
from buildmatrix.errors import UsageError
from buildmatrix.matrix import Cell, Matrix

if TYPE_CHECKING:
    from buildmatrix.oci.http import Access


def add_matrix(parser: argparse.ArgumentParser) -> None:
    """--matrix and --dist."""
    parser.add_argument("--matrix", default=matrix.FILE_NAME, metavar="FILE", help="the matrix file (%(default)s)")
    parser.add_argument("--dist", metavar="DIR", help="the output folder (dist/ beside the matrix file)")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """--target and --binary, both globs that may be given several times."""
    parser.add_argument(
        "-t", "--target", action="append", default=[], metavar="GLOB", help="only targets that match; may be repeated"
    )
    parser.add_argument(
        "-b", "--binary", action="append", default=[], metavar="GLOB", help="only binaries that match; may be repeated"
    )


def add_registry(parser: argparse.ArgumentParser) -> None:
    """How registries are reached."""
    group = parser.add_argument_group("registries", "credentials come from docker login (DOCKER_CONFIG is honoured)")
    group.add_argument(
        "--plain-http", action="append", default=[], metavar="HOST[:PORT]", help="speak to this registry without TLS"
    )
    group.add_argument("--ca", metavar="FILE", help="certificates to trust beside the system's")
    group.add_argument("--client-cert", metavar="FILE", help="certificate to present")
    group.add_argument("--client-key", metavar="FILE", help="its private key")


def access(arguments: argparse.Namespace) -> Access:
    """What `add_registry` was given. Raises UsageError for a file that is not there."""
    from buildmatrix.oci.http import Access

    return Access(
        plain_http=tuple(arguments.plain_http),
        ca=_existing(arguments.ca),
        client_cert=_existing(arguments.client_cert),
        client_key=_existing(arguments.client_key),
    )


def _existing(name: str | None) -> Path | None:
    if name is None:
        return None
    if not Path(name).is_file():
        raise UsageError(f"{name}: got no such file, expected one in PEM form")
    return Path(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A parsed matrix, its output folder, and the selected cells."""

    matrix: Matrix
    dist: Path
    cells: tuple[Cell, ...]

    @property
    def whole(self) -> bool:
        """Whether every cell is selected."""
        return len(self.cells) == len(self.matrix.cells)


def _own_folder(dist: Path, parsed: Matrix) -> None:
    """Refuse an output folder that holds the project: `clean` would remove it, and `build` hash its own output."""
    dist = dist.resolve()
    for inside in (parsed.path, parsed.module_dir):
        if inside.resolve().is_relative_to(dist):
            raise UsageError(
                f"--dist: got {dist}, which holds {inside}, expected a folder of its own",
                why="everything in the output folder belongs to buildmatrix, which removes what it does not know",
                fix="name a folder such as dist",
            )


def read(arguments: argparse.Namespace) -> Selection:
    """Read the matrix that the options name, and select from it."""
    parsed = matrix.read(Path(arguments.matrix).absolute())
    dist = Path(arguments.dist).absolute() if arguments.dist else parsed.root / "dist"
    _own_folder(dist, parsed)
    targets, binaries = tuple(getattr(arguments, "target", ())), tuple(getattr(arguments, "binary", ()))
    return Selection(matrix=parsed, dist=dist, cells=plan.select(parsed, targets=targets, binaries=binaries))
