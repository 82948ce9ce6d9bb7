"""buildmatrix deliver: a fix as it is handed over, one signed folder a machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from buildmatrix import prepare, signed
from buildmatrix.bundle.spec import Contents
from buildmatrix.commands import options
from buildmatrix.commands.options import Selection
from buildmatrix.delivery import gather, write
from buildmatrix.delivery.spec import Fixed, Judged, Part
from buildmatrix.detect import causes, script
from buildmatrix.dist import Dist
from buildmatrix.errors import EXIT_OK, DeliveryRefused, UsageError
from buildmatrix.host import parse
from buildmatrix.preflight import words
from buildmatrix.process import SubprocessRunner
from buildmatrix.repair import judge
from buildmatrix.repair.judge import Place
from buildmatrix.signing import blobs
from buildmatrix.signing.check import Context
from buildmatrix.signing.keyring import Keyring
from buildmatrix.signing.refused import Refused

SUMMARY = "write a fix as it is handed over: binary, detection, way back, notes, one signed folder a machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("cause", metavar="CAUSE|CODE", help="what was fixed: as for detect")
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("--affected", required=True, metavar="DIR", help="the dist folder of the affected release")
    parser.add_argument(
        "--patched", action="append", default=[], metavar="CELL=FILE", help="a repaired file instead of a rebuilt cell"
    )
    parser.add_argument("--back-to", metavar="DIR", help="the dist folder to go back to (the affected one)")
    parser.add_argument("--to", default="", metavar="PATH", help="where it is installed on hosts")
    parser.add_argument("--root", type=Path, metavar="DIR|TAR", help="the root file system that it executes in")
    parser.add_argument("--host", action="append", default=[], metavar="HOST", help="as for explain; repeatable")
    parser.add_argument("-o", "--output", metavar="DIR", help="a new folder (delivery/ beside the matrix file)")


def run(arguments: argparse.Namespace) -> int:
    """Write the delivery and print its folders; returns 0."""
    cause = causes.find(arguments.cause)
    selection = options.read(arguments)
    keyring = prepare.keyring(selection.matrix, prepare.Host.current(), SubprocessRunner())
    signer = keyring.signer() if keyring.enabled else None
    parts = tuple(_parts(arguments, selection, cause, keyring))
    out = Path(arguments.output) if arguments.output else selection.matrix.root / "delivery"
    for folder in write.write(parts, out, signer):
        print(folder)
    return EXIT_OK


def _parts(
    arguments: argparse.Namespace, selection: Selection, cause: causes.Cause, keyring: Keyring
) -> Iterator[Part]:
    name = selection.matrix.project.name
    affected, fixed = Dist(Path(arguments.affected)), Dist(selection.dist)
    back = Dist(Path(arguments.back_to)) if arguments.back_to else affected
    files = _patched(arguments, keyring)
    wanted = (arguments.target, arguments.binary, name, arguments.to)
    ways = {item.machine: item for item in gather.contents(back, *wanted)}
    made = {} if files else {item.machine: item for item in gather.contents(fixed, *wanted)}
    for old in gather.contents(affected, *wanted):
        programs = gather.by_cell(affected, old.cells)
        if files:
            fixes = gather.patched(programs, files)
        else:
            _trusted(fixed, _present(made, old.machine, fixed).cells, keyring)
            fixes = gather.rebuilt(fixed, programs, made[old.machine])
        version = f"{old.version}+patched" if files else made[old.machine].version
        yield Part(
            row=old.row,
            cause=cause,
            affected=gather.release(affected, old.version, name),
            fix=gather.release(affected if files else fixed, version, name),
            programs=fixes,
            back=_present(ways, old.machine, back),
            script=script.name(cause, old.version, old.machine),
            judged=tuple((item.after.cell, tuple(_judged(arguments, item, old.row.goarch))) for item in fixes),
        )


def _present(found: dict[str, Contents], machine: str, dist: Dist) -> Contents:
    if machine not in found:
        raise DeliveryRefused(
            f"{dist.root}: has nothing for {machine}, which is affected",
            why="a delivery without it leaves those hosts as they are",
            fix="build it there too, or leave the machine out with -t",
        )
    return found[machine]


def _trusted(dist: Dist, cells: tuple[str, ...], keyring: Keyring) -> None:
    """What is signed with the delivery has to be signed well already."""
    for record in dist.records():
        if record.cell in cells:
            wrong = tuple(signed.findings(dist, signed.Files.of(record), keyring, now=datetime.now(UTC), release=False))
            if wrong:
                raise DeliveryRefused(
                    f"{record.cell}: {wrong[0].rule}: {wrong[0].what}",
                    why=wrong[0].why,
                    fix=wrong[0].fix or "build the cell again",
                )


def _patched(arguments: argparse.Namespace, keyring: Keyring) -> dict[str, Path]:
    found = {}
    context = Context(policy=keyring.policy(), now=datetime.now(UTC)) if keyring.enabled else None
    for text in arguments.patched:
        cell, glue, name = text.partition("=")
        if not glue or not name:
            raise UsageError(f"--patched: got {text!r}, expected CELL=FILE", fix="as in app_arm64=repaired/app")
        found[cell] = Path(name)
        if context is not None:
            try:
                blobs.verify(found[cell], blobs.bundle_path(found[cell]), context)
            except Refused as refused:
                raise DeliveryRefused(
                    f"{name}: {refused.finding(cell).what}",
                    why="a repair signs what it writes; this is something else",
                    fix="repair the file again",
                ) from refused
    return found


def _judged(arguments: argparse.Namespace, item: Fixed, goarch: str) -> Iterator[Judged]:
    if item.after.elf.interp is not None and arguments.root is None:
        return
    hosts = tuple(host for host in map(parse, arguments.host or [goarch]) if host.arch == goarch)
    place = Place(root=arguments.root, folder=judge.FOLDER, hosts=hosts)
    new = judge.verdicts(place, item.path)
    old_path = Path(arguments.affected) / item.before.cell / item.before.name
    for host, before, after in zip(hosts, judge.verdicts(place, old_path), new, strict=True):
        if not after.runs:
            raise DeliveryRefused(
                f"{item.after.cell}: it does not execute on {host.name} after the fix: {after.cause}",
                why="; ".join(f"{step.place}: {step.text}" for step in after.evidence),
                fix=after.fix or "correct the fix",
            )
        yield Judged(host=host.name, before=words.sentence(before), after=words.sentence(after))
