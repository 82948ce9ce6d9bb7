"""Keys of the machines and root file systems that artifacts run on, and of the faults that they must bear."""

from __future__ import annotations

import re

from buildmatrix.schema.key import BINARY_NAME, LABEL, VARIABLE, Key

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
        names=VARIABLE),
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
        default={}, names=LABEL),
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
