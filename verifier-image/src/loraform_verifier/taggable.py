"""Which resource types can carry tags, and how: a table made from the provider's schema and committed.

`python -m loraform_verifier.taggable SCHEMA.json` prints a new table, where SCHEMA.json is the output of
`terraform providers schema -json`. A type that the table does not know is asked for no tags.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import Enum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

TABLE = "taggable.json"


class Tagging(Enum):
    """How a resource type carries tags."""

    ARGUMENT = "tags"
    """`tags = {…}`"""
    BLOCKS = "tag_blocks"
    """`tag { key, value, propagate_at_launch }`, one for each tag"""


def tagging_of(resource_type: str) -> Tagging | None:
    """Return how a resource type carries tags; None when it cannot or is not known."""
    return _table().get(resource_type)


@cache
def _table() -> dict[str, Tagging]:
    data = json.loads(files(__package__).joinpath(TABLE).read_text())
    return {name: tagging for tagging in Tagging for name in data[tagging.value].split()}


def table_of(schema: Mapping[str, Any]) -> dict[str, str]:
    """Return the table for the output of `terraform providers schema -json`."""
    found: dict[Tagging, list[str]] = {tagging: [] for tagging in Tagging}
    for provider in schema["provider_schemas"].values():
        for name, resource in provider.get("resource_schemas", {}).items():
            if tagging := _tagging(resource["block"]):
                found[tagging].append(name)
    return {tagging.value: " ".join(sorted(names)) for tagging, names in found.items()}


def _tagging(block: Mapping[str, Any]) -> Tagging | None:
    tags = block.get("attributes", {}).get("tags", {})
    if tags.get("type") == ["map", "string"] and (tags.get("optional") or tags.get("required")):
        return Tagging.ARGUMENT
    tag = block.get("block_types", {}).get("tag", {})
    if tag.get("max_items") == 1:  # aws_autoscaling_group_tag is one tag of another resource
        return None
    words = tag.get("block", {}).get("attributes", {}).keys()
    return Tagging.BLOCKS if {"key", "value", "propagate_at_launch"} <= words else None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(table_of(json.loads(Path(sys.argv[1]).read_text())), indent=1) + "\n")
