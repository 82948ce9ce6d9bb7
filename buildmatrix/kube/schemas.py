"""Objects against schemas: Kubernetes' own from `kubernetes-validate`, custom kinds' from their CRDs. Offline.

The strict schemas refuse members that no API has: the API server drops those in silence, so that a misspelt
`nodeSelecter` deploys everywhere. The same is done with the structural schemas of CRDs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from buildmatrix.errors import ManifestInvalid, ToolMissing, UsageError
from buildmatrix.finding import Finding, Severity
from buildmatrix.kube.objects import Item, at

_FOLDER = "kubernetes-json-schema"
_DEFINITIONS = "_definitions.json"
_MOST = 5
"""Problems of one object that are told."""


def newest(wanted: str = "") -> str:
    """The version whose schemas are used: the wanted one, or the newest. Raises UsageError, ToolMissing."""
    versions = _versions()
    if wanted and wanted not in versions:
        raise UsageError(
            f"Kubernetes {wanted}: has no schemas here, expected one of {', '.join(versions)}",
            fix="correct deploy.kubernetes, or update kubernetes-validate",
        )
    return wanted or versions[-1]


def _versions() -> tuple[str, ...]:
    names = (entry.name for entry in (_root() / _FOLDER).iterdir() if entry.name.endswith("-local-strict"))
    numbers = sorted(tuple(map(int, name[1:].partition("-")[0].split(".")[:2])) for name in names)
    return tuple(".".join(map(str, number)) for number in numbers)


def _root() -> Any:
    from importlib import resources

    try:
        return resources.files("kubernetes_validate")
    except ImportError as error:
        raise ToolMissing(
            "kubernetes-validate: is not installed, which holds the schemas of Kubernetes",
            fix="pip install 'buildmatrix[kubernetes]'",
        ) from error


class Schemas:
    """The schemas of one version of Kubernetes and of the custom kinds that were declared."""

    def __init__(self, version: str = "", definitions: tuple[Item, ...] = ()) -> None:
        self.version = newest(version)
        self._definitions, self._kinds = _load(self.version)
        self._groups = frozenset(group for group, _, _ in self._kinds)
        self._custom: dict[tuple[str, str, str], Any] = {}
        for item in definitions:
            self.declare(item)

    def declare(self, item: Item) -> None:
        """Learn the kinds of a CustomResourceDefinition; anything else is passed over."""
        if item.kind != "CustomResourceDefinition":
            return
        group, kind = at(item.value, ("spec", "group")), at(item.value, ("spec", "names", "kind"))
        versions = at(item.value, ("spec", "versions"))
        for version in versions if isinstance(versions, list) else ():
            schema, name = at(version, ("schema", "openAPIV3Schema")), at(version, ("name",))
            if isinstance(schema, dict) and all(isinstance(word, str) for word in (group, kind, name)):
                self._custom[group, name, kind] = _validator(_structural(schema, top=True), name=item.label)

    def check(self, item: Item) -> Iterator[Finding]:
        """What is wrong with an object: its worst few problems, each with its place."""
        group, _, version = item.api_version.rpartition("/")
        key = (group, version, item.kind)
        # Kubernetes' own kinds first: a CRD of the same name must not loosen them.
        name = self._kinds.get(key)
        validator = self._custom.get(key) if name is None else _builtin(self.version, name)
        if validator is None:
            yield self._unknown(item, group)
            return
        found = sorted(validator.iter_errors(item.value), key=lambda error: list(map(str, error.absolute_path)))
        for error in found[:_MOST]:
            yield _told(item, error)
        if len(found) > _MOST:
            yield Finding(
                rule="BM922", cell=item.label, what=f"and {len(found) - _MOST} more", fix="correct the others"
            )

    def _unknown(self, item: Item, group: str) -> Finding:
        what = f"{item.api_version or 'no apiVersion'} {item.kind or 'no kind'}"
        if not item.kind or not item.api_version or group in self._groups:
            return Finding(
                rule="BM922",
                cell=item.label,
                what=f"got {what}, which Kubernetes {self.version} does not know",
                why="it is misspelt, or was removed in an earlier version",
                fix="correct apiVersion and kind, or name the cluster's version in deploy.kubernetes",
            )
        return Finding(
            rule="BM931",
            cell=item.label,
            what=f"{what} has no schema here: it was not validated",
            fix="name the file with its CustomResourceDefinition in deploy.crds, or with --crd",
            severity=Severity.WARNING,
        )


@lru_cache(maxsize=4)
def _load(version: str) -> tuple[Mapping[str, Any], Mapping[tuple[str, str, str], str]]:
    """The definitions of a version, and the definition of each kind by group, version and kind."""
    text = (_root() / _FOLDER / f"v{version}.0-local-strict" / _DEFINITIONS).read_text(encoding="utf-8")
    document: Mapping[str, Any] = json.loads(text)
    kinds = {}
    for name, definition in document["$defs"].items():
        for entry in definition.get("x-kubernetes-group-version-kind", ()):
            kinds[entry["group"], entry["version"], entry["kind"]] = name
    return document, kinds


@lru_cache(maxsize=256)
def _builtin(version: str, name: str) -> Any:
    from referencing import Registry, Resource

    document, _ = _load(version)
    registry = Resource.from_contents(document) @ Registry()
    return _validator({"$ref": f"{document['$id']}#/$defs/{name}"}, registry)


def _validator(schema: Mapping[str, Any], registry: Any = None, name: str = "") -> Any:
    from jsonschema import Draft202012Validator

    if registry is None:
        try:
            Draft202012Validator.check_schema(schema)
        except Exception as error:
            raise ManifestInvalid(
                f"{name}: got a schema that is none, expected a structural one", why=str(error)[:500], fix="correct it"
            ) from error
        return Draft202012Validator(schema)
    return Draft202012Validator(schema, registry=registry)


def _structural(schema: Any, *, top: bool = False) -> Any:
    """A CRD's structural schema as JSON Schema that refuses what the API server would prune."""
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if key in _KEYWORDS}
    if "pattern" in made and not _compiles(made["pattern"]):
        del made["pattern"]
    if schema.get("x-kubernetes-int-or-string"):
        return {
            **{key: made[key] for key in ("pattern", "anyOf", "enum") if key in made},
            "type": ["integer", "string"],
        }
    given = schema.get("properties")
    properties = {name: _structural(inner) for name, inner in given.items()} if isinstance(given, dict) else {}
    if top or schema.get("x-kubernetes-embedded-resource"):
        properties |= {name: properties.get(name, {}) for name in ("apiVersion", "kind", "metadata")}
        properties["metadata"] = {"type": "object"}
    if properties:
        made["properties"] = properties
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            made[key] = _structural(schema[key])
    if schema.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def _compiles(pattern: object) -> bool:
    """Whether Python knows a pattern: Go's syntax has more, such as ``\\z`` and ``\\pL``."""
    try:
        re.compile(str(pattern))
    except (re.error, RecursionError, OverflowError):
        return False
    return True


_KEYWORDS = frozenset((
    "type", "enum", "required", "items", "additionalProperties", "minimum", "maximum", "minItems", "maxItems",
    "minLength", "maxLength", "pattern", "uniqueItems", "minProperties", "maxProperties", "multipleOf",
))  # fmt: skip
"""Keywords that mean the same in a structural schema; `format` and the logical junctors only add refinements."""


def _told(item: Item, error: Any) -> Finding:
    place = ".".join(map(str, error.absolute_path)) or "the object"
    message = str(error.message)
    unknown = error.validator == "additionalProperties"
    return Finding(
        rule="BM922",
        cell=item.label,
        what=f"{place}: {message[:300]}",
        why="the API server drops members that it does not know, in silence" if unknown else "",
        fix="correct the spelling or the indentation" if unknown else "write what the API asks for",
    )
