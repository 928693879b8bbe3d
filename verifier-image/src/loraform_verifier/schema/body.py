"""Holds the body of a block against a schema: names, presence, counts, literal values, `dynamic` blocks.

It says what Terraform says while it decodes the body, and nothing where Terraform would not look: the content of a
`dynamic` block is only decoded when there is something to repeat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tree_sitter import Node

from loraform_verifier.hcl.literals import inner, object_elements
from loraform_verifier.hcl.parse import Attribute, Block
from loraform_verifier.hcl.tree import children, text_of
from loraform_verifier.schema.catalogue import Argument, BlockSchema, Nested
from loraform_verifier.schema.findings import Place, SchemaFindings
from loraform_verifier.schema.values import elements, is_set, mismatch

READ_ONLY = "Value for unconfigurable attribute"
"""The words of the plugin SDK, in which most providers are written."""
DYNAMIC_ARGUMENTS = ("for_each", "iterator", "labels")
KNOWN_ROOTS = ("var", "each", "local")
"""First words of references whose values are understood here, unless an iterator takes the word."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds for a whole program or resource."""

    findings: SchemaFindings
    local: Callable[[str], Node | None]
    """The expression of a local value of the program."""
    arguments: tuple[str, ...] = ()
    """Meta-arguments of the block itself; they are not the provider's."""
    blocks: tuple[str, ...] = ()
    """Likewise its meta-blocks."""
    decided: bool = True
    """The values in the body are looked at; in blocks repeated an unknown number of times they are not."""


def check_body(block: Block, schema: BlockSchema, place: Place, scope: Scope) -> None:
    """Check one body and all that is nested in it."""
    inside = Scope(scope.findings, scope.local, decided=scope.decided)
    for attribute in block.attributes:
        if attribute.name not in scope.arguments:
            _check_attribute(attribute, schema, place, scope)
    set_here = {attribute.name for attribute in block.attributes}
    for name in schema.required:
        if name not in set_here and name not in scope.arguments:
            message = f'{place.name}: the argument "{name}" is required, but no definition was found.'
            scope.findings.error("Missing required argument", message, place.line, f"Set {name}.")
    nested = [found for found in block.blocks if found.type not in scope.blocks]
    for found in nested:
        if found.type == "dynamic":
            _check_dynamic(found, schema, place, inside)
        else:
            _check_nested(found, found.type, schema, place, inside)
    if nested or schema.wanted:
        _check_counts(nested, schema, place, scope)


def _check_attribute(attribute: Attribute, schema: BlockSchema, place: Place, scope: Scope) -> None:
    name, argument = attribute.name, schema.arguments.get(attribute.name)
    if argument is None:
        message = f'{place.name}: an argument named "{name}" is not expected here.'
        hint = f'Did you mean to define a block of type "{name}"?' if name in schema.nested else None
        near = (name, schema.arguments)
        scope.findings.error("Unsupported argument", message, attribute.line, hint, near=near)
    elif scope.decided:
        _check_value(attribute, argument, place, scope)


def _check_value(attribute: Attribute, argument: Argument, place: Place, scope: Scope) -> None:
    name = attribute.name
    wrong = mismatch(argument.type, attribute.value)
    if wrong:
        message = f'{place.name}: inappropriate value for attribute "{name}": {wrong}.'
        scope.findings.error("Incorrect attribute value type", message, attribute.line)
    elif not argument.settable and is_set(attribute.value):
        _read_only(name, place, attribute.line, scope)


def _read_only(name: str, place: Place, line: int, scope: Scope) -> None:
    message = f'{place.name}: "{name}" is decided by the provider and cannot be set.'
    scope.findings.error(READ_ONLY, message, line, f"Remove {name}.")


def _check_nested(block: Block, name: str, schema: BlockSchema, place: Place, scope: Scope) -> None:
    """Check a nested block, or the content of a dynamic one, under the name of its type."""
    nested = schema.block(name)
    body = nested.block if nested else schema.as_blocks(name)
    if body is None:
        _unsupported_block(name, schema, place, block.line, scope)
    elif block.labels and block.type == name and not (nested and nested.nesting == "map"):
        message = f"{place.name}: no labels are expected for {name} blocks."
        scope.findings.error(f"Extraneous label for {name}", message, block.line, f"Write {name} {{ … }}.")
    elif nested is None and scope.decided and not schema.arguments[name].settable:
        _read_only(name, place, block.line, scope)
    else:
        check_body(block, body, place.inside(block, name), scope)


