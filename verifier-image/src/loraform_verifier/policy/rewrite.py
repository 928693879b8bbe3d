"""Makes a program keep the house policy by editing its text where the syntax tree says, and nowhere else.

The result satisfies `policy.judge`, and rewriting it again changes nothing. It is what preparation teaches and what
serving sends when the model forgot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.edits import Edit, edited
from loraform_verifier.hcl.literals import escape, literal
from loraform_verifier.hcl.parse import BYTE_ORDER_MARK, Block, Document
from loraform_verifier.hcl.tree import children, line_of
from loraform_verifier.policy.house_policy import Tags, deciding_elements, deciding_object, has_comment, tags_of
from loraform_verifier.policy.taggable import Tagging, tagging_of

STEP = "  "
_BARE_KEY = re.compile(r"^(?!(?:for|null|true|false)$)[A-Za-z_][A-Za-z0-9_-]*$")


def rewrite(document: Document, policy: HousePolicy) -> str:
    """Return the program with the policy's comment and tags. The document has no problems."""
    newline = "\r\n" if b"\r\n" in document.source else "\n"
    edits = (edit for resource in document.resources() for edit in _edits(document, resource, policy))
    own_lines = (edit._replace(text=edit.text.replace("\n", newline)) for edit in edits)
    return edited(document.source, own_lines).decode("utf-8")


def _edits(document: Document, resource: Block, policy: HousePolicy) -> Iterator[Edit]:
    source = document.source
    if not has_comment(document, resource, policy.comment):
        yield _commented(document, resource, policy.comment.strip())
    tagging = tagging_of(resource.labels[0])
    if tagging is None:
        return
    tags = tags_of(resource, tagging)
    wrong = {key: value for key, value in policy.tags.items() if tags.value(key) != value}
    if not wrong:
        return
    if tagging is Tagging.BLOCKS:
        yield from _in_tag_blocks(source, resource, tags, wrong)
    else:
        yield from _in_argument(source, resource, tags, wrong)


def _commented(document: Document, resource: Block, comment: str) -> Edit:
    source = document.source
    indent = _indent(source, resource.node)
    start = _line_start(source, resource.node)
    around = document.root.descendant_for_byte_range(start, start + 1)
    if around is not None and around.type == "comment" and around.start_byte < start:
        # The line begins inside `/* … */`, where a comment would be no comment.
        start = resource.node.start_byte
        return Edit(start, start, f"\n{indent}{comment}\n{indent}")
    start = max(start, len(BYTE_ORDER_MARK) if source.startswith(BYTE_ORDER_MARK) else 0)
    return Edit(start, start, f"{indent}{comment}\n")


def _in_tag_blocks(source: bytes, resource: Block, tags: Tags, wrong: dict[str, str]) -> Iterator[Edit]:
    yield from _corrected(tags, wrong)
    new = [
        f"tag {{\n{STEP}key                 = {_quoted(key)}\n{STEP}value               = {_quoted(value)}\n"
        f"{STEP}propagate_at_launch = true\n}}"
        for key, value in wrong.items()
        if key not in tags.values
    ]
    if new:
        yield from _added_to_block(source, resource, "\n\n".join(new))


def _in_argument(source: bytes, resource: Block, tags: Tags, wrong: dict[str, str]) -> Iterator[Edit]:
    argument = resource.attribute("tags")
    if argument is None:
        yield from _added_to_block(source, resource, f"tags = {_object(wrong, '')}")
        return
    indent = _indent(source, argument.value)
    if literal(argument.value) is None:
        yield Edit(argument.value.start_byte, argument.value.end_byte, _object(wrong, indent))
    elif deciding_elements(argument.value) is None:
        yield Edit(argument.value.start_byte, argument.value.start_byte, "merge(")
        end, separator = argument.value.end_byte, "\n, " if _ends_in_heredoc(argument.value) else ", "
        yield Edit(end, end, f"{separator}{_object(wrong, indent)})")
    else:
        yield from _corrected(tags, wrong)
        new = {key: value for key, value in wrong.items() if key not in tags.values}
        holder = deciding_object(argument.value)
        if new and holder is not None:
            yield _added_to_object(source, holder, new)


def _corrected(tags: Tags, wrong: dict[str, str]) -> Iterator[Edit]:
    for key, value in wrong.items():
        if key in tags.values:
            yield Edit(tags.values[key].start_byte, tags.values[key].end_byte, _quoted(value))


def _added_to_object(source: bytes, holder: Node, new: dict[str, str]) -> Edit:
    elements = children(holder, "object_elem")
    closing = children(holder, "object_end")[0]
    start = _line_start(source, closing)
    if not elements and not children(holder, "comment"):
        return Edit(holder.start_byte, holder.end_byte, _object(new, _indent(source, holder)))
    if source[start : closing.start_byte].strip():  # something stands before the brace on its line
        pairs = ", ".join(_pair(*item) for item in new.items())
        if not elements:
            return Edit(closing.start_byte, closing.start_byte, f"{pairs} ")
        end = elements[-1].end_byte
        return Edit(end, end, f"\n{pairs}" if _ends_in_heredoc(elements[-1]) else f", {pairs}")
    indent = _indent(source, closing) + STEP
    return Edit(start, start, "".join(f"{indent}{_pair(*item)}\n" for item in new.items()))


def _added_to_block(source: bytes, block: Block, text: str) -> Iterator[Edit]:
    opening, closing = (children(block.node, kind)[0] for kind in ("block_start", "block_end"))
    base = _indent(source, block.node)
    text = "".join(f"{base}{STEP}{line}\n" if line else "\n" for line in text.split("\n"))
    gap = "\n" if block.attributes or block.blocks else ""
    start = _line_start(source, closing)
    if not source[start : closing.start_byte].strip():
        yield Edit(start, start, gap + text)
        return
    # `{ name = "x" }`: one line can hold one argument only, so the block is opened up.
    inside = source[opening.end_byte : closing.start_byte]
    if block.attributes and block.attributes[0].line == line_of(opening):
        spaces = len(inside) - len(inside.lstrip())
        yield Edit(opening.end_byte, opening.end_byte + spaces, f"\n{base}{STEP}")
    end = opening.end_byte + len(inside.rstrip()) if inside.strip() else opening.end_byte
    yield Edit(end, closing.start_byte, f"\n{gap}{text}{base}")


def _ends_in_heredoc(node: Node) -> bool:
    # Only a new line may follow a heredoc's end marker.
    while node.type != "heredoc_template" and node.children:
        node = node.children[-1]
    return node.type == "heredoc_template"


def _object(tags: dict[str, str], indent: str) -> str:
    lines = "".join(f"{indent}{STEP}{_pair(*item)}\n" for item in tags.items())
    return f"{{\n{lines}{indent}}}"


def _pair(key: str, value: str) -> str:
    return f"{key if _BARE_KEY.match(key) else _quoted(key)} = {_quoted(value)}"


def _quoted(value: str) -> str:
    return f'"{escape(value)}"'


def _line_start(source: bytes, node: Node) -> int:
    return source.rfind(b"\n", 0, node.start_byte) + 1


def _indent(source: bytes, node: Node) -> str:
    line = source[_line_start(source, node) : node.start_byte]
    return line[: len(line) - len(line.lstrip())].decode("utf-8", errors="ignore").replace("\ufeff", "")
