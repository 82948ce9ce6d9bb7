"""What signing costs: all bundles of one artifact, made and written, and verified again, beyond hashing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import bills, measure, orchestration
from bench.measure import Result
from buildmatrix import attest, signed
from buildmatrix.dist import PROVENANCE, RECORD, Dist
from buildmatrix.signing import bundle
from buildmatrix.signing.backends import key
from buildmatrix.signing.check import Context
from buildmatrix.signing.policy import Policy
from buildmatrix.signing.signer import Bundler

SECONDS = 0.015
"""What one artifact may cost."""


def signatures() -> Iterator[Result]:
    """Signatures of this repository's artifacts, which are built first."""
    orchestration.build(bills.CELLS)
    signer = key.from_pkcs8(key.new_pkcs8(), "bench")
    context = Context(policy=Policy(keys=(signer.public,)), now=datetime.now(UTC), exact=True)
    for cell in bills.CELLS:
        made = bills.basis(cell, orchestration.ROOT / "dist")
        with tempfile.TemporaryDirectory() as name:
            dist = Dist(Path(name))
            documents = bills.described(made) | {PROVENANCE: attest.provenance(made)}
            for file, data in (documents | {RECORD: b"{}\n"}).items():
                dist.write(dist.folder(cell) / file, data)
            files = signed.Files(cell=cell, artifact=made.artifact, documents=tuple(documents))
            for what, call in (
                ("made and written", partial(_sign, dist, files, Bundler(signer))),
                ("verified", partial(_verify, dist, files, context)),
            ):
                seconds = min(measure.once(call) for _ in range(20))
                yield Result(
                    name=f"signatures {what}, {cell}", peer="15 ms", unit="artifacts", amount=1, ours=seconds,
                    theirs=SECONDS, median=seconds / SECONDS, target=1, most=True,
                )  # fmt: skip


def _sign(dist: Dist, files: signed.Files, signer: Bundler) -> None:
    for path in dist.folder(files.cell).glob(f"*{bundle.SUFFIX}"):
        path.unlink()  # a file that holds the same bytes would not be written
    signed.sign(dist, files, signer)


def _verify(dist: Dist, files: signed.Files, context: Context) -> None:
    _, refused = signed.examine(dist, files, context)
    if refused:
        raise SystemExit("\n".join(refused[0].lines()))
