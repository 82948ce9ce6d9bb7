"""A PostgreSQL server of Debian's package, with a folder and a port of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.integration.services import free_port


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        raise RuntimeError("postgresql is not installed; .ci/run installs it")
    return found[-1].parent


def _as_owner() -> tuple[list[str], int]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return [], os.geteuid()
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"], pwd.getpwnam("postgres").pw_uid


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A running server's URL without a database: ``postgresql://postgres@127.0.0.1:PORT``."""
    programs, (switch, owner) = _programs(), _as_owner()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    os.chown(folder, owner, -1)
    port = free_port()

    def run(program: str, *arguments: str) -> None:
        subprocess.run([*switch, str(programs / program), *arguments], cwd=folder, check=True, capture_output=True)

    try:
        run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "log"), "-w", "-o", options, "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)
