"""How a cell runs here: natively, under an emulator, or in its image; with which limits, and what that does to the
meaning of its numbers.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from buildmatrix import arch, elf, errors
from buildmatrix.faults import cgroup
from buildmatrix.faults.trial import Container, Limits, Trial
from buildmatrix.faultspec import FaultSpec, WorkloadSpec
from buildmatrix.matrix import Cell
from buildmatrix.oci import graph
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import normalise

NO_LIBC = "none"
_RUN_HERE = {"amd64": ("amd64", "386"), "arm64": ("arm64",)}
"""Which architectures' programs a kernel runs itself; any other runs its own alone."""
_EMULATOR_MIB = 1280
"""What qemu-user's translation buffer may take of a limit on each process's data; with less it hangs or aborts."""
_GLIBC = re.compile(rb"GNU C Library \(.{1,80}?\) (?:stable|development) release version (\d+\.\d+)")

EMULATED = (
    "emulated: the times are the emulator's and say nothing about hardware, nor does contention; memory ordering is "
    "the host's"
)
EMULATED_CALLS = "the tracer sees the emulator: its own calls fail too, beside those that it makes for the guest"
NO_CGROUP = "no memory cgroup can be made here: each process's data is limited (RLIMIT_DATA), nothing is shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An artifact as it runs here. `digest` is ``sha256:`` and the file's, or the image's manifest digest.

    `argv` is the whole command, `glibc` the version of the C library that it gets or ``none``.
    """

    cell: Cell
    path: Path
    digest: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    glibc: str
    emulated: bool
    container: Container | None = None


def subject(workload: WorkloadSpec, cell: Cell, path: Path, dist: Path) -> Subject:
    """How `cell`, whose artifact is at `path`, runs here. Raises ToolMissing without its emulator."""
    scanned = elf.scan_one(path)
    if not scanned.ok:
        raise errors.ScanFailed(f"{path}: cannot be read as an artifact", fix="build the cell again")
    found = scanned.facts.elf if scanned.facts else None
    interp = "" if found is None else found.interp or ""
    interpreter = emulator(cell)
    prefix = _prefix(cell, interp) if interpreter else ()
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LC_ALL": "C"}
    base = Subject(
        cell=cell,
        path=path,
        digest="sha256:" + digest(path),
        argv=(*((interpreter, *prefix) if interpreter else ()), str(path), *workload.args),
        env=tuple(sorted({**env, **dict(workload.env)}.items())),
        glibc=glibc(cell, interp),
        emulated=bool(interpreter),
    )
    return _boxed(base, workload, dist / "images" / workload.image, interpreter) if workload.image else base


def digest(path: Path) -> str:
    """The SHA-256 of the artifact as it is now."""
    return elf.scan_one(path, hashes=("sha256",), facts=False).digest("sha256") or ""


def emulator(cell: Cell) -> str:
    """The emulator that the cell needs here, empty where the kernel runs it. Raises ToolMissing where it is missing."""
    here = arch.normalise(platform.machine()) or ""
    row = cell.target.architecture
    if row.goarch in _RUN_HERE.get(here, (here,)):
        return ""
    for name in (f"qemu-{row.qemu}-static", f"qemu-{row.qemu}"):
        if row.qemu and (program := shutil.which(name)):
            return program
    raise errors.ToolMissing(
        f"{cell.id}: got a machine of {here or platform.machine()} without qemu-{row.qemu}, expected an emulator",
        why="this kernel does not run programs of this architecture",
        fix="on Debian, apt-get install qemu-user-static; or run the campaign on such a machine",
    )


def _prefix(cell: Cell, interp: str) -> tuple[str, ...]:
    """Where the emulator finds the loader and libraries of a dynamic artifact."""
    root = Path("/usr") / cell.target.architecture.triple
    return ("-L", str(root)) if interp and root.is_dir() else ()


def glibc(cell: Cell, interp: str) -> str:
    """The version of the glibc that an artifact with this interpreter gets here; ``none`` without or with another."""
    row = cell.target.architecture
    if interp != row.glibc_loader:
        return NO_LIBC
    folders = (f"/lib/{row.triple}", f"/usr/lib/{row.triple}", f"/usr/{row.triple}/lib", "/lib64", "/usr/lib64", "/lib")
    for folder in folders:
        version = _glibc_of(Path(folder) / "libc.so.6")
        if version:
            return version
    return "unknown"


@functools.cache
def _glibc_of(library: Path) -> str:
    """What the library says about itself, as it does when it is run."""
    try:
        match = _GLIBC.search(library.read_bytes())
    except OSError:
        return ""
    return match[1].decode() if match else ""


def _boxed(base: Subject, workload: WorkloadSpec, folder: Path, interpreter: str) -> Subject:
    """The same cell as its image starts it."""
    if not folder.is_dir():
        raise errors.ImageMissing(
            f"{folder}: no such image, expected the one of workload {workload.name}",
            fix=f"build it: buildmatrix image {workload.image}",
        )
    layout = Layout(folder)
    row = base.cell.target.architecture
    for platform_, node in graph.images_of(layout, layout.index().manifests[0]):
        if normalise(platform_).architecture == row.oci:
            manifest = layout.manifest(node.descriptor).manifest()
            config = json.loads(layout.read(manifest.config)) if manifest.config else {}
            return _configured(base, workload, config.get("config", {}), layout, node.descriptor.digest, interpreter)
    raise errors.ImageMissing(f"{folder}: got no image for {row.oci}, expected one", fix="add the target to the image")


def _configured(
    base: Subject, workload: WorkloadSpec, config: dict[str, object], layout: Layout, name: str, interpreter: str
) -> Subject:
    manifest = layout.manifest(name).manifest()
    entry, cmd, env = (list(map(str, config.get(key) or ())) for key in ("Entrypoint", "Cmd", "Env"))  # type: ignore[call-overload]
    variables = dict(pair.partition("=")[::2] for pair in env) | dict(workload.env)
    box = Container(
        layers=tuple(str(layout.blob_path(layer.digest)) for layer in manifest.layers),
        user=str(config.get("User") or "0"),
        interpreter=interpreter,
    )
    return replace(
        base,
        digest=name,
        argv=(*entry, *(workload.args or cmd)),
        env=tuple(sorted(variables.items())),
        container=box,
    )


def trial(
    workload: WorkloadSpec, running: Subject, fault: FaultSpec | None, *, number: int, place: cgroup.Place | None
) -> Trial:
    """One run; `number` tells runs of this process apart, and with the fault's seed gives the run's own."""
    shared = fault is not None and fault.kind == "memory"
    memory = min(workload.memory, fault.size) if fault is not None and shared else workload.memory
    data = memory + (_EMULATOR_MIB if running.emulated else 0)
    limits = Limits(
        memory=memory,
        scratch=workload.scratch,
        seconds=workload.seconds,
        cgroup=str(place.folder / cgroup.name(number)) if place else "",
        version=place.version if place else 0,
        data=0 if place else data,
    )
    return Trial(
        argv=running.argv,
        env=running.env,
        health=workload.health,
        port=workload.port,
        probes=workload.probes,
        outage=workload.outage,
        limits=limits,
        fault=fault,
        seed=(fault.seed if fault else 0) * 1_000_003 + number,
        container=running.container,
    )


def note(running: Subject, fault: FaultSpec | None, place: cgroup.Place | None) -> str:
    """What limits the meaning of a row, empty where nothing does."""
    notes = [EMULATED] if running.emulated else []
    if running.emulated and fault is not None and fault.kind in ("syscall", "slow"):
        notes.append(EMULATED_CALLS)
    if place is None:
        notes.append(NO_CGROUP)
    return "; ".join(notes)


def namespaces(fault: FaultSpec | None) -> tuple[str, ...]:
    """The command that makes the namespaces of a run and starts the guard in them."""
    own = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    step: tuple[str, ...] = ()
    if fault is not None and fault.kind == "clock":
        step = ("--time", f"--monotonic={fault.step}", f"--boottime={fault.step}")
    return ("unshare", *own, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", *step, "--")
