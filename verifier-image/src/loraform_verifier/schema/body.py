"""Checks of a block's body against a schema: names, presence, counts, literal values, `dynamic` blocks.

Errors are those that Terraform reports when it decodes the body. As in Terraform, the content of a `dynamic` block is
checked only if `for_each` has elements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tree_sitter import Node

from loraform_verifier.hcl.literals import inner, object_elements
from loraform_verifier.hcl.parse import Attribute, HclBlock
from loraform_verifier.hcl.tree import children, text_of
from loraform_verifier.schema.catalogue import Argument, BlockSchema, Nested
from loraform_verifier.schema.findings import BlockLocation, SchemaFindings
from loraform_verifier.schema.values import elements, is_set, mismatch

READ_ONLY = "Value for unconfigurable attribute"
"""Error summary of the plugin SDK, which most providers use."""
DYNAMIC_ARGUMENTS = ("for_each", "iterator", "labels")
KNOWN_ROOTS = ("var", "each", "local")
"""Roots of references that `_repeats` resolves, unless an iterator has the same name."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Context of the checks of one block."""

    findings: SchemaFindings
    local: Callable[[str], Node | None]
    """Returns the expression of a local value."""
    arguments: tuple[str, ...] = ()
    """Meta-arguments of the block, which no provider schema has."""
    blocks: tuple[str, ...] = ()
    """Meta-blocks of the block."""
    decided: bool = True
    """False in blocks that may be repeated zero times: their values are not checked."""


def check_body(block: HclBlock, schema: BlockSchema, location: BlockLocation, scope: Scope) -> None:
    """Check a body and its nested blocks."""
    inside = Scope(scope.findings, scope.local, decided=scope.decided)
    for attribute in block.attributes:
        if attribute.name not in scope.arguments:
            _check_attribute(attribute, schema, location, scope)
    set_here = {attribute.name for attribute in block.attributes}
    for name in schema.required:
        if name not in set_here and name not in scope.arguments:
            message = f'{location.name}: the argument "{name}" is required, but no definition was found.'
            scope.findings.error("Missing required argument", message, location.line, f"Set {name}.")
    nested_blocks = [nested for nested in block.blocks if nested.type not in scope.blocks]
    for nested in nested_blocks:
        if nested.type == "dynamic":
            _check_dynamic(nested, schema, location, inside)
        else:
            _check_nested(nested, nested.type, schema, location, inside)
    if nested_blocks or schema.required_blocks:
        _check_counts(nested_blocks, schema, location, scope)


def _check_attribute(attribute: Attribute, schema: BlockSchema, location: BlockLocation, scope: Scope) -> None:
    name, argument = attribute.name, schema.arguments.get(attribute.name)
    if argument is None:
        message = f'{location.name}: an argument named "{name}" is not expected here.'
        hint = f'Did you mean to define a block of type "{name}"?' if name in schema.nested else None
        near = (name, schema.arguments)
        scope.findings.error("Unsupported argument", message, attribute.line, hint, near=near)
    elif scope.decided:
        _check_value(attribute, argument, location, scope)


def _check_value(attribute: Attribute, argument: Argument, location: BlockLocation, scope: Scope) -> None:
    name = attribute.name
    requirement = mismatch(argument.type, attribute.value)
    if requirement:
        message = f'{location.name}: inappropriate value for attribute "{name}": {requirement}.'
        scope.findings.error("Incorrect attribute value type", message, attribute.line)
    elif not argument.settable and is_set(attribute.value):
        _read_only(name, location, attribute.line, scope)


def _read_only(name: str, location: BlockLocation, line: int, scope: Scope) -> None:
    message = f'{location.name}: "{name}" is decided by the provider and cannot be set.'
    scope.findings.error(READ_ONLY, message, line, f"Remove {name}.")


def _check_nested(block: HclBlock, name: str, schema: BlockSchema, location: BlockLocation, scope: Scope) -> None:
    """Check a nested block, or the content of a dynamic one, as a block of type `name`."""
    nested = schema.block(name)
    body = nested.block if nested else schema.as_blocks(name)
    if body is None:
        _unsupported_block(name, schema, location, block.line, scope)
    elif block.labels and block.type == name and not (nested and nested.nesting == "map"):
        message = f"{location.name}: no labels are expected for {name} blocks."
        scope.findings.error(f"Extraneous label for {name}", message, block.line, f"Write {name} {{ … }}.")
    elif nested is None and scope.decided and not schema.arguments[name].settable:
        _read_only(name, location, block.line, scope)
    else:
        check_body(block, body, location.inside(block, name), scope)


