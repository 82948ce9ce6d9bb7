"""Fixtures that every test shares, and the switch that rewrites golden files."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.registry_suite")

GOLDEN = Path(__file__).parent / "golden"
_DECIDING = ("NO_COLOR", "FORCE_COLOR", "CI", "COLUMNS", "LINES", "GOFLAGS", "GOAMD64", "GOEXPERIMENT", "GOENV")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what the code gives into the golden files")


def pytest_configure() -> None:
    """Let children hear SIGINT: what a shell starts in the background is born deaf to it, and so are its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


_MACHINE = frozenset(
    {
        "test_buildx", "test_converge_said", "test_debian_roots", "test_execution", "test_faults", "test_gocluster",
        "test_images", "test_litmus", "test_preflight_difftest", "test_preflight_seccomp",
    }
)  # fmt: skip
"""Files whose tests change what the kernel executes (binfmt_misc), or depend on it: never two at a time."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """What a worker takes at a time under ``--dist loadfile``: a file, or all that share the machine's settings."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "machine" if Path(file).stem in _MACHINE else file

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares text with tests/golden/NAME; --update-golden writes it instead."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text()

    return compare


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the caller's shell may decide a test: no colour switches, CI marks, Go settings, passwords."""
    for name in (*_DECIDING, "BUILDMATRIX_PASSWORD", "COSIGN_PASSWORD", "SIGSTORE_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
