"""Our side of the image comparisons as a process of its own: ``python -m bench.assemble PROJECT [--whole]``.

It assembles the project's image by the direct engine, as `buildmatrix image --force` does once the cells are
there; `--whole` proves and describes it as well, and writes its record.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from buildmatrix import matrix
from buildmatrix.dist import Dist
from buildmatrix.images import build, direct
from buildmatrix.images.record import layout_path
from buildmatrix.oci.http import Access
from buildmatrix.oci.layout import Layout


def job(root: Path) -> build.Job:
    """What `shipping` would hand to the image step."""
    read = matrix.read(root / "matrix.toml")
    dist = Dist(root / "dist")
    artifacts = {cell.id: dist.folder(cell.id) / cell.file_name for cell in read.cells}
    return build.Job(
        spec=read.images[0],
        matrix=read,
        dist=dist,
        artifacts=artifacts,
        digests={cell: hashlib.sha256(path.read_bytes()).hexdigest() for cell, path in artifacts.items()},
        version="1.2.3",
        revision="",
        created=1_700_000_000,
        goroot=None,
        access=Access(),
        credentials=None,
        workers=2,
        check=lambda: None,
        force=True,
    )


def engine(made: build.Job) -> None:
    """Resolve the base, write layers, documents and index; nothing is proven."""
    layout = Layout(layout_path(made.dist, made.spec.name))
    made.dist.state("").mkdir(parents=True, exist_ok=True)
    with build._Base(made) as base:
        inputs = build._inputs(made, base, None)
        assembly = direct.Assembly(
            inputs=inputs,
            base=base,
            layout=layout,
            workers=made.workers,
            check=made.check,
            memory=made.dist.state(f"image-{made.spec.name}", "layers"),
        )
        direct.publish(layout, direct.assemble(assembly))


def main() -> int:
    """Assemble, or do the whole step."""
    made = job(Path(sys.argv[1]))
    if "--whole" not in sys.argv:
        engine(made)
        return 0
    outcome = build.run(made, lambda _: None)
    if outcome.failed:
        print(outcome.reason, *outcome.findings, file=sys.stderr)  # noqa: T201
    return int(outcome.failed)


if __name__ == "__main__":
    sys.exit(main())
