"""Check of references to attributes that a declared resource does not have, such as `aws_vpc.main.arnn`.

Most programs have none, so a regular expression searches the text first, and only suspects are looked up in the syntax
tree. Terraform checks such references without evaluating them, even inside try(…). References with an index that must
be evaluated, or with a name that the program may bind itself, are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from tree_sitter import Node

from loraform_verifier.hcl.literals import UNKNOWN, inner, literal
from loraform_verifier.hcl.parse import Document, HclBlock
from loraform_verifier.hcl.tree import line_of, text_of
from loraform_verifier.schema.catalogue import BlockSchema
from loraform_verifier.schema.findings import SchemaFindings

Address = tuple[str, str, str]
"""Kind, type and name of a declared resource."""
UNSUPPORTED = "Unsupported attribute"
MAX_SUSPECTS = 500
"""References looked up in the tree, a bound for text that only looks like references."""
MAX_STEPS = 100
"""Names of a reference that are looked up; no schema nests as deep."""
_NAME = r"[A-Za-z_][\w-]*"
_REFERENCE = re.compile(
    rf"(?<![\w.-])(?:(data|ephemeral|resource)\.)?({_NAME})\.({_NAME})(\[[^\[\]]*\])?\.({_NAME})".encode()
)
NOT_EVALUATED = ("terraform", "provider", "backend", "variable", "moved", "removed", "import", "module", "check")
"""Top-level blocks in which such names are no references or have other rules."""
ADDRESSES = ("depends_on", "ignore_changes", "iterator", "provider", "replace_triggered_by")
"""Arguments that hold addresses, not values."""
NOT_READ = ("provisioner", "connection", "_", "content")
"""The same inside resources; Terraform reads the content of a dynamic block only if `for_each` has elements."""
_BINDING = re.compile(
    rf"\bfor\s+({_NAME})(?:\s*,\s*({_NAME}))?\s+in\b|\biterator\s*=\s*({_NAME})|\bdynamic\s+\"?({_NAME})".encode()
)


def check_references(document: Document, declared: Mapping[Address, BlockSchema], findings: SchemaFindings) -> None:
    """Report references to attributes that the schemas in `declared` do not have."""
    source = document.source
    suspects = list(islice((m for m in _REFERENCE.finditer(source) if _suspect(m, declared)), MAX_SUSPECTS))
    if not suspects:
        return
    bound = {name.decode() for match in _BINDING.finditer(source) for name in match.groups() if name}
    for match in suspects:
        if findings.full:
            return
        root = document.root.descendant_for_byte_range(match.start(), match.start() + 1)
        variable = _variable(root) if root is not None and text_of(root) not in bound else None
        if variable is not None and _evaluated(variable, document):
            _check_steps(variable, declared, findings)


def check_ignored(resource: HclBlock, schema: BlockSchema, findings: SchemaFindings) -> None:
    """Report names in `ignore_changes` that the resource does not have."""
    for block in (nested for nested in resource.blocks if nested.type == "lifecycle"):
        ignored = block.attribute("ignore_changes")
        value = inner(ignored.value) if ignored else None
        for element in value.named_children if value is not None and value.type == "tuple" else []:
            word = next(iter(element.named_children), None)
            if word is not None and word.type == "variable_expr" and not _has(schema, text_of(word)):
                _unsupported(resource.address, text_of(word), schema, element, findings)


def _suspect(match: re.Match[bytes], declared: Mapping[Address, BlockSchema]) -> bool:
    kind, type_, name, _, attribute = (part.decode() if part else "" for part in match.groups())
    schema = declared.get((kind or "resource", type_, name))
    return schema is not None and (not _has(schema, attribute) or attribute in schema.nested)


def _has(schema: BlockSchema, name: str) -> bool:
    return name in schema.arguments or name in schema.nested


def _variable(name: Node) -> Node | None:
    """Return the variable node of a name; None if the text is no reference."""
    variable = name.parent
    return variable if variable is not None and variable.type == "variable_expr" else None


def _evaluated(variable: Node, document: Document) -> bool:
    """Return whether Terraform evaluates a reference in its position."""
    node = variable.parent
    while node is not None:
        if node.type == "attribute" and text_of(node.children[0]) in ADDRESSES:
            return False
        if node.type == "block":
            top = node.parent is not None and node.parent.parent == document.root
            if text_of(node.children[0]) in (NOT_EVALUATED if top else NOT_READ):
                return False
        node = node.parent
    return True


def _check_steps(variable: Node, declared: Mapping[Address, BlockSchema], findings: SchemaFindings) -> None:
    names = list(islice(_steps(variable), MAX_STEPS))
    kind = names.pop(0) if names[0] in ("data", "ephemeral", "resource") else "resource"
    type_, name, *steps = names
    schema = declared.get((str(kind), str(type_), str(name)))
    if steps and not isinstance(steps[0], str):
        steps = steps[1:]
    prefix = "" if kind == "resource" else f"{kind}."
    if schema is not None:
        _check_block_steps(f"{prefix}{type_}.{name}", steps, schema, variable, findings)


def _check_block_steps(
    address: str, steps: Sequence[str | int], schema: BlockSchema, variable: Node, findings: SchemaFindings
) -> None:
    match steps:
        case [str() as name, *rest] if name != "count":  # Terraform has an error of its own for `count`
            pass
        case _:
            return
    nested = schema.block(name)
    if not _has(schema, name):
        _unsupported(address, name, schema, variable, findings)
    elif nested is not None and rest and nested.nesting == "list" and isinstance(rest[0], str):
        message = f"{address}.{name} is a list of blocks, so it must be indexed."
        findings.error("Invalid operation", message, line_of(variable), f"Write {name}[0].")
    elif nested is not None and (nested.single or nested.nesting == "list"):
        inside = rest[1:] if nested.nesting == "list" else rest
        _check_block_steps(f"{address}.{name}", inside, nested.block, variable, findings)


def _unsupported(address: str, name: str, schema: BlockSchema, node: Node, findings: SchemaFindings) -> None:
    message = f'{address} has no argument, nested block or exported attribute named "{name}".'
    findings.error(UNSUPPORTED, message, line_of(node), near=(name, (*schema.arguments, *schema.nested)))


def _steps(variable: Node) -> Iterator[str | int]:
    """Yield the names of a reference, with 0 for a literal index, up to the first index that must be evaluated."""
    yield text_of(variable)
    # The siblings as a list: to ask each part for the next one is quadratic in a long chain.
    siblings = variable.parent.named_children if variable.parent is not None else []
    for part in (part for part in siblings if part.start_byte >= variable.end_byte):
        if part.type != "get_attr" and not (part.type == "index" and _is_literal(part)):
            return
        yield text_of(part).lstrip(".").strip() if part.type == "get_attr" else 0


def _is_literal(index: Node) -> bool:
    (step,) = index.named_children
    return step.type == "legacy_index" or literal(step.named_children[0]) is not UNKNOWN
