"""Today's signer and policy, from [signing] and the files that it names; made when they are first needed."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from buildmatrix import trust
from buildmatrix.errors import KeyDamaged
from buildmatrix.process import Runner
from buildmatrix.signing import keyfile, password, policy, publickey
from buildmatrix.signing.backends import development, key
from buildmatrix.signing.policy import Policy, TrustedRoot
from buildmatrix.signing.publickey import PublicKey
from buildmatrix.signing.signer import Bundler, Signer
from buildmatrix.trust import Signing

_FINGERPRINT = "sha256:"
_HEXADECIMAL = 64


class Keyring:
    """The keys of one run. Threads may share it; whoever is at the terminal is asked once, inside `asking`."""

    def __init__(
        self,
        signing: Signing,
        *,
        root: Path,
        cache: Path,
        environment: Mapping[str, str],
        runner: Runner,
        asking: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.signing = signing
        self._root, self._cache = root, cache
        self._environment, self._runner, self._asking = environment, runner, asking
        self._lock = threading.Lock()
        self._signer: Signer | None = None
        self._policy: Policy | None = None

    @property
    def enabled(self) -> bool:
        """Whether anything is signed."""
        return self.signing.backend != trust.NONE

    def signer(self) -> Signer:
        """Who signs; raises what the backend raises where it cannot."""
        with self._lock:
            if self._signer is None:
                self._signer = self._load()
            return self._signer

    def policy(self) -> Policy:
        """Whom to believe. Raises KeyDamaged for a file that cannot be read."""
        with self._lock:
            if self._policy is None:
                self._policy = self._read_policy()
            return self._policy

    def today(self) -> str:
        """A word that changes where today's signer or policy does; costs no cryptography and no password.

        Empty where no such word is known: then only looking at the signatures tells.
        """
        signing = self.signing
        parts = [repr(signing)]
        files = [*signing.trusted_keys, *signing.revoked_keys, signing.trusted_root, signing.certificate]
        for path in (*map(self._path, filter(None, files)), *filter(None, [self._public_path()])):
            try:
                parts.append(hashlib.sha256(path.read_bytes()).hexdigest())
            except OSError:
                if not path.name.startswith(_FINGERPRINT):
                    return ""
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _path(self, name: str) -> Path:
        return self._root / Path(name).expanduser()

    def _public_path(self) -> Path | None:
        """Where the public half of today's key lies; None where the backend has no such file."""
        if self.signing.backend == trust.DEVELOPMENT:
            return key.public_path(development.path_in(self._cache))
        return key.public_path(self._path(self.signing.key)) if self.signing.backend == trust.KEY else None

    def _password(self) -> bytes:
        file = self.signing.password_file
        with self._asking():
            return password.find(self._environment, self._path(file) if file else None, self.signing.key)

    def _load(self) -> Signer:
        signing = self.signing
        if signing.backend == trust.DEVELOPMENT:
            return Bundler(development.load(development.path_in(self._cache)))
        if signing.backend == trust.KEY:
            return Bundler(key.load(self._path(signing.key), self._password))
        if signing.backend == trust.COSIGN:
            from buildmatrix.signing.backends import program

            return Bundler(program.load(signing.key, self._runner, self._environment))
        if signing.backend == trust.CERTIFICATE:
            return self._load_certificate()
        if signing.backend == trust.KEYLESS:
            return self._load_keyless()
        raise AssertionError("nothing signs")

    def _load_certificate(self) -> Signer:
        from buildmatrix.signing.backends import certificate, stamp

        signing = self.signing
        address = signing.timestamp_authority
        return Bundler(
            certificate.load(
                self._path(signing.certificate),
                self._path(signing.key),
                self._password,
                (lambda signature: stamp.ask(address, signature)) if address else None,
            )
        )

    def _load_keyless(self) -> Signer:
        from buildmatrix.signing.backends import keyless

        signing = self.signing
        services = keyless.Services(
            fulcio=signing.fulcio,
            rekor=signing.rekor,
            rekor_version=int(signing.rekor_version),
            oidc=signing.oidc,
            timestamp_authority=signing.timestamp_authority,
        )
        with self._asking():
            return keyless.load(services, self._read_root(), self._environment)

    def _read_policy(self) -> Policy:
        signing, developer = self.signing, ""
        keys = [self._public(self._path(name), name) for name in signing.trusted_keys]
        own = self._public_path()
        if own is not None and not keys and (signing.backend == trust.KEY or own.is_file()):
            keys = [self._public(own, own.name)]
            developer = keys[0].fingerprint if signing.backend == trust.DEVELOPMENT else ""
        return Policy(
            keys=tuple(keys),
            revoked=frozenset(self._fingerprint(name) for name in signing.revoked_keys),
            root=self._read_root() if signing.trusted_root else None,
            issuer=signing.issuer,
            identities=signing.identities,
            log=signing.backend == trust.KEYLESS,
            development=developer,
        )

    def _read_root(self) -> TrustedRoot:
        return policy.read_root(_read(self._path(self.signing.trusted_root), "signing.trusted-root"), "trusted root")

    def _public(self, path: Path, name: str) -> PublicKey:
        return publickey.from_pem(_read(path, "signing.trusted-keys"), name)

    def _fingerprint(self, name: str) -> str:
        if name.startswith(_FINGERPRINT):
            digits = name.removeprefix(_FINGERPRINT)
            if len(digits) == _HEXADECIMAL and set(digits) <= set("0123456789abcdef"):
                return digits
            raise KeyDamaged(
                f"signing.revoked-keys: got {name!r}, expected sha256: and {_HEXADECIMAL} hexadecimal digits",
                why="a fingerprint that is misspelt revokes nothing",
                fix="copy it from `buildmatrix keygen`, or name the public key's file",
            )
        return publickey.from_pem(_read(self._path(name), "signing.revoked-keys"), name).fingerprint


def _read(path: Path, setting: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(keyfile.MAX_BYTES * 16)
    except OSError as error:
        raise KeyDamaged(
            f"{path}: cannot be read", why=error.strerror or str(error), fix=f"correct {setting} in matrix.toml"
        ) from error
