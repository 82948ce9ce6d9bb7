"""What images cost: the direct engine against `buildx bake` and `ko`, and the proof of a large root file system.

Every side puts the same two binaries (amd64, arm64) onto the same base, out of the same local registry, into an
OCI layout on disk; peers run as processes. Daemons, caches and the base are warm. "The same copy" is made again
and again, so that both sides may take what they have cached; "new binaries" are binaries that nobody's cache has,
in every round. ko's Go builds are left out by a `go` that copies the binary in the
place of `go build`, and passes every other call on; ours begin with the binaries as well.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from bench import assemble, measure, orchestration, peers
from bench.measure import Result
from buildmatrix import matrix
from buildmatrix.images import proof as image_proof
from buildmatrix.images.layer import Entry
from buildmatrix.images.layer import write as write_layer
from buildmatrix.oci import copy, media
from buildmatrix.oci.content import Blob, Descriptor, blob_of, blob_of_file, canonical, document
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import parse
from buildmatrix.oci.registry import Registry

PLATFORMS = {"amd64": "linux/amd64", "arm64": "linux/arm64"}
BASE_BYTES = 4 << 20
ROUNDS = 7
ROOT_BYTES = 1 << 30
_MATRIX = """\
schema = 1
project.name = "archprobe"
project.version = "1.2.3"

[go]
module = "src/archprobe"

[binaries.archprobe]
package = "./cmd/archprobe"

[targets.amd64]
goarch = "amd64"

[targets.arm64]
goarch = "arm64"

[images.archprobe]
targets = ["*"]
base = "{base}"
"""
_DOCKERFILE = """\
FROM {base}
ARG TARGETPLATFORM
COPY --from=dist ${{TARGETPLATFORM}}/archprobe /usr/local/bin/archprobe
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/archprobe"]
"""
_GO = """\
#!/bin/sh
if [ "$1" = build ]; then
  while [ "$1" != -o ]; do shift; done
  exec cp "{folder}/$GOARCH" "$2"
