"""The program cosign, for keys in a KMS or on a hardware token: it signs, the bundle is made here.

cosign is given the bytes that are to be signed as a blob, whatever they mean; its answer is verified against the
public key before it is used.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix.errors import SigningFailed, ToolMissing
from buildmatrix.process import Runner
from buildmatrix.signing import publickey, strict
from buildmatrix.signing.bundle import Material
from buildmatrix.signing.check import Identity
from buildmatrix.signing.publickey import PublicKey
from buildmatrix.signing.refused import Refused
from buildmatrix.signing.signer import Content, Raw

_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSigner:
    """Signs through `program`; `key` is what cosign takes after --key, such as ``awskms:///alias/release``."""

    program: Path
    key: str
    public: PublicKey
    runner: Runner
    environment: Mapping[str, str]

    @property
    def identity(self) -> Identity:
        """The key, by its fingerprint."""
        return Identity(fingerprint=self.public.fingerprint)

    def sign(self, content: Content) -> Raw:
        """Have cosign sign the content. Raises SigningFailed with its own words."""
        with tempfile.TemporaryDirectory(prefix="buildmatrix-sign-") as name:
            folder = Path(name)
            if isinstance(content.source, bytes):
                source = folder / "content"
                source.write_bytes(content.source)
            else:
                source = content.source
            signature = self._ask(source, folder)
        try:
            publickey.verify(self.public, signature, content.sha256, self.key)
        except Refused as refused:
            raise _failed(self.key, f"what it gave does not verify: {refused.what}") from refused
        return Raw(signature=_canonical(self.public, signature), material=Material(hint=self.public.hint))

    def _ask(self, source: Path, folder: Path) -> bytes:
        output = folder / "bundle.json"
        argv = (str(self.program), "sign-blob", "--key", self.key, "--yes", "--tlog-upload=false", "--bundle",
                str(output), "--new-bundle-format", *_no_services(self.program, self.runner, self.environment),
                str(source))  # fmt: skip
        done = self.runner.run(argv, env=self.environment, cwd=folder, timeout=_SECONDS)
        if not done.ok:
            raise _failed(self.key, done.stderr.strip())
        try:
            made = strict.decode(output.read_bytes(), str(self.program))
            return strict.from_base64(made["messageSignature"]["signature"], str(self.program))
        except (Refused, OSError, KeyError, TypeError) as error:
            raise _failed(self.key, f"{self.program} wrote no bundle that can be read: {error}") from error


def _no_services(program: Path, runner: Runner, environment: Mapping[str, str]) -> tuple[str, ...]:
    """cosign 3 asks for public services unless it is told not to; cosign 2 does not know the option."""
    done = runner.run((str(program), "sign-blob", "--help"), env=environment, cwd=program.parent, timeout=_SECONDS)
    return ("--use-signing-config=false",) if "--use-signing-config" in done.stdout + done.stderr else ()


def _canonical(public: PublicKey, signature: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec

    return (
        publickey.canonical(signature) if isinstance(publickey.load(public), ec.EllipticCurvePublicKey) else signature
    )


def load(key: str, runner: Runner, environment: Mapping[str, str]) -> ProgramSigner:
    """The signer of a key that cosign knows. Raises ToolMissing, SigningFailed."""
    found = shutil.which("cosign", path=environment.get("PATH"))
    if found is None:
        raise ToolMissing(
            "cosign: not on PATH",
            why='signing.backend = "cosign" signs with it',
            fix="install cosign, or sign with another backend",
        )
    program = Path(found).resolve()
    argv = (str(program), "public-key", "--key", key)
    done = runner.run(argv, env=environment, cwd=Path.cwd(), timeout=_SECONDS)
    if not done.ok:
        raise _failed(key, done.stderr.strip())
    public = publickey.from_pem(done.stdout.encode(), key)
    return ProgramSigner(program=program, key=key, public=public, runner=runner, environment=environment)


def _failed(key: str, why: str) -> SigningFailed:
    return SigningFailed(
        f"{key}: cosign did not sign", why=why, fix="try `cosign public-key --key …` with the same key"
    )
