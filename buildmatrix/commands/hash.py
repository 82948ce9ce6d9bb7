"""buildmatrix hash: digests in the form that sha256sum -c accepts."""

from __future__ import annotations

import argparse
import os
import sys

from buildmatrix.commands import _inputs
from buildmatrix.errors import EXIT_FINDINGS, EXIT_OK
from buildmatrix.facts import Kind

SUMMARY = "digests in the form that sha256sum -c accepts"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, and trees whose files are all hashed")
    parser.add_argument(
        "-a",
        "--algorithm",
        choices=("sha256", "sha512", "sha1"),
        default="sha256",
        help="check with sha256sum, sha512sum or sha1sum -c (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="0: one for each processor")


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each regular file, in the order given and sorted inside trees; returns the exit status."""
    trouble: list[object] = []
    options = _inputs.Options(hashes=(arguments.algorithm,), facts=False, threads=arguments.threads, archives=False)
    for entry in _inputs.entries(arguments.paths, options, trouble.append):
        digest = getattr(entry.digests, arguments.algorithm)
        if digest is not None:
            sys.stdout.buffer.write(line(digest, os.fsencode(entry.location)))
        elif entry.kind is not Kind.SYMLINK or not entry.ok:
            trouble.append(_inputs.complaint(entry) or f"{entry.location}: not hashed")
    sys.stdout.buffer.flush()
    for each in trouble:
        _inputs.complain(each)
    return EXIT_FINDINGS if trouble else EXIT_OK


def line(digest: str, name: bytes) -> bytes:
    r"""One line of a check file, as coreutils writes it.

    A name with a backslash, newline or carriage return is escaped and its line marked by a backslash.

    >>> line("00", b"a\nb")
    b'\\00  a\\nb\n'
    """
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != name else b""
    return mark + digest.encode("ascii") + b"  " + escaped + b"\n"
