"""Which resource types can carry tags, and how, according to the provider's schema.

Types without a known schema need no tags.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

from loraform_verifier.schema.catalogue import BlockSchema, default


class Tagging(Enum):
    """How a resource type carries tags."""

    ARGUMENT = "tags"
    """`tags = {…}`"""
    BLOCKS = "tag_blocks"
    """`tag { key, value, propagate_at_launch }`, one for each tag"""


@lru_cache(maxsize=4096)
def tagging_of(resource_type: str) -> Tagging | None:
    """Return how a resource type carries tags; None if it cannot or is unknown.

    Loads a provider's schema on the first type of that provider. Raises SchemaError for a broken file.
    """
    schema = default().find("resource", resource_type)
    return _tagging(schema) if schema else None


def _tagging(schema: BlockSchema) -> Tagging | None:
    tags = schema.arguments.get("tags")
    if tags is not None and tags.settable and tags.type == ["map", "string"]:
        return Tagging.ARGUMENT
    tag = schema.block("tag")
    if tag is None or tag.max_items == 1:  # aws_autoscaling_group_tag is one tag of another resource
        return None
    return Tagging.BLOCKS if {"key", "value", "propagate_at_launch"} <= tag.block.arguments.keys() else None
