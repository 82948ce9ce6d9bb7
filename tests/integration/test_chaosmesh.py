"""Exported objects, and the status that the import reads, against the definitions that Chaos Mesh publishes."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from tests import test_chaosmesh
from tests.integration import tools

pytestmark = pytest.mark.integration

MODULE = "github.com/chaos-mesh/chaos-mesh@v0.9.1-0.20260902003049-47411975a8cb"


@pytest.fixture(scope="module")
def definitions() -> dict[str, dict[str, Any]]:
    """The OpenAPI schemas by kind, from the module as the Go proxy has it. They are never kept here."""
    folder = tools.go_module(*MODULE.split("@")) / "config" / "crd" / "bases"
    found = {}
    for path in folder.glob("*chaos.yaml"):
        document = yaml.safe_load(path.read_text())
        (version,) = document["spec"]["versions"]
        found[document["spec"]["names"]["kind"]] = closed(version["schema"]["openAPIV3Schema"])
    return found


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused: the API server would drop them, and with them what they ask for."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict) and schema.get("type") == "object":
        result["additionalProperties"] = False
    return result


def test_exported_objects_are_valid(definitions: dict[str, dict[str, Any]]) -> None:
    kinds = set()
    for manifest in test_chaosmesh.manifests().values():
        kinds.add(manifest["kind"])
        jsonschema.validate(manifest, definitions[manifest["kind"]])
    assert kinds == {"StressChaos", "PodChaos", "IOChaos", "NetworkChaos", "TimeChaos"}


def test_the_validation_sees_what_is_wrong(definitions: dict[str, dict[str, Any]]) -> None:
    manifest = test_chaosmesh.manifests()["full-app-arm64"]
    for broken in ({"volumePath": None}, {"action": "flood"}, {"mistyped": 1}, {"errno": "ENOSPC"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**manifest, "spec": {**manifest["spec"], **broken}}, definitions["IOChaos"])


def test_the_status_that_the_import_reads_has_the_published_form(definitions: dict[str, dict[str, Any]]) -> None:
    for name in ("cpu-app-arm64", "killed-app-arm64", "full-app-amd64", "far-app-amd64"):
        item = test_chaosmesh.status(name)
        jsonschema.validate(item, definitions[item["kind"]])
