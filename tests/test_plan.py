"""Selecting cells and turning them into a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildmatrix import plan
from buildmatrix.errors import NothingSelected
from buildmatrix.matrix import Matrix
from tests import factory


@pytest.fixture
def matrix() -> Matrix:
    return factory.parse(
        factory.document(
            targets={name: {"goarch": name.split("-")[0]} for name in ("amd64", "arm64", "amd64-v3")},
            binaries={"app": {"package": "./app"}, "tool": {"package": "./tool", "targets": ["amd64*"]}},
        )
    )


@pytest.mark.parametrize(
    ("targets", "binaries", "cells"),
    [
        ((), (), ["app_amd64", "app_arm64", "app_amd64-v3", "tool_amd64", "tool_amd64-v3"]),
        (("arm64",), (), ["app_arm64"]),
        (("amd64*",), ("tool",), ["tool_amd64", "tool_amd64-v3"]),
        (("arm64", "amd64"), ("app",), ["app_amd64", "app_arm64"]),
        (("*",), ("t*",), ["tool_amd64", "tool_amd64-v3"]),
        (("AMD64", "amd64"), (), None),
    ],
)
def test_selection(
    matrix: Matrix, targets: tuple[str, ...], binaries: tuple[str, ...], cells: list[str] | None
) -> None:
    if cells is None:  # case counts, and one name that matches nothing spoils the selection
        with pytest.raises(NothingSelected):
            plan.select(matrix, targets=targets, binaries=binaries)
    else:
        assert [cell.id for cell in plan.select(matrix, targets=targets, binaries=binaries)] == cells


@pytest.mark.parametrize(
    ("selection", "what", "fix"),
    [
        ({"targets": ("arm65",)}, "no target matches 'arm65'", "did you mean 'arm64'?"),
        ({"targets": ("amd64", "arm65")}, "no target matches 'arm65'", "did you mean 'arm64'?"),
        ({"targets": ("zzz",)}, "expected one of amd64, arm64, amd64-v3", "as targets.NAME"),
        ({"binaries": ("too",)}, "no binary matches 'too'", "did you mean 'tool'?"),
        ({"binaries": ("zzz",)}, "no binary matches 'zzz'", "as binaries.NAME"),
        ({"targets": ("arm64",), "binaries": ("tool",)}, "no cell: got targets arm64 and binaries tool", "widen"),
    ],
)
def test_what_selects_nothing(matrix: Matrix, selection: dict[str, Any], what: str, fix: str) -> None:
    with pytest.raises(NothingSelected) as caught:
        plan.select(matrix, **selection)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.exit_status == 3


@pytest.mark.parametrize(
    ("cells", "cores", "memory", "workers"),
    [(10, 4, 64 << 30, 4), (2, 4, 64 << 30, 2), (10, 8, 4 << 30, 2), (10, 8, 0, 1), (1, 1, 1, 1)],
)
def test_workers(cells: int, cores: int, memory: int, workers: int) -> None:
    assert plan.workers_for(cells, cores=cores, memory=memory) == workers


@given(st.integers(1, 500), st.integers(1, 256), st.integers(0, 1 << 42))
def test_there_is_always_a_worker_and_never_too_many(cells: int, cores: int, memory: int) -> None:
    workers = plan.workers_for(cells, cores=cores, memory=memory)
    assert 1 <= workers <= min(cells, cores)


def made(matrix: Matrix, *, cores: int = 4, memory: int = 64 << 30) -> plan.Plan:
    return plan.make(
        matrix,
        matrix.cells,
        dist=Path("/project/dist"),
        version="1.2.3",
        go=factory.toolchain(),
        compilers={"app_arm64": factory.compiler()},
        passed={"PATH": "/bin"},
        cores=cores,
        memory=memory,
    )


def test_a_plan_has_every_cell_in_order(matrix: Matrix) -> None:
    result = made(matrix)
    assert [item.cell for item in result.cells] == list(matrix.cells)
    assert len({item.command.output for item in result.cells}) == len(matrix.cells)
    assert all(item.command.output.is_relative_to("/project/dist/.partial") for item in result.cells)
    assert [item.cell.id for item in result.cells if item.compiler] == ["app_arm64"]


@pytest.mark.parametrize(("cores", "memory", "parallel"), [(4, 64 << 30, 2), (16, 3 << 30, 8), (1, 1 << 30, 2)])
def test_packages_compile_in_parallel_on_the_cores_that_are_left(
    matrix: Matrix, cores: int, memory: int, parallel: int
) -> None:
    result = made(matrix, cores=cores, memory=memory)
    assert {item.command.argv[2] for item in result.cells} == {f"-p={parallel}"}
    assert not any("-p=" in word for item in result.cells for word in item.command.recorded)


def test_machine_and_dist_do_not_change_what_is_recorded(matrix: Matrix) -> None:
    one, two = made(matrix), made(matrix, cores=64)
    assert [item.command.recorded for item in one.cells] == [item.command.recorded for item in two.cells]
    assert [item.command.settings for item in one.cells] == [item.command.settings for item in two.cells]
