"""Finds what can be broken in a program, and edits its text. Pure functions on syntax trees."""

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
Mistake = Callable[[Document, Random], str | None]
"""Returns a correct program with one mistake; None when the program has nothing that it applies to."""

BLOCKS_WITH_SCHEMA = ("resource", "data")
LANGUAGE_BLOCKS = {"dynamic", *META_BLOCKS["resource"]}
"""Nested blocks of the Terraform language, which no provider schema describes."""


@dataclass(frozen=True, slots=True)
class SchemaBlock:
    """A block with its provider schema: a resource, a data source, or a block nested in one."""

    block: HclBlock
    schema: BlockSchema
    top: bool
    """Whether it is a resource or data source itself."""

    @property
    def arguments(self) -> list[Attribute]:
        """Its arguments, without the meta-arguments of the language."""
        return [a for a in self.block.attributes if not (self.top and a.name in META_ARGUMENTS)]

    def has(self, name: str) -> bool:
        """Return whether it has, or may have, an argument or block of this name."""
        in_schema = name in self.schema.arguments or name in self.schema.nested
        return in_schema or (self.top and name in META_ARGUMENTS) or self.block.attribute(name) is not None


@dataclass(frozen=True, slots=True)
class Reference:
    """`TYPE.NAME` or `TYPE.NAME.ATTRIBUTE` of a resource that the program declares."""

    type: str
    name: Node
    """`.NAME`"""
    attribute: Node | None
    """`.ATTRIBUTE`; None after an index, or when the reference is to the resource itself."""


def choose(random: Random, options: Sequence[T]) -> T | None:
    """Return a random one of `options`; None when there are none."""
    return random.choice(options) if options else None


def schema_blocks(document: Document) -> list[SchemaBlock]:
    """Return the blocks whose provider schema is known, outer ones first."""
    blocks = []
    for block in document.blocks:
        if block.type in BLOCKS_WITH_SCHEMA and len(block.labels) == 2:
            schema = catalogue.default().find(block.type, block.labels[0])
            if schema is not None:
                blocks.append(SchemaBlock(block, schema, top=True))
    for parent in blocks:  # the loop body appends to this list
        for block in parent.block.blocks:
            nested = None if block.type in LANGUAGE_BLOCKS else parent.schema.block(block.type)
            if nested is not None:
                blocks.append(SchemaBlock(block, nested.block, top=False))
    return blocks


def references(document: Document) -> list[Reference]:
    """Return the references to resources that the program declares, in source order."""
    declared = {tuple(block.labels) for block in document.resources()}
    candidates = [reference for node in walk(document.root) if (reference := _reference(node))]
    return [reference for reference in candidates if _address(reference) in declared]


def _address(reference: Reference) -> tuple[str, str]:
    return reference.type, text_of(reference.name)[1:]


def _reference(node: Node) -> Reference | None:
    name = node.next_named_sibling if node.type == "variable_expr" else None
    if name is None or name.type != "get_attr":
        return None
    attribute = name.next_named_sibling
    is_attribute = attribute is not None and attribute.type == "get_attr"
    return Reference(text_of(node), name, attribute if is_attribute else None)


def argument_nodes(block: SchemaBlock) -> Iterator[tuple[Attribute, Node]]:
    """Yield the arguments of a block, each with the node of the whole argument."""
    for attribute in block.arguments:
        if attribute.value.parent is not None:
            yield attribute, attribute.value.parent


def replaced(document: Document, start: int, end: int, text: str) -> str:
    """Return the program with the bytes from `start` to `end` replaced."""
    return (document.source[:start] + text.encode() + document.source[end:]).decode()


def without(document: Document, node: Node) -> str:
    """Return the program without `node`, and without its lines if they contain nothing else."""
    source = document.source
    start, end = source.rfind(b"\n", 0, node.start_byte) + 1, source.find(b"\n", node.end_byte)
    end = len(source) if end < 0 else end
    whole_lines = not source[start : node.start_byte].strip() and not source[node.end_byte : end].strip()
    if whole_lines:
        return replaced(document, start, end + 1, "")
    return replaced(document, node.start_byte, node.end_byte, "")


def repeated(document: Document, node: Node, gap: str) -> str:
    """Return the program with `node` repeated after itself: after `gap` and with the same indentation."""
    line = document.source.rfind(b"\n", 0, node.start_byte) + 1
    before = document.source[line : node.start_byte]
    indent = before.decode() if not before.strip() else ""
    return replaced(document, node.end_byte, node.end_byte, f"{gap}{indent}{text_of(node)}")


def with_line(document: Document, block: HclBlock, line: str) -> str | None:
    """Return the program with `line` added at the end of a block; None for a block on one line."""
    closing = block.node.children[-1]
    start = document.source.rfind(b"\n", 0, closing.start_byte) + 1
    indent = document.source[start : closing.start_byte]
    if indent.strip() or closing.start_point.row == block.node.start_point.row:
        return None
    return replaced(document, start, start, f"{indent.decode()}  {line}\n")
