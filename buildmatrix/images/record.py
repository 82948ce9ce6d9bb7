"""What building an image left behind: dist/images/NAME.json beside the layout, and NAME.documents/."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildmatrix import errors
from buildmatrix.artifact import Document
from buildmatrix.dist import Dist, canonical

SCHEMA = 2
FOLDER = "images"
DOCUMENTS = ".documents"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image: the digest of its inputs, of its index, and of each platform's manifest by platform.

    `recipe` has the digests of what a Dockerfile was built from, `documents` what is said about the image.
    """

    name: str
    engine: str
    inputs_digest: str
    base: str
    base_digest: str
    version: str
    created: int
    index: str
    platforms: tuple[tuple[str, str], ...]
    recipe: tuple[tuple[str, str], ...]
    documents: tuple[Document, ...]
    complete: bool
    """Whether the bills of materials could tell everything."""


def layout_path(dist: Dist, name: str) -> Path:
    """The folder of an image's OCI layout."""
    return dist.root / FOLDER / name


def record_path(dist: Dist, name: str) -> Path:
    """Where an image's record lies."""
    return dist.root / FOLDER / f"{name}.json"


def documents_path(dist: Dist, name: str) -> Path:
    """The folder of an image's SBOMs and provenance."""
    return dist.root / FOLDER / f"{name}{DOCUMENTS}"


def encode(record: ImageRecord) -> bytes:
    """A record as the bytes of its file."""
    value: dict[str, Any] = {name: getattr(record, name) for name in record.__slots__}
    tables = {"platforms": dict(record.platforms), "recipe": dict(record.recipe)}
    listed = [{name: getattr(item, name) for name in item.__slots__} for item in record.documents]
    return canonical({**value, "schema": SCHEMA, **tables, "documents": listed})


def write(dist: Dist, record: ImageRecord) -> None:
    """Write an image's record."""
    dist.write(record_path(dist, record.name), encode(record))


def read(dist: Dist, name: str) -> ImageRecord | None:
    """An image's record, or None where there is none; only the exact bytes that `encode` gives are accepted.

    Raises RecordInvalid.
    """
    path = record_path(dist, name)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.RecordInvalid(
            f"{path}: cannot be read", why=error.strerror or str(error), fix="make it readable"
        ) from error
    try:
        value = json.loads(data)
        if value.pop("schema") != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}")
        tables: dict[str, Any] = {name: tuple(sorted(value.pop(name).items())) for name in ("platforms", "recipe")}
        listed = tuple(Document(**item) for item in value.pop("documents"))
        record = ImageRecord(**value, **tables, documents=listed)
        if encode(record) != data:
            raise ValueError("it is not in the form in which records are written")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise errors.RecordInvalid(
            f"{path}: not a record of this version",
            why=str(error),
            fix=f"build the image again: buildmatrix image {name}",
        ) from error
    return record
