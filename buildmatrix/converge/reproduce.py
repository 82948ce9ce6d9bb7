"""Writes minimal reproducers: one small folder a root cause, with a script that shows the failure by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildmatrix import errors
from buildmatrix.converge.causes import CATALOGUE
from buildmatrix.converge.conclusion import RootCause
from buildmatrix.converge.recipes import Recipe, recipe

SCRIPT = "reproduce.sh"

_HEAD = """#!/bin/sh
# {title}
# Ends with 0 where the failure is reproduced, 1 where it is not, 77 where this host cannot show it.
set -u
cd "$(dirname "$0")" || exit 77
LC_ALL=C; export LC_ALL
machine="$(uname -m)"
work="$(mktemp -d)" || exit 77
clean=":"
trap '$clean; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

cannot() {{ echo "cannot be shown here: $1"; exit 77; }}
try() {{ echo "+ $*"; out="$("$@" 2>&1)"; status=$?; [ -z "$out" ] || printf '%s\\n' "$out"; }}
check() {{
  case "$status" in {status}) ;; *) echo "not reproduced: got status $status, expected {status}"; exit 1 ;; esac
  printf '%s\\n' "$out" | grep -Eq {expect} || {{ echo "not reproduced: it says something else"; exit 1; }}
  echo "reproduced: {slug}, status $status"
  exit 0
}}
case "$machine" in x86_64|aarch64) ;; *) cannot "there are programs for x86_64 and aarch64 only" ;; esac

"""


def write_all(causes: Sequence[RootCause], folder: Path) -> dict[int, str]:
    """Write a reproducer for every cause; returns the folders by the cause's index."""
    written = {}
    for index, item in enumerate(causes):
        place = folder / f"{index + 1:02d}-{item.cause}"
        write(item.cause, place, item)
        written[index] = str(place)
    return written


def write(slug: str, folder: Path, cause: RootCause | None = None) -> bool:
    """Write one reproducer; False where there is no recipe, and a README says why."""
    made = recipe(slug, cause)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README").write_text(_readme(slug, cause, made), encoding="utf-8")
        if made is not None:
            _files(made, slug, folder)
    except OSError as error:
        raise errors.UsageError(f"{folder}: cannot be written", why=error.strerror or str(error)) from error
    return made is not None


def _files(made: Recipe, slug: str, folder: Path) -> None:
    for name, data in made.files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644 if name.endswith(".data") else 0o755)
    head = _HEAD.format(
        title=f"{slug}: {CATALOGUE[slug].title}",
        slug=slug,
        status=made.status,
        expect="'" + made.expect.replace("'", "'\\''") + "'",
    )
    script = folder / SCRIPT
    script.write_text(f"{head}{made.script}\ncheck\n", encoding="utf-8")
    script.chmod(0o755)


def _readme(slug: str, cause: RootCause | None, made: Recipe | None) -> str:
    row = CATALOGUE[slug]
    lines = [f"{slug}: {row.title}", "", f"stage:    {row.call}", f"field:    {row.field}", f"property: {row.ability}",
             f"fix:      {row.fix}", ""]  # fmt: skip
    if cause is not None and cause.symptoms:
        lines += ["Seen as:", *(f"  {item.text}" for item in cause.symptoms[:5]), ""]
    if made is None:
        lines += ["There is no script: a host in order cannot show this failure.", f"To settle it: {row.settle}"]
    else:
        lines += [f"Run ./{SCRIPT}: 0 reproduced, 1 not reproduced, 77 this host cannot show it."]
    return "\n".join(lines) + "\n"
