"""Provider blocks in which neither Terraform nor the provider can find a mistake, so that no run must judge them.

Most programs have such a block, with a region and default tags. Judging one costs a run of its own, since each
configuration is a provider of its own to Terraform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tree_sitter import Node

from loraform_verifier.hcl.literals import UNKNOWN, inner, literal, object_elements
from loraform_verifier.hcl.parse import HclBlock
from loraform_verifier.hcl.tree import text_of

TEXTS = {"aws": frozenset({"access_key", "profile", "region", "secret_key", "token"})}
"""Arguments, by provider, that may be any text: no code of the provider checks them in a validation."""
TAGS = {"aws": "default_tags"}
"""Block type, by provider, that may hold `tags`, a map of any texts."""
SCALARS = ("string", "number", "bool", "any")


def is_plain(blocks: Sequence[HclBlock]) -> bool:
    """Return whether all provider blocks of a module are plain; `blocks` are all of its blocks."""
    variables = {b.labels[0]: b for b in blocks if b.type == "variable" and len(b.labels) == 1}
    return all(_is_plain(block, variables) for block in blocks if block.type == "provider" and block.labels)


def _is_plain(provider: HclBlock, variables: Mapping[str, HclBlock]) -> bool:
    name = provider.labels[0]
    texts = all(
        attribute.name == "alias" or (attribute.name in TEXTS.get(name, ()) and _is_text(attribute.value, variables))
        for attribute in provider.attributes
    )
    tags = all(block.type == TAGS.get(name) and _has_plain_tags(block, variables) for block in provider.blocks)
    return texts and tags and len(provider.blocks) <= 1


def _has_plain_tags(block: HclBlock, variables: Mapping[str, HclBlock]) -> bool:
    if block.blocks or block.labels or any(attribute.name != "tags" for attribute in block.attributes):
        return False
    tags = block.attribute("tags")
    elements = object_elements(tags.value) if tags else []
    return elements is not None and all(e.key is not None and _is_text(e.value, variables) for e in elements)


def _is_text(value: Node, variables: Mapping[str, HclBlock]) -> bool:
    """Return whether a value is a literal, or a variable that Terraform can convert to a text."""
    if literal(value) is not UNKNOWN:
        return True
    root, _, name = text_of(inner(value)).partition(".")
    variable = variables.get(name) if root == "var" else None
    kind = variable.attribute("type") if variable is not None else None
    return variable is not None and (kind is None or text_of(kind.value).strip() in SCALARS)
