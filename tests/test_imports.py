"""The direction of imports, who may touch what, and what stays out of start-up."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import factory

PACKAGE = factory.ROOT / "buildmatrix"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("kinds",),
    ("_version", "_native", "_layouts", "_seccomp", "_zstd", "errors", "facts", "arch", "finding", "patterns"),
    ("_goinfo", "schema", "ccflags", "artifact", "process", "seccomp", "scripts"),
    ("_records", "target", "host"),
    ("_scan", "deployment", "deployspec", "builderspec", "faultspec", "releasespec", "trust"),
    ("imagespec", "reader"),
    ("matrix",),
    ("elf", "toolchain"),
    ("oci",),
    ("archives", "hashing", "sources", "witness", "command", "provision", "buildx"),
    ("plan", "preflight", "signing", "embed"),
    ("checks", "dist", "children", "fleet", "report"),
    ("gobuild", "sbom", "signed", "timings"),
    ("prepare", "provenance", "modcache"),
    ("attest", "inventory", "gocluster"),
    ("index", "proof", "steps", "store"),
    ("images",),
    ("pipeline", "verify", "release", "faults", "converge"),
    ("bundle", "detect", "repair"),
    ("repro", "shipping", "delivery", "kube"),
    ("releasing",),
    ("codes",),
    ("gather", "diagnosis", "starter"),
    ("commands",),
    ("cli",),
    ("sessions", "__main__"),
)
"""From the bottom up: a module imports only from rows below its own.

A package stands for its modules, which may import each other, but for those that have a row themselves.
"""

RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
ONLY = {"subprocess": {"process"}, "tomllib": {"matrix"}, "buildmatrix._native": {"elf"}}
HEAVY = ("rich", "jinja2", "elftools", "cffi", "_cffi_backend", "tomli_w", "httpx", "cryptography", "nacl",
         "rfc3161_client", "sigstore", "importlib.metadata", "yaml", "jsonschema", "sqlalchemy", "alembic",
         "psycopg")  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below it; the package itself is the empty name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()
EVERY = pytest.mark.parametrize("name", MODULES, ids=lambda name: name or "buildmatrix")


@cache
def imported(name: str) -> tuple[str, ...]:
    """Every dotted name that a module imports, anywhere in it, type checking included."""
    return tuple(_names(ast.parse(MODULES[name].read_text())))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> set[str]:
    """The package's modules that a module imports."""
    found = {item.removeprefix("buildmatrix.") for item in imported(name) if item.startswith("buildmatrix.")}
    return {item for item in found if item in MODULES or item == "_native"} - {name}


def place(name: str) -> str:
    return name if name in RANK else name.partition(".")[0]


def rank(name: str) -> int:
    return RANK.get(place(name), len(LAYERS))


@EVERY
def test_every_module_has_its_place(name: str) -> None:
    assert not name or place(name) in RANK, f"give {name} a place in LAYERS"


def test_the_table_names_each_module_once() -> None:
    assert len(RANK) == sum(map(len, LAYERS))


@EVERY
def test_imports_go_down(name: str) -> None:
    if not name:
        assert own(name) == {"_version"}
        return
    upward = {item for item in own(name) if place(item) != place(name) and rank(item) >= rank(name)}
    assert not upward, f"{name} imports {', '.join(sorted(upward))}, which does not lie below it"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("checks.")])
def test_checks_do_not_import_each_other(name: str) -> None:
    assert {item for item in own(name) if item.startswith("checks.")} <= {"checks.rule"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("commands.")])
def test_commands_do_not_import_each_other(name: str) -> None:
    shared = {"commands.options", "commands._inputs", "commands._campaigns", "commands._kube"}
    assert {item for item in own(name) if item.startswith("commands.")} <= shared


@EVERY
@pytest.mark.parametrize("what", ONLY)
def test_some_doors_have_one_keeper(name: str, what: str) -> None:
    if name not in ONLY[what]:
        assert not any(item == what or item.startswith(f"{what}.") for item in imported(name))


@pytest.mark.parametrize(("what", "keepers"), ONLY.items(), ids=list(ONLY))
def test_the_keepers_use_their_doors(what: str, keepers: set[str]) -> None:
    assert all(what in imported(name) for name in keepers)


@EVERY
def test_no_other_way_to_start_programs(name: str) -> None:
    """os.system, os.exec… and the like would go around process.py."""
    tree = ast.parse(MODULES[name].read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_os(node.value)}
    assert not {item for item in used if item.startswith(("exec", "spawn", "popen", "posix_spawn", "fork", "system"))}


def _is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "os"


def loaded(code: str) -> set[str]:
    """The modules in a fresh interpreter after some code."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=factory.ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "base"),
    [
        ("import buildmatrix.cli", ""),
        ("from buildmatrix import cli\ncli._parser(None)", ""),
        ("import buildmatrix.matrix\nfrom pathlib import Path\nbuildmatrix.matrix.read(Path('matrix.toml'))", ""),
        ("import buildmatrix.sessions", "import nox"),
        ("import buildmatrix.sessions\nbuildmatrix.sessions.register()", "import nox"),
    ],
    ids=["cli", "parser", "matrix", "sessions", "register"],
)
def test_start_up_stays_light(code: str, base: str) -> None:
    extra = loaded(code) - (loaded(base) if base else set())
    assert {name for name in extra if name in HEAVY or name.startswith(tuple(f"{item}." for item in HEAVY))} == set()
    assert "buildmatrix._native" not in extra
