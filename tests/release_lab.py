"""Whole releases in a registry of this process, every part of which can be left out or be wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from buildmatrix import arch
from buildmatrix.matrix import Matrix
from buildmatrix.oci import copy
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.http import Access
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import parse
from buildmatrix.oci.registry import Registry, Repository
from buildmatrix.release import statement, terms
from buildmatrix.release.gate import Verdict
from buildmatrix.release.model import Git, Planned, PlannedBinary, Said
from buildmatrix.release.rules import tags as tag_rules
from buildmatrix.release.terms import Terms
from buildmatrix.releasespec import DEFAULT, ReleaseSpec
from buildmatrix.signing import statement as statements
from buildmatrix.signing.check import Context
from buildmatrix.signing.imagesign import attest_image, sign_image
from buildmatrix.signing.registry import Attestation, Subject
from buildmatrix.signing.remote import Remote
from buildmatrix.signing.signer import Bundler
from tests import image_lab, signers
from tests.image_lab import HandMade, Member
from tests.registry_server import RegistryServer

QUICK = Access(backoff=0.01, attempts=2, settle=0.01, read_timeout=5.0)
STAMP = "2023-11-14T22:13:20Z"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLEAN = Git(commit=COMMIT, changed=(), tags=(("v1.2.3", True),))
APP = "/usr/local/bin/app"
BUILDER = "https://ci.example.org/release"
DOCUMENTS = {
    statements.CYCLONEDX: {"bomFormat": "CycloneDX", "components": [{"name": "example.org/dep"}]},
    statements.SPDX: {"spdxVersion": "SPDX-2.3", "packages": [{"name": "example.org/dep"}]},
    statements.SLSA: {"buildDefinition": {}, "runDetails": {"builder": {"id": BUILDER}}},
}


@dataclass(slots=True)
class ReleaseLab:
    """A release of the image app; change its members, then `publish` it."""

    server: RegistryServer
    root: Path
    repository: str = "team/app"
    version: str = "1.2.3"
    files: dict[str, list[tuple[str, str]]] = field(
        default_factory=lambda: {
            "linux/amd64": [("usr/local/bin/app", "static-amd64")],
            "linux/arm64": [("usr/local/bin/app", "static-arm64")],
        }
    )
    git: Git = CLEAN
    reproduced: bool | None = None
    floor: str = ""
    more_planned: tuple[str, ...] = ()
    signer: Bundler = field(default_factory=signers.bundler)
    attester: Bundler = field(default_factory=signers.bundler)
    context: Context = field(default_factory=signers.context)
    unsigned: tuple[str, ...] = ()
    """Platforms that nobody signs, or ``index``."""
    documents: Callable[[str, str], Any] = lambda platform, predicate: DOCUMENTS[predicate]
    """What is attested about a platform under a predicate type; None is nothing."""
    said: Callable[[Said], Said | None] = lambda said: said
    policy: ReleaseSpec = DEFAULT
    children: dict[str, Descriptor] = field(default_factory=dict)
    index: str = ""

    def open(self) -> Registry:
        return Registry(self.server.host, access=QUICK)

    @property
    def tags(self) -> dict[str, str]:
        """The tags for people: those of signatures and referrers left out."""
        every = self.server.repo(self.repository).tags
        return {name: digest for name, digest in every.items() if not name.startswith("sha256-")}

    def publish(self) -> str:
        """Build, push, sign, attest, state and tag; gives the digest of the index."""
        top = self.build()
        with self.open() as registry:
            repository = registry.repository(self.repository)
            copy.copy(self._layout(), repository, top.digest)
            self.index = top.digest
            remote, subjects = Remote(repository), {"index": top, **self.children}
            signed = tuple(Subject(digest=item.digest) for name, item in subjects.items() if name not in self.unsigned)
            sign_image(remote, signed, self.signer, created=STAMP)
            attest_image(remote, tuple(self._attested()), self.attester, created=STAMP)
            if (said := self.said(self.statement())) is not None:
                self.state(repository, said)
            for name, platform in self.expected().items():
                digest = self.children[str(platform)].digest if platform is not None else top.digest
                repository.put_manifest(repository.manifest(digest), name)
        return self.index

    def state(self, repository: Repository, said: Said) -> None:
        attestation = Attestation(predicate_type=statement.TYPE, predicate=statement.encode(said))
        subject = Subject(digest=self.index, attestations=(attestation,))
        attest_image(Remote(repository), (subject,), self.attester, created=STAMP)

    def expected(self) -> dict[str, Any]:
        platforms = tuple(parse(name) for name in self.children)
        return tag_rules.expected(
            self.policy, platforms, version=self.version, created=image_lab.CREATED, commit=COMMIT
        )  # fmt: skip

    def statement(self) -> Said:
        return Said(
            image="app",
            version=self.version,
            created=image_lab.CREATED,
            git=self.git,
            reproduced=self.reproduced,
            plan=tuple(self._planned(name) for name in (*self.files, *self.more_planned)),
            platforms=tuple(sorted((name, item.digest) for name, item in self.children.items())),
        )

    def _planned(self, platform: str) -> Planned:
        row = arch.BY_GOARCH[parse(platform).architecture]
        fixture = dict(self.files.get(platform, [])).get("usr/local/bin/app", "")
        sha256 = hashlib.sha256(image_lab.elf(fixture)).hexdigest() if fixture else ""
        binary = PlannedBinary(path=APP, sha256=sha256, floor=self.floor, page_sizes=row.page_sizes)
        return Planned(platform=parse(platform), binaries=(binary,))

    def _layout(self) -> Layout:
        return Layout(self.root / f"layout-{self.version}")

    def build(self) -> Descriptor:
        """The index in a layout, with `children`."""
        made = HandMade(self._layout())
        for platform, members in self.files.items():
            plain = [Member(name=path, data=image_lab.elf(name)) for path, name in members]
            stamp = Member(name="etc/version", data=self.version.encode(), mode=0o644)
            self.children[platform] = made.add(platform, image_lab.layer(*plain, stamp))
        return made.top()

    def _attested(self) -> list[Subject]:
        found = []
        for platform, item in self.children.items():
            said = tuple(
                Attestation(predicate_type=kind, predicate=predicate)
                for kind in DOCUMENTS
                if (predicate := self.documents(platform, kind)) is not None
            )
            found.append(Subject(digest=item.digest, attestations=said))
        return found

    def terms(self) -> Terms:
        return Terms(policy=self.policy, context=self.context)

    def judge(self, target: str = "", matrix: Matrix | None = None) -> Verdict:
        with self.open() as registry:
            repository = registry.repository(self.repository)
            return terms.judge(repository, target or self.index, replace(self.terms(), matrix=matrix))[1]


def codes(verdict: Verdict) -> set[str]:
    """The codes of the rules that are broken."""
    for finding in verdict.findings:
        assert finding.what and finding.fix, finding
    return {item.rule.code for item in verdict.judged if not item.kept}


def development(context: Context) -> Context:
    """The same, where its one key is a development key."""
    (key,) = context.policy.keys
    return replace(context, policy=replace(context.policy, development=key.fingerprint))
