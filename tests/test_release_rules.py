"""Each release rule: breaking only that one fails the gate with its code, and what cannot be told is never a pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from buildmatrix.errors import MatrixError
from buildmatrix.oci.platform import parse
from buildmatrix.release import gate, statement
from buildmatrix.release.model import Entry, Git, Missing, Release, Said
from buildmatrix.release.rules import RULES, promises
from buildmatrix.release.rules import tags as tag_rules
from buildmatrix.release.rules.rule import Broken, Rule
from buildmatrix.releasespec import ReleaseSpec
from buildmatrix.signing import registry as signatures
from buildmatrix.signing import statement as statements
from buildmatrix.signing.imagecheck import Examined
from buildmatrix.signing.policy import Policy
from buildmatrix.store.database import Store
from buildmatrix.store.rows import Validation
from tests import factory, image_lab, signers
from tests.registry_server import RegistryServer
from tests.release_lab import BUILDER, COMMIT, DOCUMENTS, ReleaseLab, codes, development
from tests.store_cases import START, row


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def lab(server: RegistryServer, tmp_path: Path) -> ReleaseLab:
    return ReleaseLab(server, tmp_path)


Change = Callable[[ReleaseLab], object]


def nothing(_: ReleaseLab) -> None:
    """Leave it as it is."""


def setting(**values: object) -> Change:
    def change(lab: ReleaseLab) -> None:
        for name, value in values.items():
            setattr(lab, name, value)

    return change


def without(platform: str, predicate: str) -> Change:
    return setting(documents=lambda own, kind: None if (own, kind) == (platform, predicate) else DOCUMENTS[kind])


def said(change: Callable[[Said], Said | None]) -> Change:
    return setting(said=change)


def measured(*rows: Validation) -> Change:
    """The policy names a store, which holds these rows."""

    def change(lab: ReleaseLab) -> None:
        lab.policy = replace(lab.policy, validation=f"sqlite:///{lab.root}/faults.db")
        with Store(lab.policy.validation) as store:
            store.write(rows)

    return change


def untag(ending: str) -> Change:
    def change(lab: ReleaseLab) -> None:
        tags = lab.server.repo(lab.repository).tags
        (name,) = [name for name in lab.tags if name.endswith(ending)]
        del tags[name]

    return change


def retag(name: str, platform: str = "") -> Change:
    def change(lab: ReleaseLab) -> None:
        digest = lab.children[platform].digest if platform else lab.index
        lab.server.repo(lab.repository).tags[name] = digest

    return change


def unlist(platform: str, predicate: str) -> Change:
    """Take a bundle away from the referrers; the older form stays."""

    def change(lab: ReleaseLab) -> None:
        repo, digest = lab.server.repo(lab.repository), lab.children[platform].digest
        for own, (_, data) in list(repo.manifests.items()):
            value = json.loads(data)
            about = (value.get("subject") or {}).get("digest")
            if about == digest and value["annotations"][signatures.BUNDLE_PREDICATE] == predicate:
                del repo.manifests[own]

    return change


def expired(lab: ReleaseLab) -> None:
    """The images are signed by a certificate that has expired since, without a time stamp."""
    private = signers.signer("certified").private
    day = signers.DAY
    leaf = signers.leaf(signers.authority(), private, start=signers.NOW - 9 * day, end=signers.NOW - day)
    lab.signer = signers.certified(leaf, private)
    good = signers.authority().context().policy
    key = signers.signer("release").public
    lab.context = replace(lab.context, policy=replace(good, keys=(key,)))


def two_statements(lab: ReleaseLab) -> None:
    with lab.open() as registry:
        lab.state(registry.repository(lab.repository), replace(lab.statement(), version="9.9.9"))


GLIBC = {"linux/amd64": [("usr/local/bin/app", "pie-glibc-amd64")]}
PAGES = {"linux/arm64": [("usr/local/bin/app", "pages-4k-arm64")]}
MIXED = {"linux/arm64": [("usr/local/bin/app", "static-arm64"), ("opt/helper", "static-amd64")]}
LIGHT = Git(commit=COMMIT, changed=(), tags=(("v1.2.3", False),))
DIRTY = Git(commit=COMMIT, changed=("main.go", "new.go"), tags=(("v1.2.3", True),))
OTHER = {"runDetails": {"builder": {"id": "https://laptop.example.org"}}}

# Name → (the one code, what is wrong before it is published, what is changed afterwards).
BEFORE = row(release="1.2.2")
LATER = START + timedelta(days=1)

BREAKS: dict[str, tuple[str, Change, Change]] = {
    "no tag for the version": ("BM900", nothing, untag("1.2.3")),
    "no tag for an architecture": ("BM900", nothing, untag("aarch64-20231114T2213Z")),
    "a tag on another architecture": ("BM900", nothing, retag("1.2.3-aarch64-20231114T2213Z", "linux/amd64")),
    "latest": ("BM901", nothing, retag("latest")),
    "a version of two parts": ("BM901", nothing, retag("v2.3")),
    "latest on one platform": ("BM901", nothing, retag("latest", "linux/arm64")),
    "a glob of one's own": ("BM901", setting(policy=ReleaseSpec(forbidden_tags=("try-*",))), retag("try-1")),
    "a planned platform missing": ("BM902", setting(more_planned=("linux/riscv64",)), nothing),
    "an unplanned platform": (
        "BM902",
        said(lambda said: replace(said, plan=said.plan[:1])),
        nothing,
    ),
    "a child that nobody signed": ("BM903", setting(unsigned=("linux/arm64",)), nothing),
    "an index that nobody signed": ("BM903", setting(unsigned=("index",)), nothing),
    "signed by a stranger": ("BM903", setting(signer=signers.bundler("stranger")), nothing),
    "signed by an expired certificate": ("BM903", expired, nothing),
    "no CycloneDX": ("BM904", without("linux/arm64", statements.CYCLONEDX), nothing),
    "no SPDX": ("BM904", without("linux/amd64", statements.SPDX), nothing),
    "an SBOM in one form only": ("BM904", nothing, unlist("linux/arm64", statements.CYCLONEDX)),
    "an empty SBOM": (
        "BM904",
        setting(documents=lambda _, kind: {} if kind == statements.SPDX else DOCUMENTS[kind]),
        nothing,
    ),
    "no provenance": ("BM905", without("linux/arm64", statements.SLSA), nothing),
    "another builder": (
        "BM905",
        setting(
            policy=ReleaseSpec(builder=BUILDER),
            documents=lambda own, kind: OTHER if (own, kind) == ("linux/arm64", statements.SLSA) else DOCUMENTS[kind],
        ),
        nothing,
    ),
    "a development key": ("BM906", setting(context=development(signers.context())), nothing),
    "a dirty tree": ("BM907", setting(git=DIRTY), nothing),
    "a lightweight tag": ("BM908", setting(git=LIGHT), nothing),
    "a tag of another version": ("BM908", setting(git=replace(LIGHT, tags=(("v1.2.2", True),))), nothing),
    "no fault campaign": ("BM916", measured(row(release="1.2.2")), nothing),
    "worse under a fault": ("BM916", measured(BEFORE, row(18, release="1.2.3", started_at=LATER)), nothing),
    "no longer measured": (
        "BM916",
        measured(BEFORE, row(fault="kill", release="1.2.3", started_at=LATER)),
        nothing,
    ),
    "a store that cannot be read": (
        "BM916",
        setting(policy=ReleaseSpec(validation="sqlite:////proc/no/store")),
        nothing,
    ),
    "no second build": ("BM909", setting(policy=ReleaseSpec(reproducible=True)), nothing),
    "a second build that differs": ("BM909", setting(policy=ReleaseSpec(reproducible=True), reproduced=False), nothing),
    "a newer glibc": ("BM910", setting(files=GLIBC, floor="2.1"), nothing),
    "pages of 64 KiB": ("BM911", setting(files=PAGES), nothing),
    "a statement about other images": (
        "BM912",
        said(lambda said: replace(said, platforms=(("linux/amd64", "sha256:" + "0" * 64),))),
        nothing,
    ),
    "a helper for another machine": ("BM913", setting(files=MIXED), nothing),
}


def test_a_whole_release_passes(lab: ReleaseLab) -> None:
    lab.publish()
    verdict = lab.judge()
    assert verdict.passed, [finding.lines() for finding in verdict.findings]
    assert lab.tags == {
        "1.2.3": lab.index,
        "1.2.3-x86_64-20231114T2213Z": lab.children["linux/amd64"].digest,
        "1.2.3-aarch64-20231114T2213Z": lab.children["linux/arm64"].digest,
    }


@pytest.mark.parametrize("name", BREAKS)
def test_breaking_one_rule_fails_with_its_code_alone(lab: ReleaseLab, name: str) -> None:
    code, before, after = BREAKS[name]
    before(lab)
    lab.publish()
    after(lab)
    assert codes(lab.judge()) == {code}


def test_a_version_that_bears_faults_as_well_passes(lab: ReleaseLab) -> None:
    measured(BEFORE, row(1, release="1.2.3", started_at=LATER))(lab)
    lab.publish()
    assert lab.judge().passed


def test_every_rule_was_broken() -> None:
    assert {code for code, _, _ in BREAKS.values()} == {rule.code for rule in RULES}


def test_rules_that_nobody_asks_for_are_told_apart_from_those_that_hold(lab: ReleaseLab) -> None:
    lab.policy = ReleaseSpec(
        documents=(), clean_tree=False, annotated_tag=False, floating_tags="allow", forbidden_tags=()
    )
    lab.git = replace(DIRTY, tags=())
    lab.documents = lambda _, __: None
    lab.publish()
    retag("v2.3")(lab)
    verdict = lab.judge()
    assert verdict.passed
    asked = {item.rule.code for item in verdict.judged if item.applies}
    assert {rule.code for rule in RULES} - asked == {"BM904", "BM905", "BM907", "BM908", "BM909", "BM916"}
    written = {item["code"]: item["status"] for item in gate.as_json(verdict)["rules"]}
    assert written["BM904"] == "not asked for" and written["BM900"] == "kept"


def test_without_a_statement_nothing_is_taken_on_trust(lab: ReleaseLab) -> None:
    lab.said = lambda _: None
    lab.policy = ReleaseSpec(reproducible=True)
    lab.publish()
    assert codes(lab.judge()) == {
        "BM900", "BM902", "BM907", "BM908", "BM909", "BM910", "BM911", "BM912", "BM913",
    }  # fmt: skip


def test_a_statement_by_a_stranger_is_none(lab: ReleaseLab) -> None:
    lab.said = lambda _: None
    lab.publish()
    lab.attester = signers.bundler("stranger")
    with lab.open() as registry:
        lab.state(registry.repository(lab.repository), lab.statement())
    assert {"BM903", "BM912"} <= codes(lab.judge())


def test_two_statements_about_one_index_are_none(lab: ReleaseLab) -> None:
    lab.publish()
    two_statements(lab)
    found = lab.judge()
    assert "BM912" in codes(found) and "several tell of different releases" in found.findings[-1].why + str(found)


def test_a_statement_that_names_a_binary_which_is_not_in_the_image(lab: ReleaseLab) -> None:
    def swap(said: Said) -> Said:
        first, *rest = said.plan
        binary = replace(first.binaries[0], sha256="0" * 64)
        return replace(said, plan=(replace(first, binaries=(binary,)), *rest))

    lab.said = swap
    lab.publish()
    assert codes(lab.judge()) == {"BM912"}


def test_a_layer_that_the_registry_damages_is_no_pass(lab: ReleaseLab, server: RegistryServer) -> None:
    lab.publish()
    with lab.open() as registry:
        manifest = registry.repository(lab.repository).manifest(lab.children["linux/arm64"].digest).manifest()
    server.corrupt("GET", f"/blobs/{manifest.layers[0].digest}", times=None)
    found = codes(lab.judge())
    assert found == {"BM911", "BM912", "BM913"}


def test_an_image_in_place_of_an_index(lab: ReleaseLab) -> None:
    lab.publish()
    found = codes(lab.judge(lab.children["linux/amd64"].digest))
    assert {"BM902", "BM912"} <= found


@pytest.mark.parametrize("status", [403, 404, 500])
def test_tags_that_cannot_be_listed_are_no_pass(lab: ReleaseLab, server: RegistryServer, status: int) -> None:
    lab.publish()
    server.fail("GET", "/tags/list", status=status, times=None)
    assert codes(lab.judge()) == {"BM900", "BM901"}


def test_a_version_that_somebody_moved_to_an_older_release(lab: ReleaseLab, server: RegistryServer) -> None:
    """The older release is whole and signed: only the tag that was asked for tells."""
    lab.publish()
    server.repo(lab.repository).tags |= {"1.9.0": lab.index, "1.9.0-aarch64-20240522T1430Z": lab.index}
    assert codes(lab.judge("1.2.3")) == set()
    assert codes(lab.judge("1.9.0")) == {"BM900"}
    assert codes(lab.judge("1.9.0-aarch64-20240522T1430Z")) == {"BM900"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("1.2.3", True), ("v1.2.3-rc1", True), ("x-20240522T1430Z", True), ("rel-v1.2.3", True), ("rel-1.2", False),
        ("production", False), ("v1.2", False), ("stable", False),
    ],
)  # fmt: skip
def test_tags_that_name_a_release(name: str, says: bool) -> None:
    policy = ReleaseSpec(version_tag="rel-{version}")
    assert tag_rules.names_release(policy, name) is says


def test_an_image_in_the_place_of_another(lab: ReleaseLab, tmp_path: Path) -> None:
    """The matrix says which image lies there; the signed statement is about another one."""
    lab.publish()
    parsed = image_lab.matrix_of(tmp_path)
    assert parsed.images[0].name == "app"
    assert codes(lab.judge(matrix=parsed)) == set()
    lab.said = lambda said: replace(said, image="sidecar")
    lab.server.repos.clear()
    lab.publish()
    assert codes(lab.judge(matrix=parsed)) == {"BM912"}
    assert codes(lab.judge()) == set()


def test_a_rule_that_breaks_down_fails_with_its_code() -> None:
    def run(release: Release) -> Iterator[Broken]:
        yield Broken(what=str(1 // len(release.entries)))

    rule = Rule(code="BM900", title="", broken="", run=run)
    (finding,) = rule.findings(_bare())
    assert finding.rule == "BM900" and "cannot be evaluated (ZeroDivisionError: " in finding.what


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_no_rule_passes_a_release_that_nothing_is_known_about(rule: Rule) -> None:
    release = _bare()
    if rule.code in ("BM904", "BM905"):  # which are about each child, and there is none: BM902 tells
        release = replace(release, entries=_entry())
    if rule.code == "BM906":
        release = replace(release, backend="none")
    assert rule.findings(release), rule.title


def _entry() -> tuple[Entry, ...]:
    return (Entry(platform=parse("linux/amd64"), digest="sha256:" + "1" * 64),)


def _bare() -> Release:
    unknown = Missing(why="nobody knows")
    return Release(
        name="registry.example.org/app@sha256:0",
        policy=ReleaseSpec(reproducible=True, validation="sqlite:///faults.db"),
        index="sha256:" + "0" * 64,
        entries=(),
        trust=(),
        images=(),
        plan=unknown,
        said=unknown,
        git=unknown,
        tags=unknown,
    )


def test_a_floor_is_judged_by_number_and_not_by_text(lab: ReleaseLab) -> None:
    assert promises._key("2.9") < promises._key("2.17")
    lab.files, lab.floor = GLIBC, "2.40"
    lab.publish()
    assert codes(lab.judge()) == set()


def test_signatures_for_the_place_that_it_was_promoted_from(lab: ReleaseLab, server: RegistryServer) -> None:
    lab.publish()
    server.repos["other/app"] = server.repos["team/app"]
    lab.repository = "other/app"
    assert codes(lab.judge()) == {"BM903"}
    lab.context = replace(lab.context, repositories=(f"{server.host}/team/app",))
    assert codes(lab.judge()) == set()


def test_the_statement_survives_its_own_form(lab: ReleaseLab) -> None:
    lab.build()
    said = lab.statement()
    assert statement.decode(statement.encode(said)) == said


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("git"),
        lambda value: value.update(created="yesterday"),
        lambda value: value.update(created=True),
        lambda value: value["git"]["tags"].append({"name": "v1", "annotated": "yes"}),
        lambda value: value.update(reproduced=1),
        lambda value: value["plan"][0].update(platform="a/b/c/d"),
        lambda value: value["plan"][0]["binaries"][0].update({"page-sizes": ["4096"]}),
        lambda value: value.update(platforms=[]),
    ],
)
def test_a_statement_of_another_shape_is_refused(
    lab: ReleaseLab, change: Callable[[dict[str, object]], object]
) -> None:
    lab.build()
    value = statement.encode(lab.statement())
    change(value)
    found = statement.find((statements.Statement(subjects=(), predicate_type=statement.TYPE, predicate=value),))
    assert isinstance(found, Missing) and "another shape" in found.why


def test_of_equal_statements_the_one_that_says_more_counts(lab: ReleaseLab) -> None:
    lab.build()
    once, twice = lab.statement(), replace(lab.statement(), reproduced=True)
    made = [
        statements.Statement(subjects=(), predicate_type=statement.TYPE, predicate=statement.encode(item))
        for item in (once, twice)
    ]
    assert statement.find(tuple(made)) == twice


def test_before_anything_is_built_checkout_and_key_are_judged() -> None:
    good = Git(commit=COMMIT, changed=(), tags=(("v1.2.3", True),))
    policy = ReleaseSpec()
    assert gate.early(policy, good, "1.2.3", "key").passed
    for git, version, backend, code in (
        (DIRTY, "v1.2.3-dirty", "key", "BM907"),
        (LIGHT, "1.2.3", "key", "BM908"),
        (good, "1.2.3", "development", "BM906"),
        (good, "1.2.3", "none", "BM906"),
    ):
        assert codes(gate.early(policy, git, version, backend)) == {code}
    assert codes(gate.early(policy, Missing(why="no checkout"), "1.2.3", "key")) == {"BM907", "BM908"}


def test_a_policy_without_keys_trusts_nobody(lab: ReleaseLab) -> None:
    lab.publish()
    lab.context = replace(lab.context, policy=Policy())
    assert {"BM903", "BM904", "BM905", "BM912"} <= codes(lab.judge())


def test_a_keyless_release_has_bundles_alone() -> None:
    """A log entry does not fit into the older form: nobody asks for that one where logs are demanded."""
    digest = "sha256:" + "0" * 64
    one = Examined(digest=digest, forms=(signatures.BUNDLE,), signers=(), statements=(), findings=())
    release = replace(_bare(), trust=(one,))
    (rule,) = (rule for rule in RULES if rule.code == "BM903")
    assert [finding.rule for finding in rule.findings(release)] == ["BM903"]
    assert rule.findings(replace(release, forms=(signatures.BUNDLE,))) == ()


# The table [release]


def test_the_policy_of_a_matrix(tmp_path: Path) -> None:
    tables = factory.document(
        sbom={"formats": ["spdx"]},
        provenance={"builder": BUILDER},
        release={"platform-tag": "{machine}-{timestamp}", "reproducible": True, "promoted-from": ["a.example.org/b"]},
    )
    policy = factory.parse(tables).release
    assert policy.documents == ("spdx", "provenance") and policy.builder == BUILDER and policy.reproducible
    assert policy.platform_tag == "{machine}-{timestamp}" and policy.version_tag == "{version}"
    assert factory.parse(factory.document()).release == ReleaseSpec()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"version-tag": "stable"}, "release.version-tag: got 'stable', expected a tag with {version}"),
        ({"version-tag": "{version}-{machine}"}, "release.version-tag"),
        ({"platform-tag": "{version}-{machine}"}, "expected a tag with {machine} and {timestamp}"),
        ({"platform-tag": "{machine}-{timestamp}-{day}"}, "release.platform-tag"),
        ({"floating-tags": "perhaps"}, "release.floating-tags"),
        ({"documents": ["sbom"]}, "release.documents[0]"),
        ({"promoted-from": ["NOT A REPOSITORY"]}, "release.promoted-from[0]"),
        ({"reproducable": True}, "did you mean 'reproducible'"),
    ],
)
def test_a_policy_that_cannot_be_meant(values: dict[str, object], words: str) -> None:
    with pytest.raises(MatrixError) as caught:
        factory.parse(factory.document(release=values))
    assert words in str(caught.value)
