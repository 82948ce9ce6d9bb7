"""Real cosign, 2 and 3, as the tests run it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.integration.tools import go_tool

VERSIONS = {"2": "v2.6.5", "3": "v3.1.3"}
EMPTY_ROOT = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
"""What keeps cosign 2 from asking the public service for its root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosign:
    """One release of cosign, run in a folder; the password of every key is ``secret``."""

    program: Path
    major: str
    folder: Path

    def try_run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        more = {"COSIGN_PASSWORD": "secret", "HOME": str(self.folder), **environment}
        return subprocess.run(
            [str(self.program), *arguments], cwd=self.folder, env={**os.environ, **more}, capture_output=True,
            text=True, check=False, timeout=120,
        )  # fmt: skip

    def run(self, *arguments: str, **environment: str) -> str:
        done = self.try_run(*arguments, **environment)
        assert done.returncode == 0, f"cosign {self.major} {' '.join(arguments)}\n{done.stderr}"
        return done.stdout + done.stderr

    @property
    def no_services(self) -> tuple[str, ...]:
        """Sign without the public services."""
        return ("--tlog-upload=false", "--yes", *(("--use-signing-config=false",) if self.major == "3" else ()))

    @property
    def trusted_root(self) -> tuple[str, ...]:
        """Verify bundles without the public root."""
        path = self.folder / "empty-root.json"
        path.write_text(EMPTY_ROOT)
        return ("--trusted-root", str(path)) if self.major == "2" else ()


def cosign(major: str, folder: Path) -> Cosign:
    version = VERSIONS[major]
    module = f"github.com/sigstore/cosign/v{major}/cmd/cosign"
    return Cosign(program=go_tool("cosign", module, version), major=major, folder=folder)
