"""This repository's sessions: the matrix's own, and what keeps the code right.

`nox -s build-arm64` is the main job, `nox -s tests` passes the tests. `nox --list` shows the rest.
"""

import os
import sys
from pathlib import Path

import nox

try:
    import buildmatrix.sessions
except ImportError:
    sys.exit("noxfile.py: buildmatrix is not installed in this Python\n  fix: pip install .")

buildmatrix.sessions.register()

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["plan"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "buildmatrix"


def _install(session: nox.Session, *extras: str) -> None:
    session.install("-e", f".[{','.join(extras)}]", silent=True)


@nox.session(default=False)
def tests(session: nox.Session) -> None:
    """The tests; what follows -- goes to pytest."""
    _install(session, "test", "toolchains")
    session.run("pytest", *(session.posargs or ["-n", "auto", "-m", "not integration"]))


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Style, types and formatting; warnings are errors."""
    _install(session, "test", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
