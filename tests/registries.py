"""A registry in memory, with as much as signing needs, that tests can tamper with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from buildmatrix.signing.registry import Pushed

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class MemoryRepository:
    """Implements signing.registry.Repository."""

    name: str = "registry.example.org/team/app"
    manifests: dict[str, Pushed] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def manifest(self, reference: str) -> Pushed | None:
        return self.manifests.get(reference)

    def blob(self, digest: str, size: int) -> bytes:
        return self.blobs[digest]

    def put_blob(self, data: bytes) -> str:
        self.blobs[digest_of(data)] = data
        return digest_of(data)

    def put_manifest(self, reference: str, media_type: str, data: bytes) -> None:
        pushed = Pushed(media_type=media_type, data=data)
        self.manifests[digest_of(data)] = pushed
        self.manifests[reference] = pushed

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        found = []
        for reference, pushed in self.manifests.items():
            about = f'"digest":"{digest}"'.encode()
            if reference.startswith("sha256:") and b'"subject"' in pushed.data and about in pushed.data:
                found.append({"digest": reference, "mediaType": pushed.media_type, "size": len(pushed.data)})
        return found

    def push_image(self, *architectures: str) -> tuple[str, ...]:
        """An index of one image an architecture: the index's digest first, then its children's."""
        children = []
        for name in architectures:
            config = json.dumps({"architecture": name, "os": "linux"}).encode()
            image = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
                     "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                "digest": self.put_blob(config), "size": len(config)}}  # fmt: skip
            data = json.dumps(image).encode()
            self.put_manifest(digest_of(data), MANIFEST, data)
            children.append({"mediaType": MANIFEST, "digest": digest_of(data), "size": len(data),
                             "platform": {"architecture": name, "os": "linux"}})  # fmt: skip
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode()
        self.put_manifest(digest_of(index), INDEX, index)
        return (digest_of(index), *(str(child["digest"]) for child in children))
