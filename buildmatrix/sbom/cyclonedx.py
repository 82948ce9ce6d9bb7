"""Writes a Bill as CycloneDX 1.6 JSON (https://cyclonedx.org/docs/1.6/json/). Pure.

The same bill gives the same bytes: keys and lists are sorted, the time is the bill's, and the serial number
is a version 5 UUID over the rest of the document.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from buildmatrix.dist import canonical
from buildmatrix.sbom.model import Bill, Component, Tool, text, timestamp

SPEC_VERSION = "1.6"
_NAMESPACE = uuid.UUID("6a8f0f1b-5d59-5b0a-9a36-0b2d8f2f8f3e")
_ALGORITHMS = {"sha1": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512", "md5": "MD5"}


def write(bill: Bill) -> bytes:
    """The document's bytes."""
    document = _document(bill)
    return canonical({**document, "serialNumber": serial(document)})


def serial(document: dict[str, Any]) -> str:
    """``urn:uuid:`` and the UUIDv5 (RFC 9562) over a document's content without its serial number."""
    content = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, content)}"


def _document(bill: Bill) -> dict[str, Any]:
    inside = {ref: frozenset(targets) for ref, targets in bill.contains}
    nested = frozenset().union(*(found for ref, found in inside.items() if ref != bill.subject.ref))
    ordered = sorted(bill.components, key=_order)
    by_ref = {item.ref: item for item in ordered}

    def packed(item: Component) -> dict[str, Any]:
        value = _component(item)
        children = [by_ref[ref] for ref in sorted(inside.get(item.ref, ())) if ref in by_ref]
        return {**value, "components": [packed(child) for child in sorted(children, key=_order)]} if children else value

    document: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": _metadata(bill),
        "components": [packed(item) for item in ordered if item.ref not in nested],
        "dependencies": _dependencies(bill),
        "compositions": [
            {
                "aggregate": "complete" if bill.complete else "incomplete",
                "bom-ref": "composition-dependencies",
                "dependencies": [bill.subject.ref],
            }
        ],
    }
    return document


def _order(component: Component) -> tuple[str, str, str]:
    return component.name, component.version, component.ref


def _metadata(bill: Bill) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "component": _component(bill.subject),
        "lifecycles": [{"phase": bill.phase}],
        "tools": {"components": [_tool(item) for item in sorted(bill.tools, key=lambda tool: tool.name)]},
    }
    if bill.epoch is not None:
        metadata["timestamp"] = timestamp(bill.epoch)
    if bill.supplier:
        metadata["supplier"] = {"name": bill.supplier}
    return metadata


def _tool(tool: Tool) -> dict[str, Any]:
    return {"type": "application", "name": tool.name, "version": tool.version}


def _component(item: Component) -> dict[str, Any]:
    properties = [*item.properties]
    value: dict[str, Any] = {"bom-ref": text(item.ref), "type": item.kind, "name": text(item.name)}
    plain = {"version": item.version, "purl": item.purl, "description": item.description}
    value |= {name: text(found) for name, found in plain.items() if found}
    if item.supplier:
        value["supplier"] = {"name": text(item.supplier)}
    if item.hashes:
        value["hashes"] = [{"alg": _ALGORITHMS[name], "content": digest} for name, digest in sorted(item.hashes)]
    if item.stated:
        value["licenses"] = _licences(item.stated, "declared")
    elif item.licence is not None:
        value["licenses"] = _licences(item.licence.expression, "declared")
        properties += [
            ("buildmatrix:licence:file", item.licence.file),
            ("buildmatrix:licence:sha256", item.licence.sha256),
        ]
    if item.external:
        properties.append(("buildmatrix:contained", "false"))
    if properties:
        value["properties"] = [{"name": name, "value": text(found)} for name, found in sorted(properties)]
    return value


def _licences(expression: str, acknowledgement: str) -> list[dict[str, Any]]:
    if " " in expression:
        return [{"expression": expression, "acknowledgement": acknowledgement}]
    named = "name" if expression.startswith("LicenseRef-") else "id"
    return [{"license": {named: expression, "acknowledgement": acknowledgement}}]


def _dependencies(bill: Bill) -> list[dict[str, Any]]:
    return [
        {"ref": text(ref), "dependsOn": sorted({text(item) for item in targets})} for ref, targets in sorted(bill.edges)
    ]
