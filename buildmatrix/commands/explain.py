"""`buildmatrix explain`: would this file execute there, and why not."""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix import errors

if TYPE_CHECKING:
    from buildmatrix.host import Host
    from buildmatrix.preflight.rootfs import Root
    from buildmatrix.preflight.verdict import Verdict
    from buildmatrix.preflight.walk import View

SUMMARY = "say whether a file will execute on a target, and why not"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "command_words", metavar="FILE [ARG…]", nargs="*", help="the file and its arguments, as given to execve"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--root", metavar="DIR", help="the root file system that FILE is a path in (default: /)")
    place.add_argument("--tar", metavar="FILE", type=Path, help="a root file system in a tar archive")
    place.add_argument("--image", metavar="LAYOUT[:TAG|@DIGEST]", help="the root of an image in an OCI layout")
    place.add_argument("--scratch", action="store_true", help="an empty root that holds FILE alone, read from the disk")
    parser.add_argument(
        "--host", metavar="HOST", help="the target: arch[,key=value…] or a preset (default: this machine)"
    )
    parser.add_argument("--env", metavar="K=V", action="append", default=[], help="an environment variable; repeatable")
    parser.add_argument("--user", metavar="UID[:GID]", default="0:0", help="who executes it (default: 0:0)")
    parser.add_argument("--cwd", metavar="DIR", default="/", help="the working directory (default: /)")
    parser.add_argument(
        "--noexec", metavar="DIR", action="append", default=[], help="a directory mounted noexec; repeatable"
    )
    parser.add_argument("--no-proc", action="store_true", help="there is no /proc")
    parser.add_argument("--json", action="store_true", help="print verdicts as JSON Lines")
    parser.add_argument("--tree", action="store_true", help="draw the dependency tree")
    parser.add_argument("--all", action="store_true", help="judge every executable in the root")
    parser.add_argument("--batch", metavar="QUERIES", help="answer queries in JSON Lines from a file, or - for stdin")
    parser.add_argument("--roots", metavar="DIR", type=Path, help="with --batch: the folder that holds the roots")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    if arguments.batch is not None:
        return _batch(arguments)
    if not arguments.command_words and not arguments.all:
        raise errors.UsageError("explain: got no file, expected FILE, --all or --batch")
    if arguments.all:
        return _all(arguments)
    from buildmatrix.preflight import words
    from buildmatrix.preflight.explain import Judge
    from buildmatrix.preflight.openexec import Command

    path = arguments.command_words[0]
    if arguments.scratch:
        path = "/" + Path(path).name
    command = Command(path=path, argv=(path, *arguments.command_words[1:]), env=_environment(arguments.env))
    host = _host(arguments)
    verdict = Judge(_view(arguments, host), host).judge(command)
    if arguments.json:
        print(_json(verdict))
    else:
        _print(words.lines(verdict))
        if arguments.tree:
            _print(words.tree(verdict))
    return errors.EXIT_OK if verdict.runs else errors.EXIT_FINDINGS


def _json(verdict: Verdict) -> str:
    import json

    from buildmatrix.preflight.lab import as_json

    return json.dumps(as_json(verdict), sort_keys=True)


def _batch(arguments: argparse.Namespace) -> int:
    from buildmatrix.preflight.lab import Batch

    if arguments.roots is None:
        raise errors.UsageError("explain --batch: got no --roots, expected the folder that holds the roots")
    failed = False
    for line in Batch(arguments.roots).answers(_lines(arguments.batch)):
        failed = failed or '"error":' in line
        print(line)
    return errors.EXIT_FINDINGS if failed else errors.EXIT_OK


def _lines(name: str) -> Iterator[str]:
    if name == "-":
        yield from sys.stdin
        return
    try:
        with Path(name).open(encoding="utf-8", errors="surrogateescape") as file:
            yield from file
    except OSError as error:
        raise errors.UsageError(f"{name}: cannot be read", why=error.strerror or str(error)) from error


def _all(arguments: argparse.Namespace) -> int:
    from buildmatrix.preflight import words
    from buildmatrix.preflight.explain import Judge
    from buildmatrix.preflight.sweep import Seen, sweep

    host = _host(arguments)
    judge = Judge(_view(arguments, host), host)
    gc.set_threshold(200_000, 20, 100)  # what is read of a root's libraries stays: going through it again finds nothing
    bad = 0
    want: list[Verdict] = []
    for item in sweep(judge):
        if isinstance(item, Seen):
            if not arguments.json:
                _print(words.grouped(want))
                print(f"{item.commands} executables among {item.files} files, {bad} will not execute")
            if not item.commands and not bad:
                raise errors.NothingSelected(f"{judge.view.root.name}: holds no executable")
            continue
        bad += not item.runs
        if arguments.json:
            print(_json(item))
        elif words.lacking(item) is not None:
            want.append(item)
        elif not item.runs or item.warnings:
            _print(words.lines(item))
    return errors.EXIT_FINDINGS if bad else errors.EXIT_OK


def _print(lines: Iterable[str]) -> None:
    """Print for a person: on a terminal, what is too long goes on below itself."""
    from buildmatrix.preflight.words import folded

    if sys.stdout.isatty():
        lines = folded(lines, shutil.get_terminal_size().columns)
    for line in lines:
        print(line)


def _host(arguments: argparse.Namespace) -> Host:
    from buildmatrix import seccomp
    from buildmatrix.host import parse
    from buildmatrix.preflight.running import running

    host = running() if arguments.host is None else parse(arguments.host)
    seccomp.load(host.seccomp)  # a profile that cannot be read is told before anything is judged
    return host


def _view(arguments: argparse.Namespace, host: Host) -> View:
    from buildmatrix.preflight.walk import Credentials, View

    uid, _, gid = arguments.user.partition(":")
    if not uid.isdecimal() or not (gid or "0").isdecimal():
        raise errors.UsageError(f"--user: got {arguments.user}, expected UID or UID:GID as numbers")
    return View(
        root=_root(arguments, host),
        who=Credentials(uid=int(uid), gid=int(gid or uid)),
        cwd=arguments.cwd,
        proc=not arguments.no_proc,
        noexec=tuple(arguments.noexec),
        protected_symlinks=host.protected_symlinks,
    )


def _root(arguments: argparse.Namespace, host: Host) -> Root:
    if arguments.tar is None and arguments.image is None and not arguments.scratch:
        from buildmatrix.preflight.rootfs import DirectoryRoot

        return DirectoryRoot(arguments.root or "/")
    from buildmatrix.preflight import tarfs

    if arguments.tar is not None:
        return tarfs.tar_root(arguments.tar)
    if arguments.image is not None:
        layout, target = tarfs.named_layout(arguments.image)
        return tarfs.image_root(layout, f"linux/{host.row.oci}", target)
    if not arguments.command_words:
        raise errors.UsageError("--scratch: got no file, expected the file that the root holds")
    source = Path(arguments.command_words[0])
    return tarfs.scratch_root([("/" + source.name, source)])


def _environment(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise errors.UsageError(f"--env: got {pair!r}, expected NAME=VALUE")
    return {pair.partition("=")[0]: pair.partition("=")[2] for pair in pairs}
