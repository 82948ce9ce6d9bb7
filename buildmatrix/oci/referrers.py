"""What refers to a manifest: the referrers API, and the tagged index that stands in where there is none.

Source: OCI distribution specification 1.1, "Listing Referrers" and "Referrers Tag Schema". The index under
the tag is read, changed and written, and no registry makes that one step. So writers of this process take
turns, an entity tag goes along for registries that heed it, and the index is read again, after as long as
another writer may need, until what was added is in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from buildmatrix.errors import ReferrersConflict
from buildmatrix.oci import content, media, problems
from buildmatrix.oci.content import Descriptor

if TYPE_CHECKING:
    from buildmatrix.oci.registry import Repository

_NO_API = frozenset((400, 404, 405, 406, 501))
_ROUNDS = 12
_LOCKS: dict[str, threading.Lock] = {}
_GUARD = threading.Lock()

Entries = dict[str, Any]
"""The entries of an index as they stand in it, by digest: members that nobody here knows are kept."""


def list_all(repository: Repository, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
    """Every referrer of a digest, of one artifact type where it is given."""
    found = by_api(repository, digest)
    if found is None:
        found = by_tag(repository, digest)
    return tuple(item for item in found if artifact_type in ("", item.artifact_type))


def by_api(repository: Repository, digest: str) -> tuple[Descriptor, ...] | None:
    """What the API lists; None where the registry has no such API."""
    what = f"{repository.name}@{digest}: referrers"
    found: dict[str, Descriptor] = {}
    for answer in repository.pages(repository.url("referrers", digest), what, also=_NO_API):
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        if answer.status != 200 or kind != media.INDEX:
            return None
        page = content.parse_manifest(answer.body, media.INDEX, what)
        found.update((item.digest, item) for item in page.manifests)
    return tuple(found.values())


def by_tag(repository: Repository, digest: str) -> tuple[Descriptor, ...]:
    """What the index under the subject's tag lists; nothing where there is no such tag."""
    entries, _, _ = _read(repository, digest)
    return tuple(content.parse_descriptor(item, f"{repository.name}: referrers") for item in entries.values())


def add(repository: Repository, subject: str, new: Sequence[Descriptor]) -> None:
    """List referrers under the subject's tag. Raises ReferrersConflict where others keep undoing it."""
    added = {item.digest: item.as_json() for item in new}
    _update(repository, subject, lambda held: held | added)


def remove(repository: Repository, subject: str, digests: Iterable[str]) -> None:
    """Take referrers out of the index under the subject's tag."""
    gone = frozenset(digests)
    _update(repository, subject, lambda held: {key: value for key, value in held.items() if key not in gone})


def _update(repository: Repository, subject: str, change: Callable[[Entries], Entries]) -> None:
    """Change the index until two readings, as far apart as a writer needs, agree that it is changed."""
    registry = repository.registry
    wrote = calm = False
    with _turn(f"{repository.name}:{media.referrers_tag(subject)}"):
        for _ in range(_ROUNDS):
            held, rest, entity = _read(repository, subject)
            wanted = change(held)
            if wanted == held:
                if calm or not wrote:
                    return
                calm = True
            else:
                calm = False
                wrote = _write(repository, subject, rest | {"manifests": list(wanted.values())}, entity) or wrote
            registry.transport.pause_for(registry.access.settle)
    raise ReferrersConflict(
        f"{repository.name}:{media.referrers_tag(subject)}: the change is not in it after {_ROUNDS} attempts",
        why="another writer replaces the index at the same time, and the registry has no referrers API",
        fix="let one job at a time sign and attach to this image, and run it again",
    )


def _turn(key: str) -> threading.Lock:
    with _GUARD:
        return _LOCKS.setdefault(key, threading.Lock())


def _read(repository: Repository, subject: str) -> tuple[Entries, dict[str, Any], str]:
    """The entries of the index, its other members, and its entity tag."""
    tag = media.referrers_tag(subject)
    what = f"{repository.name}:{tag}"
    answer = repository.call(
        "GET", repository.url("manifests", tag), repository.pull_scopes, headers={"Accept": media.ACCEPT}
    )
    if answer.status == 404:
        return {}, {"schemaVersion": 2, "mediaType": media.INDEX}, ""
    if answer.status != 200:
        raise problems.refused(answer, what)
    value = content.parse_json(answer.body, what)
    if not content.parse_manifest(answer.body, "", what).is_index:
        raise content.invalid(what, "got an image, expected an index of referrers")
    entries = {item["digest"]: item for item in value.pop("manifests") or ()}
    return entries, value, answer.headers.get("etag", "")


def _write(repository: Repository, subject: str, index: dict[str, Any], entity: str) -> bool:
    """Whether the index was taken; False where someone else was faster, as the registry noticed."""
    tag = media.referrers_tag(subject)
    headers = {"Content-Type": media.INDEX} | ({"If-Match": entity} if entity.startswith('"') else {})
    answer = repository.call(
        "PUT",
        repository.url("manifests", tag),
        repository.push_scopes,
        headers=headers,
        body=content.canonical(index),
    )
    if answer.status in (409, 412):
        return False
    if answer.status not in (200, 201, 202):
        raise problems.refused(answer, f"{repository.name}:{tag}")
    return True
