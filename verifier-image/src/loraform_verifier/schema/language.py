"""The blocks of Terraform's own language: their types, labels and arguments.

Later versions only add names, so this lists the names of all versions and of OpenTofu.
"""

from __future__ import annotations

from dataclasses import dataclass

from loraform_verifier.hcl.parse import Document, HclBlock
from loraform_verifier.hcl.tree import children, line_of, text_of
from loraform_verifier.schema.findings import BlockLocation, SchemaFindings

META_ARGUMENTS = ("count", "for_each", "provider", "depends_on")
META_BLOCKS = {
    "resource": ("lifecycle", "connection", "provisioner", "locals", "_"),
    "data": ("lifecycle", "locals", "_"),
    "ephemeral": ("lifecycle", "locals", "_"),
}
RESERVED = ("count", "depends_on", "source")
"""Arguments that no `provider` block may have; `for_each` is OpenTofu's."""
RESERVED_BLOCKS = ("lifecycle", "locals")
PROVIDER_ARGUMENTS = ("alias", "version", "for_each", *RESERVED)
PROVIDER_BLOCKS = ("_", *RESERVED_BLOCKS)
MANAGED_ONLY = ("create_before_destroy", "prevent_destroy", "ignore_changes", "replace_triggered_by")


@dataclass(frozen=True, slots=True)
class BlockGrammar:
    """Arguments and blocks that a block of the language may and must have."""

    arguments: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()


CONDITION = BlockGrammar(("condition", "error_message"), ("condition", "error_message"))
LIFECYCLE = BlockGrammar(
    (*MANAGED_ONLY, "destroy", "enabled"), blocks=("precondition", "postcondition", "action_trigger")
)
VARIABLE = BlockGrammar(
    ("description", "default", "type", "sensitive", "ephemeral", "nullable", "deprecated", "const"),
    blocks=("validation",),
)
OUTPUT = BlockGrammar(
    ("description", "value", "depends_on", "sensitive", "ephemeral", "deprecated", "type"),
    ("value",),
    ("precondition", "postcondition"),
)
PLAIN = {
    "variable": VARIABLE,
    "output": OUTPUT,
    "validation": CONDITION,
    "precondition": CONDITION,
    "postcondition": CONDITION,
}
"""Blocks that are checked by their grammar only."""
LABELS = {
    "resource": ("type", "name"),
    "data": ("type", "name"),
    "ephemeral": ("type", "name"),
    "variable": ("name",),
    "output": ("name",),
    "module": ("name",),
    "check": ("name",),
    "locals": (),
    "terraform": (),
    "provider": ("name",),
    "moved": (),
    "import": (),
    "removed": (),
}
OTHER = ("action", "backend", "cloud", "encryption", "language", "list", "policy", "required_providers")
"""Top-level block types of some version that are not checked."""


def check_top(document: Document, findings: SchemaFindings) -> None:
    """Check that a file has only blocks at the top level."""
    for body in children(document.root, "body"):
        for attribute in children(body, "attribute"):
            name = text_of(attribute.children[0])
            hint = f'Did you mean to define a block of type "{name}"?' if name in LABELS else None
            message = f'An argument named "{name}" is not expected here.'
            findings.error("Unsupported argument", message, line_of(attribute), hint)


def check_labels(block: HclBlock, findings: SchemaFindings) -> bool:
    """Check type and labels of a top-level block; return whether its body can be checked."""
    labels = LABELS.get(block.type)
    if labels is None:
        if block.type not in OTHER:
            message = f'Blocks of type "{block.type}" are not expected here.'
            near = (block.type, LABELS)
            findings.error("Unsupported block type", message, block.line, near=near)
        return False
    if len(block.labels) == len(labels):
        return True
    if len(block.labels) < len(labels):
        summary = f"Missing {labels[len(block.labels)]} for {block.type}"
    else:
        summary = f"Extraneous label for {block.type}"
    message = f"A {block.type} block has {len(labels)} labels, not {len(block.labels)}."
    example = " ".join([block.type, *(f'"{label.upper()}"' for label in labels), "{ … }"])
    findings.error(summary, message, block.line, f"Write {example}.")
    return False


def check_language_block(
    block: HclBlock, grammar: BlockGrammar, location: BlockLocation, findings: SchemaFindings
) -> None:
    """Check a block of the language that has no provider schema."""
    for attribute in block.attributes:
        if attribute.name not in grammar.arguments:
            message = f'{location.name}: an argument named "{attribute.name}" is not expected here.'
            near = (attribute.name, grammar.arguments)
            findings.error("Unsupported argument", message, attribute.line, near=near)
    for name in grammar.required:
        if block.attribute(name) is None:
            message = f'{location.name}: the argument "{name}" is required, but no definition was found.'
            findings.error("Missing required argument", message, location.line, f"Set {name}.")
    for nested in block.blocks:
        if nested.type not in grammar.blocks:
            message = f'{location.name}: blocks of type "{nested.type}" are not expected here.'
            findings.error("Unsupported block type", message, nested.line, near=(nested.type, grammar.blocks))
        elif nested.type in PLAIN:
            check_language_block(nested, PLAIN[nested.type], location.inside(nested, nested.type), findings)


def check_lifecycle(resource: HclBlock, location: BlockLocation, findings: SchemaFindings) -> None:
    """Check the `lifecycle` block of a resource, data source or ephemeral resource."""
    for block in (nested for nested in resource.blocks if nested.type == "lifecycle"):
        check_language_block(block, LIFECYCLE, location.inside(block, "lifecycle"), findings)
        for attribute in block.attributes:
            if resource.type != "resource" and attribute.name in MANAGED_ONLY:
                message = f'{location.name}: the lifecycle argument "{attribute.name}" is for managed resources only.'
                findings.error(f"Invalid {resource.type} resource lifecycle argument", message, attribute.line)
