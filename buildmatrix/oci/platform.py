"""Platforms of images: parsing, one normal form, equality and "would it run there".

The image specification leaves variants open; containerd's normalisation is what registries and engines
agree on: arm64, arm64/v8, arm64/8 and arm64/v8.0 are one platform, so are amd64 and amd64/v1, and arm
without a variant is v7.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from buildmatrix import arch
from buildmatrix.errors import ReferenceInvalid

_OS_ALIASES = {"macos": "darwin"}
_VARIANT_OF = {"armhf": "v7", "armv7": "v7", "armv7l": "v7", "armel": "v6", "armv6": "v6", "armv6l": "v6"}
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform as an index or a config names it (image-spec, image-index.md): nothing is changed on reading."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``os/architecture[/variant]``, or ``unknown`` where nothing is said."""
        return "/".join(word for word in (self.os, self.architecture, self.variant) if word) or "unknown"

    @property
    def unknown(self) -> bool:
        """Whether it says nothing, or is the ``unknown/unknown`` of BuildKit's attestation manifests."""
        return self.architecture in ("", "unknown")

    def as_json(self) -> dict[str, Any]:
        """The object of an index entry; absent members are left out."""
        members: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        optional = {"variant": self.variant, "os.version": self.os_version, "os.features": list(self.os_features)}
        return members | {name: value for name, value in optional.items() if value}


def parse(text: str) -> Platform:
    """``os/architecture[/variant]``, or an architecture alone, which is taken for Linux. Raises ReferenceInvalid."""
    words = text.split("/")
    if len(words) == 1:
        words = ["linux", *words]
    if len(words) > 3 or not all(_WORD.fullmatch(word) for word in words):
        raise ReferenceInvalid(
            f"got the platform {text!r}, expected os/architecture or os/architecture/variant",
            fix="write linux/amd64, linux/arm64, linux/arm/v7 and the like",
        )
    return normalise(Platform(os=words[0], architecture=words[1], variant=words[2] if len(words) > 2 else ""))


def from_json(value: Mapping[str, Any]) -> Platform:
    """The platform object of an index entry, or the same members of a config; absent ones are empty."""
    features = value.get("os.features", ())
    return Platform(
        os=str(value.get("os") or ""),
        architecture=str(value.get("architecture") or ""),
        variant=str(value.get("variant") or ""),
        os_version=str(value.get("os.version") or ""),
        os_features=tuple(map(str, features)) if isinstance(features, (list, tuple)) else (),
    )


def normalise(platform: Platform) -> Platform:
    """The one form that equal platforms share."""
    name = platform.architecture.lower()
    variant = (platform.variant or _VARIANT_OF.get(name, "")).lower()
    name = "arm" if name in _VARIANT_OF else arch.normalise(name) or name
    system = platform.os.lower()
    return replace(
        platform, os=_OS_ALIASES.get(system, system), architecture=name, variant=_normal_variant(name, variant)
    )


def _normal_variant(architecture: str, variant: str) -> str:
    if variant[:1].isdigit():
        variant = f"v{variant}"
    if architecture in ("arm64", "amd64") and re.fullmatch(r"v\d+\.0", variant):
        variant = variant.removesuffix(".0")
    if architecture == "arm":
        return variant or "v7"
    return "" if (architecture, variant) in (("arm64", "v8"), ("amd64", "v1")) else variant


def same(one: Platform, other: Platform) -> bool:
    """Whether two spellings name one platform. The version of the operating system counts where both have one."""
    first, second = normalise(one), normalise(other)
    if first.os_version and second.os_version and first.os_version != second.os_version:
        return False
    return (first.os, first.architecture, first.variant) == (second.os, second.architecture, second.variant)


def level(platform: Platform) -> tuple[int, int] | None:
    """The variant as a number that grows with what code may use; None where it has no order.

    Armv9.n has all of Armv8.(n+5) (Arm ARM, A2.1), so that v9 ranks as v8.5.
    """
    normal = normalise(platform)
    found = re.fullmatch(
        r"v(\d+)(?:\.(\d+))?", normal.variant or {"arm64": "v8", "amd64": "v1"}.get(normal.architecture, "")
    )
    if found is None:
        return None if normal.variant else (0, 0)
    major, minor = int(found[1]), int(found[2] or 0)
    return (8, minor + 5) if normal.architecture == "arm64" and major == 9 else (major, minor)


def runs_on(image: Platform, machine: Platform) -> bool:
    """Whether an image of one platform may run on a machine of another: the same, or a lower variant."""
    have, want = normalise(image), normalise(machine)
    if (have.os, have.architecture) != (want.os, want.architecture):
        return False
    if have.os_version and want.os_version and have.os_version != want.os_version:
        return False
    low, high = level(have), level(want)
    return have.variant == want.variant if low is None or high is None else low <= high


def same_architecture(one: Platform, other: Platform) -> bool:
    """Whether two platforms are of one operating system and architecture, whatever their variants."""
    first, second = normalise(one), normalise(other)
    return (first.os, first.architecture) == (second.os, second.architecture)


def select(items: Iterable[tuple[Platform, Item]], wanted: Platform) -> Item | None:
    """The item for a machine: the first of the same platform, else the first of the closest lower variant."""
    fitting = [(platform, item) for platform, item in items if runs_on(platform, wanted)]
    for platform, item in fitting:
        if same(platform, wanted):
            return item
    ranked = sorted(fitting, key=lambda pair: level(pair[0]) or (0, 0), reverse=True)  # stable: the first of equals
    return ranked[0][1] if ranked else None


def duplicates(platforms: Sequence[Platform]) -> tuple[Platform, ...]:
    """The platforms that an earlier one is the same as."""
    return tuple(
        item for index, item in enumerate(platforms) if any(same(item, earlier) for earlier in platforms[:index])
    )
