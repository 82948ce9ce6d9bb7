"""A detection script: the template with a release's programs written into it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from buildmatrix import arch, scripts
from buildmatrix.detect.causes import Cause
from buildmatrix.detect.table import Program, line
from buildmatrix.errors import Undetectable


def name(cause: Cause, version: str, machine: str = "") -> str:
    """The script's file name."""
    return f"detect-{cause.slug}-in-{version}{'-' + machine if machine else ''}.sh"


def make(cause: Cause, release: str, programs: Iterable[Program], fixed: Iterable[str] = ()) -> bytes:
    """The script for a cause and the programs of a release; `fixed` are the SHA-256 of files without the cause.

    Raises Undetectable for a program of an architecture that the table lacks.
    """
    found = tuple(programs)
    lines, rows = [], []
    for program in found:
        row = program.row
        if row is None:
            raise Undetectable(
                f"{program.cell}: got {arch.machine_name(program.elf.machine)}, which is not in the table",
                fix="select other programs with -t and -b",
            )
        lines.append(line(program, row))
        rows.append(row)
    loaders = [path for row in rows for path in (row.glibc_loader, row.musl_loader)]
    values = {
        "CAUSE": cause.slug,
        "RELEASE": release,
        "ARTIFACTS": "\n".join(sorted(lines)),
        "FIXED": " ".join(sorted(fixed)),
        "PLACES": " ".join(dict.fromkeys(path for program in found for path in program.paths)),
        "LOADERS": " ".join(dict.fromkeys(loaders)),
    }
    return scripts.filled(scripts.template("buildmatrix.detect", "detect.sh"), values)
