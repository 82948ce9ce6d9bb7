"""A short run against Debian's arm64 kernels in virtual machines; `nox -s difftest-arm64` runs long ones."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.difftest import arm64, kernels

pytestmark = pytest.mark.integration

PAGES = {"4k": 4096, "16k": 16384}


@pytest.mark.parametrize("flavour", PAGES)
def test_an_arm64_kernel_agrees(flavour: str, tmp_path: Path) -> None:
    kernels.provide_programs()
    machine = arm64.Machine(flavour, tmp_path)
    begun = time.monotonic()
    tally = arm64.hold(machine, 300, 4711)
    small = arm64.report(machine, tally, time.monotonic() - begun)
    assert [(record.story, record.predicted(), record.observed) for record in small] == []
    assert tally.count > 400
    assert tally.unsure < tally.count / 20
    assert {record.host.page_size for record in tally.sampled} == {PAGES[flavour]}
