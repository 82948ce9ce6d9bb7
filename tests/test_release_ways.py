"""Publishing, promoting, setting back: nothing half done is left, and what cannot be undone is told exactly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from buildmatrix import errors, releasing
from buildmatrix.images import publish
from buildmatrix.oci.registry import Registry, Repository
from buildmatrix.release import promote, rollback
from buildmatrix.release.model import Git
from buildmatrix.releasing import Candidate
from buildmatrix.signing.check import Context
from buildmatrix.signing.imagesign import sign_image
from buildmatrix.signing.policy import Policy
from buildmatrix.signing.registry import Subject
from buildmatrix.signing.remote import Remote
from buildmatrix.signing.signer import Signer
from tests import image_lab, signers
from tests.image_lab import Lab
from tests.registry_server import RegistryServer, Reply, Request
from tests.release_lab import CLEAN, QUICK, STAMP, ReleaseLab, codes

TAGS = {"1.2.3", "1.2.3-x86_64-20231114T2213Z", "1.2.3-aarch64-20231114T2213Z"}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def elsewhere() -> Iterator[RegistryServer]:
    with RegistryServer(referrers=False) as running:
        yield running


def silent(_: str) -> None:
    """Tell nobody."""


# Releasing: from a layout in dist/ to tags, through the gate


@dataclass(frozen=True, slots=True)
class Keys:
    """Stands for a keyring with one key."""

    name: str = "release"

    def signer(self) -> Signer:
        return signers.bundler(self.name)

    def policy(self) -> Policy:
        return signers.context().policy


def sign(repository: Repository, subjects: tuple[Subject, ...]) -> None:
    sign_image(Remote(repository), subjects, signers.bundler(), created=STAMP)


def candidate(lab: Lab, registry: Registry, name: str = "team/app", git: Git = CLEAN) -> Candidate:
    """An image of a project, staged in a registry."""
    job = publish.Push(
        spec=lab.matrix.images[0],
        plan=lab.plan(),
        dist=lab.dist,
        base_digest="",
        recipe=(),
        repository=registry.repository(name),
        version=lab.version,
        revision="0123456789abcdef",
        created=image_lab.CREATED,
        threads=2,
        sign=sign,
        told=silent,
    )
    staged = publish.stage(job)
    assert not staged.failed, staged.findings
    return Candidate(job=job, staged=staged, said=releasing.said_of(job, staged, git, None))


def context() -> Context:
    return replace(signers.context(), now=signers.NOW)


def release(lab: Lab, server: RegistryServer, git: Git = CLEAN, backend: str = "key") -> set[str]:
    """The way from staging to tags; gives the codes of the gate."""
    with Registry(server.host, access=QUICK) as registry:
        item = candidate(lab, registry, git=git)
        matrix = replace(lab.matrix, signing=replace(lab.matrix.signing, backend=backend))
        verdict = releasing.judge(item, matrix, context(), git)
        if verdict.passed:
            releasing.state(item, Keys(), context())  # type: ignore[arg-type]
            releasing.set_tags((item,))
        return codes(verdict)


def tagged(server: RegistryServer, name: str = "team/app") -> dict[str, str]:
    every = server.repo(name).tags
    return {tag: digest for tag, digest in every.items() if not tag.startswith("sha256-")}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    assert not made.build().failed
    return made


def test_what_was_released_passes_the_gate_of_others(lab: Lab, server: RegistryServer, tmp_path: Path) -> None:
    assert release(lab, server) == set()
    assert set(tagged(server)) == TAGS
    other = ReleaseLab(server, tmp_path)
    assert codes(other.judge("1.2.3")) == set()


@pytest.mark.parametrize(
    ("git", "backend", "code"),
    [
        (replace(CLEAN, changed=("main.go",)), "key", "BM907"),
        (replace(CLEAN, tags=(("v1.2.3", False),)), "key", "BM908"),
        (CLEAN, "development", "BM906"),
    ],
    ids=["dirty tree", "lightweight tag", "development key"],
)
def test_the_gate_stands_before_the_tags(lab: Lab, server: RegistryServer, git: Git, backend: str, code: str) -> None:
    assert release(lab, server, git, backend) == {code}
    assert tagged(server) == {}


def test_a_tag_that_no_release_may_have_stops_all_of_them(lab: Lab, server: RegistryServer) -> None:
    lab.image |= {"tags": ["{version}", "{version}-{machine}-{timestamp}", "latest"], "moving-tags": ["latest"]}
    assert release(lab, server) == {"BM901"}
    assert tagged(server) == {}


def test_a_child_whose_signature_vanishes_before_the_gate(lab: Lab, server: RegistryServer) -> None:
    with Registry(server.host, access=QUICK) as registry:
        item = candidate(lab, registry)
        child = item.staged.children[1][1].digest
        repo = server.repo("team/app")
        for name in list(repo.tags):
            if name.startswith(child.replace(":", "-")) and name.endswith(".sig"):
                del repo.tags[name]
        verdict = releasing.judge(item, replace(lab.matrix, signing=replace(lab.matrix.signing, backend="key")),
                                  context(), CLEAN)  # fmt: skip
    assert codes(verdict) == {"BM903"}


def test_a_statement_that_is_swallowed_leaves_no_tag(lab: Lab, server: RegistryServer) -> None:
    """The registry says that it took the attestation, and does not have it."""
    with Registry(server.host, access=QUICK) as registry:
        item = candidate(lab, registry)
        server.before("PUT", "/manifests/", lambda _: Reply(status=201), times=None)
        with pytest.raises(errors.BuildmatrixError):
            releasing.state(item, Keys(), context())  # type: ignore[arg-type]
    assert tagged(server) == {}


def test_a_signer_whom_nobody_trusts_cannot_state_a_release(lab: Lab, server: RegistryServer) -> None:
    with Registry(server.host, access=QUICK) as registry:
        item = candidate(lab, registry)
        with pytest.raises(errors.SigningFailed, match="no good release statement"):
            releasing.state(item, Keys("stranger"), context())  # type: ignore[arg-type]


def test_two_images_are_one_release(lab: Lab, server: RegistryServer) -> None:
    """The second image's tag cannot be set: the first image's go back."""
    with Registry(server.host, access=QUICK) as registry:
        items = tuple(candidate(lab, registry, name) for name in ("team/app", "team/second"))
        server.fail("PUT", "/team/second/manifests/1.2.3$", status=500, times=None)
        with pytest.raises(errors.RegistryFailed):
            releasing.set_tags(items)
    assert tagged(server) == {} and tagged(server, "team/second") == {}


def test_tags_that_cannot_be_set_back_are_told(lab: Lab, server: RegistryServer) -> None:
    with Registry(server.host, access=QUICK) as registry:
        items = tuple(candidate(lab, registry, name) for name in ("team/app", "team/second"))
        server.fail("PUT", "/team/second/manifests/1.2.3$", status=500, times=None)
        server.fail("DELETE", "/team/app/manifests/1.2.3$", status=405, times=None)
        with pytest.raises(errors.RegistryFailed, match=r"could not be set back: .*team/app:1\.2\.3"):
            releasing.set_tags(items)
    assert set(tagged(server)) == {"1.2.3"}


def other(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "other", image={"env": {"OTHER": "1"}})
    assert not made.build().failed
    return made


def test_two_people_release_one_version_and_the_second_comes_while_tags_are_set(
    lab: Lab, server: RegistryServer, tmp_path: Path
) -> None:
    """The second finds the first one's tags and is refused; the first one's stand."""
    second, refused = other(tmp_path), []

    def meanwhile(_: Request) -> None:
        try:
            release(second, server)
        except errors.TagTaken as error:
            refused.append(error)

    server.before("PUT", "/manifests/1.2.3$", meanwhile, times=1)
    assert release(lab, server) == set()
    assert len(refused) == 1
    assert set(tagged(server)) == TAGS and tagged(server)["1.2.3"] == lab.layout.index().manifests[0].digest


def test_two_people_release_one_version_and_the_second_is_faster(
    lab: Lab, server: RegistryServer, tmp_path: Path
) -> None:
    """The first was about to set its tags when the second had: nothing of the first is tagged."""
    second = other(tmp_path)
    with Registry(server.host, access=QUICK) as registry:
        item = candidate(lab, registry)
        assert release(second, server) == set()
        with pytest.raises(errors.TagTaken, match="moved meanwhile"):
            releasing.set_tags((item,))
    assert tagged(server)["1.2.3"] == second.layout.index().manifests[0].digest
    ours = {item.staged.index.digest, *(entry.digest for _, entry in item.staged.children)}
    assert not ours & set(tagged(server).values())


# Promotion


@pytest.fixture
def staging(server: RegistryServer, tmp_path: Path) -> ReleaseLab:
    made = ReleaseLab(server, tmp_path / "staging", repository="staging/app")
    made.publish()
    return made


def take(staging: ReleaseLab, destination: RegistryServer, name: str = "prod/app") -> promote.Promoted:
    with staging.open() as one, Registry(destination.host, access=QUICK) as two:
        return promote.promote(
            one.repository(staging.repository), "1.2.3", two.repository(name), staging.terms(), threads=2, told=silent
        )


def at(staging: ReleaseLab, destination: RegistryServer, name: str = "prod/app") -> ReleaseLab:
    source = f"{staging.server.host}/{staging.repository}"
    context = replace(staging.context, repositories=(source,))
    return replace(staging, server=destination, repository=name, context=context)


@pytest.mark.parametrize("where", ["another registry", "another repository"])
def test_a_release_is_promoted_whole(
    staging: ReleaseLab, server: RegistryServer, elsewhere: RegistryServer, where: str
) -> None:
    destination = elsewhere if where == "another registry" else server
    done = take(staging, destination)
    assert done.passed and done.digest == staging.index
    assert tagged(destination, "prod/app") == staging.tags == dict(done.tags)
    there = at(staging, destination)
    assert codes(there.judge("1.2.3")) == set()
    assert codes(replace(there, context=staging.context).judge("1.2.3")) == {"BM903"}, "nobody said where it is from"


def test_a_second_promotion_sends_nothing(staging: ReleaseLab, elsewhere: RegistryServer) -> None:
    take(staging, elsewhere)
    before = dict(elsewhere.repo("prod/app").tags)
    done = take(staging, elsewhere)
    assert done.passed and done.moved == 0 and elsewhere.repo("prod/app").tags == before


def test_only_the_tags_of_the_rules_go_along(staging: ReleaseLab, elsewhere: RegistryServer) -> None:
    staging.server.repo("staging/app").tags["try-7"] = staging.index
    take(staging, elsewhere)
    assert set(tagged(elsewhere, "prod/app")) == TAGS


def test_what_breaks_a_rule_is_not_promoted(staging: ReleaseLab, elsewhere: RegistryServer) -> None:
    staging.server.repo("staging/app").tags["latest"] = staging.index
    done = take(staging, elsewhere)
    assert not done.passed and codes(done.verdicts[0]) == {"BM901"}
    assert elsewhere.seen("PUT") == 0 and elsewhere.seen("POST") == 0


def test_a_version_that_is_taken_there_stops_before_anything_is_sent(
    staging: ReleaseLab, elsewhere: RegistryServer, tmp_path: Path
) -> None:
    other = ReleaseLab(elsewhere, tmp_path / "other", repository="prod/app")
    other.files["linux/amd64"] = other.files["linux/amd64"] + [("opt/more", "static-amd64")]
    other.publish()
    before, sent = dict(elsewhere.repo("prod/app").tags), elsewhere.seen("PUT")
    with pytest.raises(errors.TagTaken, match="is taken"):
        take(staging, elsewhere)
    assert elsewhere.repo("prod/app").tags == before and elsewhere.seen("PUT") == sent


@pytest.mark.parametrize("which", ["1.2.3", "1.2.3-aarch64-20231114T2213Z", "1.2.3-x86_64-20231114T2213Z"])
def test_a_registry_that_fails_between_two_tags_leaves_none_and_a_second_run_ends_it(
    staging: ReleaseLab, elsewhere: RegistryServer, which: str
) -> None:
    elsewhere.fail("PUT", f"/manifests/{which}$", status=500, times=2)
    with pytest.raises(errors.RegistryFailed):
        take(staging, elsewhere)
    assert tagged(elsewhere, "prod/app") == {}
    assert take(staging, elsewhere).passed and set(tagged(elsewhere, "prod/app")) == TAGS


@pytest.mark.parametrize("pattern", ["/blobs/uploads", "/manifests/sha256:", r"/manifests/sha256-.*\.sig$"])
def test_a_registry_that_fails_on_the_way_leaves_no_tag(
    staging: ReleaseLab, elsewhere: RegistryServer, pattern: str
) -> None:
    for method in ("PUT", "POST", "PATCH"):
        elsewhere.fail(method, pattern, status=500, times=None)
    with pytest.raises(errors.BuildmatrixError):
        take(staging, elsewhere)
    assert tagged(elsewhere, "prod/app") == {}


def test_referrers_that_do_not_arrive_are_told(staging: ReleaseLab, server: RegistryServer) -> None:
    """The destination takes everything, and lists no referrer afterwards."""
    empty = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}'

    def hide(_: Request, reply: Reply) -> None:
        reply.body = empty

    server.change("GET", "/prod/app/referrers/", hide, times=None)
    with pytest.raises(errors.PromotionFailed, match="expected all that belongs to it"):
        take(staging, server)
    assert tagged(server, "prod/app") == {}


def test_a_destination_that_gives_out_other_bytes_gets_no_tag(staging: ReleaseLab, elsewhere: RegistryServer) -> None:
    with staging.open() as registry:
        child = registry.repository("staging/app").manifest(staging.children["linux/arm64"].digest).manifest()
    elsewhere.corrupt("GET", f"/blobs/{child.layers[0].digest}", times=None)
    done = take(staging, elsewhere)
    assert not done.passed and len(done.verdicts) == 2 and "BM912" in codes(done.verdicts[1])
    assert tagged(elsewhere, "prod/app") == {}


def test_signatures_at_the_destination_are_not_lost(staging: ReleaseLab, elsewhere: RegistryServer) -> None:
    """The destination's own people have signed the same image there."""
    take(staging, elsewhere)
    repo = elsewhere.repo("prod/app")
    repo.tags = {name: digest for name, digest in repo.tags.items() if name not in TAGS}
    with Registry(elsewhere.host, access=QUICK) as registry:
        remote = Remote(registry.repository("prod/app"))
        sign_image(remote, (Subject(digest=staging.index),), signers.bundler("their own"), created=STAMP)
    before = dict(repo.tags)
    with pytest.raises(errors.PromotionFailed, match="holds signatures that"):
        take(staging, elsewhere)
    assert repo.tags == before


