"""What changed between two bills: two releases, or two architectures of one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from buildmatrix.sbom.model import Bill, Component

_FOLLOWS = ("buildmatrix:licence:",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. `kind` is ``added``, ``removed``, ``version``, ``licence``, ``digest`` or ``property``.

    `unit` names the document where several are compared, `what` the digest or property.
    """

    kind: str
    component: str
    unit: str = ""
    what: str = ""
    old: str = ""
    new: str = ""


def units(old: Mapping[str, Bill], new: Mapping[str, Bill]) -> Iterator[Change]:
    """Changes between two sets of bills by name; a name on one side alone is one change.

    Where each side has a single bill, they are compared whatever their names.
    """
    if len(old) == len(new) == 1:
        yield from changes(next(iter(old.values())), next(iter(new.values())), "")
        return
    for name in sorted({*old, *new}):
        if name not in new:
            yield Change(kind="removed", component=name, unit=name, what="document")
        elif name not in old:
            yield Change(kind="added", component=name, unit=name, what="document")
        else:
            yield from changes(old[name], new[name], name)


def changes(old: Bill, new: Bill, unit: str) -> Iterator[Change]:
    """Every change from one bill to another: the subject first, then components by name."""
    yield from _changed(old.subject, new.subject, unit)
    before, after = _by_name(old), _by_name(new)
    for name in sorted({*before, *after}):
        yield from _group(before.get(name, []), after.get(name, []), unit)


def _by_name(bill: Bill) -> dict[tuple[str, str], list[Component]]:
    found: dict[tuple[str, str], list[Component]] = {}
    for item in sorted(bill.components, key=lambda component: (component.version, component.ref)):
        found.setdefault((item.name, _ecosystem(item)), []).append(item)
    return found


def _ecosystem(item: Component) -> str:
    return item.purl.partition("/")[0] or item.kind


def _group(old: list[Component], new: list[Component], unit: str) -> Iterator[Change]:
    """Components of one name: equal versions are paired, one left on each side is an upgrade."""
    versions = {item.version for item in old} & {item.version for item in new}
    for version in sorted(versions):
        one = next(item for item in old if item.version == version)
        other = next(item for item in new if item.version == version)
        yield from _changed(one, other, unit)
    gone = [item for item in old if item.version not in versions]
    come = [item for item in new if item.version not in versions]
    if len(gone) == len(come) == 1:
        yield from _changed(gone[0], come[0], unit)
        return
    yield from (Change(kind="removed", component=item.name, unit=unit, old=item.version) for item in gone)
    yield from (Change(kind="added", component=item.name, unit=unit, new=item.version) for item in come)


def _changed(old: Component, new: Component, unit: str) -> Iterator[Change]:
    name = old.name if old.name == new.name else f"{old.name} → {new.name}"
    if old.version != new.version:
        yield Change(kind="version", component=name, unit=unit, old=old.version, new=new.version)
    if _licence(old) != _licence(new):
        yield Change(kind="licence", component=name, unit=unit, old=_licence(old), new=_licence(new))
    yield from _pairs("digest", name, unit, _grouped(old.hashes), _grouped(new.hashes))
    yield from _pairs("property", name, unit, _grouped(old.properties), _grouped(new.properties))


def _licence(item: Component) -> str:
    return item.stated or (item.licence.expression if item.licence is not None else "")


def _grouped(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if not name.startswith(_FOLLOWS):
            found.setdefault(name, []).append(value)
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def _pairs(kind: str, name: str, unit: str, old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield Change(kind=kind, component=name, unit=unit, what=key, old=old.get(key, ""), new=new.get(key, ""))
