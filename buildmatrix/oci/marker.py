"""Tells an image layout from other folders, at the price of two looks: all that most commands need to know."""

from __future__ import annotations

from pathlib import Path


def is_layout(path: Path) -> bool:
    """Whether a directory is an OCI image layout, by the names in it (image-spec, image-layout.md)."""
    return (path / "oci-layout").is_file() and (path / "index.json").is_file()
