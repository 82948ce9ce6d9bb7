"""What a registry's refusals mean, as errors with a cause and a remedy. Pure."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from buildmatrix.errors import BuildmatrixError, NotInRegistry, RegistryDenied, RegistryFailed, RegistryUnreachable
from buildmatrix.oci.http import Answer


def place(url: str) -> str:
    """A URL without its query: signed addresses and upload states do not belong into messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def reasons(body: bytes) -> str:
    """The codes and messages of a registry's error document (distribution-spec, "Error Codes"), or its text."""
    try:
        found = json.loads(body)["errors"]
        words = [_one(item) for item in found if isinstance(item, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = body[:300].decode("utf-8", "replace").strip()
        return text if text.isprintable() else ""
    return "; ".join(words)[:1000]


def _one(item: dict[str, Any]) -> str:
    code, message, detail = (item.get(key) for key in ("code", "message", "detail"))
    text = f"{code or 'UNKNOWN'}: {message or ''}".rstrip(": ")
    return f"{text} ({json.dumps(detail)[:200]})" if detail else text


def codes(body: bytes) -> frozenset[str]:
    """The error codes of a registry's error document."""
    try:
        return frozenset(str(item["code"]) for item in json.loads(body)["errors"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def refused(answer: Answer, what: str) -> BuildmatrixError:
    """The error for an answer that is none of those that were expected."""
    why = f"{place(answer.url)} answered {answer.status}" + (f", {text}" if (text := reasons(answer.body)) else "")
    if answer.status in (401, 403):
        return RegistryDenied(
            f"{what}: the registry refused",
            why=why,
            fix="log in (docker login) with an account that may do this, and check the name of the repository",
        )
    if answer.status == 404:
        return NotInRegistry(f"{what}: not in the registry", why=why, fix="check the name, or push it first")
    if answer.status == 429:
        return RegistryFailed(
            f"{what}: the registry limits requests", why=why, fix="wait, log in, or use fewer threads"
        )
    if answer.status >= 500:
        return RegistryFailed(f"{what}: the registry failed", why=why, fix="try again; see the registry's own log")
    return RegistryFailed(f"{what}: the registry refused", why=why, fix=_remedy(answer))


def _remedy(answer: Answer) -> str:
    found = codes(answer.body)
    if answer.status == 413 or "SIZE_INVALID" in found:
        return "raise the size limit of the registry or of the proxy before it"
    if found & {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}:
        return "push what it refers to first; if that was done, the registry has lost it"
    if found & {"MANIFEST_INVALID", "MANIFEST_UNVERIFIED", "UNSUPPORTED"}:
        return "the registry does not take this kind of manifest: see its documentation for OCI indexes and artifacts"
    return "see the registry's documentation and log"


def garbled(url: str, what: str, why: str) -> RegistryFailed:
    """The error for an answer that the distribution specification does not allow."""
    return RegistryFailed(
        f"{what}: the registry gave an answer that the specification does not allow",
        why=f"{place(url)}: {why}",
        fix="check that the address is a registry's, and what stands between",
    )


def unreachable(registry: str, method: str, url: str, why: str, attempts: int) -> RegistryUnreachable:
    """The error for no answer at all."""
    tries = f" in {attempts} attempts" if attempts > 1 else ""
    return RegistryUnreachable(
        f"{registry}: no answer to {method} {place(url)}{tries}",
        why=why,
        fix="check the name, the network and the proxy settings; a registry without TLS must be allowed explicitly",
    )