# Setting back


@dataclass(slots=True)
class Fleet:
    """Two releases in one repository, with tags that deployments follow on the newer one."""

    server: RegistryServer
    old: ReleaseLab
    new: ReleaseLab

    def back(self, *names: str, to: str = "1.2.2", dry_run: bool = False) -> rollback.RolledBack:
        with self.new.open() as registry:
            repository = registry.repository("team/app")
            return rollback.rollback(
                repository, names or ("production",), to, self.new.terms(), dry_run=dry_run, told=silent
            )

    @property
    def tags(self) -> dict[str, str]:
        return {name: digest for name, digest in self.new.tags.items() if not name.startswith("1.")}


@pytest.fixture
def fleet(server: RegistryServer, tmp_path: Path) -> Fleet:
    old = ReleaseLab(server, tmp_path, version="1.2.2", git=replace(CLEAN, tags=(("v1.2.2", True),)))
    new = ReleaseLab(server, tmp_path)
    old.publish()
    new.publish()
    server.repo("team/app").tags.update({"production": new.index, "canary": new.index})
    return Fleet(server, old, new)


def test_a_tag_goes_back_and_what_it_was_is_kept(fleet: Fleet) -> None:
    done = fleet.back()
    assert done.verdict.passed and [step.moved for step in done.steps] == [True]
    assert fleet.tags == {
        "production": fleet.old.index,
        "production.previous": fleet.new.index,
        "canary": fleet.new.index,
    }
    fleet.back(to="production.previous")
    assert fleet.tags["production"] == fleet.new.index and fleet.tags["production.previous"] == fleet.old.index


