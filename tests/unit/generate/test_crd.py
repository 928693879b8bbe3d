"""Structural schemas of the models; tests/integration applies them to an API server."""

from collections.abc import Iterator
from typing import Any

import pytest

from loraform_api.dataset import Columns
from loraform_api.finetunejob import Toleration
from loraform_generate.crd import crds

FORBIDDEN = {
    "$ref",
    "$defs",
    "title",
    "const",
    "anyOf",
    "oneOf",
    "discriminator",
    "patternProperties",
    "exclusiveMinimum",
}


def schemas() -> list[tuple[str, dict[str, Any]]]:
    return [(name, crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]) for name, crd in crds().items()]


def walk(node: Any, path: str, in_properties: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if not in_properties:
            yield path, node
        for key, value in node.items():
            if key != "default":
                yield from walk(value, f"{path}.{key}", key == "properties")


@pytest.mark.parametrize(("name", "schema"), schemas())
def test_schemas_have_no_key_that_kubernetes_refuses(name: str, schema: dict[str, Any]) -> None:
    for path, node in walk(schema, name):
        assert not FORBIDDEN & set(node), path
        assert node.get("additionalProperties") is not False, path
        assert node.get("type") != "number", f"{path}: no floats"


@pytest.mark.parametrize(("name", "schema"), schemas())
def test_every_string_list_and_map_is_bounded(name: str, schema: dict[str, Any]) -> None:
    for path, node in walk(schema["properties"]["spec"], name):
        match node.get("type"):
            case "string":
                assert "maxLength" in node or "enum" in node, path
            case "array":
                assert "maxItems" in node, path
            case "integer" if "enum" not in node:
                assert "minimum" in node, path
                assert "maximum" in node, path
            case "object" if "additionalProperties" in node:
                assert "maxProperties" in node, path


PLAIN_NAMES = {"bucket", *Columns.model_fields, *Toleration.model_fields}
"""Fields whose name says it all, or that are Kubernetes' own."""


@pytest.mark.parametrize(("name", "schema"), schemas())
def test_every_field_of_a_spec_has_a_description(name: str, schema: dict[str, Any]) -> None:
    for path, node in walk(schema["properties"]["spec"], name):
        undescribed = {key for key, field in node.get("properties", {}).items() if "description" not in field}
        assert undescribed <= PLAIN_NAMES, path


def test_every_other_spec_field_is_immutable() -> None:
    schema = dict(schemas())["finetunejobs.yaml"]
    fixed = {
        r["fieldPath"].removeprefix(".spec.") for r in schema["x-kubernetes-validations"] if "oldSelf" in r["rule"]
    }
    assert fixed == set(schema["properties"]["spec"]["properties"]) - {"activeDeadlineSeconds"}