fi
exec "{go}" "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A project in a folder, a registry with its base, and BuildKit's builder."""

    root: Path
    base: str
    binaries: dict[str, bytes]
    builder: tuple[str, ...]
    environment: dict[str, str]

    def renew(self) -> None:
        """Binaries that nobody has seen: the same programs with other bytes at their end."""
        nonce = os.urandom(16)
        for goarch, data in self.binaries.items():
            artifact = self.root / f"dist/archprobe_{goarch}/archprobe"
            shared = self.root / "context" / PLATFORMS[goarch] / "archprobe"
            for path in (artifact, shared, self.root / "go" / goarch):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data + nonce)
                path.chmod(0o755)

    def run(self, argv: list[str], cwd: Path, **more: str) -> None:
        """Run one side, and stop the bench where it fails."""
        done = subprocess.run(
            argv, cwd=cwd, env={**self.environment, **more}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            message = f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
            raise SystemExit(message)

    def engine(self) -> None:
        """Ours, in a buildmatrix that runs: what `image` adds to a run once its modules are loaded."""
        assemble.engine(assemble.job(self.root))

    def direct(self, *words: str) -> None:
        """Ours, as a process of its own."""
        self.run([sys.executable, "-m", "bench.assemble", str(self.root), *words], orchestration.ROOT)

    def bake(self) -> None:
        """A bake file as anybody would write it: one target, two platforms, an OCI layout."""
        output = self.root / "baked"
        shutil.rmtree(output, ignore_errors=True)
        target = {
            "context": str(self.root / "empty"), "dockerfile": str(self.root / "Dockerfile"),
            "contexts": {"dist": str(self.root / "context")}, "platforms": list(PLATFORMS.values()),
            "output": [f"type=oci,dest={output},tar=false"], "attest": ["type=provenance,disabled=true"],
        }  # fmt: skip
        (self.root / "bake.json").write_text(json.dumps({"target": {"default": target}}))
        self.run([*self.builder, "bake", "--builder", "bench", "-f", "bake.json", "--progress=plain",
                  f"--allow=fs={self.root}"], self.root)  # fmt: skip

    def ko(self, sbom: str) -> None:
        """ko, whose `go build` is a copy."""
        output = self.root / "ko"
        shutil.rmtree(output, ignore_errors=True)
        self.run(
            [str(peers.ko()), "build", "--bare", "--push=false", f"--oci-layout-path={output}", f"--sbom={sbom}",
             f"--platform={','.join(PLATFORMS.values())}", "./cmd/archprobe"],
            self.root / "src/archprobe",
            KO_DOCKER_REPO=self.base.partition("/")[0] + "/bench/ko", KO_DEFAULTBASEIMAGE=self.base,
            KO_GO_PATH=str(self.root / "go/wrapper"),
        )  # fmt: skip


@contextlib.contextmanager
def _bench() -> Iterator[Bench]:
    """Everything that is needed, started and stopped again."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-images-")))
        host = stack.enter_context(peers.registry(root / "registry"))
        base = f"{host}/bench/base@{_base(host, root / 'base')}"
        shutil.copytree(orchestration.ROOT / "examples/archprobe", root / "src/archprobe")
        shutil.copytree(orchestration.ROOT / "examples/execguard", root / "src/execguard")
        (root / "matrix.toml").write_text(_MATRIX.format(base=base))
        (root / "Dockerfile").write_text(_DOCKERFILE.format(base=base))
        (root / "empty").mkdir()
        (root / "go").mkdir()
        wrapper = root / "go/wrapper"
        wrapper.write_text(_GO.format(folder=root / "go", go=shutil.which("go") or "go"))
        wrapper.chmod(0o755)
        socket = stack.enter_context(peers.buildkitd(root / "buildkit"))
        environment = {**os.environ, "BUILDX_CONFIG": str(root / "buildx")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody compiles modules in every run
        builder = (str(peers.buildx()),)
        create = ["create", "--name", "bench", "--driver", "remote", "--platform", ",".join(PLATFORMS.values())]
        subprocess.run([*builder, *create, f"unix://{socket}"], env=environment, check=True, capture_output=True)
        yield Bench(root=root, base=base, binaries=_binaries(root), builder=builder, environment=environment)


def _binaries(root: Path) -> dict[str, bytes]:
    found = {}
    for goarch in PLATFORMS:
        output = root / f"built-{goarch}"
        argv = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(output), "./cmd/archprobe"]
        environment = {**os.environ, "GOARCH": goarch, "GOOS": "linux", "CGO_ENABLED": "0"}
        subprocess.run(argv, cwd=root / "src/archprobe", env=environment, check=True)
        found[goarch] = output.read_bytes()
    return found


def _base(host: str, folder: Path) -> str:
    """An image of one layer for each platform, in the registry; its digest."""
    layout, entries = Layout(folder).create(), []
    for goarch, text in PLATFORMS.items():
        data = random.Random(goarch).randbytes(BASE_BYTES)  # noqa: S311
        entries.append(_image(layout, [Entry(path="/usr/share/base", data=data)], text))
    value = {"schemaVersion": 2, "mediaType": media.INDEX, "manifests": [item.as_json() for item in entries]}
    index = document(canonical(value), media.INDEX)
    layout.put_manifest(index, top=True)
    with Registry(host) as registry:
        copy.copy(layout, registry.repository("bench/base"), index.digest, threads=2)
    return index.digest


def _image(layout: Layout, entries: list[Entry], text: str) -> Descriptor:
    with cast("IO[bytes]", tempfile.TemporaryFile()) as sink:
        written = write_layer(entries, sink, time=0)
        sink.seek(0)
        return _listed(layout, blob_of(sink.read()), written.diff_id, text)


def _listed(layout: Layout, packed: Blob, diff_id: str, text: str) -> Descriptor:
    """An image of one gzip layer, stored; returns its entry in an index."""
    layout.put_blob(packed)
    value = {**parse(text).as_json(), "config": {"Entrypoint": ["/usr/local/bin/archprobe"]},
             "rootfs": {"type": "layers", "diff_ids": [diff_id]}}  # fmt: skip
    config = document(canonical(value), media.CONFIG)
    layer = Descriptor(media_type=media.LAYER_GZIP, digest=packed.digest, size=packed.size)
    manifest = document(
        canonical({"schemaVersion": 2, "mediaType": media.MANIFEST, "config": config.descriptor.as_json(),
                   "layers": [layer.as_json()]}),
        media.MANIFEST,
    )  # fmt: skip
    for made in (config, manifest):
        layout.put_blob(blob_of(made.data))
    return replace(manifest.descriptor, platform=parse(text))


def _against(
    bench: Bench,
    name: str,
    peer: str,
    ours: Callable[[], None],
    theirs: Callable[[], None],
    target: float,
    *,
    new: bool = False,
) -> Result:
    """Rounds of the same copy; with `new` both sides get binaries that nobody has seen, whose making is not timed."""
    pairs = []
    for index in range(ROUNDS + 1):
        times = {}
        for call in (ours, theirs) if index % 2 else (theirs, ours):
            if new:
                bench.renew()
            times[call] = measure.once(call)
        if index:  # the first one warms caches
            pairs.append((times[ours], times[theirs]))
    return Result(
        name=name, peer=peer, unit="images", amount=1, ours=min(own for own, _ in pairs),
        theirs=min(other for _, other in pairs), median=sorted(other / own for own, other in pairs)[len(pairs) // 2],
        target=target,
    )  # fmt: skip


def images() -> Iterator[Result]:
    """The direct engine against its neighbours, then the proof.

    The engine is measured inside a run of buildmatrix, and as a process of its own, which loads an interpreter,
    modules and an HTTP client first.
    """
    with _bench() as bench:
        bench.renew()
        yield _against(bench, "same copy", "buildx bake", bench.engine, bench.bake, 5)
        yield _against(bench, "same copy", "ko", bench.engine, lambda: bench.ko("none"), 1.2)
        yield _against(bench, "same copy, own process", "buildx bake", bench.direct, bench.bake, 5)
        yield _against(bench, "same copy, own process", "ko", bench.direct, lambda: bench.ko("none"), 1.2)
        yield _against(bench, "new binaries", "buildx bake", bench.engine, bench.bake, 5, new=True)
        yield _against(bench, "new binaries", "ko", bench.engine, lambda: bench.ko("none"), 1.2, new=True)
    yield from proof()


# The proof


def proof() -> Iterator[Result]:
    """Proving an image of 1 GiB, as `verify` does, against reading its one layer through zlib, twice.

    What is read is the gzip file from the page cache. The proof reads it once, and computes the digests of both
    forms, the facts of every ELF file and the preflight of the entrypoint; with bills, SHA-256 and SHA-1 of every
    file as well.
    """
    with tempfile.TemporaryDirectory(prefix="bench-proof-") as name:
        folder = Path(name)
        packed, diff_id = _root(folder)
        layout = Layout(folder / "layout").create()
        entry = _listed(layout, blob_of_file(packed), diff_id, "linux/amd64")
        value = {"schemaVersion": 2, "mediaType": media.INDEX, "manifests": [entry.as_json()]}
        index = document(canonical(value), media.INDEX)
        layout.put_manifest(index, top=True)
        text = _MATRIX.format(base="scratch").replace('["*"]', '["amd64"]')
        read = matrix.parse(text.encode(), folder / "matrix.toml")
        for words, hashes in (("", ()), (", with bills' hashes", ("sha256", "sha1"))):
            plan = image_proof.Plan(spec=read.images[0], matrix=read, digests={}, hashes=hashes)
            yield measure.compare(
                f"proof of 1 GiB{words}", "reading the layer twice",
                functools.partial(_prove, plan, layout, index.descriptor), functools.partial(_read_twice, packed),
                unit="MiB", amount=ROOT_BYTES / (1 << 20), target=1, rounds=3, most=True,
            )  # fmt: skip


class _Digesting:
    """A sink that knows the digest of what went through."""

    def __init__(self, sink: IO[bytes]) -> None:
        self.sink, self.digest = sink, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.sink.write(data)


def _root(folder: Path) -> tuple[Path, str]:
    """A gzip layer of this machine's own programs, libraries and data, 1 GiB of them, and its diff_id."""
    packed, sources = folder / "layer.tar.gz", _sources()
    with gzip.GzipFile(packed, "wb", compresslevel=4, mtime=0) as stream:
        sink = _Digesting(cast("IO[bytes]", stream))
        with tarfile.open(fileobj=cast("IO[bytes]", sink), mode="w|") as tar:
            total = number = 0
            while total < ROOT_BYTES:
                path = sources[number % len(sources)]
                info = tarfile.TarInfo(f"root/{number // 500}/{number}-{path.name}")
                info.size, info.mode = path.stat().st_size, 0o755
                with path.open("rb") as data:
                    tar.addfile(info, data)
                total, number = total + info.size, number + 1
    return packed, f"sha256:{sink.digest.hexdigest()}"


def _sources() -> list[Path]:
    """Files that are there on any Linux machine, in an order that is the same every time."""
    found: list[Path] = []
    for base in ("/usr/bin", "/usr/lib", "/usr/share"):
        for place, folders, names in os.walk(base):
            folders.sort()
            found += [path for name in sorted(names) if _plain(path := Path(place, name))]
    return found


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)


def _prove(plan: image_proof.Plan, layout: Layout, top: Descriptor) -> None:
    proven, findings = image_proof.prove(plan, layout, top)
    if len(proven) != 1 or not proven[0].contents.programs or any(item.rule == "BM853" for item in findings):
        raise SystemExit("\n".join(line for item in findings for line in item.lines()))


def _read_twice(packed: Path) -> None:
    """What `gzip -dc` does, by the zlib that Python has, twice; no byte is kept."""
    for _ in range(2):
        engine = zlib.decompressobj(31)
        with packed.open("rb") as stream:
            while data := stream.read(1 << 18):
                engine.decompress(data)