def test_by_digest(fleet: Fleet) -> None:
    fleet.back(to=fleet.old.index)
    assert fleet.tags["production"] == fleet.old.index


def test_a_dry_run_writes_nothing(fleet: Fleet) -> None:
    before = fleet.server.seen("PUT")
    done = fleet.back(dry_run=True)
    assert done.steps[0].moved and done.steps[0].before == fleet.new.index
    assert fleet.server.seen("PUT") == before


def test_a_tag_that_is_there_already_is_left_alone(fleet: Fleet) -> None:
    fleet.back()
    puts = fleet.server.seen("PUT")
    done = fleet.back()
    assert not done.steps[0].moved and fleet.server.seen("PUT") == puts
    assert fleet.tags["production.previous"] == fleet.new.index, "a second run does not forget what was there"


def test_a_release_that_breaks_a_rule_is_no_way_back(fleet: Fleet) -> None:
    repo = fleet.server.repo("team/app")
    child = fleet.old.children["linux/arm64"].digest
    del repo.tags[f"{child.replace(':', '-')}.sig"]
    done = fleet.back()
    assert codes(done.verdict) == {"BM903"}
    assert fleet.tags["production"] == fleet.new.index


@pytest.mark.parametrize("name", ["1.2.3", "v1.2.3", "1.2.3-aarch64-20231114T2213Z", "production.previous"])
def test_a_tag_that_names_a_release_stays(fleet: Fleet, name: str) -> None:
    with pytest.raises(errors.UsageError, match="names one release"):
        fleet.back(name)


