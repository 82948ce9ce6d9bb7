"""What a signing backend is, and how its signatures become bundles.

A backend that holds a key, or a program that does, is a RawSigner: bytes in, signature out. `Bundler` makes
bundles of it. A service with a protocol of its own (keyless) makes bundles itself and is a Signer only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from buildmatrix.signing import bundle, statement
from buildmatrix.signing.bundle import Bundle, Envelope, Material, Message
from buildmatrix.signing.check import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is signed: its SHA-256 (32 bytes), and the bytes themselves or the file that they are in."""

    sha256: bytes
    source: bytes | Path

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Bytes at hand."""
        return cls(sha256=hashlib.sha256(data).digest(), source=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A signature (DER for ECDSA) and what it is verified with."""

    signature: bytes
    material: Material


class RawSigner(Protocol):
    """Signs a digest or the content with it."""

    @property
    def identity(self) -> Identity:
        """Who signs. Raises what the backend raises where the key cannot be had."""

    def sign(self, content: Content) -> Raw:
        """The signature of content under SHA-256. Raises SigningFailed."""


class Signer(Protocol):
    """Makes bundles. `raw` is the backend below, where there is one: registries take signatures without a bundle."""

    @property
    def identity(self) -> Identity:
        """Who signs."""

    @property
    def raw(self) -> RawSigner | None:
        """The backend below."""

    def message(self, content: Content) -> Bundle:
        """A signature of a file."""

    def attest(self, payload: bytes) -> Bundle:
        """An envelope around an in-toto statement."""


@dataclass(frozen=True, slots=True)
class Bundler:
    """A Signer around a RawSigner."""

    raw: RawSigner

    @property
    def identity(self) -> Identity:
        """Who signs."""
        return self.raw.identity

    def message(self, content: Content) -> Bundle:
        """A signature of a file."""
        made = self.raw.sign(content)
        return Bundle(material=made.material, content=Message(sha256=content.sha256, signature=made.signature))

    def attest(self, payload: bytes) -> Bundle:
        """An envelope around an in-toto statement."""
        made = self.raw.sign(Content.of(statement.pae(bundle.IN_TOTO, payload)))
        envelope = Envelope(payload_type=bundle.IN_TOTO, payload=payload, signature=made.signature)
        return Bundle(material=made.material, content=envelope)
