"""buildmatrix codes: what a BM code means."""

from __future__ import annotations

import argparse
import difflib

from buildmatrix import codes
from buildmatrix.errors import EXIT_OK, UsageError

SUMMARY = "say what the codes of errors and findings mean"
_PAGES = {"errors": codes.errors_page, "checks": codes.checks_page}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("code", nargs="*", metavar="CODE", help="explain only these, such as BM505")
    parser.add_argument("--markdown", choices=tuple(_PAGES), help="a documentation page instead")


def run(arguments: argparse.Namespace) -> int:
    """Print; returns 0."""
    if arguments.markdown:
        print(_PAGES[arguments.markdown](), end="")
        return EXIT_OK
    known = {item.code: item for item in codes.every()}
    for name in arguments.code:
        item = known.get(name.upper())
        if item is None:
            same = [code for code in known if code[:4] == name.upper()[:4]]
            close = difflib.get_close_matches(name.upper(), same or known, n=1)
            raise UsageError(
                f"unknown code: got {name}, expected one of BM101 … {max(known)}",
                fix=f"did you mean {close[0]}?" if close else "`buildmatrix codes` lists them all",
            )
        print(f"{item.code} {item.title} ({item.kind}, exit status {item.exit_status})\n\n{item.page}\n")
    if not arguments.code:
        print("\n".join(f"{item.code}  {item.title}" for item in known.values()))
    return EXIT_OK
