"""buildmatrix keygen: a new key pair that cosign reads too."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from buildmatrix.errors import EXIT_OK
from buildmatrix.signing import keyfile, password
from buildmatrix.signing.backends import key

SUMMARY = "make a key pair for signing, in cosign's format"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("-o", "--output", default="buildmatrix.key", metavar="FILE",
                        help="the private key (%(default)s); the public one ends in .pub")  # fmt: skip
    parser.add_argument("--password-file", metavar="FILE", help="a file with the password, else BUILDMATRIX_PASSWORD, "
                        "COSIGN_PASSWORD, else the terminal")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Write both files and say what to do with them; returns 0."""
    path = Path(arguments.output)
    key.refuse_existing(path)
    file = Path(arguments.password_file) if arguments.password_file else None
    secret = password.find(os.environ, file, str(path), again=True)
    pkcs8 = key.new_pkcs8()
    made = key.from_pkcs8(pkcs8, str(path))
    public = key.create(path, keyfile.encrypt(pkcs8, secret), made.public)
    print(f"{path}: private key, for nobody else to read; keep a copy where it cannot be lost")
    print(f"{public}: public key sha256:{made.public.fingerprint}; commit it")
    print(f'matrix.toml: signing = {{ backend = "key", key = "{path}" }}')
    if not secret:
        print("warning: the password is empty, so whoever reads the file can sign")
    return EXIT_OK
