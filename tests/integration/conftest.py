"""The repository's own matrix, built once for all integration tests."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildmatrix import matrix
from buildmatrix.matrix import Matrix
from tests.integration import services

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


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.DockerRegistry]:
    """A real registry without the referrers API, shared by a session's tests: use a repository of your own."""
    with services.docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running
