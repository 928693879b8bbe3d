"""A small made-up provider in the format of `terraform providers schema -json`, for tests of the Schema stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loraform_verifier.schema.catalogue import Catalogue
from loraform_verifier.schema.compact import compact, file_name, pack

TEXT, NUMBER, BOOL = "string", "number", "bool"
RULE = ["list", ["object", {"port": NUMBER, "name": TEXT}]]


def argument(kind: Any = TEXT, **flags: bool) -> dict[str, Any]:
    """An attribute as Terraform lists it; optional unless it is said to be something else."""
    return {"type": kind, "description_kind": "plain"} | (flags or {"optional": True})


def nested(mode: str, body: dict[str, Any], **limits: int) -> dict[str, Any]:
    return {"nesting_mode": mode, "block": body, **limits}


def block(attributes: dict[str, Any], blocks: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"attributes": attributes, "block_types": blocks or {}, "description_kind": "plain"}


DISK = block(
    {"device": argument(required=True), "size": argument(NUMBER), "serial": argument(computed=True)},
    {"key": nested("list", block({"name": argument(required=True)}), max_items=1)},
)
MACHINE = block(
    {
        "name": argument(required=True),
        "size": argument(NUMBER),
        "on": argument(BOOL),
        "addresses": argument(["list", TEXT]),
        "tags": argument(["map", TEXT]),
        "rule": argument(RULE, optional=True, computed=True),
        "id": argument(optional=True, computed=True),
        "arn": argument(computed=True),
        "ports": argument(["list", NUMBER], computed=True),
        "old": argument(optional=True, deprecated=True),
        "secret": {
            "nested_type": {"nesting_mode": "single", "attributes": {"value": argument(required=True)}},
            "optional": True,
        },
    },
    {
        "disk": nested("list", DISK, max_items=2),
        "network": nested("set", block({"id": argument()}), min_items=1),
        "timeouts": nested("single", block({"create": argument()})),
        "note": nested("map", block({"text": argument()})),
    },
)
SCHEMA = {
    "provider": {
        "block": block(
            {"zone": argument(), "retries": argument(NUMBER), "x": argument()},
            {"labels": nested("list", block({"all": argument(["map", TEXT])}), max_items=1)},
        )
    },
    "resource_schemas": {"toy_machine": {"version": 0, "block": MACHINE}, "toy_disk": {"version": 0, "block": DISK}},
    "data_source_schemas": {"toy_image": {"block": block({"name": argument(), "url": argument(computed=True)})}},
    "ephemeral_resource_schemas": {"toy_token": {"block": block({"length": argument(NUMBER)})}},
}


def write(folder: Path, version: str = "1.2.3", source: str = "hashicorp/toy", schema: Any = SCHEMA) -> Path:
    """Write the provider's schema file."""
    path = folder / file_name(source, version)
    path.write_bytes(pack(compact(source, version, schema)))
    return path


def catalogue(folder: Path) -> Catalogue:
    """A catalogue of the made-up provider alone."""
    return Catalogue([write(folder)])
