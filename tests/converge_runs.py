"""Starts programs that cannot start, through everything that starts programs, and keeps what is said.

    python -m tests.converge_runs FILE

The programs are those of buildmatrix/converge/recipes.py, so the true cause of every message is known. Needs bash,
dash, busybox, strace, go, runc, qemu-user-static and musl; what is missing is left out and named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from buildmatrix.converge import reproduce, tinyelf

MACHINE = os.uname().machine
HERE = next(isa for isa in tinyelf.ISAS if isa.uname == MACHINE)
OTHER = next(isa for isa in tinyelf.ISAS if isa.uname != MACHINE)

TRACE = "trace.log"
"""Where strace writes apart from the program's own words; what it cuts after 32 characters is cut there."""

GO = """package main

import ("fmt"; "os"; "os/exec")

func main() {
	if err := exec.Command(os.Args[1]).Run(); err != nil {
		fmt.Fprintln(os.Stderr, "start failed:", err)
	}
}
"""


def plant(folder: Path) -> dict[str, Path]:
    """One program for every cause that a single file can have, by the cause's slug."""
    planted = {}
    for slug in ("wrong-endian", "unknown-format", "wrong-elf-type", "bad-elf", "truncated", "missing-interpreter",
                 "bad-shebang", "bad-interpreter", "missing-library", "glibc-too-old", "libstdcxx-too-old",
                 "symbol-version-missing", "missing-symbol", "libc-mismatch", "isa-level", "crash"):  # fmt: skip
        reproduce.write(slug, folder / slug)
        own = folder / slug / f"prog-{MACHINE}"
        planted[slug] = own if own.exists() else folder / slug / "prog"
    made = {
        "wrong-machine": (tinyelf.static(OTHER), 0o755), "no-exec-permission": (tinyelf.static(HERE), 0o644),
    }  # fmt: skip
    for slug, (data, mode) in made.items():
        planted[slug] = folder / slug / "prog"
        planted[slug].parent.mkdir()
        planted[slug].write_bytes(data)
        planted[slug].chmod(mode)
    planted["missing-file"] = folder / "nothing" / "prog"
    planted["not-a-file"] = folder / "folder" / "prog"
    planted["not-a-file"].mkdir(parents=True)
    return planted


def musl(folder: Path) -> Iterator[tuple[str, Path]]:
    """What musl's loader refuses."""
    if not Path(HERE.musl).exists():
        return
    for slug, data in (
        ("missing-library", tinyelf.dynamic(HERE, interpreter=HERE.musl, needed=("libabsent.so.1",))),
        ("missing-symbol", tinyelf.dynamic(HERE, interpreter=HERE.musl, undefined="demo_absent")),
    ):
        path = folder / "musl" / slug / "prog"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        path.chmod(0o755)
        yield slug, path


def runners(folder: Path) -> dict[str, list[str]]:
    """Everything here that starts a program whose path is put behind it."""
    found = {
        "bash": ["bash", "-c", '"$0"; exit $?'], "dash": ["dash", "-c", '"$0"; exit $?'],
        "busybox ash": ["busybox", "ash", "-c", '"$0"; exit $?'], "env": ["env"], "timeout": ["timeout", "5"],
        "busybox timeout": ["busybox", "timeout", "5"], "nice": ["nice"],
        "xargs": ["xargs", "-a", "/dev/null"], "setsid": ["setsid", "-w"],
        "python": [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"],
        "strace": ["strace", "-f", "-s", "200", "-o", TRACE], "strace -tt": ["strace", "-f", "-tt", "-o", TRACE],
    }  # fmt: skip
    if shutil.which("go"):
        (folder / "start.go").write_text(GO)
        subprocess.run(["go", "build", "-o", "start", "start.go"], cwd=folder, check=True)
        found["go"] = [str(folder / "start")]
    return {name: argv for name, argv in found.items() if shutil.which(argv[0])}


def said(argv: list[str], folder: Path, cwd: Path | None = None) -> list[str]:
    """What one start prints to standard error, without this run's folder."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/nonexistent"}
    done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
                          cwd=cwd or folder)  # fmt: skip
    data = done.stderr
    trace = (cwd or folder) / TRACE
    if trace.exists():
        data = trace.read_bytes()
        trace.unlink()
    text = data.decode(errors="replace").replace(str(folder), "/app")
    return [line for line in text.split("\n") if line.strip() and ".pyenv" not in line]


def runc(folder: Path, planted: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """What runc says about a container whose program cannot start; needs root."""
    if not shutil.which("runc") or os.geteuid() != 0:
        return
    bundle = folder / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    for slug in ("wrong-machine", "missing-interpreter", "bad-shebang", "no-exec-permission", "missing-file"):
        if planted[slug].exists():
            shutil.copy(planted[slug], bundle / "rootfs" / slug)
        config = json.loads((bundle / "config.json").read_text())
        config["process"] |= {"args": [f"/{slug}"], "terminal": False}
        config["linux"]["namespaces"] = [row for row in config["linux"]["namespaces"] if row["type"] != "network"]
        (bundle / "config.json").write_text(json.dumps(config))
        yield slug, said(["runc", "--root", str(folder / "state"), "run", "-b", str(bundle), f"run-{slug}"], folder)


def everything(folder: Path) -> Iterator[dict[str, object]]:
    """Every message with who said it and why."""
    planted = plant(folder)
    for name, argv in runners(folder).items():
        for slug, path in (*planted.items(), *(musl(folder) if name == "bash" else ())):
            yield {
                "by": name,
                "cause": slug,
                "lines": said([*argv, str(path)], folder, path.parent if path.parent.is_dir() else folder),
            }
    for slug, lines in runc(folder, planted):
        yield {"by": "runc", "cause": slug, "lines": lines}
    emulator = f"qemu-{OTHER.uname}-static"
    if shutil.which(emulator):
        foreign = folder / "foreign"
        foreign.write_bytes(tinyelf.dynamic(OTHER, interpreter=OTHER.glibc))
        foreign.chmod(0o755)
        yield {"by": "qemu", "cause": "missing-interpreter", "lines": said([emulator, str(foreign)], folder)}
        yield {"by": "qemu", "cause": "wrong-machine", "lines": said([emulator, "/bin/true"], folder)}


def main(output: Path) -> None:
    """Write all rows with messages, one a line."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for row in everything(Path(folder)) if row["lines"]]
    output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
