"""verify trusts neither the layout of an image nor its record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from buildmatrix.artifact import Outcome
from buildmatrix.finding import Finding
from buildmatrix.images import record, verification
from tests import image_lab
from tests.image_lab import Lab, rules


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    assert not made.build().failed
    return made


def verified(lab: Lab, version: str = "1.2.3") -> Outcome:
    today = verification.Today(
        matrix=lab.matrix, dist=lab.dist, digests=lab.digests(), version=version, revision="0123456789abcdef",
        created=image_lab.CREATED,
    )  # fmt: skip
    (outcome,) = verification.outcomes(today)
    return outcome


def found(lab: Lab) -> tuple[Finding, ...]:
    return verified(lab).findings


def test_what_was_built_is_verified(lab: Lab) -> None:
    assert not verified(lab).failed
    assert verified(lab).artifact is not None


def test_an_image_that_was_not_built_is_told(tmp_path: Path) -> None:
    (finding,) = found(Lab(tmp_path))
    assert finding.rule == "BM859" and not verified(Lab(tmp_path)).failed


def _flip(lab: Lab) -> None:
    victim = max((lab.layout.path / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = victim.read_bytes()
    victim.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


def _other_artifact(lab: Lab) -> None:
    lab.files = {"amd64": "static-pie-amd64", "arm64": "static-arm64"}


def _altered_record(lab: Lab) -> None:
    path = record.record_path(lab.dist, "app")
    value = json.loads(path.read_bytes())
    value["platforms"]["linux/arm64"] = "sha256:" + "0" * 64
    path.write_bytes(image_lab.canonical_record(value))


def _sloppy_record(lab: Lab) -> None:
    path = record.record_path(lab.dist, "app")
    path.write_bytes(path.read_bytes() + b" ")


def _without_layout(lab: Lab) -> None:
    (lab.layout.path / "index.json").unlink()


def _without_record(lab: Lab) -> None:
    record.record_path(lab.dist, "app").unlink()


def _stray(lab: Lab) -> None:
    (lab.layout.path / "blobs/sha256/note.txt").write_text("x")


def _other_index(lab: Lab) -> None:
    made = image_lab.HandMade(lab.layout)
    for platform in image_lab.PLATFORMS:
        made.add(platform, image_lab.layer(image_lab.app(f"static-{platform[6:]}")))
    made.top()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_flip, {"BM853"}), (_other_artifact, {"BM855"}), (_altered_record, {"BM860"}), (_sloppy_record, {"BM701"}),
        (_without_layout, {"BM860"}), (_without_record, {"BM860"}), (_stray, {"BM861"}),
        (_other_index, {"BM860", "BM861"}),
    ],
)  # fmt: skip
def test_every_change_is_told(lab: Lab, change: Callable[[Lab], None], expected: set[str]) -> None:
    change(lab)
    assert rules(found(lab)) == expected
    assert verified(lab).failed


def test_another_version_or_plan_is_told(lab: Lab) -> None:
    assert rules(verified(lab, "1.2.4").findings) == {"BM860"}
    lab.image["user"] = "1"
    assert rules(found(lab)) == {"BM852"}


def test_paths_of_images_are_accounted_for(lab: Lab) -> None:
    matrix = lab.matrix
    for path in lab.dist.entries():
        if path.parts[0] == "images":
            assert verification.accounts_for(matrix, path)
    for name in ("images/other.json", "images/other/index.json", "app.json", "images"):
        assert not verification.accounts_for(matrix, Path(name))
