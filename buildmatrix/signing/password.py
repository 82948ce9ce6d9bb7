"""Where the password of a private key comes from: a file, the environment, or the person at the terminal."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping
from pathlib import Path

from buildmatrix.errors import KeyDamaged, PasswordMissing

VARIABLES = ("BUILDMATRIX_PASSWORD", "COSIGN_PASSWORD")
"""The first that is set counts, even where it is empty: an empty password is one."""


def find(environment: Mapping[str, str], file: Path | None, what: str, *, again: bool = False) -> bytes:
    """The password for the key `what`; a line end at the end of `file` is no part of it.

    `again` asks twice, as for a new key. Raises PasswordMissing without a terminal to ask at.
    """
    if file is not None:
        return _from_file(file)
    for name in VARIABLES:
        if name in environment:
            return environment[name].encode("utf-8", "surrogateescape")
    if not sys.stdin.isatty():
        raise PasswordMissing(
            f"{what}: no password for this key, and no terminal to ask at",
            why=f"got neither {' nor '.join(VARIABLES)}, expected one of them, a password file or a terminal",
            fix=f"set {VARIABLES[0]}, or name a file in signing.password-file or --password-file",
        )
    first = getpass.getpass(f"Password for {what}: ")
    if again and getpass.getpass("The same again: ") != first:
        raise PasswordMissing(f"{what}: got two different passwords, expected the same twice", fix="try again")
    return first.encode()


def _from_file(file: Path) -> bytes:
    try:
        return file.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise KeyDamaged(
            f"{file}: the password file cannot be read", why=error.strerror or str(error), fix="make it readable"
        ) from error
