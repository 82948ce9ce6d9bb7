"""NOTES.md of a delivery: what was wrong, what was changed, what says so, and how to go on. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.bundle.pack import SUFFIX
from buildmatrix.checks.alignment import mappable
from buildmatrix.delivery.spec import Fixed, Part
from buildmatrix.detect.table import Program, cpu_words, needs


def markdown(part: Part, signer: str) -> bytes:
    """The notes; `signer` is who signed the delivery, in words, or empty."""
    return ("\n".join(_lines(part, signer)) + "\n").encode()


def _lines(part: Part, signer: str) -> Iterator[str]:
    cause, machine = part.cause, part.row.uname
    yield f"# {part.fix.name} {part.fix.version} for {machine}"
    yield ""
    yield f"Fixes **{cause.slug}** in {part.affected.version}: {cause.means}."
    yield ""
    for title, release in (("affected", part.affected), ("fixed", part.fix)):
        commit = f", commit {release.commit}" if release.commit else ""
        yield f"- {title}: {release.name} {release.version}{commit}"
    for item in part.programs:
        yield from ["", *_program(item, part)]
    yield from ["", "## On a host", ""]
    yield from _host(part)
    yield from ["", "## Trust", ""]
    yield from _trust(signer)


def _program(item: Fixed, part: Part) -> Iterator[str]:
    yield f"## {item.after.name} ({item.after.cell})"
    yield ""
    yield "patched: see the record of the repair beside it" if item.record is not None else "built again"
    yield ""
    yield "| | before | after |"
    yield "| --- | --- | --- |"
    rows = zip(_facts(item.before), _facts(item.after), strict=True)
    for (name, old), (_, new) in rows:
        yield f"| {name} | {old} | {new} |"
    yield ""
    judged = dict(part.judged).get(item.after.cell, ())
    if not judged:
        yield "The preflight was not asked: the program has a loader, and no root was named (`--root`)."
    for verdict in judged:
        yield f"- {verdict.host}, before: {verdict.before}"
        yield f"- {verdict.host}, after: {verdict.after}"


def _facts(program: Program) -> Iterator[tuple[str, str]]:
    elf, row = program.elf, program.row
    go = program.facts.go
    yield "SHA-256", f"`{program.sha256}`"
    yield "bytes", str(program.size)
    yield "build id", elf.build_id or elf.go_build_id or "none"
    yield "Go", go.version if go is not None else "none"
    yield "loader", elf.interp or "none, it is static"
    yield "run path", elf.runpath or elf.rpath or "none"
    yield "libraries", ", ".join(elf.needed) or "none"
    yield "versions needed", ", ".join(item for item in needs(elf) if not item.endswith(":")) or "none"
    yield "page sizes", ", ".join(map(str, mappable(elf))) or "none"
    yield "CPU", ", ".join(cpu_words(go, elf, row)) if row is not None and cpu_words(go, elf, row) else "the first"


def _host(part: Part) -> Iterator[str]:
    yield f"1. `sh {part.script} [FILE ...]` says whether the host is affected: status 0 no, 1 yes, 2 cannot tell, and"
    yield "   one line of JSON for each file. It executes and writes nothing."
    yield "2. Install the program from here: copy it beside the old one, compare its SHA-256, then rename it."
    yield f"3. To go back to {part.back.version}: unpack `{part.back.stem}{SUFFIX}`, then"
    yield f"   `sh {part.back.stem}/{part.back.script} --dry-run --to PATH`, and again without `--dry-run`."


def _trust(signer: str) -> Iterator[str]:
    yield "`SHA256SUMS` lists every file of this folder but the signatures: `sha256sum -c SHA256SUMS`."
    if signer:
        yield f"Every file has a signature beside it, `*.sigstore.json`, {signer}: `buildmatrix verify FILE`, or"
        yield "`cosign verify-blob --bundle FILE.sigstore.json --key KEY.pub FILE`."
    else:
        yield "Nothing here is signed: `signing.backend` is `none`."