def _unsupported_block(name: str, schema: BlockSchema, location: BlockLocation, line: int, scope: Scope) -> None:
    message = f'{location.name}: blocks of type "{name}" are not expected here.'
    hint = None
    if name in schema.arguments:
        hint = f'Did you mean to define argument "{name}"? If so, use the equals sign to assign it a value.'
    scope.findings.error("Unsupported block type", message, line, hint, near=(name, schema.nested))


def _check_dynamic(block: HclBlock, schema: BlockSchema, location: BlockLocation, scope: Scope) -> None:
    if len(block.labels) != 1:
        summary = "Extraneous label for dynamic" if block.labels else "Missing type for dynamic"
        message = f"{location.name}: a dynamic block has one label, the type of the blocks it makes."
        scope.findings.error(summary, message, block.line)
        return
    name = block.labels[0]
    if schema.block(name) is None and schema.as_blocks(name) is None:
        _unsupported_block(name, schema, location, block.line, scope)
        return
    inside = location.inside(block, f'dynamic "{name}"')
    for attribute in block.attributes:
        if attribute.name not in DYNAMIC_ARGUMENTS:
            message = f'{inside.name}: an argument named "{attribute.name}" is not expected here.'
            hint = f"Put {attribute.name} into content {{ … }}." if attribute.name != "content" else None
            scope.findings.error("Unsupported argument", message, attribute.line, hint)
    for nested in block.blocks:
        if nested.type != "content":
            message = f'{inside.name}: blocks of type "{nested.type}" are not expected here.'
            scope.findings.error("Unsupported block type", message, nested.line, "Put it into content { … }.")
    _check_repeated(block, name, schema, inside, scope)


def _check_repeated(block: HclBlock, name: str, schema: BlockSchema, location: BlockLocation, scope: Scope) -> None:
    for_each = block.attribute("for_each")
    contents = [nested for nested in block.blocks if nested.type == "content"]
    if for_each is None:
        message = f'{location.name}: the argument "for_each" is required, but no definition was found.'
        scope.findings.error("Missing required argument", message, block.line)
        return
    if len(contents) != 1:
        problem = "Extraneous" if contents else "Missing"
        message = f"{location.name}: a dynamic block has one nested content block, not {len(contents)}."
        scope.findings.error(f"{problem} dynamic content block", message, block.line)
        return
    argument = block.attribute("iterator")
    iterator = name if argument is None else text_of(argument.value)
    repeated = _repeats(for_each.value, scope)
    if repeated is not None and iterator not in KNOWN_ROOTS:
        decided = scope.decided and repeated
        _check_nested(contents[0], name, schema, location, Scope(scope.findings, scope.local, decided=decided))


def _repeats(for_each: Node, scope: Scope) -> bool | None:
    """Return True if `for_each` has elements, False if Terraform does not know either, None if it is unknown here.

    During validation, Terraform knows neither input variables nor `each`.
    """
    node = inner(for_each)
    if node.type == "function_call" and text_of(node.children[0]) in ("toset", "tolist", "tomap"):
        arguments = [n for a in children(node, "function_arguments") for n in a.named_children if n.type != "comment"]
        return _repeats(arguments[0], scope) if len(arguments) == 1 else None
    names = text_of(node).split(".") if node.type in ("expression", "variable_expr") else []
    if names and names[0] in ("var", "each") and len(names) == 2 and names[1].isidentifier():
        return False
    if len(names) == 2 and names[0] == "local":
        value = scope.local(names[1])
        return _repeats(value, Scope(scope.findings, lambda _: None)) if value is not None else None
    return True if elements(node) or object_elements(node) else None


def _check_counts(nested: list[HclBlock], schema: BlockSchema, location: BlockLocation, scope: Scope) -> None:
    lines: dict[str, list[int]] = {name: [] for name in schema.required_blocks}
    for block in nested:
        lines.setdefault(block.type, []).append(block.line)
    repeated = {block.labels[0] for block in nested if block.type == "dynamic" and block.labels}
    for name, at in lines.items():
        block_type = schema.block(name) if name not in repeated else None
        if block_type is not None and block_type.nesting != "map":
            _check_count(name, at, block_type, location, scope)


def _check_count(name: str, lines: list[int], nested: Nested, location: BlockLocation, scope: Scope) -> None:
    if len(lines) < nested.min_items:
        summary = f"Missing {name} block" if nested.single else f"Insufficient {name} blocks"
        message = f'{location.name}: at least {nested.min_items} "{name}" blocks are required.'
        scope.findings.error(summary, message, location.line, f"Add {name} {{ … }}.")
    most = 1 if nested.single else nested.max_items
    if most and len(lines) > most and scope.decided:
        summary = f"Duplicate {name} block" if nested.single else f"Too many {name} blocks"
        message = f'{location.name}: no more than {most} "{name}" blocks are allowed.'
        scope.findings.error(summary, message, lines[most], f"Keep {most} of the {name} blocks.")
