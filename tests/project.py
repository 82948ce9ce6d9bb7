"""A small Go project on disk, and the commands of buildmatrix run on it as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MATRIX = """\
schema = 1

[project]
name = "hello"
version = "1.2.3"

[go]
ldflags = ["-s", "-w", "-buildid=", "-X main.version={version}"]

[binaries.hello]
package = "./cmd/hello"

[targets.amd64]
goarch = "amd64"

[targets.arm64]
goarch = "arm64"
"""

MAIN = """\
package main

import "os"

var version = "unknown"

func main() { os.Stdout.WriteString(version + "\\n") }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project's folder, and how to run commands in it."""

    root: Path

    @property
    def dist(self) -> Path:
        return self.root / "dist"

    def artifact(self, target: str, binary: str = "hello") -> Path:
        return self.dist / f"{binary}_{target}" / binary

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `buildmatrix ARGUMENTS` and capture what it prints."""
        return subprocess.run(
            command(*arguments),
            cwd=self.root,
            env={**os.environ, "CI": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `buildmatrix ARGUMENTS` and return at once."""
        return subprocess.Popen(
            command(*arguments),
            cwd=self.root,
            env={**os.environ, "CI": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "buildmatrix", *arguments]


def create(root: Path, matrix: str = MATRIX, main: str = MAIN) -> Project:
    """Write a project with one pure Go binary for two targets."""
    project = Project(root=root)
    project.write("matrix.toml", matrix)
    project.write("go.mod", "module example.org/hello\n\ngo 1.21\n")
    project.write("cmd/hello/main.go", main)
    return project


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, locks left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".state" not in path.parts
    }
