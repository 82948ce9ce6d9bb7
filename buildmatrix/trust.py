"""Who signs and whom `verify` believes: the table [signing]. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from buildmatrix import patterns, schema
from buildmatrix.errors import Problem

NONE, DEVELOPMENT, KEY, CERTIFICATE, KEYLESS, COSIGN = schema.SIGNING_BACKENDS

_NEEDS = {
    KEY: ("key",),
    CERTIFICATE: ("key", "certificate", "trusted-root"),
    KEYLESS: ("fulcio", "rekor", "trusted-root"),
    COSIGN: ("key", "trusted-keys"),
}
"""The keys that a backend cannot do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Table [signing]; paths are relative to the folder of matrix.toml."""

    backend: str
    key: str
    password_file: str
    certificate: str
    trusted_keys: tuple[str, ...]
    revoked_keys: tuple[str, ...]
    trusted_root: str
    issuer: str
    identities: tuple[str, ...]
    fulcio: str
    rekor: str
    rekor_version: str
    oidc: str
    timestamp_authority: str


def read(values: dict[str, Any]) -> tuple[Signing, list[Problem]]:
    """The table from values that are valid by type, and every problem in it."""
    filled = {key.name: values.get(key.name, key.default) for key in schema.SIGNING}
    return Signing(**{name.replace("-", "_"): value for name, value in filled.items()}), list(_problems(filled))


def _problems(values: dict[str, Any]) -> Iterator[Problem]:
    backend = values["backend"]
    for name in _NEEDS.get(backend, ()):
        if not values[name]:
            yield _missing(name, f'backend = "{backend}" needs it')
    if values["trusted-root"]:
        for name in ("issuer", "identities"):
            if not values[name]:
                yield _missing(name, "under a trusted root anybody with an identity can sign: say who may")
    for name, given in (("issuer", (values["issuer"],)), ("identities", values["identities"])):
        for pattern in given:
            if wrong := pattern and patterns.problem(pattern):
                expected = "a value, glob:… or regex:…"
                yield Problem(key=f"signing.{name}", got=repr(pattern), expected=expected, hint=wrong)
    if backend == KEYLESS and values["rekor-version"] == "2" and not values["timestamp-authority"]:
        yield _missing("timestamp-authority", "Rekor 2 vouches for no time")


def _missing(name: str, hint: str) -> Problem:
    return Problem(key=f"signing.{name}", got="nothing", expected="a value", hint=hint)
