"""Where a program can be broken, and the edits that do it. Pure: syntax trees in, text out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from tree_sitter import Node

from loraform_verifier.hcl.parse import Attribute, Document, HclBlock
from loraform_verifier.hcl.tree import text_of, walk
from loraform_verifier.schema import catalogue
from loraform_verifier.schema.catalogue import BlockSchema
from loraform_verifier.schema.language import META_ARGUMENTS, META_BLOCKS

T = TypeVar("T")
Breakage = Callable[[Document, Random], str | None]
"""Makes one mistake in a program that was right; None where the program has no place for it."""

PROVIDERS_OWN = ("resource", "data")
NOT_PROVIDERS = {"dynamic", *META_BLOCKS["resource"]}
"""Nested blocks that the language, not the provider, gives a meaning."""


@dataclass(frozen=True, slots=True)
class Place:
    """A block that a provider's schema speaks of: a resource, a data source, or a block inside one."""

    block: HclBlock
    schema: BlockSchema
    top: bool

    @property
    def arguments(self) -> list[Attribute]:
        """What it sets of the provider's arguments."""
        return [a for a in self.block.attributes if not (self.top and a.name in META_ARGUMENTS)]

    def has(self, name: str) -> bool:
        """Say whether an argument or a block of that name may stand here, or stands here."""
        known = name in self.schema.arguments or name in self.schema.nested
        return known or (self.top and name in META_ARGUMENTS) or self.block.attribute(name) is not None


@dataclass(frozen=True, slots=True)
class Reference:
    """`TYPE.NAME` or `TYPE.NAME.ATTRIBUTE` of a resource that the program declares."""

    type: str
    name: Node
    """`.NAME`"""
    attribute: Node | None
    """`.ATTRIBUTE`; None after an index, or where the whole resource is meant."""


def choose(random: Random, options: Sequence[T]) -> T | None:
    """Return one of `options`; None of none."""
    return random.choice(options) if options else None


def places(document: Document) -> list[Place]:
    """Return the blocks of which the schema is known, outer ones first."""
    found = []
    for block in document.blocks:
        if block.type in PROVIDERS_OWN and len(block.labels) == 2:
            schema = catalogue.default().find(block.type, block.labels[0])
            if schema is not None:
                found.append(Place(block, schema, top=True))
    for place in found:  # grows while it is read
        for block in place.block.blocks:
            nested = None if block.type in NOT_PROVIDERS else place.schema.block(block.type)
            if nested is not None:
                found.append(Place(block, nested.block, top=False))
    return found


def references(document: Document) -> list[Reference]:
    """Return the references to resources of the program itself, in its order."""
    declared = {tuple(block.labels) for block in document.resources()}
    return [found for node in walk(document.root) if (found := _reference(node)) and _address(found) in declared]


def _address(reference: Reference) -> tuple[str, str]:
    return reference.type, text_of(reference.name)[1:]


def _reference(node: Node) -> Reference | None:
    name = node.next_named_sibling if node.type == "variable_expr" else None
    if name is None or name.type != "get_attr":
        return None
    attribute = name.next_named_sibling
    is_attribute = attribute is not None and attribute.type == "get_attr"
    return Reference(text_of(node), name, attribute if is_attribute else None)


def items(place: Place) -> Iterator[tuple[Attribute, Node]]:
    """Yield the provider's arguments of a place with their nodes."""
    for attribute in place.arguments:
        if attribute.value.parent is not None:
            yield attribute, attribute.value.parent


def replaced(document: Document, start: int, end: int, text: str) -> str:
    """Return the program with the bytes from `start` to `end` replaced."""
    return (document.source[:start] + text.encode() + document.source[end:]).decode()


def without(document: Document, node: Node) -> str:
    """Return the program without `node`, and without its lines where nothing else stands on them."""
    source = document.source
    start, end = source.rfind(b"\n", 0, node.start_byte) + 1, source.find(b"\n", node.end_byte)
    end = len(source) if end < 0 else end
    alone = not source[start : node.start_byte].strip() and not source[node.end_byte : end].strip()
    return replaced(document, start, end + 1, "") if alone else replaced(document, node.start_byte, node.end_byte, "")


def doubled(document: Document, node: Node, gap: str) -> str:
    """Return the program with `node` a second time, after `gap` and with its own indentation."""
    line = document.source.rfind(b"\n", 0, node.start_byte) + 1
    before = document.source[line : node.start_byte]
    indent = before.decode() if not before.strip() else ""
    return replaced(document, node.end_byte, node.end_byte, f"{gap}{indent}{text_of(node)}")


def added(document: Document, block: HclBlock, line: str) -> str | None:
    """Return the program with one more line at the end of a block; None for a block on one line."""
    closing = block.node.children[-1]
    start = document.source.rfind(b"\n", 0, closing.start_byte) + 1
    indent = document.source[start : closing.start_byte]
    if indent.strip() or closing.start_point.row == block.node.start_point.row:
        return None
    return replaced(document, start, start, f"{indent.decode()}  {line}\n")
