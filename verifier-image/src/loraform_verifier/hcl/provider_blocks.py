"""Provider configurations of a program: declared ones, used ones, and the providers that it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tree_sitter import Node

from loraform_verifier.hcl.configuration import Configuration
from loraform_verifier.hcl.literals import as_string, literal, object_elements
from loraform_verifier.hcl.modules import Modules
from loraform_verifier.hcl.parse import Attribute, HclBlock
from loraform_verifier.hcl.tree import text_of
from loraform_verifier.hcl.versions import REGISTRIES

WITH_PROVIDER = ("resource", "data", "ephemeral")
BUILT_IN = "terraform"
"""Local name of the provider that is part of Terraform."""
_REFERENCE = re.compile(r"^\"?([A-Za-z_][\w-]*)(?:\.([\w-]+))?\"?$")
_PUBLIC = re.compile(rf"^(?:{'|'.join(map(re.escape, REGISTRIES.values()))})/")

Reference = tuple[str, str]
"""Local name and alias of a provider configuration; the alias of the default one is empty."""


def parse_reference(value: Node) -> Reference | None:
    """Parse a reference such as `aws` or `aws.west`, quoted or not; None for other expressions."""
    match = _REFERENCE.match(text_of(value))
    return (match[1], match[2] or "") if match else None


def provider_typed(blocks: Iterable[HclBlock]) -> Iterator[HclBlock]:
    """Yield the blocks whose type belongs to a provider, including the data sources in `check` blocks."""
    for block in blocks:
        if block.type == "check":
            yield from (nested for nested in block.blocks if nested.type == "data" and nested.labels)
        elif block.type in WITH_PROVIDER and block.labels:
            yield block


def used_reference(block: HclBlock) -> Reference:
    """Return the provider configuration that a resource, data source or ephemeral resource uses."""
    argument = block.attribute("provider")
    return (parse_reference(argument.value) if argument else None) or (block.labels[0].split("_")[0], "")


def provider_of(block: HclBlock) -> str:
    """Return the local name of the provider of a resource, data source or ephemeral resource."""
    return used_reference(block)[0]


def declared_reference(block: HclBlock) -> Reference | None:
    """Return the configuration that a `provider` block declares; None for other blocks and non-literal aliases."""
    alias = block.attribute("alias")
    name = literal(alias.value) if alias else ""
    return (block.labels[0], name) if block.type == "provider" and block.labels and isinstance(name, str) else None


def is_proxy(block: HclBlock) -> bool:
    """Return True for a `provider` block without settings: the caller may pass its configuration in."""
    return not block.blocks and all(attribute.name == "alias" for attribute in block.attributes)


def passed_providers(call: HclBlock) -> dict[Reference, Node]:
    """Return the `providers` argument of a `module` block: the module's reference to the caller's expression."""
    argument = call.attribute("providers")
    passed = {}
    for element in object_elements(argument.value) or () if argument else ():
        key = element.node.child_by_field_name("key")
        if key is not None and (inside := parse_reference(key)):
            passed[inside] = element.value
    return passed


def used_references(configuration: Configuration, modules: Modules) -> dict[str, set[Reference]]:
    """Return by folder the configurations that its resources use, or that it passes to modules which use them.

    Terraform does not evaluate any other configuration.
    """
    folders = {"": ""} | {call.key: call.folder for call in modules.calls}
    blocks = {key: list(modules.blocks(configuration, folder)) for key, folder in folders.items()}
    used_by_call = {key: {used_reference(b) for b in provider_typed(of_module)} for key, of_module in blocks.items()}
    for call in reversed(modules.calls):  # inner calls before outer ones
        passed = {inside: parse_reference(outside) for inside, outside in passed_providers(call.block).items()}
        own = {declared_reference(b) for b in blocks[call.key]} - passed.keys()
        outer = used_by_call[call.key.rpartition(".")[0]]
        for used in used_by_call[call.key] - own:
            reference = passed.get(used) or (None if used[1] else used)  # a default configuration is inherited
            outer |= {reference} if reference else set()
    by_folder: dict[str, set[Reference]] = {}
    for key, folder in folders.items():
        by_folder.setdefault(folder, set()).update(used_by_call[key])
    return by_folder


def required_entries(blocks: Iterable[HclBlock]) -> Iterator[Attribute]:
    """Yield the entries of the `required_providers` blocks."""
    inside = (nested for block in blocks if block.type == "terraform" for nested in block.blocks)
    return (entry for block in inside if block.type == "required_providers" for entry in block.attributes)


def required_sources(blocks: Iterable[HclBlock]) -> dict[str, str]:
    """Return source by local name from `required_providers`, without the host of a public registry."""
    sources = {}
    for provider in required_entries(blocks):
        values = [e.value for e in object_elements(provider.value) or () if e.key == "source"]
        source = _PUBLIC.sub("", (as_string(literal(values[-1])) or "").lower()) if values else ""
        sources[provider.name] = source if "/" in source else f"hashicorp/{source or provider.name}"
    return sources


def named_providers(blocks: Sequence[HclBlock]) -> Iterator[str]:
    """Yield the providers that a module names: the local name, with the source if it is not the default one.

    Includes providers that are only required or configured: without them the program cannot be verified.
    """
    sources = required_sources(blocks)
    used = {provider_of(b) for b in provider_typed(blocks)} | {
        b.labels[0] for b in blocks if b.type == "provider" and b.labels
    }
    for name in used | sources.keys():
        default = f"hashicorp/{name}"
        source = sources.get(name, default)
        if name == BUILT_IN or source == default:
            yield name
        else:
            yield f"{name} = {source}" if name in used else source.removeprefix("hashicorp/")
