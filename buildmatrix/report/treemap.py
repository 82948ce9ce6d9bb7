"""Lays parts out as a treemap: rectangles whose areas are the parts' shares. Pure.

Squarified layout: Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000). Units are percent of the whole width
and height, so that the drawing takes any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildmatrix.report.model import Part

MOST = 24
"""Rectangles of one drawing; the rest are one of them."""
REST = "everything else"
_SMALLEST = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One rectangle, in percent, and the part that it stands for."""

    part: Part
    x: float
    y: float
    width: float
    height: float


def shown(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The largest parts, largest first, and what is left of them together in the end."""
    ordered = sorted((part for part in parts if part.size > 0), key=lambda part: (-part.size, part.name))
    total = sum(part.size for part in ordered)
    kept = [part for part in ordered[: MOST - 1] if part.size >= total * _SMALLEST]
    rest = total - sum(part.size for part in kept)
    return (*kept, Part(name=REST, size=rest)) if rest else tuple(kept)


def layout(parts: Sequence[Part], *, aspect: float) -> tuple[Box, ...]:
    """Rectangles for `parts`, which are sorted by size; `aspect` is the drawing's width over its height."""
    total = sum(part.size for part in parts)
    if not total:
        return ()
    left, top, width, height = 0.0, 0.0, aspect, 1.0
    scale = aspect / total
    boxes: list[Box] = []
    rest = list(parts)
    while rest:
        row = _row(rest, min(width, height), scale)
        area = sum(part.size for part in row) * scale
        wide = width >= height
        thick = area / (height if wide else width)
        at = top if wide else left
        for part in row:
            long = part.size * scale / thick if thick else 0.0
            x, y, w, h = (left, at, thick, long) if wide else (at, top, long, thick)
            boxes.append(_percent(part, x, y, w, h, aspect))
            at += long
        if wide:
            left, width = left + thick, width - thick
        else:
            top, height = top + thick, height - thick
        rest = rest[len(row) :]
    return tuple(boxes)


def _row(parts: Sequence[Part], side: float, scale: float) -> list[Part]:
    """As many parts as lie along `side` before the worst of their shapes gets worse."""
    row, best = [parts[0]], _worst([parts[0]], side, scale)
    for part in parts[1:]:
        shape = _worst([*row, part], side, scale)
        if shape > best:
            break
        row, best = [*row, part], shape
    return row


def _worst(row: Sequence[Part], side: float, scale: float) -> float:
    areas = [part.size * scale for part in row]
    total = sum(areas)
    if not total or side <= 0:
        return float("inf")
    return max(side * side * max(areas) / (total * total), total * total / (side * side * min(areas)))


def _percent(part: Part, x: float, y: float, width: float, height: float, aspect: float) -> Box:
    across, down = 100 / aspect, 100.0
    values = (x * across, y * down, width * across, height * down)
    x, y, width, height = (round(value, 3) for value in values)
    return Box(part=part, x=x, y=y, width=width, height=height)