def test_a_forbidden_tag_is_not_set(fleet: Fleet) -> None:
    fleet.server.repo("team/app").tags["latest"] = fleet.new.index
    done = fleet.back("latest")
    assert codes(done.verdict) == {"BM901"} and fleet.tags["latest"] == fleet.new.index


def test_a_tag_that_is_not_there_cannot_go_back(fleet: Fleet) -> None:
    with pytest.raises(errors.NotInRegistry):
        fleet.back("staging")
    with pytest.raises(errors.NotInRegistry):
        fleet.back(to="9.9.9")


def test_a_registry_that_fails_between_two_tags_is_told_exactly_and_a_second_run_ends_it(fleet: Fleet) -> None:
    fleet.server.fail("PUT", "/manifests/canary$", status=500, times=2)
    with pytest.raises(errors.TagsPartlyMoved, match=r"set: production; not set: canary\)"):
        fleet.back("production", "canary")
    assert fleet.tags["production"] == fleet.old.index and fleet.tags["canary"] == fleet.new.index
    done = fleet.back("production", "canary")
    assert [step.moved for step in done.steps] == [False, True]
    assert fleet.tags == {
        "production": fleet.old.index,
        "canary": fleet.old.index,
        "production.previous": fleet.new.index,
        "canary.previous": fleet.new.index,
    }


