"""Image references: ``registry/repository[:tag][@digest]``, parsed and printed as Docker normalises them.

Grammar: distribution/reference (the reference implementation of the names that Docker accepts) and the
OCI distribution specification, "Definitions".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from buildmatrix.errors import ReferenceInvalid

DOCKER_HUB = "docker.io"
_HUB_ALIASES = ("docker.io", "index.docker.io")
_HUB_API = "registry-1.docker.io"

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_DIGESTS = {"sha256": 64, "sha512": 128}
MAX_NAME = 255
"""Characters of registry and repository together (distribution/reference, NameTotalLengthMax)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One image reference, normalised. `tag` and `digest` are empty where the text has none."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """The full form, with the registry."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """``registry/repository``."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What to ask the registry for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    def at(self, target: str) -> Reference:
        """The same repository at a tag or a digest."""
        if ":" in target:
            return replace(self, tag="", digest=check_digest(target))
        return replace(self, tag=check_tag(target), digest="")


def parse(text: str) -> Reference:
    """Parse a reference. Raises ReferenceInvalid, which says what was expected where."""
    rest, at, digest = text.partition("@")
    if at:
        check_digest(digest)
    name, tag = _split_tag(rest)
    if tag is not None and not TAG.fullmatch(tag):
        raise _invalid(text, f"got the tag {tag!r}, expected up to 128 letters, digits, _, . and -")
    registry, repository = _split_registry(name)
    if not _HOST.fullmatch(registry) or not _port_valid(registry):
        raise _invalid(text, f"got the registry {registry!r}, expected a host name or address, with or without a port")
    if not _PATH.fullmatch(repository):
        raise _invalid(text, _why_path(repository))
    if len(name) > MAX_NAME:
        raise _invalid(text, f"got a name of {len(name)} characters, expected at most {MAX_NAME}")
    return Reference(registry=registry.lower(), repository=repository, tag=tag or "", digest=digest)


def _split_tag(text: str) -> tuple[str, str | None]:
    colon = text.rfind(":")
    if colon <= text.rfind("/") or (colon > 0 and "/" not in text and text.startswith("[")):
        return text, None
    return text[:colon], text[colon + 1 :]


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not (any(char in first for char in ".:[") or first == "localhost" or first.lower() != first):
        first, rest = DOCKER_HUB, name
    if first in _HUB_ALIASES:
        return DOCKER_HUB, rest if "/" in rest else f"library/{rest}"
    return first, rest


def _port_valid(registry: str) -> bool:
    found = _HOST.fullmatch(registry)
    return found is None or found["port"] is None or 0 < int(found["port"]) < 65536


def _why_path(repository: str) -> str:
    if repository != repository.lower():
        return f"got upper case in the repository {repository!r}, expected lower case"
    return f"got the repository {repository!r}, expected lower-case words with . _ - inside, separated by /"


def _invalid(text: str, why: str) -> ReferenceInvalid:
    return ReferenceInvalid(
        f"{text!r} is not an image reference",
        why=why,
        fix="write registry/repository:tag or registry/repository@digest",
    )


def is_digest(text: str) -> bool:
    """Whether a text is a digest of a registered algorithm."""
    algorithm, _, value = text.partition(":")
    length = _DIGESTS.get(algorithm)
    return length is not None and re.fullmatch(rf"[0-9a-f]{{{length}}}", value) is not None


def check_digest(text: str) -> str:
    """The digest itself; raises ReferenceInvalid (image-spec, descriptor.md, "Digests")."""
    if not is_digest(text):
        raise ReferenceInvalid(
            f"got the digest {text[:200]!r}, expected sha256: and 64, or sha512: and 128, lower-case hexadecimal digits"
        )
    return text


def check_tag(text: str) -> str:
    """The tag itself; raises ReferenceInvalid."""
    if not TAG.fullmatch(text):
        raise ReferenceInvalid(f"got the tag {text[:200]!r}, expected up to 128 letters, digits, _, . and -")
    return text


def api_host(registry: str) -> str:
    """The host that serves a registry's API: Docker Hub's differs from its name."""
    return _HUB_API if registry == DOCKER_HUB else registry


def is_loopback(registry: str) -> bool:
    """Whether a registry's name is this machine's own, by name or address."""
    host = registry.rpartition(":")[0] if re.search(r":\d+$", registry) else registry
    host = host.strip("[]")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
