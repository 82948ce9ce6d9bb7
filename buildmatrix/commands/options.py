"""Options that several commands share, and what they select."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix import matrix, plan
from buildmatrix.errors import UsageError
from buildmatrix.matrix import Cell, Matrix

if TYPE_CHECKING:
    from buildmatrix.oci.http import Access
    from buildmatrix.oci.registry import Repository
    from buildmatrix.release.terms import Terms

DEFAULT_MATRIX = matrix.FILE_NAME


def add_matrix(parser: argparse.ArgumentParser) -> None:
    """--matrix and --dist."""
    parser.add_argument("--matrix", default=matrix.FILE_NAME, metavar="FILE", help="the matrix file (%(default)s)")
    parser.add_argument("--dist", metavar="DIR", help="the output folder (dist/ beside the matrix file)")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """--target and --binary, both globs that may be given several times."""
    parser.add_argument(
        "-t", "--target", action="append", default=[], metavar="GLOB", help="only targets that match; may be repeated"
    )
    parser.add_argument(
        "-b", "--binary", action="append", default=[], metavar="GLOB", help="only binaries that match; may be repeated"
    )


def add_registry(parser: argparse.ArgumentParser) -> None:
    """How registries are reached."""
    group = parser.add_argument_group("registries", "credentials come from docker login (DOCKER_CONFIG is honoured)")
    group.add_argument(
        "--plain-http", action="append", default=[], metavar="HOST[:PORT]", help="speak to this registry without TLS"
    )
    group.add_argument("--ca", metavar="FILE", help="certificates to trust beside the system's")
    group.add_argument("--client-cert", metavar="FILE", help="certificate to present")
    group.add_argument("--client-key", metavar="FILE", help="its private key")


def access(arguments: argparse.Namespace) -> Access:
    """What `add_registry` was given. Raises UsageError for a file that is not there."""
    from buildmatrix.oci.http import Access

    return Access(
        plain_http=tuple(arguments.plain_http),
        ca=_existing(arguments.ca),
        client_cert=_existing(arguments.client_cert),
        client_key=_existing(arguments.client_key),
    )


def _existing(name: str | None) -> Path | None:
    if name is None:
        return None
    if not Path(name).is_file():
        raise UsageError(f"{name}: got no such file, expected one in PEM form")
    return Path(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A parsed matrix, its output folder, and the selected cells."""

    matrix: Matrix
    dist: Path
    cells: tuple[Cell, ...]

    @property
    def whole(self) -> bool:
        """Whether every cell is selected."""
        return len(self.cells) == len(self.matrix.cells)


def _own_folder(dist: Path, parsed: Matrix) -> None:
    """Refuse an output folder that holds the project: `clean` would remove it, and `build` hash its own output."""
    dist = dist.resolve()
    for inside in (parsed.path, parsed.module_dir):
        if inside.resolve().is_relative_to(dist):
            raise UsageError(
                f"--dist: got {dist}, which holds {inside}, expected a folder of its own",
                why="everything in the output folder belongs to buildmatrix, which removes what it does not know",
                fix="name a folder such as dist",
            )


def read(arguments: argparse.Namespace) -> Selection:
    """Read the matrix that the options name, and select from it."""
    parsed = matrix.read(Path(arguments.matrix).absolute())
    dist = Path(arguments.dist).absolute() if arguments.dist else parsed.root / "dist"
    _own_folder(dist, parsed)
    targets, binaries = tuple(getattr(arguments, "target", ())), tuple(getattr(arguments, "binary", ()))
    return Selection(matrix=parsed, dist=dist, cells=plan.select(parsed, targets=targets, binaries=binaries))


def add_terms(parser: argparse.ArgumentParser) -> None:
    """--matrix, --trusted-key and --image: by what a release in a registry is judged."""
    add_matrix(parser)
    parser.set_defaults(matrix=None)  # so that it shows whether one was named
    parser.add_argument(
        "--trusted-key",
        action="append",
        default=[],
        metavar="FILE",
        help="a public key that a release may be signed by, instead of those of [signing]; may be repeated",
    )
    parser.add_argument("--image", default="", metavar="NAME", help="the image of matrix.toml that it is")
    parser.add_argument(
        "--promoted-from",
        action="append",
        default=[],
        metavar="REPOSITORY",
        help="signatures for this repository are good too; may be repeated",
    )


def terms(arguments: argparse.Namespace) -> Terms:
    """By what to judge: a matrix where one is named or lies here, and the keys that are trusted.

    Keys alone are enough. Raises UsageError where there is nobody to trust.
    """
    from datetime import UTC, datetime

    from buildmatrix import prepare, releasespec, trust
    from buildmatrix.process import SubprocessRunner
    from buildmatrix.release.terms import Terms
    from buildmatrix.signing.check import Context
    from buildmatrix.signing.keyring import Keyring
    from buildmatrix.toolchain import cache_dir

    host, keys = prepare.Host.current(), tuple(str(Path(name).absolute()) for name in arguments.trusted_key)
    parsed = _matrix_for_terms(arguments.matrix, bool(keys))
    signing = trust.read({"backend": trust.NONE, "trusted-keys": keys})[0]
    if parsed is not None and not keys:
        signing = parsed.signing
    keyring = Keyring(
        signing,
        root=parsed.root if parsed is not None else Path.cwd(),
        cache=cache_dir(host.environment),
        environment=host.environment,
        runner=SubprocessRunner(),
    )
    policy = parsed.release if parsed is not None else releasespec.DEFAULT
    names = (*policy.promoted_from, *arguments.promoted_from)
    context = Context(policy=keyring.policy(), now=datetime.now(UTC), repositories=names)
    return Terms(policy=policy, context=context, matrix=parsed, image=arguments.image)


def _matrix_for_terms(name: str | None, keys: bool) -> Matrix | None:
    if name is not None or (not keys and Path(DEFAULT_MATRIX).is_file()):
        return matrix.read(Path(name or DEFAULT_MATRIX).absolute())
    if not keys:
        raise UsageError(
            "got nobody to trust, expected a matrix or a key",
            why="anybody can sign with a key of their own",
            fix="run in the folder of matrix.toml, or name the matrix with --matrix, or a key with --trusted-key",
        )
    return None


@contextmanager
def opened(arguments: argparse.Namespace, text: str, *, target: bool = True) -> Iterator[tuple[Repository, str]]:
    """A repository by its reference, and the tag or digest in it.

    Raises ReferenceInvalid, and UsageError where there is a tag or digest but `target` is false.
    """
    from buildmatrix.oci import credentials, reference
    from buildmatrix.oci.registry import Registry
    from buildmatrix.process import SubprocessRunner

    where = reference.parse(text)
    if not target and (where.tag or where.digest):
        raise UsageError(f"{text}: got a tag or digest, expected a repository alone", fix="leave it out")
    source = credentials.from_environment(SubprocessRunner())
    with Registry(where.registry, access=access(arguments), credentials=source) as registry:
        yield registry.repository(where.repository), where.target if target else ""
