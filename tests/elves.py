"""Small programs, linked for real, that repairs are tried on; and a patchelf that misbehaves."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

PROGRAM = '#include <stdio.h>\nint main(void) { puts("it runs"); return 0; }\n'
CC = {"amd64": "gcc", "arm64": "aarch64-linux-gnu-gcc"}

FAKE = """\
#!{python}
import os, signal, sys, time
if "--version" in sys.argv:
    print("patchelf 9.9")
    sys.exit(0)
path = sys.argv[-1]
data = bytearray(open(path, "rb").read())
{body}
open(path, "wb").write(data)
"""


def compile_c(path: Path, *options: str, goarch: str = "amd64", text: str = PROGRAM) -> Path:
    """Compile one program."""
    command = [CC[goarch], "-x", "c", "-", "-x", "none", *options, "-o", str(path)]
    subprocess.run(command, input=text, text=True, check=True)
    return path


def fake_patchelf(folder: Path, body: str) -> Path:
    """A program named patchelf that does `body` to the bytes in `data`."""
    path = folder / "patchelf"
    path.write_text(FAKE.format(python=sys.executable, body=body))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
