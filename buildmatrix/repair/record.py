"""OUT.repair.json: what was changed in which bytes, by which program, and what was found before and after. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

from buildmatrix.checks.alignment import mappable
from buildmatrix.dist import canonical
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.repair.compare import File, loads
from buildmatrix.repair.edits import Edits
from buildmatrix.repair.ranges import ranges
from buildmatrix.repair.run import Repaired

SCHEMA = 1
SUFFIX = ".repair.json"


def encode(name: str, edits: Edits, repaired: Repaired) -> bytes:
    """The record as the bytes of its file."""
    changed = [asdict(item) for item in ranges(repaired.before, repaired.after)]
    return canonical(
        {
            "schema": SCHEMA,
            "name": name,
            "tool": repaired.tool,
            "edits": list(edits.words()),
            "before": _state(repaired.before),
            "after": _state(repaired.after),
            "ranges": changed,
            "preflight": [
                {"host": host.name, "before": _verdict(old), "after": _verdict(new)}
                for host, old, new in repaired.verdicts
            ],
        }
    )


def _state(file: File) -> dict[str, Any]:
    found = file.elf
    go = file.facts.go
    return {
        "sha256": hashlib.sha256(file.data).hexdigest(),
        "size": len(file.data),
        "interpreter": found.interp,
        "rpath": found.rpath,
        "runpath": found.runpath,
        "needed": list(found.needed),
        "build_id": found.build_id,
        "go_build_id": found.go_build_id,
        "go": go.version if go is not None else None,
        "entry": found.entry,
        "page_sizes": list(mappable(found)),
        "load": [
            {"offset": item.offset, "address": item.vaddr, "size": item.memsz, "align": item.align, "flags": item.flags}
            for item in loads(found)
        ],
        "program_headers": found.phnum,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "stage": verdict.stage.value,
        "cause": verdict.cause,
        "certain": verdict.certain,
        "message": verdict.message,
    }
