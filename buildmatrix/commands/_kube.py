"""What `helm` and `rollout` share: their options, the verified indexes, and the sources they name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from buildmatrix import matrix
from buildmatrix.commands import options
from buildmatrix.deployspec import Deploy
from buildmatrix.errors import UsageError
from buildmatrix.finding import Finding, Severity
from buildmatrix.matrix import Matrix
from buildmatrix.report.terminal import printable

if TYPE_CHECKING:
    from buildmatrix.kube.check import Job
    from buildmatrix.kube.indexes import Index, Reader, Wanted
    from buildmatrix.kube.render import Renderer, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be checked, against which indexes; `findings` are about the indexes."""

    root: Path
    deploy: Deploy
    job: Job
    sources: tuple[Source, ...]
    indexes: tuple[Index, ...]
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether every index could be verified: without, no manifest can be judged."""
        return not any(item.severity is Severity.ERROR for item in self.findings)


def add(parser: argparse.ArgumentParser) -> None:
    """Options of both commands."""
    options.add_matrix(parser)
    parser.add_argument(
        "--image", action="append", default=[], metavar="REF|LAYOUT|REPOSITORY=LAYOUT",
        help="an index that is deployed; else the images of matrix.toml as they lie in dist/",
    )  # fmt: skip
    parser.add_argument("--skip-layers", action="store_true", help="believe the index; do not read its programs")
    group = parser.add_argument_group("charts")
    group.add_argument("--values", action="append", default=[], metavar="FILE", help="as of helm; may be repeated")
    group.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of helm; may be repeated")
    group.add_argument("--release", default="", metavar="NAME", help="the release's name (default: the chart's)")
    group.add_argument("--namespace", default="", metavar="NAME", help="the namespace that it is installed into")
    group.add_argument("--crd", action="append", default=[], metavar="FILE", help="CRDs of custom kinds")
    group.add_argument("--kubernetes", default="", metavar="VERSION", help="whose schemas (default: the newest known)")
    group.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="of one helm (%(default)s)")
    options.add_registry(parser)


def read(arguments: argparse.Namespace) -> Work:
    """Verify the indexes and find the sources. Raises UsageError and what reading matrix.toml raises."""
    from buildmatrix.kube import check, render

    parsed = _matrix(arguments)
    deploy = parsed.deploy if parsed is not None else Deploy()
    root = parsed.root if parsed is not None else Path.cwd()
    indexes, findings = _indexes(arguments, parsed)
    job = check.Job(
        renderer=_renderer(arguments, deploy, root),
        indexes={item.repository: item for item in indexes},
        pools=parsed.pools if parsed is not None else (),
        kubernetes=arguments.kubernetes or deploy.kubernetes,
        crds=check.definitions((*map(Path, arguments.crd), *(root / name for name in deploy.crds))),
    )
    places = tuple(Path(name).absolute() for name in arguments.sources) or tuple(root / name for name in deploy.charts)
    if not places:
        raise UsageError(
            "nobody said what is deployed", fix="name a chart or folder, or set deploy.charts in matrix.toml"
        )
    sources = render.sources(places, Path.cwd() if arguments.sources else root)
    if not sources:
        raise UsageError("got no chart, no kustomization and no manifest in what was named, expected one")
    return Work(root=root, deploy=deploy, job=job, sources=sources, indexes=indexes, findings=findings)


def _renderer(arguments: argparse.Namespace, deploy: Deploy, root: Path) -> Renderer:
    from buildmatrix.kube.render import Renderer, Settings
    from buildmatrix.process import SubprocessRunner

    values = [root / name for name in deploy.values] if not arguments.sources else []
    values += [Path(name).absolute() for name in arguments.values]
    for place in values:
        if not place.is_file():
            raise UsageError(f"{place}: got no such file, expected values of a chart")
    settings = Settings(
        values=tuple(values),
        sets=tuple(arguments.set),
        release=arguments.release,
        namespace=arguments.namespace,
        kubernetes=arguments.kubernetes or deploy.kubernetes,
        seconds=arguments.timeout,
    )
    return Renderer(runner=SubprocessRunner(), environment=dict(os.environ), settings=settings)


def _matrix(arguments: argparse.Namespace) -> Matrix | None:
    """The matrix; none is needed where everything is said on the command line."""
    path = Path(arguments.matrix).absolute()
    said = arguments.image and arguments.sources and arguments.matrix == matrix.FILE_NAME
    return None if said and not path.exists() else matrix.read(path)


def _indexes(arguments: argparse.Namespace, parsed: Matrix | None) -> tuple[tuple[Index, ...], tuple[Finding, ...]]:
    from buildmatrix.kube import indexes

    specs = parsed.images if parsed is not None else ()
    dist = Path(arguments.dist).absolute() if arguments.dist else parsed.root / "dist" if parsed is not None else None
    images = dist / "images" if dist is not None else None
    wanted = [indexes.parse(text, specs, images) for text in arguments.image]
    if not wanted and images is not None:
        wanted = list(indexes.declared(specs, images))
    reader = _reader(arguments, parsed)
    found: list[Index] = []
    findings: list[Finding] = []
    for item in _once(wanted):
        index, told = reader.read(item)
        findings += told
        found += [index] if index is not None else []
    return tuple(found), tuple(findings)


def _once(wanted: Iterable[Wanted]) -> Iterable[Wanted]:
    seen: set[str] = set()
    for item in wanted:
        if item.repository in seen:
            raise UsageError(
                f"{item.repository}: got two indexes, expected one", fix="say which of them is deployed with --image"
            )
        seen.add(item.repository)
        yield item


def _reader(arguments: argparse.Namespace, parsed: Matrix | None) -> Reader:
    from buildmatrix import prepare
    from buildmatrix.kube.indexes import Reader
    from buildmatrix.process import SubprocessRunner

    runner = SubprocessRunner()
    keyring = prepare.keyring(parsed, prepare.Host.current(), runner) if parsed is not None else None
    return Reader(runner=runner, access=options.access(arguments), keyring=keyring, layers=not arguments.skip_layers)


def show_findings(findings: Iterable[Finding], stream: TextIO | None = None) -> None:
    """Findings as a person reads them, each once, on standard output or another stream."""
    told = dict.fromkeys(findings)
    for finding in told:
        print(file=stream)
        print("\n".join(printable(line) for text in finding.lines() for line in text.split("\n")), file=stream)
    if told:
        print(file=stream)
