"""buildmatrix repair: a small edit of an ELF file, where that is safe; else the rebuild that does it."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

from buildmatrix import elf, matrix, prepare
from buildmatrix.commands import options
from buildmatrix.errors import EXIT_OK, DistUnwritable, MatrixMissing, RepairRefused, UsageError
from buildmatrix.host import parse
from buildmatrix.matrix import Matrix
from buildmatrix.process import SubprocessRunner
from buildmatrix.repair import advice, judge, patchelf, record
from buildmatrix.repair.advice import Rebuild
from buildmatrix.repair.edits import Edits
from buildmatrix.repair.run import Job, Repaired, repair
from buildmatrix.signing import blobs
from buildmatrix.signing.check import Context
from buildmatrix.signing.keyring import Keyring
from buildmatrix.signing.refused import Refused

SUMMARY = "change loader, run path or libraries of an ELF file where that is safe, and prove the result"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the file, which is only read")
    parser.add_argument("out", metavar="OUT", type=Path, help="the repaired copy, with OUT.repair.json beside it")
    parser.add_argument("--interpreter", metavar="PATH", help="the loader that it asks for")
    parser.add_argument("--rpath", metavar="PATHS", help="its run path; empty to remove it")
    parser.add_argument(
        "--replace-needed", nargs=2, action="append", default=[], metavar=("OLD", "NEW"), help="rename a library"
    )
    parser.add_argument("--page-size", type=int, default=0, metavar="BYTES", help="the largest page size to be kept")
    options.add_matrix(parser)
    parser.add_argument("-t", "--target", default="", metavar="NAME", help="the target that it was built for")
    parser.add_argument("--root", type=Path, metavar="DIR|TAR", help="the root file system that it is to execute in")
    parser.add_argument("--where", default=judge.FOLDER, metavar="DIR", help="its folder there (default: %(default)s)")
    parser.add_argument("--host", action="append", default=[], metavar="HOST", help="as for explain; repeatable")


def run(arguments: argparse.Namespace) -> int:
    """Repair the file, write its record, sign both; returns 0."""
    source, out = arguments.file, arguments.out
    if out.exists():
        raise UsageError(f"{out}: is there already", why="a repair replaces nothing", fix="name a new file as OUT")
    edits = Edits(
        interpreter=arguments.interpreter,
        rpath=arguments.rpath,
        replaced=tuple((old, new) for old, new in arguments.replace_needed),
        page_size=arguments.page_size,
    )
    parsed = _matrix(arguments)
    runner, machine = SubprocessRunner(), prepare.Host.current()
    keyring = prepare.keyring(parsed, machine, runner) if parsed is not None else None
    _signed(source, keyring)
    job = Job(
        source=source,
        edits=edits,
        advise=_adviser(arguments, parsed),
        root=arguments.root,
        folder=arguments.where,
        hosts=tuple(map(parse, arguments.host)),
    )
    environment = {"PATH": machine.environment.get("PATH", os.defpath), "LC_ALL": "C"}
    done = repair(job, out, patchelf.find(runner, environment), runner, environment)
    _finish(out, edits, done, keyring)
    return EXIT_OK


def _finish(out: Path, edits: Edits, done: Repaired, keyring: Keyring | None) -> None:
    note = out.with_name(out.name + record.SUFFIX)
    try:
        note.write_bytes(record.encode(out.name, edits, done))
        signed = keyring is not None and keyring.enabled
        signatures = [blobs.sign(path, keyring.signer()) for path in (out, note)] if keyring and signed else []
    except BaseException as error:
        # What nobody has signed, or nothing tells about, is not left to be found.
        for path in (out, note, blobs.bundle_path(out), blobs.bundle_path(note)):
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise DistUnwritable(
                f"{note}: cannot be written", why=error.strerror or str(error), fix="name another place"
            ) from error
        raise
    print(f"{out}: {'; '.join(edits.words())} ({done.tool})")
    for path in (note, *signatures):
        print(path)


def _matrix(arguments: argparse.Namespace) -> Matrix | None:
    """The matrix, which a repair does not need: it names the signer and the target to build again."""
    try:
        return matrix.read(Path(arguments.matrix).absolute())
    except MatrixMissing:
        if arguments.matrix != matrix.FILE_NAME:
            raise
        return None


def _adviser(arguments: argparse.Namespace, parsed: Matrix | None):  # type: ignore[no-untyped-def]
    def advise(key: str, value: str) -> Rebuild:
        named = arguments.target or arguments.file.absolute().parent.name.rpartition("_")[2]
        known = parsed is not None and named in parsed.targets
        facts = elf.read_facts(arguments.file)
        row = None if facts.elf is None else _goarch(facts.elf.machine, facts.elf.bits, facts.elf.little_endian)
        dynamic = facts.elf is not None and facts.elf.interp is not None
        target = advice.target_for(parsed, row or "NAME", dynamic=dynamic, named=named if known else "")
        return Rebuild(target=target, key=key, value=value)

    return advise


def _goarch(machine: int, bits: int, little_endian: bool) -> str | None:
    from buildmatrix import arch

    row = arch.by_machine(machine, bits, little_endian)
    return row.goarch if row is not None else None


def _signed(source: Path, keyring: Keyring | None) -> None:
    """Refuse a signed file that cannot be signed anew, or whose signature is not good."""
    signature = blobs.bundle_path(source)
    sealed = "security.ima" in _attributes(source)
    if not signature.exists() and not sealed:
        return
    what = "IMA's signature (security.ima)" if sealed else signature.name
    if sealed or keyring is None or not keyring.enabled:
        raise RepairRefused(
            f"{source}: got a signed file ({what}) and nobody to sign it anew",
            why="the edit makes its signature worthless",
            fix="set signing.backend in matrix.toml, or sign the repaired file where IMA's key is",
        )
    try:
        blobs.verify(source, signature, Context(policy=keyring.policy(), now=datetime.now(UTC)))
    except Refused as refused:
        raise RepairRefused(
            f"{source}: {refused.finding(source.name).what}",
            why="a repair signs the result, and would vouch for what nobody has vouched for",
            fix="fetch the file and its signature again, or trust its signer in [signing]",
        ) from refused


def _attributes(path: Path) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError:
        return []
