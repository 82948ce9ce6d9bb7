"""Every key of matrix.toml, once: its type, default, meaning and allowed values.

The reader (`matrix.py`), the JSON Schema (`buildmatrix schema`) and the reference page (`docs/matrix.md`) all come
from these tables.
"""

from __future__ import annotations

from buildmatrix.schema.building import (
    APPENDABLE,
    BINARY,
    CONTROLLED,
    GO,
    OVERRIDE,
    PROJECT,
    PROVENANCE,
    SBOM,
    SETTINGS,
)
from buildmatrix.schema.key import (
    ADDRESS,
    BINARY_NAME,
    DOCUMENT_NAME,
    DOCUMENTS,
    FLOOR,
    FORMATS,
    LABEL,
    LICENSE,
    NAME,
    PACKAGE,
    PLAIN,
    REPOSITORY,
    SCHEMA_VERSION,
    TOOLCHAIN,
    URL,
    VARIABLE,
    VERSION,
    Key,
    Kind,
)
from buildmatrix.schema.running import FAULT, FAULT_KINDS, FLEET, ROOT, WORKLOAD
from buildmatrix.schema.shipping import BUILDER, CACHE, DEPLOY, IMAGE, PLATFORM, POOL
from buildmatrix.schema.trusting import RELEASE, SIGNING, SIGNING_BACKENDS

__all__ = [
    "ADDRESS", "APPENDABLE", "BINARY", "BINARY_NAME", "BUILDER", "CACHE", "CONTROLLED", "DEPLOY", "DOCUMENTS",
    "DOCUMENT_NAME", "FAULT", "FAULT_KINDS", "FLEET", "FLOOR", "FORMATS", "GO", "IMAGE", "LABEL", "LICENSE", "NAME",
    "OVERRIDE", "PACKAGE", "PLAIN", "PLATFORM", "POOL", "PROJECT", "PROVENANCE", "RELEASE", "REPOSITORY", "ROOT",
    "SBOM", "SCHEMA_VERSION", "SETTINGS", "SIGNING", "SIGNING_BACKENDS", "TABLES", "TOOLCHAIN", "URL", "VARIABLE",
    "VERSION", "WORKLOAD", "Key", "Kind",
]  # fmt: skip

TABLES: tuple[tuple[str, tuple[Key, ...], str], ...] = (
    ("project", PROJECT, "What is built."),
    ("go", GO, "The Go module and its toolchain."),
    ("sbom", SBOM, "Bills of materials, one of each format beside every artifact."),
    ("provenance", PROVENANCE, "What every artifact's provenance says beside its inputs."),
    ("signing", SIGNING, "Who signs, and whom `verify` believes. docs/trust.md says what a signature proves."),
    ("binaries.NAME", BINARY, "One main package."),
    ("targets.NAME", SETTINGS, "One cell's platform and how it is compiled. `nox -s build-NAME` builds it."),
    ("fleet.NAME", FLEET, "Machines that artifacts run on. Without any, sensible ones are taken for each target."),
    ("roots.NAME", ROOT, "A root file system that artifacts are installed into. `verify` predicts what executes."),
    ("builders.NAME", BUILDER, "A BuildKit cluster, one node a platform, that buildx is told to use."),
    ("images.NAME", IMAGE, "A multi-arch image. `nox -s image-NAME` builds and proves it, `push-NAME` publishes it."),
    ("deploy", DEPLOY, "What deploys the images. docs/kubernetes.md says what is checked."),
    ("pools.NAME", POOL, "Nodes of one architecture that images are deployed to. A roll-out follows this order."),
    ("release", RELEASE, "What a release must be, before it gets a tag: docs/release.md."),
    ("workloads.NAME", WORKLOAD, "What runs under the faults of [faults]."),
    ("faults.NAME", FAULT, "A fault. `nox -s faults-TARGET` injects it into every workload that it concerns."),
    ("[[overrides]]", OVERRIDE, "Settings for the targets that a glob selects, in order; later ones win."),
)
