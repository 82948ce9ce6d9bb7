"""`buildmatrix …`: one module a command, loaded when it is asked for; errors become exit statuses.

0 clean, 1 findings, 2 usage or configuration, 3 missing tool or nothing selected, 4 build failed,
5 signing, 70 internal, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from buildmatrix import __version__, errors

COMMANDS = {
    "init": "write a first matrix.toml, noxfile and Makefile include for a Go repository",
    "plan": "show every cell with its exact command, and run nothing",
    "build": "build, scan and check cells; what is unchanged is skipped",
    "verify": "prove dist/ from its bytes, trusting no record",
    "report": "verify dist/, and write reports for people, pull requests, code scanning and CI",
    "image": "build multi-arch images and prove them from their bytes",
    "push": "publish images by digest, prove them in the registry, and set their tags last",
    "release": "build, prove, sign and judge a release before it gets a tag; or judge one in a registry",
    "promote": "take a release to another registry or repository, with all that belongs to it",
    "rollback": "set tags of a registry back to an earlier release",
    "diff": "say what changed between two releases",
    "run": "start each platform's image on the local engine, and ask it whether it lives",
    "keygen": "make a key pair for signing, in cosign's format",
    "sign": "sign files; `build` signs dist/ by itself",
    "repro": "build twice in different folders and compare every byte",
    "scan": "facts and digests of files, trees, archives and image layouts",
    "hash": "digests in the form that sha256sum -c accepts",
    "inspect": "say what an image index holds, and where it contradicts itself or lacks something",
    "helm": "hold charts and manifests to the verified image index, or mend them",
    "rollout": "plan a roll-out in stages, one node pool after the other",
    "sbom": "the bill of materials of a tree, archive or image; what changed between two",
    "explain": "say whether a file will execute on a target, and why not",
    "bundle": "pack what goes back to this version on a bare host: one archive with a script for each machine",
    "detect": "write scripts that say on a bare host whether a root cause strikes there",
    "repair": "change loader, run path or libraries of an ELF file where that is safe, and prove the result",
    "deliver": "write a fix as it is handed over: binary, detection, way back, notes, one signed folder a machine",
    "converge": "name the root causes behind logs, traces and records",
    "children": "list the programs that the sources start",
    "faults": "run workloads under injected faults, and measure what fails and recovers",
    "ldcache": "find stale, missing and foreign entries of an ld.so.cache",
    "doctor": "say what is here, what is missing for which session, and what mends it",
    "make": "print a Makefile fragment with a rule for every cell",
    "codes": "say what the codes of errors and findings mean",
    "schema": "print the JSON Schema of matrix.toml",
    "clean": "remove what matrix.toml does not account for from dist/",
}
"""Every command with its summary; a module of the same name in buildmatrix/commands/ implements it."""


class _Formatter(argparse.HelpFormatter):
    """Help as wide as the terminal. argparse's own asks shutil, whose import takes as long as argparse's."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    words = os.environ.get("COLUMNS", "")
    if words.isdecimal() and int(words):
        return int(words)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80 if sys.__stdout__ else 80
    except (OSError, ValueError):
        return 80


def _parser(selected: str | None, alone: bool = False) -> argparse.ArgumentParser:
    """The parser; `selected` has its arguments, and is the only command that there is where it is `alone`."""
    parser = argparse.ArgumentParser(
        prog="buildmatrix",
        formatter_class=_Formatter,
        description="Build, check and sign Go services for every architecture, and prove that they will execute there.",
        epilog="exit status: 0 clean, 1 findings, 2 usage or configuration, 3 missing tool or nothing selected, "
        "4 build failed, 5 signing, 70 internal, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"buildmatrix {__version__}")
    # Without prog, argparse would format a usage line for it, and import shutil to do so.
    commands = parser.add_subparsers(prog="buildmatrix", dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if alone and name != selected:
            continue
        about = summary[0].upper() + summary[1:] + "."
        sub = commands.add_parser(name, help=summary, description=about, formatter_class=_Formatter)
        if name == selected:
            _module(name).configure(sub)
    return parser


def _module(name: str):  # type: ignore[no-untyped-def]  # modules have no protocol that argparse code could check
    return importlib.import_module(f"buildmatrix.commands.{name.replace('-', '_')}")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit status. Never raises for what a user can act on."""
    arguments = sys.argv[1:] if argv is None else argv
    selected = next((word for word in arguments if word in COMMANDS), None)
    with _terminate_as_interrupt():
        try:
            options = _parser(selected, alone=arguments[:1] == [selected]).parse_args(arguments)
            status = int(_module(options.command).run(options))
            sys.stdout.flush()
            return status
        except SystemExit as stop:  # argparse, after it has printed help or a complaint
            return int(stop.code or 0)
        except errors.BuildmatrixError as error:
            print(error, file=sys.stderr)
            return error.exit_status
        except KeyboardInterrupt as stop:
            print(f"interrupted: {stop}" if stop.args else "interrupted: nothing half-written is left", file=sys.stderr)
            return errors.EXIT_INTERRUPTED
        except BrokenPipeError:
            _silence_stdout()
            return errors.EXIT_FINDINGS
        except Exception:
            import traceback

            traceback.print_exc()
            print("this is a defect of buildmatrix: please report it with the lines above", file=sys.stderr)
            return errors.EXIT_INTERNAL


def _silence_stdout() -> None:
    # Python flushes stdout once more at exit; give it somewhere to go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


if __name__ == "__main__":
    sys.exit(main())
