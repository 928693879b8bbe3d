"""Syntax errors of a file: those of the grammar, and those that only Terraform reports.

The grammar accepts a little more than Terraform does, for example an argument set twice or two items on one line.
Those errors are found here, so that the Parse stage agrees with Terraform.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.templates import ambiguities
from loraform_verifier.hcl.tree import Nodes, body_items, children, line_of, text_of, walk

MAX_DEPTH = 400
"""Levels of the syntax tree; the deepest program of the AWS provider's documentation has about 60."""
MAX_ERRORS = 20
CLOSING = {"}", "quoted_template_end"}
"""Missing tokens that Terraform reports at the opening token."""
_STARTS = re.compile(r"[{=#/]")
"""Characters of which the first line of a block, an argument or a comment has at least one."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_SUSPECTS = (
    "body",
    "block",
    "string_lit",
    "quoted_template",
    "object",
    "template_interpolation_start",
    "template_directive_start",
)
"""Types of nodes in which Terraform may report errors that the grammar does not."""
_CODE_IN_TEMPLATE = (
    "template_interpolation",
    "template_if_intro",
    "template_else_intro",
    "template_if_end",
    "template_for_start",
    "template_for_end",
)


def problems_of(text: str, source: bytes, parser_source: bytes, root: Node, nodes: Nodes) -> tuple[Diagnostic, ...]:
    """Return the syntax errors of a file, each with its line."""
    errors = tuple(_unreadable(text, nodes)) or tuple(_syntax_errors(source, root))
    return errors or (*ambiguities(source, parser_source, nodes), *_beyond_grammar(source, nodes))[:MAX_ERRORS]


def _unreadable(text: str, nodes: Nodes) -> Iterator[Diagnostic]:
    if _SURROGATE.search(text):
        yield Diagnostic(code="InvalidCharacter", message="The program is not valid Unicode text.", line=1)
    if nodes.too_deep:
        yield Diagnostic(
            code="NestingTooDeep",
            message=f"The program nests deeper than {MAX_DEPTH} levels.",
            line=line_of(nodes.too_deep),
            hint="Split the expression with local values.",
        )
    for heredoc in nodes.of("heredoc_template"):
        if any(not text_of(marker) for marker in children(heredoc, "heredoc_identifier")[:1]):
            # The rest of the file would be the text of this heredoc.
            yield _problem(heredoc, "SyntaxError", "A heredoc needs an end marker, without quotes.", "Write <<EOT.")


def _syntax_errors(source: bytes, root: Node) -> Iterator[Diagnostic]:
    for json in children(root, "object"):
        message = "An argument or block is required here; JSON belongs in a .tf.json file, which is not read."
        yield Diagnostic(code="SyntaxError", message=message, line=line_of(json))
    if not root.has_error:
        return
    seen: set[int] = set()
    for node in walk(root):
        if not (node.is_error or node.is_missing) or len(seen) == MAX_ERRORS:
            continue
        line = line_of(_opened(node) if node.is_missing else _error_position(source, node))
        if line not in seen:
            seen.add(line)
            if node.is_missing:
                yield Diagnostic(code="SyntaxError", message=f"Missing {node.type!r}.", line=line)
            else:
                near = text_of(node).split("\n")[line - line_of(node)].strip()[:60]
                yield Diagnostic(code="SyntaxError", message=f"Unexpected text: {near!r}.", line=line)


def _error_position(source: bytes, error: Node) -> Node:
    """Return the node at which an error is reported: where the grammar gave up, as it may begin with correct lines.

    An error that begins within a line, or at the top level with text that begins no item, is reported at its start.
    """
    before = source[error.start_byte - error.start_point.column : error.start_byte]
    outside = error.parent is None or error.parent.parent is None
    if before.strip() or (outside and not _STARTS.search(text_of(error).partition("\n")[0])):
        return error
    while error.children:
        error = error.children[-1]
    return error


def _opened(missing: Node) -> Node:
    """Return the node that a missing end should close: the grammar reports it at the end of the file."""
    if missing.type not in CLOSING:
        return missing
    node = missing
    while node.parent is not None and node.start_byte == node.end_byte:
        node = node.parent
    return node


def _beyond_grammar(source: bytes, nodes: Nodes) -> Iterator[Diagnostic]:
    """Yield errors that the grammar accepts and Terraform reports as syntax errors."""
    for node in nodes.of(*_SUSPECTS):
        if node.type == "body":
            yield from _body_problems(node)
        elif node.type == "block":
            yield from _block_problems(node)
        elif node.type in ("string_lit", "quoted_template") and _breaks_line(source, node):
            yield _problem(node, "MultiLineString", "A quoted string must end on its line.", "Use \\n or a heredoc.")
        elif node.type == "object":
            yield from _object_problems(node)
        elif node.type in ("template_interpolation_start", "template_directive_start") and _is_escape(source, node):
            sigil = text_of(node)[0]
            message = f"`{sigil * 3}{{` can be read as an interpolation or as an escape."
            yield _problem(
                node, "AmbiguousTemplate", message, f'Write `${{"{sigil}"}}` for a {sigil} before `{sigil}{{`.'
            )


def _is_escape(source: bytes, start: Node) -> bool:
    """Return whether Terraform, which escapes with two sigils or more, reads text where the grammar reads code.

    The two then disagree on where strings end, and code would be hidden from the checks.
    """
    at = start.start_byte
    return source[at - 1 : at] == source[at : at + 1]


def _breaks_line(source: bytes, string: Node) -> bool:
    if string.start_point.row == string.end_point.row:
        return False
    # The literal nodes omit white space, so the text is what lies between the pieces of code.
    begin, stack = string.start_byte, [string]
    while stack:
        node = stack.pop()
        if node.type not in _CODE_IN_TEMPLATE:
            stack.extend(reversed(node.children))
            continue
        if b"\n" in source[begin : node.start_byte]:
            return True
        begin = node.end_byte
    return b"\n" in source[begin : string.end_byte]


def _body_problems(body: Node) -> Iterator[Diagnostic]:
    names: set[str] = set()
    previous: Node | None = None
    for item in body.children:
        if item.type not in ("attribute", "block"):
            continue
        if previous is not None and item.start_point.row == previous.end_point.row:
            yield _problem(item, "MissingNewline", "An argument or block must begin on a line of its own.")
        previous = item
        name = text_of(item.children[0])
        if item.type == "attribute" and name in names:
            yield _problem(item, "AttributeRedefined", f'The argument "{name}" was already set in this block.')
        if item.type == "attribute":
            names.add(name)


def _breaks_head(block: Node) -> bool:
    before: Node | None = None
    for part in block.children:
        # A `/* */` comment may span lines without ending the head; `#` and `//` comments end it.
        ends_line = before is not None and before.type == "comment" and not text_of(before).startswith("/*")
        if before is not None and (ends_line or before.end_point.row != part.start_point.row):
            return True
        if part.type == "block_start":
            return False
        before = part
    return False


def _block_problems(block: Node) -> Iterator[Diagnostic]:
    opening, closing = children(block, "block_start")[0], children(block, "block_end")[0]
    items = body_items(block)
    if _breaks_head(block):
        yield _problem(block, "MissingBrace", "The opening brace must stand on the line of the block's type.")
    if not items:
        return
    one_line = items[0].start_point.row == opening.start_point.row
    if one_line and (len(items) > 1 or items[0].type == "block" or closing.start_point.row != items[0].end_point.row):
        yield _problem(block, "SingleLineBlock", "A block on one line can hold a single argument only.")
    elif not one_line and items[-1].end_point.row == closing.start_point.row:
        yield _problem(items[-1], "MissingNewline", "The closing brace must stand on a line of its own.")


def _object_problems(value: Node) -> Iterator[Diagnostic]:
    before: Node | None = None
    for part in value.children:
        if part.type == "object_elem" and before is not None and before.end_point.row == part.start_point.row:
            yield _problem(part, "MissingSeparator", "Elements of an object need a comma or a new line between them.")
        if part.type != "comment":
            before = part if part.type == "object_elem" else None


def _problem(node: Node, code: str, message: str, hint: str | None = None) -> Diagnostic:
    return Diagnostic(code=code, message=message, line=line_of(node), hint=hint)
