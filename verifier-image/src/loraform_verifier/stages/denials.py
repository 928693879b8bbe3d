"""Static checks that keep programs from Terraform if they could run commands, read files or open connections.

Terraform does some of this already in `validate`. The sandbox blocks it too; a denial names the rule, where a sandbox
failure would be hard to understand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.parse import Document, HclBlock
from loraform_verifier.hcl.tree import Nodes, children, line_of, text_of

TOP_LEVEL = {
    "import": "`import` reads real infrastructure.",
    "removed": "`removed` changes real state.",
    "action": "`action` blocks run operations.",
    "cloud": "`cloud` names a remote service.",
    "backend": "`backend` names remote state.",
}
IN_TERRAFORM = {
    "backend": TOP_LEVEL["backend"],
    "cloud": TOP_LEVEL["cloud"],
    "provider_meta": "`provider_meta` is not verified.",
    "encryption": "`encryption` names the keys of a state; only OpenTofu has it.",
    "state_store": "`state_store` names remote state.",
}
IN_RESOURCE = {"provisioner": "Provisioners run programs.", "connection": "`connection` opens connections."}
DATA = {
    "archive_file": "reads local files",
    "external": "runs programs",
    "http": "opens connections",
    "local_file": "reads local files",
    "local_sensitive_file": "reads local files",
    "template_cloudinit_config": "renders templates from files",
    "template_file": "renders templates from files",
    "terraform_remote_state": "reads remote state",
}
# templatestring renders a string whose function calls no static check can see.
FUNCTIONS = re.compile(r"^(file\w*|templatefile|templatestring|pathexpand)$")
LOOPS = ("for_expr", "template_for")
MAX_FOR_NESTING = 2
"""Two nested `for` over range(1024) are a million steps; a third level takes minutes and ignores SIGTERM."""


def denials(document: Document) -> list[Diagnostic]:
    """Return why a file must not reach Terraform, at most ten reasons; empty if it may."""
    reasons: list[Diagnostic] = []
    for block in document.blocks:
        reasons.extend(_in_block(block))
    reasons.extend(_in_expressions(document.nodes))
    return reasons[:10]


def _in_block(block: HclBlock) -> Iterator[Diagnostic]:
    if block.type in TOP_LEVEL:
        yield _blocked(block.line, f"`{block.type}` blocks are not allowed. {TOP_LEVEL[block.type]}")
    for data in (block, *block.blocks) if block.type == "check" else (block,):
        if data.type == "data" and data.labels and data.labels[0] in DATA:
            kind = data.labels[0]
            yield _blocked(data.line, f'Data source "{kind}" is not allowed: it {DATA[kind]}.')
    inside = {"terraform": IN_TERRAFORM, "resource": IN_RESOURCE}.get(block.type, {})
    for nested in block.blocks:
        if nested.type in inside:
            yield _blocked(nested.line, f"`{nested.type}` in `{block.type}` is not allowed. {inside[nested.type]}")


def _in_expressions(nodes: Nodes) -> Iterator[Diagnostic]:
    too_deep = set(nodes.nested(MAX_FOR_NESTING, *LOOPS))
    for node in nodes.of("block", "function_call", *LOOPS):
        if node.type == "function_call":
            yield from _in_call(node)
        elif node.type == "block":
            if any("\\" in text_of(label) for label in children(node, "string_lit")):
                # Terraform resolves escapes in labels, so an escape could hide a forbidden type.
                yield _blocked(line_of(node), "Labels may not contain escapes: write the characters themselves.")
        elif node in too_deep:
            yield _blocked(line_of(node), f"`for` may nest at most {MAX_FOR_NESTING} deep.")


def _in_call(node: Node) -> Iterator[Diagnostic]:
    name = text_of(node.children[0])
    if "::" in name:
        yield _blocked(line_of(node), f"Function {name} is not allowed: name built-in functions without a namespace.")
    elif FUNCTIONS.match(name):
        yield _blocked(line_of(node), f"Function {name} is not allowed: it can read local files.")


def _blocked(line: int, message: str) -> Diagnostic:
    return Diagnostic(code="BlockedByPolicy", message=message, line=line)
