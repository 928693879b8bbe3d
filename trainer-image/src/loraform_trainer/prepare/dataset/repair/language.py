"""Mistakes in Terraform's own language: names that nobody declared, things said twice, syntax lost. Pure."""

from __future__ import annotations

from random import Random

from tree_sitter import Node

from loraform_trainer.prepare.dataset.repair.edits import choose, doubled, items, places, references, replaced, without
from loraform_verifier.hcl.literals import inner
from loraform_verifier.hcl.parse import Document
from loraform_verifier.hcl.tree import text_of, walk

NAMES = ("main", "this", "default", "example", "primary", "my_resource")
"""What models call a resource when they have forgotten how they called it."""
FUNCTIONS = ("lowercase", "to_string", "stringify", "format_string", "slugify")
"""Functions of other languages."""
SCALARS = ("string_lit", "numeric_lit", "bool_lit")


def wrong_reference(document: Document, random: Random) -> str | None:
    """Refer to a resource by a name that it does not have."""
    reference = choose(random, references(document))
    if reference is None:
        return None
    declared = {block.labels[1] for block in document.resources() if block.labels[0] == reference.type}
    had = text_of(reference.name)[1:]
    name = choose(random, [n for n in (*NAMES, f"{had}_1", f"{had}_main") if n not in declared])
    start, end = reference.name.start_byte, reference.name.end_byte
    return None if name is None else replaced(document, start, end, f".{name}")


def undeclared_variable(document: Document, random: Random) -> str | None:
    """Take a value from an input variable that is not declared."""
    declared = {block.address for block in document.blocks if block.type == "variable"}
    chosen = choose(random, [(name, value) for name, value in _literals(document) if name not in declared])
    if chosen is None:
        return None
    name, value = chosen
    return replaced(document, value.start_byte, value.end_byte, f"var.{name}")


def forgotten_variable(document: Document, random: Random) -> str | None:
    """Leave out the declaration of an input variable that is used."""
    steps = (node.next_named_sibling for node in walk(document.root) if text_of(node) == "var")
    used = {text_of(step)[1:] for step in steps if step is not None and step.type == "get_attr"}
    found = [block.node for block in document.blocks if block.type == "variable" and block.address in used]
    node = choose(random, found)
    return None if node is None else without(document, node)


def invented_function(document: Document, random: Random) -> str | None:
    """Call a function that Terraform does not have."""
    chosen = choose(random, [value for _, value in _literals(document) if value.type == "string_lit"])
    if chosen is None:
        return None
    text = f"{random.choice(FUNCTIONS)}({text_of(chosen)})"
    return replaced(document, chosen.start_byte, chosen.end_byte, text)


def repeated_argument(document: Document, random: Random) -> str | None:
    """Set an argument twice in a block."""
    node = choose(random, [node for place in places(document) for _, node in items(place)])
    return None if node is None else doubled(document, node, "\n")


def repeated_resource(document: Document, random: Random) -> str | None:
    """Declare a resource twice."""
    block = choose(random, list(document.resources()))
    return None if block is None else doubled(document, block.node, "\n\n")


def missing_brace(document: Document, random: Random) -> str | None:
    """Forget to close a block or an object."""
    node = choose(random, document.nodes.of("block_end", "object_end"))
    return None if node is None else without(document, node)


def missing_quote(document: Document, random: Random) -> str | None:
    """Forget to close a string."""
    node = choose(random, document.nodes.of("quoted_template_end"))
    return None if node is None else replaced(document, node.start_byte, node.end_byte, "")


def _literals(document: Document) -> list[tuple[str, Node]]:
    """Return the arguments whose value is written down, with that value."""
    found = [(a.name, inner(a.value)) for place in places(document) for a, _ in items(place)]
    return [(name, value) for name, value in found if value.type in SCALARS]
