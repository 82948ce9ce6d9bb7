"""Signatures: the index and every child are signed by the expected identity, and nobody used a development key."""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix import trust
from buildmatrix.release.model import Release
from buildmatrix.release.rules.rule import Broken, Rule, unknown

_FIX = "release again with a key or identity that [signing] trusts, and remove what others pushed there"


def _signed(release: Release) -> Iterator[Broken]:
    examined = {item.digest: item for item in release.trust}
    for digest in release.digests:
        item = examined.get(digest)
        if item is None:
            yield unknown(f"the {release.label(digest)} was not looked at", "", "run the check again")
            continue
        for finding in item.findings:
            yield Broken(
                what=f"{release.label(digest)}: {finding.rule} {finding.what}",
                evidence=finding.evidence,
                why=finding.why,
                fix=finding.fix,
            )
        if absent := [form for form in release.forms if form not in item.forms]:
            yield Broken(
                what=f"{release.label(digest)}: got no signature by the expected identity in the form "
                f"{' and '.join(absent)}, expected {' and '.join(release.forms)}",
                evidence=digest,
                why="a signed index says nothing of its children, and tools look for one form only",
                fix=_FIX,
            )


def _no_development(release: Release) -> Iterator[Broken]:
    if release.backend in (trust.NONE, trust.DEVELOPMENT):
        yield Broken(
            what=f'signing.backend is "{release.backend}", expected one for releases',
            why="a development key is made on first use and lies on one machine: it says nothing of who released",
            fix='set signing.backend = "key" and signing.key, or give --key; `buildmatrix keygen` makes one',
        )
    for item in release.trust:
        for signer in item.signers:
            if signer.development:
                yield Broken(
                    what=f"{release.label(item.digest)}: signed by the development key sha256:{signer.fingerprint}, "
                    "expected a key for releases",
                    evidence=item.digest,
                    why="it is made on first use and lies on one machine: it says nothing of who released",
                    fix=_FIX,
                )


SIGNED = Rule(
    code="BM903",
    title="index and children are signed by the expected identity",
    broken="index or child of a release not signed by the expected identity",
    run=_signed,
)
NO_DEVELOPMENT = Rule(
    code="BM906",
    title="no development key",
    broken="release signed with a development key, or by nobody",
    run=_no_development,
)
