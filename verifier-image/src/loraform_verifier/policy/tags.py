"""Tags of a resource in the program's text: reading them from the syntax tree, and the edits that set them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from loraform_verifier.hcl.edits import Edit, indent_of, line_start
from loraform_verifier.hcl.literals import Element, as_string, escape, inner, literal, object_elements
from loraform_verifier.hcl.parse import HclBlock
from loraform_verifier.hcl.tree import children, line_of, text_of
from loraform_verifier.policy.taggable import Tagging

STEP = "  "
_BARE_KEY = re.compile(r"^(?!(?:for|null|true|false)$)[A-Za-z_][A-Za-z0-9_-]*$")


@dataclass(frozen=True, slots=True)
class WrittenTags:
    """The tags that the text of a resource gives."""

    values: dict[str, Node]
    """Tag to the expression of its value."""
    complete: bool
    """True if the resource can have no other tags."""

    def value(self, key: str) -> str | None:
        """Return a tag's literal value; None if it is absent or must be evaluated."""
        return as_string(literal(self.values[key])) if key in self.values else None


def tags_of(resource: HclBlock, tagging: Tagging) -> WrittenTags:
    """Read a resource's tags."""
    if tagging is Tagging.BLOCKS:
        dynamic = any(b.type == "dynamic" and b.labels == ("tag",) for b in resource.blocks)
        return WrittenTags(dict(_tag_blocks(resource)), complete=not dynamic)
    tags = resource.attribute("tags")
    if tags is None or literal(tags.value) is None:
        return WrittenTags({}, complete=True)
    elements = _deciding_elements(tags.value)
    if elements is None:
        return WrittenTags({}, complete=False)
    values = {e.key: e.value for e in elements if e.key is not None}
    return WrittenTags(values, complete=inner(tags.value).type == "object")


def deciding_object(value: Node) -> Node | None:
    """Return the object that `tags` is, or the last argument of its `merge`, which overrides the others."""
    value = inner(value)
    if value.type == "function_call" and text_of(value.children[0]) == "merge":
        arguments = [n for a in children(value, "function_arguments") for n in a.named_children if n.type != "comment"]
        value = inner(arguments[-1]) if arguments else value  # an ellipsis at the end is no object either
    return value if value.type == "object" else None


def tag_edits(source: bytes, resource: HclBlock, tagging: Tagging, required: dict[str, str]) -> Iterator[Edit]:
    """Yield the edits that give a resource the tags `required`; none if it has them."""
    tags = tags_of(resource, tagging)
    wrong = {key: value for key, value in required.items() if tags.value(key) != value}
    if not wrong:
        return
    if tagging is Tagging.BLOCKS:
        yield from _in_tag_blocks(source, resource, tags, wrong)
    else:
        yield from _in_argument(source, resource, tags, wrong)


def _deciding_elements(value: Node) -> list[Element] | None:
    """Return the elements of the deciding object; None if there is none or a key must be evaluated."""
    holder = deciding_object(value)
    elements = object_elements(holder) if holder is not None else None
    return elements if elements is not None and all(e.key is not None for e in elements) else None


def _tag_blocks(resource: HclBlock) -> Iterator[tuple[str, Node]]:
    for block in resource.blocks:
        key, value = block.attribute("key"), block.attribute("value")
        if block.type == "tag" and key is not None and value is not None:
            name = as_string(literal(key.value))
            if name is not None:
                yield name, value.value


def _in_tag_blocks(source: bytes, resource: HclBlock, tags: WrittenTags, wrong: dict[str, str]) -> Iterator[Edit]:
    yield from _corrected(tags, wrong)
    new = [
        f"tag {{\n{STEP}key                 = {_quoted(key)}\n{STEP}value               = {_quoted(value)}\n"
        f"{STEP}propagate_at_launch = true\n}}"
        for key, value in wrong.items()
        if key not in tags.values
    ]
    if new:
        yield from _added_to_block(source, resource, "\n\n".join(new))


def _in_argument(source: bytes, resource: HclBlock, tags: WrittenTags, wrong: dict[str, str]) -> Iterator[Edit]:
    argument = resource.attribute("tags")
    if argument is None:
        yield from _added_to_block(source, resource, f"tags = {_object(wrong, '')}")
        return
    indent = indent_of(source, argument.value)
    if literal(argument.value) is None:
        yield Edit(argument.value.start_byte, argument.value.end_byte, _object(wrong, indent))
    elif _deciding_elements(argument.value) is None:
        yield Edit(argument.value.start_byte, argument.value.start_byte, "merge(")
        end, separator = argument.value.end_byte, "\n, " if _ends_in_heredoc(argument.value) else ", "
        yield Edit(end, end, f"{separator}{_object(wrong, indent)})")
    else:
        yield from _corrected(tags, wrong)
        new = {key: value for key, value in wrong.items() if key not in tags.values}
        holder = deciding_object(argument.value)
        if new and holder is not None:
            yield _added_to_object(source, holder, new)


def _corrected(tags: WrittenTags, wrong: dict[str, str]) -> Iterator[Edit]:
    for key, value in wrong.items():
        if key in tags.values:
            yield Edit(tags.values[key].start_byte, tags.values[key].end_byte, _quoted(value))


def _added_to_object(source: bytes, holder: Node, new: dict[str, str]) -> Edit:
    elements = children(holder, "object_elem")
    closing = children(holder, "object_end")[0]
    start = line_start(source, closing)
    if not elements and not children(holder, "comment"):
        return Edit(holder.start_byte, holder.end_byte, _object(new, indent_of(source, holder)))
    if source[start : closing.start_byte].strip():  # something stands before the brace on its line
        pairs = ", ".join(_pair(*item) for item in new.items())
        if not elements:
            return Edit(closing.start_byte, closing.start_byte, f"{pairs} ")
        end = elements[-1].end_byte
        return Edit(end, end, f"\n{pairs}" if _ends_in_heredoc(elements[-1]) else f", {pairs}")
    indent = indent_of(source, closing) + STEP
    return Edit(start, start, "".join(f"{indent}{_pair(*item)}\n" for item in new.items()))


def _added_to_block(source: bytes, block: HclBlock, text: str) -> Iterator[Edit]:
    opening, closing = (children(block.node, kind)[0] for kind in ("block_start", "block_end"))
    base = indent_of(source, block.node)
    text = "".join(f"{base}{STEP}{line}\n" if line else "\n" for line in text.split("\n"))
    gap = "\n" if block.attributes or block.blocks else ""
    start = line_start(source, closing)
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
