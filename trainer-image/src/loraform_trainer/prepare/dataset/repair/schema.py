"""Mistakes against what a provider offers: types, arguments, blocks, values. Pure; the schemas come with the verifier.

They are those that language models make: a required argument forgotten, one invented or named as another tool names
it, a type that ought to exist, a list for a string, a block written as an argument.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tree_sitter import Node

from loraform_trainer.prepare.dataset.repair.edits import (
    Place,
    added,
    choose,
    items,
    places,
    references,
    replaced,
    without,
)
from loraform_verifier.hcl.edits import Edit, apply_edits
from loraform_verifier.hcl.literals import inner, literal
from loraform_verifier.hcl.parse import Document
from loraform_verifier.hcl.tree import text_of
from loraform_verifier.schema import catalogue

INVENTED = (
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
"""What models believe that many resources have."""
SUFFIXES = ("_config", "_settings", "_resource", "_definition", "_v2")
SERVICES = ("ec2", "rds", "iam", "vpc", "elb")


def missing_argument(document: Document, random: Random) -> str | None:
    """Leave out an argument that is required."""
    found = [node for place in places(document) for a, node in items(place) if a.name in place.schema.required]
    node = choose(random, found)
    return None if node is None else without(document, node)


def invented_argument(document: Document, random: Random) -> str | None:
    """Set an argument that the block does not have."""
    place = choose(random, places(document))
    if place is None:
        return None
    line = choose(random, [line for line in INVENTED if not place.has(line.partition(" ")[0])])
    return None if line is None else added(document, place.block, line)


def misspelt_argument(document: Document, random: Random) -> str | None:
    """Give an argument almost its name."""
    found = [(place, a.name, node) for place in places(document) for a, node in items(place)]
    chosen = choose(random, found)
    if chosen is None:
        return None
    place, name, node = chosen
    other = choose(random, [other for other in _like(name, place) if not place.has(other)])
    return None if other is None else replaced(document, node.start_byte, node.start_byte + len(name), other)


def _like(name: str, place: Place) -> list[str]:
    """Return names that are near: other number, other spelling, the last word alone, the block's word before it."""
    owner = (place.block.labels[0] if place.top else place.block.type).rpartition("_")[2]
    number = name[:-1] if name.endswith("s") else f"{name}s"
    parts = name.split("_")
    camel = parts[0] + "".join(part.capitalize() for part in parts[1:])
    near = [number, name.replace("_", ""), camel, parts[-1]]
    near += [f"{owner}_{name}"] if owner not in parts else []
    near += [f"{name}_name"] if "name" not in parts else []
    return [other for other in dict.fromkeys(near) if other and other != name]


def invented_type(document: Document, random: Random) -> str | None:
    """Use a resource type that does not exist, consistently through the program."""
    block = choose(random, [place.block for place in places(document) if place.top and place.block.type == "resource"])
    if block is None:
        return None
    old = block.labels[0]
    new = choose(random, [n for n in _types_like(old) if catalogue.default().find("resource", n) is None])
    if new is None:
        return None
    return _renamed(document, old, new)


def _types_like(name: str) -> list[str]:
    provider, *words = name.split("_")
    shorter = ["_".join([provider, *words[:-1]])] if len(words) > 1 else []
    longer = [f"{name}{suffix}" for suffix in SUFFIXES]
    return [*shorter, *longer, *("_".join([provider, service, *words]) for service in SERVICES if service not in words)]


def _renamed(document: Document, old: str, new: str) -> str:
    """Return the program with a resource type renamed where resources are declared and where they are referred to."""
    labels = [b.node.children[1] for b in document.resources() if b.labels[0] == old]
    words = [n for n in document.nodes.of("variable_expr") if text_of(n) == old]
    edits = [
        Edit(label.start_byte, label.end_byte, f'"{new}"' if label.type == "string_lit" else new) for label in labels
    ]
    edits += [Edit(word.start_byte, word.end_byte, new) for word in words]
    return apply_edits(document.source, edits).decode()


def wrong_attribute(document: Document, random: Random) -> str | None:
    """Read an attribute that a resource does not export."""
    found = [r for r in references(document) if r.attribute and catalogue.default().find("resource", r.type)]
    reference = choose(random, found)
    if reference is None or reference.attribute is None:
        return None
    schema = catalogue.default().find("resource", reference.type)
    word, had = reference.type.rpartition("_")[2], text_of(reference.attribute)[1:]
    near = (f"{word}_{had}", f"{had}s", f"{had}_value", f"{word}_name", "endpoint_url", "resource_id")
    other = choose(random, [n for n in near if schema and n not in schema.arguments and n not in schema.nested])
    start, end = reference.attribute.start_byte, reference.attribute.end_byte
    return None if other is None else replaced(document, start, end, f".{other}")


def wrong_value(document: Document, random: Random) -> str | None:
    """Give an argument a value of another type."""
    found = [
        (value, wrong)
        for place in places(document)
        for a, _ in items(place)
        if (argument := place.schema.arguments.get(a.name))
        and (wrong := _mistyped(value := inner(a.value), argument.type))
    ]
    chosen = choose(random, found)
    if chosen is None:
        return None
    value, wrong = chosen
    return replaced(document, value.start_byte, value.end_byte, wrong)


def _mistyped(value: Node, kind: Any) -> str | None:
    """Return what a model writes instead of a value of a type (in Terraform's JSON); None where no mistake is known."""
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
    """Assign a nested block with an equals sign."""
    block = choose(random, [place.block for place in places(document) if not place.top and not place.block.labels])
    if block is None:
        return None
    end = block.node.children[0].end_byte
    return replaced(document, end, end, " =")


def argument_as_block(document: Document, random: Random) -> str | None:
    """Write an argument that is an object as a block."""
    found = [node for place in places(document) for a, node in items(place) if inner(a.value).type == "object"]
    node = choose(random, found)
    if node is None:
        return None
    return replaced(document, node.children[0].end_byte, node.children[-1].start_byte, " ")