def _unsupported_block(name: str, schema: BlockSchema, place: Place, line: int, scope: Scope) -> None:
    message = f'{place.name}: blocks of type "{name}" are not expected here.'
    hint = None
    if name in schema.arguments:
        hint = f'Did you mean to define argument "{name}"? If so, use the equals sign to assign it a value.'
    scope.findings.error("Unsupported block type", message, line, hint, near=(name, schema.nested))


def _check_dynamic(block: Block, schema: BlockSchema, place: Place, scope: Scope) -> None:
    if len(block.labels) != 1:
        summary = "Extraneous label for dynamic" if block.labels else "Missing type for dynamic"
        message = f"{place.name}: a dynamic block has one label, the type of the blocks it makes."
        scope.findings.error(summary, message, block.line)
        return
    name = block.labels[0]
    if schema.block(name) is None and schema.as_blocks(name) is None:
        _unsupported_block(name, schema, place, block.line, scope)
        return
    here = place.inside(block, f'dynamic "{name}"')
    for attribute in block.attributes:
        if attribute.name not in DYNAMIC_ARGUMENTS:
            message = f'{here.name}: an argument named "{attribute.name}" is not expected here.'
            hint = f"Put {attribute.name} into content {{ … }}." if attribute.name != "content" else None
            scope.findings.error("Unsupported argument", message, attribute.line, hint)
    for found in block.blocks:
        if found.type != "content":
            message = f'{here.name}: blocks of type "{found.type}" are not expected here.'
            scope.findings.error("Unsupported block type", message, found.line, "Put it into content { … }.")
    _check_repeated(block, name, schema, here, scope)


def _check_repeated(block: Block, name: str, schema: BlockSchema, place: Place, scope: Scope) -> None:
    for_each = block.attribute("for_each")
    contents = [found for found in block.blocks if found.type == "content"]
    if for_each is None:
        message = f'{place.name}: the argument "for_each" is required, but no definition was found.'
        scope.findings.error("Missing required argument", message, block.line)
        return
    if len(contents) != 1:
        word = "Extraneous" if contents else "Missing"
        message = f"{place.name}: a dynamic block has one nested content block, not {len(contents)}."
        scope.findings.error(f"{word} dynamic content block", message, block.line)
        return
    iterator = block.attribute("iterator")
    shadowing = name if iterator is None else text_of(iterator.value)
    repeated = _repeats(for_each.value, scope)
    if repeated is not None and shadowing not in KNOWN_ROOTS:
        decided = scope.decided and repeated
        _check_nested(contents[0], name, schema, place, Scope(scope.findings, scope.local, decided=decided))


def _repeats(for_each: Node, scope: Scope) -> bool | None:
    """Say whether there is something to repeat: True certainly, False unknown to Terraform too, None not known here.

    While it validates, Terraform knows no input variable and nothing of what a resource repeats over.
    """
    node = inner(for_each)
    if node.type == "function_call" and text_of(node.children[0]) in ("toset", "tolist", "tomap"):
        arguments = [n for a in children(node, "function_arguments") for n in a.named_children if n.type != "comment"]
        return _repeats(arguments[0], scope) if len(arguments) == 1 else None
    words = text_of(node).split(".") if node.type in ("expression", "variable_expr") else []
    if words and words[0] in ("var", "each") and len(words) == 2 and words[1].isidentifier():
        return False
    if len(words) == 2 and words[0] == "local":
        value = scope.local(words[1])
        return _repeats(value, Scope(scope.findings, lambda _: None)) if value is not None else None
    return True if elements(node) or object_elements(node) else None


def _check_counts(nested: list[Block], schema: BlockSchema, place: Place, scope: Scope) -> None:
    lines: dict[str, list[int]] = {name: [] for name in schema.wanted}
    for block in nested:
        lines.setdefault(block.type, []).append(block.line)
    repeated = {block.labels[0] for block in nested if block.type == "dynamic" and block.labels}
    for name, at in lines.items():
        found = schema.block(name) if name not in repeated else None
        if found is not None and found.nesting != "map":
            _check_count(name, at, found, place, scope)


def _check_count(name: str, lines: list[int], nested: Nested, place: Place, scope: Scope) -> None:
    if len(lines) < nested.min_items:
        summary = f"Missing {name} block" if nested.single else f"Insufficient {name} blocks"
        message = f'{place.name}: at least {nested.min_items} "{name}" blocks are required.'
        scope.findings.error(summary, message, place.line, f"Add {name} {{ … }}.")
    most = 1 if nested.single else nested.max_items
    if most and len(lines) > most and scope.decided:
        summary = f"Duplicate {name} block" if nested.single else f"Too many {name} blocks"
        message = f'{place.name}: no more than {most} "{name}" blocks are allowed.'
        scope.findings.error(summary, message, lines[most], f"Keep {most} of the {name} blocks.")
