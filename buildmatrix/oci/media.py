"""Media types and annotations: OCI's, Docker's, BuildKit's and cosign's."""

from __future__ import annotations

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

INDEXES = (INDEX, DOCKER_LIST)
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
CONFIGS = (CONFIG, DOCKER_CONFIG)
ACCEPT = ", ".join((INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))

EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""The digest of ``{}``, the empty config (image-spec, manifest.md)."""

REF_NAME = "org.opencontainers.image.ref.name"
CREATED = "org.opencontainers.image.created"
REFERENCE_TYPE = "vnd.docker.reference.type"
REFERENCE_DIGEST = "vnd.docker.reference.digest"
ATTESTATION_MANIFEST = "attestation-manifest"
IN_TOTO = "application/vnd.in-toto+json"
IN_TOTO_PREDICATE = "in-toto.io/predicate-type"

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
NOTATION = "application/vnd.cncf.notary.signature"
COSIGN_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
BUNDLE_PREDICATE = "dev.sigstore.bundle.predicateType"
BUNDLE_CONTENT = "dev.sigstore.bundle.content"
LEGACY_SUFFIXES = ("sig", "att", "sbom")
"""What cosign appends to ``sha256-<hex>.`` for signatures, attestations and SBOMs."""


def is_layer(media_type: str) -> bool:
    """Whether a descriptor of this type is a layer of a root file system (OCI's, Docker's, any compression)."""
    return ".image.layer." in media_type or ".image.rootfs." in media_type or media_type.startswith("application/x-tar")


def is_foreign(media_type: str) -> bool:
    """Whether registries may leave such a layer out (non-distributable, or Docker's foreign layers)."""
    return "nondistributable" in media_type or ".foreign." in media_type


def referrers_tag(digest: str) -> str:
    """The tag of the index that stands in for the referrers API (distribution-spec, "Referrers Tag Schema").

    Algorithm and hexadecimal digits are cut at 32 and 64 characters, as the specification says.
    """
    algorithm, _, value = digest.partition(":")
    return f"{algorithm[:32]}-{value[:64]}"


def legacy_tag(digest: str, suffix: str) -> str:
    """The tag where cosign 2 keeps what belongs to a digest: ``sha256-<hex>.sig`` and the like."""
    return f"{digest.replace(':', '-')}.{suffix}"
