"""The machines that a target's artifacts are judged for."""

from __future__ import annotations

from dataclasses import replace

from buildmatrix import arch, host, seccomp
from buildmatrix.deployment import matches
from buildmatrix.host import Host
from buildmatrix.matrix import Matrix
from buildmatrix.target import Target

OLDEST_KERNEL = "5.10"
"""What is taken for the kernel where nothing is declared: an old one that is still maintained."""


def declared(matrix: Matrix, target: Target) -> tuple[Host, ...]:
    """The machines of [fleet] that a target's artifacts run on."""
    fitting = (row for row in matrix.fleet if row.goarch == target.goarch and matches(row.targets, target.name))
    return tuple(_confined(matrix, replace(host.parse(row.words), name=row.name)) for row in fitting)


def _confined(matrix: Matrix, machine: Host) -> Host:
    """The machine with its seccomp profile's path as the matrix means it. Raises UsageError where it cannot be read."""
    name = machine.seccomp
    if name not in (*seccomp.UNCONFINED, "docker"):
        name = str(matrix.root / name)
    seccomp.load(name)
    return replace(machine, seccomp=name)


def sensible(target: Target) -> tuple[Host, ...]:
    """One machine for each page size of a target, with a CPU of the target's level and nothing beyond."""
    return tuple(_of_page_size(target, size) for size in target.page_sizes)


def _of_page_size(target: Target, size: int) -> Host:
    words = f"{target.goarch},page={size},kernel={OLDEST_KERNEL}"
    level, extra = arch.split_level(target.level)
    shown = f"{target.goarch}"
    if target.goarch in ("amd64", "arm64"):
        words += f",cpu={level}"
        shown += f" {level}"
        if extra:
            words += f",features={'+'.join(extra)}"
    return replace(host.parse(words), name=f"{shown} with {size // 1024}K pages")
