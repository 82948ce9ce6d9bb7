"""Our bills against syft's: whatever it finds in the same binary is in ours."""

from pathlib import Path

import pytest

from bench import bills, orchestration, peers
from buildmatrix.sbom import reading

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("cell", bills.CELLS)
def test_syft_finds_nothing_that_we_do_not(cell: str) -> None:
    orchestration.build((cell,))
    dist = orchestration.ROOT / "dist"
    made = bills.basis(cell, dist)
    data = bills.described(made)["sbom.cdx.json"]
    ours = {(item.name, item.version) for item in reading.bill(reading.parse(data)).components}
    names = {name for name, _ in ours}
    theirs = reading.bill(bills.syft(peers.syft(), Path(dist / cell / made.artifact.name)))
    found = {(item.name, item.version) for item in theirs.components if item.kind == "library"}
    assert len(found) > 9
    # syft does not know the version of the main module, nor of one from a folder.
    assert {pair for pair in found - ours if pair[1] != "UNKNOWN"} == set()
    assert {name for name, _ in found} <= names
