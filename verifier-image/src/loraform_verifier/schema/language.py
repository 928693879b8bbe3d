"""The blocks of Terraform's own language: which there are, their labels, and the arguments of the plain ones.

Later versions add words and take none away, so the words of all versions and of OpenTofu are known here.
"""

from __future__ import annotations

from dataclasses import dataclass

from loraform_verifier.hcl.parse import Block, Document
from loraform_verifier.hcl.tree import children, line_of, text_of
from loraform_verifier.schema.findings import Place, SchemaFindings

META_ARGUMENTS = ("count", "for_each", "provider", "depends_on")
META_BLOCKS = {
    "resource": ("lifecycle", "connection", "provisioner", "locals", "_"),
    "data": ("lifecycle", "locals", "_"),
    "ephemeral": ("lifecycle", "locals", "_"),
}
MANAGED_ONLY = ("create_before_destroy", "prevent_destroy", "ignore_changes", "replace_triggered_by")


@dataclass(frozen=True, slots=True)
class Words:
    """What a block of the language may hold."""

    arguments: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()


CONDITION = Words(("condition", "error_message"), ("condition", "error_message"))
LIFECYCLE = Words((*MANAGED_ONLY, "destroy", "enabled"), blocks=("precondition", "postcondition", "action_trigger"))
VARIABLE = Words(
    ("description", "default", "type", "sensitive", "ephemeral", "nullable", "deprecated", "const"),
    blocks=("validation",),
)
OUTPUT = Words(
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
"""Blocks that are checked by their words alone."""
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
"""Top-level words of some version that nothing is said about."""


def check_top(document: Document, findings: SchemaFindings) -> None:
    """Check that nothing but blocks stands at the top of a file."""
    for body in children(document.root, "body"):
        for attribute in children(body, "attribute"):
            name = text_of(attribute.children[0])
            hint = f'Did you mean to define a block of type "{name}"?' if name in LABELS else None
            message = f'An argument named "{name}" is not expected here.'
            findings.error("Unsupported argument", message, line_of(attribute), hint)


def check_labels(block: Block, findings: SchemaFindings) -> bool:
    """Check that a top-level block is one of the language and has its labels; say whether its body is worth a look."""
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


def check_words(block: Block, words: Words, place: Place, findings: SchemaFindings) -> None:
    """Check a block of the language that holds nothing of a provider's."""
    for attribute in block.attributes:
        if attribute.name not in words.arguments:
            message = f'{place.name}: an argument named "{attribute.name}" is not expected here.'
            near = (attribute.name, words.arguments)
            findings.error("Unsupported argument", message, attribute.line, near=near)
    for name in words.required:
        if block.attribute(name) is None:
            message = f'{place.name}: the argument "{name}" is required, but no definition was found.'
            findings.error("Missing required argument", message, place.line, f"Set {name}.")
    for nested in block.blocks:
        if nested.type not in words.blocks:
            message = f'{place.name}: blocks of type "{nested.type}" are not expected here.'
            findings.error("Unsupported block type", message, nested.line, near=(nested.type, words.blocks))
        elif nested.type in PLAIN:
            check_words(nested, PLAIN[nested.type], place.inside(nested, nested.type), findings)


def check_lifecycle(resource: Block, place: Place, findings: SchemaFindings) -> None:
    """Check the `lifecycle` block of a resource, data source or ephemeral resource."""
    for block in (found for found in resource.blocks if found.type == "lifecycle"):
        check_words(block, LIFECYCLE, place.inside(block, "lifecycle"), findings)
        for attribute in block.attributes:
            if resource.type != "resource" and attribute.name in MANAGED_ONLY:
                message = f'{place.name}: the lifecycle argument "{attribute.name}" is for managed resources alone.'
                findings.error(f"Invalid {resource.type} resource lifecycle argument", message, attribute.line)
