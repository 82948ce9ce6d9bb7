"""Our registry client as signing needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildmatrix.errors import NotInRegistry
from buildmatrix.oci import content, registry
from buildmatrix.oci.content import Descriptor
from buildmatrix.signing import strict
from buildmatrix.signing.registry import Pushed, unknown


@dataclass(frozen=True, slots=True)
class Remote:
    """Implements `signing.registry.Repository`; what the client raises passes through."""

    repository: registry.Repository

    @property
    def name(self) -> str:
        """``HOST/REPOSITORY``."""
        return self.repository.name

    def manifest(self, reference: str) -> Pushed | None:
        """The manifest under a tag or digest; None where there is none."""
        try:
            found = self.repository.manifest(reference)
        except NotInRegistry:
            return None
        return Pushed(media_type=found.media_type, data=found.data)

    def blob(self, digest: str, size: int) -> bytes:
        """A blob; its size is what a manifest says."""
        if not 0 <= size <= strict.MAX_BYTES:
            raise unknown(f"{self.name}@{digest}", f"a blob of {size} bytes")
        return self.repository.read(Descriptor(media_type="", digest=digest, size=size), strict.MAX_BYTES)

    def put_blob(self, data: bytes) -> str:
        """Push a blob; gives its digest."""
        blob = content.blob_of(data)
        self.repository.put_blob(blob)
        return blob.digest

    def put_manifest(self, reference: str, media_type: str, data: bytes) -> None:
        """Push a manifest under a tag or its digest."""
        document = content.document(data, media_type)
        self.repository.put_manifest(document, "" if reference == document.digest else reference)

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        """The descriptors of what refers to a digest."""
        return [item.as_json() for item in self.repository.referrers(digest)]
