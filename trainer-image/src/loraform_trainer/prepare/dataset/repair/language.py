"""Mistakes in the Terraform language: undeclared names, repetitions, broken syntax. Pure functions."""

from __future__ import annotations

from random import Random

from tree_sitter import Node

from loraform_trainer.prepare.dataset.repair.edits import (
    argument_nodes,
    choose,
    references,
    repeated,
    replaced,
    schema_blocks,
    without,
)
from loraform_verifier.hcl.literals import inner
from loraform_verifier.hcl.parse import Document
from loraform_verifier.hcl.tree import text_of, walk

NAMES = ("main", "this", "default", "example", "primary", "my_resource")
"""Names that models use for a resource that they declared under another name."""
FUNCTIONS = ("lowercase", "to_string", "stringify", "format_string", "slugify")
"""Functions that Terraform does not have, after those of other languages."""
SCALARS = ("string_lit", "numeric_lit", "bool_lit")


def wrong_reference(document: Document, random: Random) -> str | None:
    """Refer to a resource by a name that it does not have."""
    reference = choose(random, references(document))
    if reference is None:
        return None
    declared = {block.labels[1] for block in document.resources() if block.labels[0] == reference.type}
    old = text_of(reference.name)[1:]
    name = choose(random, [n for n in (*NAMES, f"{old}_1", f"{old}_main") if n not in declared])
    start, end = reference.name.start_byte, reference.name.end_byte
    return None if name is None else replaced(document, start, end, f".{name}")


def undeclared_variable(document: Document, random: Random) -> str | None:
    """Take a value from an input variable that is not declared."""
    declared = {block.address for block in document.blocks if block.type == "variable"}
    literal = choose(random, [(name, value) for name, value in _literals(document) if name not in declared])
    if literal is None:
        return None
    name, value = literal
    return replaced(document, value.start_byte, value.end_byte, f"var.{name}")


def forgotten_variable(document: Document, random: Random) -> str | None:
    """Remove the declaration of an input variable that is used."""
    steps = (node.next_named_sibling for node in walk(document.root) if text_of(node) == "var")
    used = {text_of(step)[1:] for step in steps if step is not None and step.type == "get_attr"}
    declarations = [block.node for block in document.blocks if block.type == "variable" and block.address in used]
    node = choose(random, declarations)
    return None if node is None else without(document, node)


def invented_function(document: Document, random: Random) -> str | None:
    """Call a function that Terraform does not have."""
    value = choose(random, [value for _, value in _literals(document) if value.type == "string_lit"])
    if value is None:
        return None
    text = f"{random.choice(FUNCTIONS)}({text_of(value)})"
    return replaced(document, value.start_byte, value.end_byte, text)


def repeated_argument(document: Document, random: Random) -> str | None:
    """Set an argument twice in a block."""
    node = choose(random, [node for block in schema_blocks(document) for _, node in argument_nodes(block)])
    return None if node is None else repeated(document, node, "\n")


def repeated_resource(document: Document, random: Random) -> str | None:
    """Declare a resource twice."""
    block = choose(random, list(document.resources()))
    return None if block is None else repeated(document, block.node, "\n\n")


def missing_brace(document: Document, random: Random) -> str | None:
    """Remove the closing brace of a block or an object."""
    node = choose(random, document.nodes.of("block_end", "object_end"))
    return None if node is None else without(document, node)


def missing_quote(document: Document, random: Random) -> str | None:
    """Remove the closing quote of a string."""
    node = choose(random, document.nodes.of("quoted_template_end"))
    return None if node is None else replaced(document, node.start_byte, node.end_byte, "")


def _literals(document: Document) -> list[tuple[str, Node]]:
    """Return the names and value nodes of arguments whose value is a literal."""
    values = [(a.name, inner(a.value)) for block in schema_blocks(document) for a, _ in argument_nodes(block)]
    return [(name, value) for name, value in values if value.type in SCALARS]
