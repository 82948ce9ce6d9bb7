"""What a repository of a registry and a layout on disk have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from buildmatrix.oci.content import Blob, Descriptor, Document


class Source(Protocol):
    """Holds manifests and blobs. A *target* is a tag or a digest; a Descriptor also holds size and type."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def resolve(self, target: str) -> Descriptor | None:
        """What a tag or digest points to, or None."""

    def manifest(self, target: str | Descriptor) -> Document:
        """An index or manifest, verified."""

    def blob_size(self, digest: str) -> int | None:
        """The size in bytes of a blob that is there (-1: unknown), or None."""

    def blob(self, descriptor: Descriptor) -> Blob:
        """A blob to read from."""

    def read(self, descriptor: Descriptor, limit: int = ...) -> bytes:
        """A small blob, verified."""

    def tags(self) -> tuple[str, ...]:
        """Every tag."""

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """What refers to a digest."""


class Store(Source, Protocol):
    """Takes manifests and blobs as well."""

    def put_blob(self, blob: Blob, mount_from: str = "") -> bool:
        """Store a blob unless it is there; whether bytes were moved."""

    def put_manifest(self, document: Document, tag: str = "", *, top: bool = False) -> Descriptor:
        """Store a manifest, under a tag where one is given; `top` says that nothing else will point to it."""

    def put_referrers(self, documents: Sequence[Document]) -> None:
        """Store manifests that refer to others, which are there already."""
