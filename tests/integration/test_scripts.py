"""The shell templates and the scripts that are made of them, by shellcheck and by every shell's own parser."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildmatrix import scripts
from buildmatrix.detect import causes, script
from tests import bundles
from tests.test_detect import made

pytestmark = pytest.mark.integration

TEMPLATES = {"buildmatrix.bundle": "rollback.sh", "buildmatrix.detect": "detect.sh"}
SHELLS = (("dash",), ("bash", "--posix"), ("busybox", "sh"))


def clean(path: Path) -> None:
    done = subprocess.run(["shellcheck", "--shell=sh", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for shell in SHELLS:
        subprocess.run([*shell, "-n", str(path)], check=True)


@pytest.mark.parametrize("package", TEMPLATES)
def test_templates_are_scripts(package: str, tmp_path: Path) -> None:
    path = tmp_path / "template.sh"
    path.write_text(scripts.template(package, TEMPLATES[package]))
    clean(path)


@pytest.mark.parametrize("extra", ["", bundles.TWO], ids=["file", "tree"])
def test_rollback_scripts(extra: str, tmp_path: Path) -> None:
    release = bundles.release(tmp_path / "hello", "1.2.3", extra=extra)
    clean(release.unpack("amd64", tmp_path))


@pytest.mark.parametrize("cause", causes.CAUSES, ids=lambda cause: cause.slug)
def test_detection_scripts(cause: causes.Cause, tmp_path: Path) -> None:
    path = tmp_path / "detect.sh"
    path.write_bytes(script.make(cause, "1.2.3", [made(), made("arm64", runpath="$ORIGIN/../lib")], ("1" * 64,)))
    clean(path)
