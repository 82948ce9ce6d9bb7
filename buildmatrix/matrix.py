"""The only reader of matrix.toml: bytes in, a typed Matrix out, or every problem at once.

A problem carries its key path (`targets.arm64.level`), what was found, what is allowed and, for a
misspelt key, the closest one.
"""

from __future__ import annotations

import difflib
import fnmatch
import tomllib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from buildmatrix import builderspec, deployment, deployspec, faultspec, imagespec, releasespec, schema, trust
from buildmatrix.builderspec import BuilderSpec
from buildmatrix.deployment import FleetHost, RootImage
from buildmatrix.deployspec import Deploy, Pool
from buildmatrix.errors import MatrixError, MatrixMissing, MatrixSyntax, Problem
from buildmatrix.faultspec import FaultSpec, WorkloadSpec
from buildmatrix.imagespec import ImageSpec
from buildmatrix.reader import NOTHING, Reader, Words
from buildmatrix.releasespec import ReleaseSpec
from buildmatrix.schema import Key
from buildmatrix.target import Target, resolve
from buildmatrix.trust import Signing

FILE_NAME = "matrix.toml"
_RESERVED = ("all",)
_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Table [project]; `version` is ``git`` or a literal."""

    name: str
    version: str
    supplier: str
    license: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """Table [go]; `module` is relative to the folder of matrix.toml."""

    module: str
    toolchain: str
    zig: str
    flags: tuple[str, ...]
    ldflags: tuple[str, ...]
    engine: str
    builder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """Table [sbom]; `formats` without repetitions, in the order of schema.FORMATS."""

    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Table [provenance]; `builder` is a URI."""

    builder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """One table [binaries.NAME]."""

    name: str
    package: str
    targets: tuple[str, ...]
    exec: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One binary for one target."""

    binary: Binary
    target: Target

    @property
    def id(self) -> str:
        """``<binary>_<target>``: unique, since target names have no underscore."""
        return f"{self.binary.name}_{self.target.name}"

    @property
    def file_name(self) -> str:
        """The artifact's file name."""
        return self.binary.name + (".exe" if self.target.goos == "windows" else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The parsed file. `root` is its folder, absolute; `cells` are in file order, binaries first."""

    path: Path
    root: Path
    project: Project
    go: Go
    sbom: Sbom
    provenance: Provenance
    signing: Signing
    binaries: tuple[Binary, ...]
    targets: tuple[str, ...]
    cells: tuple[Cell, ...]
    fleet: tuple[FleetHost, ...]
    roots: tuple[RootImage, ...]
    images: tuple[ImageSpec, ...] = ()
    builders: tuple[BuilderSpec, ...] = ()
    deploy: Deploy = field(default_factory=Deploy)
    pools: tuple[Pool, ...] = ()
    release: ReleaseSpec = releasespec.DEFAULT
    workloads: tuple[WorkloadSpec, ...] = ()
    faults: tuple[FaultSpec, ...] = ()

    @property
    def module_dir(self) -> Path:
        """The folder of go.mod, absolute."""
        return self.root / self.go.module


def _with_defaults(values: dict[str, Any], keys: tuple[Key, ...]) -> dict[str, Any]:
    return {key.name.replace("-", "_"): values.get(key.name, key.default) for key in keys}


def read(path: Path) -> Matrix:
    """Read and check a matrix.toml.

    Raises MatrixMissing, MatrixSyntax, or MatrixError with every problem that was found.
    """
    return parse(_load(path), path)


def _load(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise MatrixMissing(
            f"{path}: cannot be read",
            why=error.strerror or str(error),
            fix="run in the folder of matrix.toml, or name it with --matrix",
        ) from error
    if len(data) > _MAX_BYTES:
        raise MatrixSyntax(f"{path}: got more than {_MAX_BYTES} bytes, expected a hand-written file")
    return data


def parse(data: bytes, path: Path) -> Matrix:
    """Check the bytes of a matrix.toml; `path` names it in messages and gives the project's folder."""
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MatrixSyntax(f"{path}: not TOML", why=str(error), fix="correct the line that is named") from error
    reader = Reader()
    matrix = _matrix(reader, document, path)
    if reader.problems or matrix is None:
        raise MatrixError(str(path), tuple(reader.problems))
    return matrix


def _matrix(reader: Reader, document: dict[str, Any], path: Path) -> Matrix | None:
    tops = (
        "schema", "project", "go", "sbom", "provenance", "signing", "binaries", "targets", "fleet", "roots",
        "builders", "images", "workloads", "faults", "release", "overrides", "deploy", "pools",
    )  # fmt: skip
    for name in document:
        if name not in tops:
            reader.unknown(name, name, tops)
    if type(document.get("schema")) is not int or document["schema"] != schema.SCHEMA_VERSION:
        got = document.get("schema", NOTHING)
        reader.add("schema", got, f"{schema.SCHEMA_VERSION}, as the first line: schema = {schema.SCHEMA_VERSION}")
    project = reader.keys(reader.table(document.get("project", {}), "project"), schema.PROJECT, "project")
    go_table = reader.keys(reader.table(document.get("go", {}), "go"), schema.GO, "go")
    formats, provenance = (
        reader.keys(reader.table(document.get(name, {}), name), keys, name)
        for name, keys in (("sbom", schema.SBOM), ("provenance", schema.PROVENANCE))
    )
    if formats.get("formats") == ():
        reader.add("sbom.formats", Words("an empty list"), f"at least one of {', '.join(schema.FORMATS)}")
    _check_license(reader, project.get("license", ""))
    signing, wrong = trust.read(
        reader.keys(reader.table(document.get("signing", {}), "signing"), schema.SIGNING, "signing")
    )
    reader.problems += wrong
    release, wrong = releasespec.read(
        reader.keys(reader.table(document.get("release", {}), "release"), schema.RELEASE, "release"),
        formats=_in_order(formats.get("formats", schema.FORMATS)),
        builder=provenance.get("builder", ""),
    )
    reader.problems += wrong
    _check_module(reader, go_table, path.parent)
    _check_placeholders(reader, go_table.get("ldflags", ()), "go.ldflags")
    binaries = _binaries(reader, document)
    raw_targets = _named(reader, document, "targets", schema.SETTINGS, schema.NAME)
    overrides = _overrides(reader, document, tuple(raw_targets), tuple(binary.name for binary in binaries))
    cells = _cells(reader, binaries, raw_targets, tuple(item for item in overrides if "select" in item))
    fleet, roots = _deployment(reader, document, tuple(raw_targets))
    builders = _builders(reader, document)
    reader.problems += builderspec.engine_problems(go_table, builders)
    images = _images(reader, document, cells, builders)
    deploy, pools = _deploy(reader, document)
    workloads, faults = _faults(reader, document, cells, images)
    if reader.problems:
        return None
    return Matrix(
        path=path,
        root=path.parent.absolute(),
        project=Project(**_with_defaults(project, schema.PROJECT)),
        go=Go(**_with_defaults(go_table, schema.GO)),
        sbom=Sbom(formats=_in_order(formats.get("formats", schema.FORMATS))),
        provenance=Provenance(**_with_defaults(provenance, schema.PROVENANCE)),
        signing=signing,
        binaries=binaries,
        targets=tuple(raw_targets),
        cells=cells,
        fleet=fleet,
        roots=roots,
        images=images,
        builders=builders,
        deploy=deploy,
        pools=pools,
        release=release,
        workloads=workloads,
        faults=faults,
    )


def _in_order(formats: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in schema.FORMATS if name in formats)


def _builders(reader: Reader, document: dict[str, Any]) -> tuple[BuilderSpec, ...]:
    """The tables [builders.NAME], which may be absent."""
    if "builders" not in document:
        return ()
    found, wrong = builderspec.read(_named(reader, document, "builders", schema.BUILDER, schema.NAME))
    reader.problems += wrong
    return found


def _images(
    reader: Reader, document: dict[str, Any], cells: tuple[Cell, ...], builders: tuple[BuilderSpec, ...]
) -> tuple[ImageSpec, ...]:
    """The tables [images.NAME], which may be absent."""
    if "images" not in document:
        return ()
    raw = _named(reader, document, "images", schema.IMAGE, schema.NAME)
    found, wrong = imagespec.read(raw, tuple((cell.binary.name, cell.target) for cell in cells), builders)
    reader.problems += wrong
    return found


def _faults(
    reader: Reader, document: dict[str, Any], cells: tuple[Cell, ...], images: tuple[ImageSpec, ...]
) -> tuple[tuple[WorkloadSpec, ...], tuple[FaultSpec, ...]]:
    """The tables [workloads.NAME] and [faults.NAME], which may be absent."""
    raw = {
        name: _named(reader, document, name, keys, schema.NAME) if name in document else {}
        for name, keys in (("workloads", schema.WORKLOAD), ("faults", schema.FAULT))
    }
    known = tuple((cell.binary.name, cell.target.name, cell.target.goos) for cell in cells)
    workloads, faults, wrong = faultspec.read(raw["workloads"], raw["faults"], known, [item.name for item in images])
    reader.problems += wrong
    return workloads, faults


def _deployment(
    reader: Reader, document: dict[str, Any], targets: tuple[str, ...]
) -> tuple[tuple[FleetHost, ...], tuple[RootImage, ...]]:
    """The tables [fleet.NAME] and [roots.NAME], which may be absent."""
    raw = {
        name: _named(reader, document, name, keys, schema.NAME) if name in document else {}
        for name, keys in (("fleet", schema.FLEET), ("roots", schema.ROOT))
    }
    fleet, wrong_hosts = deployment.read_fleet(raw["fleet"], targets)
    roots, wrong_roots = deployment.read_roots(raw["roots"], targets)
    reader.problems += [*wrong_hosts, *wrong_roots]
    return fleet, roots


def _deploy(reader: Reader, document: dict[str, Any]) -> tuple[Deploy, tuple[Pool, ...]]:
    """The tables [deploy] and [pools.NAME], which may be absent."""
    table = reader.keys(reader.table(document.get("deploy", {}), "deploy"), schema.DEPLOY, "deploy")
    raw = _named(reader, document, "pools", schema.POOL, schema.NAME) if "pools" in document else {}
    deploy, pools, wrong = deployspec.read(table, raw)
    reader.problems += wrong
    return deploy, pools


def _check_license(reader: Reader, expression: str) -> None:
    """SBOM formats know only expressions of SPDX: another one would make every document invalid."""
    if not expression:
        return
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        proper = str(canonicalize_license_expression(expression))
    except InvalidLicenseExpression:
        proper = ""
    if proper != expression:
        hint = f"did you mean {proper!r}?" if proper else "LicenseRef-NAME stands for terms of your own"
        reader.add("project.license", expression, "an SPDX license expression", hint)


def _check_module(reader: Reader, go_table: dict[str, Any], root: Path) -> None:
    module = go_table.get("module", ".")
    if not module or PurePosixPath(module).is_absolute() or ".." in PurePosixPath(module).parts:
        reader.add("go.module", module, "a relative path that stays inside the project")
    elif not (root / module).resolve().is_relative_to(root.resolve()):
        reader.add("go.module", module, "a path that stays inside the project", "it is a link that leads out of it")


def _check_placeholders(reader: Reader, flags: tuple[str, ...], path: str) -> None:
    for index, flag in enumerate(flags):
        rest = flag.replace("{version}", "")
        if "{" in rest or "}" in rest:
            reader.add(f"{path}[{index}]", flag, "no other placeholder than {version}")


def _named(
    reader: Reader, document: dict[str, Any], name: str, keys: tuple[Key, ...], pattern: Any
) -> dict[str, dict[str, Any]]:
    table = reader.table(document.get(name, {}), name)
    if not table:
        reader.add(name, NOTHING, f"at least one table [{name}.NAME]")
    folded: dict[str, str] = {}
    found = {}
    for entry, value in table.items():
        path = f"{name}.{entry}"
        if not pattern.fullmatch(entry):
            reader.add(path, entry, "a name of letters, digits, dots and dashes, at most 63 characters")
        if entry in _RESERVED:
            reader.add(path, entry, "another name: build-all and verify-all are taken")
        if entry.lower() in folded:
            reader.add(path, entry, f"a name that differs from {folded[entry.lower()]!r} in more than its case")
        folded.setdefault(entry.lower(), entry)
        found[entry] = reader.keys(reader.table(value, path), keys, path)
    return found


def _binaries(reader: Reader, document: dict[str, Any]) -> tuple[Binary, ...]:
    raw = _named(reader, document, "binaries", schema.BINARY, schema.BINARY_NAME)
    for name, values in raw.items():
        if schema.DOCUMENT_NAME.fullmatch(name):
            hint = "one would overwrite the other, and be signed in its place"
            reader.add(f"binaries.{name}", name, "another name: a file that is written beside artifacts has it", hint)
        package = values.get("package", ".")
        if ".." in PurePosixPath(package).parts:
            reader.add(f"binaries.{name}.package", package, "a path inside the module, without ..")
        if "..." in package:
            reader.add(f"binaries.{name}.package", package, "one main package, without ...")
    return tuple(Binary(name=name, **_with_defaults(values, schema.BINARY)) for name, values in raw.items())


def _overrides(
    reader: Reader, document: dict[str, Any], targets: tuple[str, ...], binaries: tuple[str, ...]
) -> tuple[dict[str, Any], ...]:
    listed = document.get("overrides", [])
    if not isinstance(listed, list):
        reader.add("overrides", listed, "tables written as [[overrides]]")
        return ()
    found = []
    for index, item in enumerate(listed):
        path = f"overrides[{index}]"
        values = reader.keys(reader.table(item, path), schema.OVERRIDE, path)
        select = values.get("select")
        names = targets if select is None or "/" not in select else [f"{b}/{t}" for b in binaries for t in targets]
        if select is not None and not any(fnmatch.fnmatchcase(name, select) for name in names):
            close = difflib.get_close_matches(select, names, n=1)
            reader.add(f"{path}.select", select, f"a glob that matches one of {', '.join(names)}",
                       f"did you mean {close[0]!r}?" if close else "")  # fmt: skip
        found.append({**values, "path": path})
    return tuple(found)


def _cells(
    reader: Reader,
    binaries: tuple[Binary, ...],
    targets: dict[str, dict[str, Any]],
    overrides: tuple[dict[str, Any], ...],
) -> tuple[Cell, ...]:
    cells = []
    used = set()
    seen: set[Problem] = set()
    for binary in binaries:
        for index, glob in enumerate(binary.targets):
            if not any(fnmatch.fnmatchcase(name, glob) for name in targets):
                key = f"binaries.{binary.name}.targets[{index}]"
                reader.add(key, glob, f"a glob that matches one of {', '.join(targets)}")
        for name, values in targets.items():
            if not any(fnmatch.fnmatchcase(name, glob) for glob in binary.targets):
                continue
            used.add(name)
            target, problems = resolve(name, binary.name, values, overrides)
            reader.problems += [problem for problem in problems if problem not in seen]
            seen.update(problems)
            if target is not None:
                cells.append(Cell(binary=binary, target=target))
    for name in targets:
        if name not in used:
            reader.add(
                f"targets.{name}", Words("a target that no binary is built for"), "a binary whose `targets` match"
            )
    return tuple(cells)