def test_a_lost_answer_is_looked_up(fleet: Fleet) -> None:
    """The registry sets the second tag and dies before it says so."""
    fleet.server.lose("PUT", "/manifests/canary$", times=None)
    with pytest.raises(errors.TagsPartlyMoved, match=r"\(set: production, canary\)"):
        fleet.back("production", "canary")


def test_what_cannot_be_looked_up_is_called_so(fleet: Fleet) -> None:
    fleet.server.fail("PUT", "/manifests/canary$", status=500, times=2)
    looked = []

    def dead(_: Request) -> Reply | None:
        looked.append(1)
        return Reply(status=500) if len(looked) > 2 else None

    fleet.server.before("HEAD", "/manifests/canary$", dead)
    with pytest.raises(errors.TagsPartlyMoved, match=r"set: production; not known: canary\)"):
        fleet.back("production", "canary")


def test_a_failure_before_the_first_tag_is_told_as_it_is(fleet: Fleet) -> None:
    fleet.server.fail("PUT", "/manifests/production", status=500, times=None)
    with pytest.raises(errors.RegistryFailed):
        fleet.back("production", "canary")
    assert fleet.tags["production"] == fleet.new.index


def test_an_interrupt_between_two_tags_is_told(fleet: Fleet) -> None:
    with fleet.new.open() as registry:

        def told(step: str) -> None:
            if "canary" in step:
                raise KeyboardInterrupt

        with pytest.raises(errors.TagsPartlyMoved, match="set: production; not set: canary") as caught:
            rollback.rollback(
                registry.repository("team/app"), ("production", "canary"), "1.2.2", fleet.new.terms(), dry_run=False,
                told=told,
            )  # fmt: skip
    assert caught.value.why == "it was interrupted"


def test_two_people_going_back_at_once(fleet: Fleet) -> None:
    """Somebody moves the tag after it was looked at: it is not moved again, and that is told."""

    def meanwhile(_: Request) -> None:
        fleet.server.repo("team/app").tags["production"] = fleet.old.children["linux/amd64"].digest

    fleet.server.before("GET", f"/manifests/{fleet.old.index}$", meanwhile)
    with pytest.raises(errors.TagTaken, match="moved meanwhile"):
        fleet.back()
    assert fleet.tags["production"] == fleet.old.children["linux/amd64"].digest


def test_threads_that_go_back_together_end_in_one_place(fleet: Fleet) -> None:
    results: list[object] = []

    def run() -> None:
        try:
            results.append(fleet.back())
        except errors.BuildmatrixError as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and fleet.tags["production"] == fleet.old.index
    assert fleet.tags["production.previous"] in (fleet.new.index, fleet.old.index)
