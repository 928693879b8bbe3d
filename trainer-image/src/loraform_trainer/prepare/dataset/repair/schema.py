"""Mistakes against the provider schemas: in types, arguments, blocks and values. Pure functions.

They imitate language models: a missing required argument, an invented or misspelt one, a plausible resource type that
does not exist, a list instead of a string, a block written as an argument.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tree_sitter import Node

from loraform_trainer.prepare.dataset.repair.edits import (
    SchemaBlock,
    argument_nodes,
    choose,
    references,
    replaced,
    schema_blocks,
    with_line,
    without,
)
from loraform_verifier.hcl.edits import Edit, apply_edits
from loraform_verifier.hcl.literals import inner, literal
from loraform_verifier.hcl.parse import Document
from loraform_verifier.hcl.tree import text_of
from loraform_verifier.schema import catalogue

INVENTED_ARGUMENTS = (
    'name = "main"',
    'description = "Managed by Terraform"',
    "enabled = true",
    'region = "us-east-1"',
    'environment = "production"',
    "public = false",
    "versioning_enabled = true",
    'encryption_type = "AES256"',
    'log_level = "INFO"',
    "auto_scaling = true",
    'retention = "30d"',
    "high_availability = true",
)
"""Arguments that models wrongly assume many resources to have."""
SUFFIXES = ("_config", "_settings", "_resource", "_definition", "_v2")
SERVICES = ("ec2", "rds", "iam", "vpc", "elb")


def missing_argument(document: Document, random: Random) -> str | None:
    """Remove a required argument."""
    required = [
        node
        for block in schema_blocks(document)
        for argument, node in argument_nodes(block)
        if argument.name in block.schema.required
    ]
    node = choose(random, required)
    return None if node is None else without(document, node)


def invented_argument(document: Document, random: Random) -> str | None:
    """Set an argument that the block does not have."""
    block = choose(random, schema_blocks(document))
    if block is None:
        return None
    line = choose(random, [line for line in INVENTED_ARGUMENTS if not block.has(line.partition(" ")[0])])
    return None if line is None else with_line(document, block.block, line)


def misspelt_argument(document: Document, random: Random) -> str | None:
    """Misspell the name of an argument."""
    arguments = [(block, a.name, node) for block in schema_blocks(document) for a, node in argument_nodes(block)]
    argument = choose(random, arguments)
    if argument is None:
        return None
    block, name, node = argument
    other = choose(random, [other for other in _similar_names(name, block) if not block.has(other)])
    return None if other is None else replaced(document, node.start_byte, node.start_byte + len(name), other)


def _similar_names(name: str, block: SchemaBlock) -> list[str]:
    """Return names like `name`: singular or plural, other spelling, only the last word, the block's word in front."""
    owner = (block.block.labels[0] if block.top else block.block.type).rpartition("_")[2]
    number = name[:-1] if name.endswith("s") else f"{name}s"
    parts = name.split("_")
    camel = parts[0] + "".join(part.capitalize() for part in parts[1:])
    names = [number, name.replace("_", ""), camel, parts[-1]]
    names += [f"{owner}_{name}"] if owner not in parts else []
    names += [f"{name}_name"] if "name" not in parts else []
    return [other for other in dict.fromkeys(names) if other and other != name]


def invented_type(document: Document, random: Random) -> str | None:
    """Rename a resource type to one that does not exist, in the whole program."""
    block = choose(random, [b.block for b in schema_blocks(document) if b.top and b.block.type == "resource"])
    if block is None:
        return None
    old = block.labels[0]
    new = choose(random, [n for n in _similar_types(old) if catalogue.default().find("resource", n) is None])
    if new is None:
        return None
    return _renamed(document, old, new)


def _similar_types(name: str) -> list[str]:
    provider, *parts = name.split("_")
    shorter = ["_".join([provider, *parts[:-1]])] if len(parts) > 1 else []
    longer = [f"{name}{suffix}" for suffix in SUFFIXES]
    return [*shorter, *longer, *("_".join([provider, service, *parts]) for service in SERVICES if service not in parts)]


def _renamed(document: Document, old: str, new: str) -> str:
    """Return the program with a resource type renamed in declarations and references."""
    labels = [b.node.children[1] for b in document.resources() if b.labels[0] == old]
    uses = [n for n in document.nodes.of("variable_expr") if text_of(n) == old]
    edits = [
        Edit(label.start_byte, label.end_byte, f'"{new}"' if label.type == "string_lit" else new) for label in labels
    ]
    edits += [Edit(use.start_byte, use.end_byte, new) for use in uses]
    return apply_edits(document.source, edits).decode()


def wrong_attribute(document: Document, random: Random) -> str | None:
    """Refer to an attribute that a resource does not have."""
    candidates = [r for r in references(document) if r.attribute and catalogue.default().find("resource", r.type)]
    reference = choose(random, candidates)
    if reference is None or reference.attribute is None:
        return None
    schema = catalogue.default().find("resource", reference.type)
    word, old = reference.type.rpartition("_")[2], text_of(reference.attribute)[1:]
    names = (f"{word}_{old}", f"{old}s", f"{old}_value", f"{word}_name", "endpoint_url", "resource_id")
    other = choose(random, [n for n in names if schema and n not in schema.arguments and n not in schema.nested])
    start, end = reference.attribute.start_byte, reference.attribute.end_byte
    return None if other is None else replaced(document, start, end, f".{other}")


def wrong_value(document: Document, random: Random) -> str | None:
    """Give an argument a value of another type."""
    candidates = [
        (value, wrong)
        for block in schema_blocks(document)
        for a, _ in argument_nodes(block)
        if (argument := block.schema.arguments.get(a.name))
        and (wrong := _mistyped(value := inner(a.value), argument.type))
    ]
    candidate = choose(random, candidates)
    if candidate is None:
        return None
    value, wrong = candidate
    return replaced(document, value.start_byte, value.end_byte, wrong)


def _mistyped(value: Node, kind: Any) -> str | None:
    """Return a plausible wrong value instead of `value` of type `kind` (in Terraform's JSON); None without one."""
    text = text_of(value)
    match kind:
        case "bool" if value.type == "bool_lit":
            return '"enabled"' if text == "true" else '"disabled"'
        case "number" if value.type == "numeric_lit":
            return f'"{text} GB"'
        case "string" if value.type == "string_lit":
            return f"[{text}]"
        case ["list" | "set", "string"] if value.type == "tuple":
            elements = [n for n in value.named_children if n.type == "expression"]
            return text_of(elements[0]) if len(elements) == 1 and literal(elements[0]) else None
        case ["map", "string"] if value.type == "object":
            return f"[{text}]"
        case _:
            return None


def block_as_argument(document: Document, random: Random) -> str | None:
    """Write a nested block as an argument, with an equals sign."""
    block = choose(random, [b.block for b in schema_blocks(document) if not b.top and not b.block.labels])
    if block is None:
        return None
    end = block.node.children[0].end_byte
    return replaced(document, end, end, " =")


def argument_as_block(document: Document, random: Random) -> str | None:
    """Write an argument whose value is an object as a block."""
    objects = [
        node
        for block in schema_blocks(document)
        for a, node in argument_nodes(block)
        if inner(a.value).type == "object"
    ]
    node = choose(random, objects)
    if node is None:
        return None
    return replaced(document, node.children[0].end_byte, node.children[-1].start_byte, " ")
