"""The client of the OCI distribution API: one Registry a host, one Repository a name.

Everything that comes back is held to its digest. A method that writes leaves either all or nothing that a
tag leads to: blobs first, manifests by digest, tags when the caller says so. Threads may share all of it.

Source: OCI distribution specification 1.1.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Container, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from buildmatrix.errors import ContentMismatch, RegistryDenied
from buildmatrix.oci import content, media, parallel, problems, reference, referrers, transfer
from buildmatrix.oci.content import Blob, Descriptor, Document
from buildmatrix.oci.credentials import Anonymous, CredentialSource
from buildmatrix.oci.http import Access, Answer, Call, Cancel
from buildmatrix.oci.reference import Reference

if TYPE_CHECKING:
    from buildmatrix.oci.transport import Transport

MAX_PAGES = 10_000
_PAGE = 1000
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?')


def no_progress(digest: str, done: int, total: int) -> None:
    """Tell nobody."""


class Registry:
    """One registry: connections, tokens and settings that its repositories share. A context manager."""

    def __init__(
        self,
        name: str,
        *,
        access: Access | None = None,
        credentials: CredentialSource | None = None,
        cancel: Cancel | None = None,
        progress: transfer.Progress = no_progress,
    ) -> None:
        self.name = name
        self.access = access or Access()
        self.cancel = cancel or Cancel()
        self.progress = progress
        self._credentials = credentials or Anonymous()
        self._lock = threading.Lock()
        self._transport: Transport | None = None

    @property
    def transport(self) -> Transport:
        """The HTTP side; made, and its library loaded, when it is first used."""
        with self._lock:
            if self._transport is None:
                from buildmatrix.oci.transport import Transport

                self._transport = Transport(self.name, self.access, self._credentials, self.cancel)
            return self._transport

    def repository(self, name: str) -> Repository:
        """One of its repositories."""
        return Repository(self, name)

    def close(self) -> None:
        """End every connection."""
        with self._lock:
            if self._transport is not None:
                self._transport.close()
                self._transport = None

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Repository:
    """One repository of a registry. A *target* is a tag or a digest."""

    def __init__(self, registry: Registry, path: str) -> None:
        self.registry = registry
        self.path = path
        self.name = f"{registry.name}/{path}"
        self.pull_scopes = (f"repository:{path}:pull",)
        self.push_scopes = (f"repository:{path}:pull,push",)
        self._delete = (f"repository:{path}:delete,pull",)

    @property
    def reference(self) -> Reference:
        """The repository as a reference without tag or digest."""
        return Reference(registry=self.registry.name, repository=self.path)

    def url(self, *words: str) -> str:
        """``/v2/<name>/words…`` on this registry."""
        return "/".join((self.registry.transport.base, "v2", self.path, *words))

    def call(self, method: str, url: str, scopes: tuple[str, ...], **members: Any) -> Answer:
        """One request, with its answer whatever the status."""
        return self.registry.transport.call(Call(method=method, url=url, scopes=scopes, **members))

    # Manifests

    def resolve(self, target: str) -> Descriptor | None:
        """What a tag or digest points to, or None where it is not there.

        What a tag points to is the registry's word; `manifest` recomputes it.
        """
        answer = self.call("HEAD", self.url("manifests", target), self.pull_scopes, headers={"Accept": media.ACCEPT})
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise problems.refused(answer, at(self.name, target))
        digest = answer.headers.get("docker-content-digest") or (target if ":" in target else "")
        length = answer.headers.get("content-length", "")
        if not digest or not length.isdigit():
            return self.manifest(target).descriptor
        if ":" in target and digest != target:
            raise _mismatch(at(self.name, target), digest, target)
        return Descriptor(media_type=_media_type(answer), digest=reference.check_digest(digest), size=int(length))

    def manifest(self, target: str | Descriptor) -> Document:
        """An index or manifest, held to its digest and, where a descriptor asks, to its size and media type.

        Raises NotInRegistry, ContentMismatch, RegistryFailed, RegistryDenied, RegistryUnreachable.
        """
        wanted = target if isinstance(target, Descriptor) else None
        name = target.digest if isinstance(target, Descriptor) else target
        what = at(self.name, name) + (f" ({wanted.platform})" if wanted and wanted.platform else "")
        answer = self.call("GET", self.url("manifests", name), self.pull_scopes, headers={"Accept": media.ACCEPT})
        if answer.status != 200:
            raise problems.refused(answer, what)
        expected = name if ":" in name else answer.headers.get("docker-content-digest", "")
        algorithm = expected.partition(":")[0]
        got = content.digest_of(answer.body, algorithm if algorithm in ("sha256", "sha512") else "sha256")
        if expected and got != expected:
            raise _mismatch(what, got, expected)
        if wanted is not None and len(answer.body) != wanted.size:
            raise _mismatch(what, f"{len(answer.body)} bytes", f"{wanted.size} bytes")
        return Document(media_type=_kind(answer, wanted), data=answer.body, digest=got)

    def put_manifest(self, document: Document, tag: str = "", *, top: bool = False) -> Descriptor:  # noqa: ARG002
        """Store a manifest under its digest, or under a tag. It appears as a whole or not at all.

        Where it has a subject and the registry has no referrers API, the subject's index of referrers is
        updated (distribution-spec, "Pushing Manifests with Subject").
        """
        subject = self._put(document, tag)
        if subject:
            referrers.add(self, subject, (content.referrer(document, document.manifest()),))
        return document.descriptor

    def put_referrers(self, documents: Sequence[Document]) -> None:
        """Store manifests with subjects, under their digests. Each subject's index is updated once for all."""
        unlisted: dict[str, list[Descriptor]] = {}
        for document in documents:
            subject = self._put(document, "")
            if subject:
                unlisted.setdefault(subject, []).append(content.referrer(document, document.manifest()))
        updates = [partial(referrers.add, self, subject, items) for subject, items in unlisted.items()]
        parallel.each(updates, self.registry.access.threads, (self,))

    def _put(self, document: Document, tag: str) -> str:
        """Store a manifest; the digest of its subject where the registry does not list referrers itself."""
        what = at(self.name, tag or document.digest)
        answer = self.call(
            "PUT",
            self.url("manifests", tag or document.digest),
            self.push_scopes,
            headers={"Content-Type": document.media_type},
            body=document.data,
        )
        if answer.status not in (200, 201, 202):
            raise problems.refused(answer, what)
        stored = answer.headers.get("docker-content-digest", "")
        if stored and stored != document.digest:
            raise _mismatch(f"{what}: stored", stored, document.digest)
        if "oci-subject" in answer.headers or b'"subject"' not in document.data:
            return ""
        subject = document.manifest().subject
        return subject.digest if subject is not None else ""

    def delete(self, target: str) -> bool:
        """Delete a manifest by digest, or a tag where the registry can; whether it was there.

        A tag that stands for the referrers of a subject keeps its entry: use `referrers.remove` for that.
        """
        answer = self.call("DELETE", self.url("manifests", target), self._delete)
        if answer.status not in (200, 202, 204, 404):
            raise problems.refused(answer, at(self.name, target))
        return answer.status != 404

    # Blobs

    def blob_size(self, digest: str) -> int | None:
        """The size in bytes of a blob that is there; None where it is not, -1 where the registry does not say."""
        answer = self.call("HEAD", self.url("blobs", digest), self.pull_scopes)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise problems.refused(answer, at(self.name, digest))
        length = answer.headers.get("content-length", "")
        return int(length) if length.isdigit() else -1

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is there."""
        return self.blob_size(digest) is not None

    def blob(self, descriptor: Descriptor) -> Blob:
        """A blob to read from; its bytes are held to the digest at their end, and nothing is fetched yet."""
        return Blob(digest=descriptor.digest, size=descriptor.size, open=partial(self._read, descriptor))

    def _read(self, descriptor: Descriptor, offset: int) -> Iterator[bytes]:
        return transfer.download(
            self.registry.transport,
            self.url("blobs", descriptor.digest),
            scopes=self.pull_scopes,
            blob=(descriptor.digest, descriptor.size),
            progress=self.registry.progress,
            offset=offset,
        )

    def read(self, descriptor: Descriptor, limit: int = content.MAX_MANIFEST) -> bytes:
        """A small blob (a config, a payload), verified. Raises ContentInvalid past `limit` bytes."""
        if descriptor.size > limit:
            raise content.invalid(
                at(self.name, descriptor.digest), f"got {descriptor.size} bytes, expected at most {limit}"
            )
        return b"".join(self._read(descriptor, 0))

    def put_blob(self, blob: Blob, mount_from: str = "") -> bool:
        """Store a blob unless it is there; whether bytes were sent.

        `mount_from` is a repository of the same registry that may have it, so that nothing is sent.
        """
        if self.has_blob(blob.digest):
            return False
        location = ""
        if mount_from and mount_from != self.path:
            mounted = self.mount(blob.digest, mount_from)
            if mounted is True:
                return False
            location = mounted or ""
        upload = transfer.Upload(
            transport=self.registry.transport,
            uploads=self.url("blobs", "uploads") + "/",
            scopes=self.push_scopes,
            blob=blob,
            exists=partial(self.has_blob, blob.digest),
            progress=self.registry.progress,
        )
        upload.run(location)
        return True

    def mount(self, digest: str, source: str) -> bool | str:
        """Take a blob over from another repository of the registry, without moving bytes.

        True where that worked; else where an upload may go on, or False. A refusal is no error: the bytes
        can always be sent.
        """
        url = f"{self.url('blobs', 'uploads')}/?{urlencode({'mount': digest, 'from': source})}"
        try:
            answer = self.call("POST", url, (*self.push_scopes, f"repository:{source}:pull"))
        except RegistryDenied:
            return False
        if answer.status == 201:
            return self.has_blob(digest)
        location = answer.headers.get("location", "")
        return urljoin(answer.url, location) if answer.status == 202 and location else False

    # Listings

    def tags(self) -> tuple[str, ...]:
        """Every tag, in the registry's order. Raises NotInRegistry where there is no such repository."""
        found: dict[str, None] = {}
        for answer in self.pages(self.url("tags", f"list?n={_PAGE}"), f"{self.name}: tags"):
            tags = content.parse_json(answer.body, f"{self.name}: tags").get("tags") or ()
            if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
                raise problems.garbled(answer.url, f"{self.name}: tags", "expected an array of texts")
            found.update(dict.fromkeys(tags))
        return tuple(found)

    def pages(self, url: str, what: str, also: Container[int] = ()) -> Iterator[Answer]:
        """Every page of a listing (distribution-spec, "Listing Tags": the Link header).

        An answer whose status is in `also` is the last page; others than 200 are raised.
        """
        seen: set[str] = set()
        while url:
            if url in seen or len(seen) >= MAX_PAGES:
                raise problems.garbled(url, what, "its pages lead in a circle, or never end")
            seen.add(url)
            answer = self.call("GET", url, self.pull_scopes, headers={"Accept": f"{media.INDEX}, application/json"})
            if answer.status != 200 and answer.status not in also:
                raise problems.refused(answer, what)
            yield answer
            url = self._following(answer, what) if answer.status == 200 else ""

    def _following(self, answer: Answer, what: str) -> str:
        found = _NEXT.search(answer.headers.get("link", ""))
        if found is None:
            return ""
        url: str = urljoin(answer.url, found[1])
        if urlsplit(url)[:2] != urlsplit(self.registry.transport.base)[:2]:
            raise problems.garbled(
                answer.url, what, f"its next page is {problems.place(url)}, expected the same registry"
            )
        return url

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """What refers to a digest: signatures, SBOMs and the like, by the API or by the tag in its place."""
        return referrers.list_all(self, digest, artifact_type)


def at(name: str, target: str) -> str:
    """``name:tag`` or ``name@digest``."""
    return f"{name}@{target}" if ":" in target else f"{name}:{target}"


def _media_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip()


def _kind(answer: Answer, wanted: Descriptor | None) -> str:
    """The media type that the content was asked for by; else the registry's word where it is one of a manifest."""
    if wanted is not None and wanted.media_type:
        return wanted.media_type
    named = _media_type(answer)
    return named if named.startswith("application/vnd.") else ""


def _mismatch(what: str, got: str, expected: str) -> ContentMismatch:
    return ContentMismatch(
        f"{what}: got {got}, expected {expected}",
        why="the registry gave bytes that are not those that were asked for",
        fix="push it again; if it comes back, the registry or something before it alters content",
    )


def open_repository(
    where: Reference,
    *,
    access: Access | None = None,
    credentials: CredentialSource | None = None,
    cancel: Cancel | None = None,
) -> Repository:
    """The repository that a reference names. Close its `registry` when done."""
    return Registry(where.registry, access=access, credentials=credentials, cancel=cancel).repository(where.repository)
