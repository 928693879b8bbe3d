"""A program's provider configurations: which there are, which its resources use, and which providers it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tree_sitter import Node

from loraform_verifier.hcl.configuration import Configuration
from loraform_verifier.hcl.literals import as_string, literal, object_elements
from loraform_verifier.hcl.modules import Modules
from loraform_verifier.hcl.parse import Attribute, Block
from loraform_verifier.hcl.tree import text_of
from loraform_verifier.hcl.versions import REGISTRIES

WITH_PROVIDER = ("resource", "data", "ephemeral")
BUILT_IN = "terraform"
"""The local name of what terraform brings along."""
_REFERENCE = re.compile(r"^\"?([A-Za-z_][\w-]*)(?:\.([\w-]+))?\"?$")
_PUBLIC = re.compile(rf"^(?:{'|'.join(map(re.escape, REGISTRIES.values()))})/")

Reference = tuple[str, str]
"""A configuration by its provider's local name and its alias, which is empty for the default one."""


def reference(value: Node) -> Reference | None:
    """Return the configuration that `aws` or `aws.west` means, in quotes or without."""
    found = _REFERENCE.match(text_of(value))
    return (found[1], found[2] or "") if found else None


def typed(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks of a provider's types: among these, and the data sources that a `check` holds."""
    for block in blocks:
        if block.type == "check":
            yield from (nested for nested in block.blocks if nested.type == "data" and nested.labels)
        elif block.type in WITH_PROVIDER and block.labels:
            yield block


def used_by(block: Block) -> Reference:
    """Return the configuration that a resource, data source or ephemeral resource uses."""
    chosen = block.attribute("provider")
    return (reference(chosen.value) if chosen else None) or (block.labels[0].split("_")[0], "")


def provider_of(block: Block) -> str:
    """Return the local name of the provider of a resource, data source or ephemeral resource."""
    return used_by(block)[0]


def configured_by(block: Block) -> Reference | None:
    """Return the configuration that a `provider` block is; None for other blocks, and where its alias is no literal."""
    alias = block.attribute("alias")
    name = literal(alias.value) if alias else ""
    return (block.labels[0], name) if block.type == "provider" and block.labels and isinstance(name, str) else None


def is_proxy(block: Block) -> bool:
    """Say whether a `provider` block sets nothing, so that a caller may hand in what it stands for."""
    return not block.blocks and all(attribute.name == "alias" for attribute in block.attributes)


def handed_on(call: Block) -> dict[Reference, Node]:
    """Return the `providers` of a `module` block: a configuration as the module knows it, and as its caller does."""
    given = call.attribute("providers")
    found = {}
    for element in object_elements(given.value) or () if given else ():
        key = element.node.child_by_field_name("key")
        if key is not None and (inside := reference(key)):
            found[inside] = element.value
    return found


def uses(configuration: Configuration, modules: Modules) -> dict[str, set[Reference]]:
    """Return by folder the configurations that resources use: those there, and those of modules that get them there.

    Terraform does not look at any other.
    """
    folders = {"": ""} | {call.key: call.folder for call in modules.calls}
    blocks = {key: list(modules.blocks(configuration, folder)) for key, folder in folders.items()}
    found = {key: {used_by(b) for b in typed(of_module)} for key, of_module in blocks.items()}
    for call in reversed(modules.calls):  # the inner before the outer
        given = {inside: reference(outside) for inside, outside in handed_on(call.block).items()}
        own = {configured_by(b) for b in blocks[call.key]} - given.keys()
        outer = found[call.key.rpartition(".")[0]]
        for used in found[call.key] - own:
            handed = given.get(used) or (None if used[1] else used)  # a default configuration is inherited
            outer |= {handed} if handed else set()
    by_folder: dict[str, set[Reference]] = {}
    for key, folder in folders.items():
        by_folder.setdefault(folder, set()).update(found[key])
    return by_folder


def required(blocks: Iterable[Block]) -> Iterator[Attribute]:
    """Yield the entries of `required_providers`."""
    inside = (nested for block in blocks if block.type == "terraform" for nested in block.blocks)
    return (entry for block in inside if block.type == "required_providers" for entry in block.attributes)


def required_sources(blocks: Iterable[Block]) -> dict[str, str]:
    """Return the sources that `required_providers` gives to local names, without the hosts of the public registries."""
    found = {}
    for provider in required(blocks):
        given = [e.value for e in object_elements(provider.value) or () if e.key == "source"]
        source = _PUBLIC.sub("", (as_string(literal(given[-1])) or "").lower()) if given else ""
        found[provider.name] = source if "/" in source else f"hashicorp/{source or provider.name}"
    return found


def named_in(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield the providers that a module names, by local name, with the source where that is not the usual one.

    What is only required or configured must be there too, or nothing can be said of the program.
    """
    sources = required_sources(blocks)
    used = {provider_of(b) for b in typed(blocks)} | {b.labels[0] for b in blocks if b.type == "provider" and b.labels}
    for name in used | sources.keys():
        usual = f"hashicorp/{name}"
        source = sources.get(name, usual)
        if name == BUILT_IN or source == usual:
            yield name
        else:
            yield f"{name} = {source}" if name in used else source.removeprefix("hashicorp/")
