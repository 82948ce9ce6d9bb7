"""Writes a Bill as SPDX 2.3 JSON (https://spdx.github.io/spdx-spec/v2.3/). Pure.

The same bill gives the same bytes. What SPDX has no field for (``h1:`` sums, ELF facts) is in an annotation
of its package whose comment is a JSON object: property name to list of values.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

from buildmatrix.dist import canonical
from buildmatrix.sbom.model import Bill, Component, text, timestamp

SPEC_VERSION = "SPDX-2.3"
DOCUMENT = "SPDXRef-DOCUMENT"
NOASSERTION = "NOASSERTION"
_NAMESPACE = uuid.UUID("0c7c9a3d-4c0e-5d53-8d5c-6a3e3f8f7a41")
_ALGORITHMS = {"sha1": "SHA1", "sha256": "SHA256", "sha512": "SHA512", "md5": "MD5"}
_PURPOSES = {
    "application": "APPLICATION", "library": "LIBRARY", "operating-system": "OPERATING-SYSTEM", "file": "FILE",
    "container": "CONTAINER",
}  # fmt: skip
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9.-]+")


def write(bill: Bill) -> bytes:
    """The document's bytes."""
    document = _document(bill)
    content = json.dumps(document, sort_keys=True, separators=(",", ":"))
    name = _NOT_IN_ID.sub("-", document["name"])
    unique = uuid.uuid5(_NAMESPACE, content)
    return canonical({**document, "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{unique}"})


def identifier(ref: str) -> str:
    """The SPDX element id of a component's ref: readable, and unique by a digest of the ref."""
    readable = _NOT_IN_ID.sub("-", ref.removeprefix("pkg:")).strip("-")[:80]
    digest = hashlib.sha256(ref.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"SPDXRef-{readable}-{digest}"


def _document(bill: Bill) -> dict[str, Any]:
    created = timestamp(bill.epoch if bill.epoch is not None else 0)
    packages = [bill.subject, *sorted((item for item in bill.components if item.kind != "file"), key=_order)]
    files = sorted((item for item in bill.components if item.kind == "file"), key=_order)
    inside = {item.ref: item for item in files}
    held = {ref: [inside[target] for target in targets if target in inside] for ref, targets in bill.contains}
    document = {
        "SPDXID": DOCUMENT,
        "spdxVersion": SPEC_VERSION,
        "dataLicense": "CC0-1.0",
        "name": text(f"{bill.subject.name}-{bill.subject.version}".rstrip("-")),
        "creationInfo": {"created": created, "creators": _creators(bill)},
        "packages": [_package(item, created, held.get(item.ref, [])) for item in packages],
        "relationships": sorted(_relationships(bill), key=lambda item: sorted(item.items())),
    }
    if not bill.complete:
        document["comment"] = "Dependencies between components are incomplete."
    own = sorted({word for item in packages for word in item.stated.split() if word.startswith("LicenseRef-")})
    if own:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": word, "extractedText": "The supplier's own terms; ask the supplier."} for word in own
        ]
    if files:
        document["files"] = [_file(item, created) for item in files]
    return document


def _order(component: Component) -> tuple[str, str, str]:
    return component.name, component.version, component.ref


def _creators(bill: Bill) -> list[str]:
    creators = [f"Organization: {bill.supplier}"] if bill.supplier else []
    return creators + [f"Tool: {tool.name}-{tool.version}" for tool in sorted(bill.tools, key=lambda tool: tool.name)]


def _package(item: Component, created: str, files: list[Component]) -> dict[str, Any]:
    found = item.stated or (item.licence.expression if item.licence else "") or NOASSERTION
    value: dict[str, Any] = {
        "SPDXID": identifier(item.ref),
        "name": text(item.name),
        "downloadLocation": NOASSERTION,
        "filesAnalyzed": bool(files),
        "licenseConcluded": NOASSERTION,
        "licenseDeclared": found,
        "copyrightText": NOASSERTION,
        "primaryPackagePurpose": _PURPOSES[item.kind],
        "supplier": f"Organization: {text(item.supplier)}" if item.supplier else NOASSERTION,
    }
    if files:
        value["packageVerificationCode"] = {"packageVerificationCodeValue": _verification(files)}
    if item.version:
        value["versionInfo"] = text(item.version)
    if item.description:
        value["summary"] = text(item.description)
    if item.licence is not None:
        value["licenseComments"] = f"found in {text(item.licence.file)}, SHA-256 {item.licence.sha256}"
    if item.hashes:
        value["checksums"] = _checksums(item)
    if item.purl:
        value["externalRefs"] = [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": text(item.purl)}
        ]
    return _annotated(value, item, created)


def _verification(files: list[Component]) -> str:
    """SHA-1 over the sorted SHA-1 digests of a package's files (SPDX 2.3, clause 7.9); no security rests on it."""
    digests = sorted(dict(item.hashes).get("sha1", "") for item in files)
    return hashlib.sha1("".join(digests).encode("ascii"), usedforsecurity=False).hexdigest()


def _checksums(item: Component) -> list[dict[str, str]]:
    return [{"algorithm": _ALGORITHMS[name], "checksumValue": digest} for name, digest in sorted(item.hashes)]


def _file(item: Component, created: str) -> dict[str, Any]:
    value: dict[str, Any] = {
        "SPDXID": identifier(item.ref),
        "fileName": f"./{text(item.name)}",
        "checksums": _checksums(item),
        "licenseConcluded": NOASSERTION,
        "copyrightText": NOASSERTION,
    }
    return _annotated(value, item, created)


def _annotated(value: dict[str, Any], item: Component, created: str) -> dict[str, Any]:
    properties: dict[str, list[str]] = {}
    for name, found in sorted(item.properties):
        properties.setdefault(name, []).append(text(found))
    if properties:
        comment = json.dumps(properties, sort_keys=True, separators=(",", ":"))
        annotation = {"annotationDate": created, "annotationType": "OTHER", "annotator": "Tool: buildmatrix"}
        value["annotations"] = [{**annotation, "comment": comment}]
    return value


def _relationships(bill: Bill) -> Iterator[dict[str, str]]:
    yield _relation(DOCUMENT, "DESCRIBES", identifier(bill.subject.ref))
    for ref, targets in bill.contains:
        for target in sorted(set(targets)):
            yield _relation(identifier(ref), "CONTAINS", identifier(target))
    external = {item.ref for item in bill.components if item.external}
    for ref, targets in bill.edges:
        for target in sorted(set(targets)):
            if target in external:  # needed beside it at run time, not part of it
                yield _relation(identifier(target), "RUNTIME_DEPENDENCY_OF", identifier(ref))
            else:
                yield _relation(identifier(ref), "DEPENDS_ON", identifier(target))


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
