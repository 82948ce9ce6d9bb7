"""Keys of images, of who builds them, and of where they are deployed."""

from __future__ import annotations

import re

from buildmatrix.schema.key import BINARY_NAME, LABEL, VARIABLE, Key

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
    Key(name="build-args", kind="table", doc="Build arguments of the Dockerfile.", default={}, names=VARIABLE),
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
        names=LABEL),
    Key(name="annotations", kind="table", doc="Annotations of the index and of every manifest.", default={},
        names=LABEL),
    Key(name="user", kind="string", doc="Who it runs as: UID or UID:GID. Default: the base's user, else 65532:65532.",
        default="", pattern=re.compile(r"([0-9]{1,10}(:[0-9]{1,10})?)?"), shape="UID or UID:GID, as numbers"),
    Key(name="where", kind="string", doc="The folder of the binaries in the image.", default="/usr/local/bin",
        pattern=_INSIDE, shape="an absolute path"),
    Key(name="entrypoint", kind="strings", doc="The command. Default: the first binary."),
    Key(name="cmd", kind="strings", doc="Arguments that a user of the image may replace.", default=()),
    Key(name="env", kind="table", doc="Environment variables of the image.", default={}, names=VARIABLE),
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
        names=LABEL),
    Key(name="taints", kind="strings", doc="The nodes' taints: what deploys there must tolerate them.", default=(),
        pattern=re.compile(r"[A-Za-z0-9./_-]+(=[A-Za-z0-9._-]*)?:[A-Za-z]+"),
        shape="key=value:NoSchedule or key:NoExecute"),
    Key(name="weight", kind="integer", doc="Its share of a workload's replicas, relative to the other pools.",
        default=1),
)  # fmt: skip
