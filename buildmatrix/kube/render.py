"""Charts through `helm template`, kustomizations through `kustomize build`, manifests as they lie: all as objects.

Helm runs without the user's repositories, plugins and cluster, so that the same chart gives the same manifests on
every machine. What is rendered includes hooks, tests and CRDs: all of it is applied at some time.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from buildmatrix.errors import ManifestInvalid, ToolMissing, UsageError
from buildmatrix.finding import Finding, Severity
from buildmatrix.kube import objects, yamlread
from buildmatrix.kube.objects import Item
from buildmatrix.process import Completed, Runner

Kind = Literal["chart", "kustomization", "manifests"]

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_MANIFESTS = (".yaml", ".yml", ".json")
_PASSED = ("PATH", "HOME", "TMPDIR", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SOURCE = re.compile(r"# Source: (\S.*)")
_VERSION = re.compile(r"v([0-9]+)\.([0-9]+)")
_LINT = re.compile(r"\[(ERROR|WARNING)\] (.*)")
_OLDEST = (3, 8)
_SHOWN = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How charts are rendered. `seconds` limits each program, `kubernetes` is what charts take the cluster for."""

    values: tuple[Path, ...] = ()
    sets: tuple[str, ...] = ()
    release: str = ""
    namespace: str = ""
    kubernetes: str = ""
    seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One thing to render: a chart's folder or archive, a kustomization's folder, or one file of manifests."""

    kind: Kind
    path: Path
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renderer:
    """Renders sources with the tools on PATH of `environment`."""

    runner: Runner
    environment: Mapping[str, str]
    settings: Settings = field(default_factory=Settings)
    _known: set[str] = field(default_factory=set)
    """The helm programs whose version was found good."""

    def render(self, source: Source) -> tuple[Item, ...]:
        """The objects of a source. Raises ManifestInvalid, ToolMissing or CommandTimeout."""
        if source.kind == "manifests":
            return tuple(_objects(_text(source.path), source.name))
        if source.kind == "kustomization":
            done = self._run(self._kustomize(source.path), source)
        else:
            done = self._run(self._helm("template", self._release(source), source), source)
        return tuple(_objects(done.stdout, source.name, chart=source.kind == "chart"))

    def lint(self, source: Source) -> Iterator[Finding]:
        """What `helm lint` says about a chart."""
        done = self._program(self._helm("lint", "", source), source.path)
        told = _LINT.findall(done.stdout + done.stderr)
        for level, text in dict.fromkeys(told):
            severity = Severity.ERROR if level == "ERROR" else Severity.WARNING
            yield Finding(
                rule="BM921", cell=source.name, what=text.strip(), fix=f"helm lint {source.name}", severity=severity
            )
        if not done.ok and not any(level == "ERROR" for level, _ in told):
            yield Finding(rule="BM921", cell=source.name, what="helm lint failed", evidence=_said(done))

    def _release(self, source: Source) -> str:
        name = self.settings.release or re.sub(r"[^a-z0-9-]+", "-", source.path.stem.lower()).strip("-")[:53]
        return name or "release"

    def _helm(self, verb: str, release: str, source: Source) -> tuple[str, ...]:
        settings = self.settings
        argv = [self._checked_helm(), verb, *([release] if release else []), str(source.path)]
        for place in settings.values:
            argv += ["--values", str(place)]
        for text in settings.sets:
            argv += ["--set", text]
        if settings.kubernetes:
            argv += ["--kube-version", settings.kubernetes]
        if settings.namespace:
            argv += ["--namespace", settings.namespace]
        return (*argv, *(("--include-crds",) if verb == "template" else ()))

    def _checked_helm(self) -> str:
        program = self._which("helm")
        if program is None:
            raise ToolMissing(
                "helm: is not on PATH, expected version 3 or 4: charts are rendered by the real one",
                fix="install it: go install helm.sh/helm/v3/cmd/helm@latest",
            )
        if program in self._known:
            return program
        done = self._program((program, "version", "--short"), Path.cwd())
        found = _VERSION.search(done.stdout)
        if found is None or not _OLDEST <= (int(found[1]), int(found[2])) < (5, 0):
            raise ToolMissing(
                f"{program}: got {done.stdout.strip()[:80] or 'no version'}, expected helm 3.8 or newer, or helm 4",
                why="Helm 2 renders other manifests, and a later major version may",
                fix="put a helm of version 3 or 4 first on PATH",
            )
        self._known.add(program)
        return program

    def _kustomize(self, folder: Path) -> tuple[str, ...]:
        program = self._which("kustomize")
        if program is not None:
            return (program, "build", str(folder))
        program = self._which("kubectl")
        if program is not None:
            return (program, "kustomize", str(folder))
        raise ToolMissing(
            "kustomize: neither it nor kubectl is on PATH, one of which builds kustomizations",
            fix="install it: go install sigs.k8s.io/kustomize/kustomize/v5@latest",
        )

    def _which(self, name: str) -> str | None:
        return shutil.which(name, path=self.environment.get("PATH", os.defpath))

    def _run(self, argv: tuple[str, ...], source: Source) -> Completed:
        done = self._program(argv, source.path)
        if not done.ok:
            raise ManifestInvalid(
                f"{source.name}: {Path(argv[0]).name} cannot render it (exit status {done.status})",
                why=_said(done),
                fix=_fix(done.stderr, source.name),
            )
        return done

    def _program(self, argv: tuple[str, ...], place: Path) -> Completed:
        with tempfile.TemporaryDirectory(prefix="buildmatrix-helm-") as empty:
            env = {name: self.environment[name] for name in _PASSED if name in self.environment}
            env |= {f"HELM_{name}_HOME": empty for name in ("CACHE", "CONFIG", "DATA")} | {"KUBECONFIG": os.devnull}
            cwd = place if place.is_dir() else place.parent
            return self.runner.run(argv, env=env, cwd=cwd, timeout=self.settings.seconds)


def _said(done: Completed) -> str:
    text = (done.stderr.strip() or done.stdout.strip())[:_SHOWN]
    return text or f"it ended with {done.status} and said nothing"


def _fix(stderr: str, name: str) -> str:
    if "missing in charts/ directory" in stderr:
        return f"fetch the chart's dependencies: helm dependency build {name}"
    if "nil pointer evaluating" in stderr or "required" in stderr:
        return "give the value that is missing with --values FILE or --set KEY=VALUE"
    return "correct the file that is named, or give what it misses with --values FILE or --set KEY=VALUE"


def sources(places: tuple[Path, ...], root: Path) -> tuple[Source, ...]:
    """What the named files and folders hold; `root` is what names are relative to. Raises UsageError."""
    found = [source for place in places for source in _sources(place, root)]
    return tuple({source.path: source for source in found}.values())


def _sources(place: Path, root: Path) -> Iterator[Source]:
    name = _name(place, root)
    if not place.exists():
        raise UsageError(f"{name}: got no such file or folder, expected a chart, a kustomization or manifests")
    kind = _kind(place)
    if kind is not None:
        yield Source(kind=kind, path=place, name=name)
        return
    within = [
        source
        for inner in (sorted(place.iterdir()) if place.is_dir() else ())
        if not inner.name.startswith(".") and (inner.is_dir() or inner.suffix in _MANIFESTS)
        for source in _inner(inner, root)
    ]
    if not within and place.is_file():
        raise UsageError(f"{name}: got {place.suffix or 'no suffix'}, expected a folder, .tgz, .yaml, .yml or .json")
    yield from within


def _inner(place: Path, root: Path) -> Iterator[Source]:
    if not place.exists():  # a link to nothing: a finding of its own, when it is read
        yield Source(kind="manifests", path=place, name=_name(place, root))
    elif not place.is_symlink() or not place.is_dir():  # a link to a folder may lead around in circles
        yield from _sources(place, root)


def _name(place: Path, root: Path) -> str:
    return str(place.relative_to(root)) if place.is_relative_to(root) else str(place)


def _kind(place: Path) -> Kind | None:
    if place.is_dir():
        if (place / "Chart.yaml").is_file():
            return "chart"
        return "kustomization" if any((place / name).is_file() for name in KUSTOMIZATIONS) else None
    if place.suffix == ".tgz":
        return "chart"
    return "manifests" if place.suffix in _MANIFESTS else None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(yamlread.MAX_BYTES + 1)
        if len(data) > yamlread.MAX_BYTES:
            raise ManifestInvalid(
                f"{path}: got more than {yamlread.MAX_BYTES} bytes, expected a manifest", fix="split it"
            )
        return data.decode("utf-8")
    except OSError as error:
        raise ManifestInvalid(
            f"{path}: cannot be read", why=error.strerror or str(error), fix="make it readable"
        ) from error
    except UnicodeDecodeError as error:
        raise ManifestInvalid(f"{path}: is not UTF-8", why=str(error), fix="write it as text in UTF-8") from error


def _objects(text: str, name: str, *, chart: bool = False) -> Iterator[Item]:
    lines = text.splitlines() if chart else []
    for document in yamlread.documents(text, f"{name} (rendered)" if chart else name):
        yield from objects.items(document, name, _template(lines, document.line))


def _template(lines: list[str], line: int) -> str:
    """The file that Helm names before a document, without the chart's own name."""
    for number in range(min(line, len(lines)) - 1, -1, -1):
        if found := _SOURCE.fullmatch(lines[number]):
            return found[1].partition("/")[2]
        if number < line - 1 and lines[number].startswith("---"):
            break
    return ""
