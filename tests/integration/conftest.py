"""The repository's own matrix, built once for all integration tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from buildmatrix import matrix
from buildmatrix.matrix import Matrix

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def own_matrix() -> Matrix:
    return matrix.read(ROOT / "matrix.toml")


@pytest.fixture(scope="session")
def dist(own_matrix: Matrix) -> Path:
    """dist/ of the checkout, built and verified."""
    for command in ("build", "verify"):
        done = subprocess.run(
            [sys.executable, "-m", "buildmatrix", command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "dist"
