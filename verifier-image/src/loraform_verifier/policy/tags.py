"""Tags of a resource in the program's text: reading them from the syntax tree, and the edits that set them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tree_sitter import Node

from loraform_verifier.hcl.edits import Edit, indent_of, line_start, removal
from loraform_verifier.hcl.literals import Element, as_string, escape, inner, literal, object_elements
from loraform_verifier.hcl.parse import HclBlock
from loraform_verifier.hcl.tree import children, line_of, text_of
from loraform_verifier.policy.taggable import Tagging

STEP = "  "
_BARE_KEY = re.compile(r"^(?!(?:for|null|true|false)$)[A-Za-z_][A-Za-z0-9_-]*$")


@dataclass(frozen=True, slots=True)
class WrittenTags:
    """The tags that the text of a resource gives."""

    places: dict[str, list[Node]]
    """Tag to the expressions of its value: more than one if it is given more than once."""
    complete: bool
    """True if the resource can have no other tags."""

    @property
    def values(self) -> dict[str, tuple[str | None, ...]]:
        """Tag to its values; None for one that must be evaluated."""
        return {key: tuple(as_string(literal(node)) for node in nodes) for key, nodes in self.places.items()}


def tags_of(resource: HclBlock, tagging: Tagging) -> WrittenTags:
    """Read a resource's tags."""
    if tagging is Tagging.BLOCKS:
        dynamic = any(b.type == "dynamic" and b.labels == ("tag",) for b in resource.blocks)
        return WrittenTags(_by_key((key, value) for key, value, _ in _tag_blocks(resource)), complete=not dynamic)
    tags = resource.attribute("tags")
    if tags is None or literal(tags.value) is None:
        return WrittenTags({}, complete=True)
    elements = _deciding_elements(tags.value)
    if elements is None:
        return WrittenTags({}, complete=False)
    places = _by_key((e.key, e.value) for e in elements if e.key is not None)
    return WrittenTags(places, complete=inner(tags.value).type == "object")


def _by_key(places: Iterable[tuple[str, Node]]) -> dict[str, list[Node]]:
    by_key: dict[str, list[Node]] = {}
    for key, value in places:
        by_key.setdefault(key, []).append(value)
    return by_key


def deciding_object(value: Node) -> Node | None:
    """Return the object that `tags` is, or the last argument of its `merge`, which overrides the others."""
    value = inner(value)
    if value.type == "function_call" and text_of(value.children[0]) == "merge":
        arguments = [n for a in children(value, "function_arguments") for n in a.named_children if n.type != "comment"]
        value = inner(arguments[-1]) if arguments else value  # an ellipsis at the end is no object either
    return value if value.type == "object" else None


def tag_edits(source: bytes, resource: HclBlock, tagging: Tagging, required: dict[str, str]) -> Iterator[Edit]:
    """Yield the edits that give a resource the tags `required`, each once; none if it has them."""
    values = tags_of(resource, tagging).values
    wrong = {key: value for key, value in required.items() if values.get(key) != (value,)}
    if not wrong:
        return
    if tagging is Tagging.BLOCKS:
        yield from _in_tag_blocks(source, resource, wrong)
    else:
        yield from _in_argument(source, resource, wrong, required)


def _deciding_elements(value: Node) -> list[Element] | None:
    """Return the elements of the deciding object; None if there is none or a key must be evaluated."""
    holder = deciding_object(value)
    elements = object_elements(holder) if holder is not None else None
    return elements if elements is not None and all(e.key is not None for e in elements) else None


def _tag_blocks(resource: HclBlock) -> Iterator[tuple[str, Node, HclBlock]]:
    """Yield key, value and block of each `tag` block with a literal key, and of each dynamic one that repeats a key."""
    for block in resource.blocks:
        dynamic = block.type == "dynamic" and block.labels == ("tag",)
        bodies = [block] if block.type == "tag" else [b for b in block.blocks if dynamic and b.type == "content"]
        for key, value in ((body.attribute("key"), body.attribute("value")) for body in bodies):
            name = as_string(literal(key.value)) if key is not None else None
            if name is not None and value is not None:
                yield name, value.value, block


def _in_tag_blocks(source: bytes, resource: HclBlock, wrong: dict[str, str]) -> Iterator[Edit]:
    kept: set[str] = set()
    for key, node, block in _tag_blocks(resource):
        if key in wrong and key not in kept and block.type == "tag":
            kept.add(key)
            yield _corrected(node, wrong[key])
        elif key in wrong:
            yield removal(source, block.node.start_byte, block.node.end_byte)
    new = [
        f"tag {{\n{STEP}key                 = {_quoted(key)}\n{STEP}value               = {_quoted(value)}\n"
        f"{STEP}propagate_at_launch = true\n}}"
        for key, value in wrong.items()
        if key not in kept
    ]
    if new:
        yield from _added_to_block(source, resource, "\n\n".join(new))


def _in_argument(source: bytes, resource: HclBlock, wrong: dict[str, str], required: dict[str, str]) -> Iterator[Edit]:
    argument = resource.attribute("tags")
    if argument is None:
        yield from _added_to_block(source, resource, f"tags = {_object(wrong, '')}")
        return
    indent, elements = indent_of(source, argument.value), _deciding_elements(argument.value)
    given = [(element.key, element) for element in elements or () if element.key is not None and element.key in wrong]
    last = dict(given)  # it decides
    if literal(argument.value) is None:
        yield Edit(argument.value.start_byte, argument.value.end_byte, _object(wrong, indent))
    elif elements is None or not all(_can_go(element.node) for key, element in given if element is not last[key]):
        yield Edit(argument.value.start_byte, argument.value.start_byte, "merge(")
        end, separator = argument.value.end_byte, "\n, " if _ends_in_heredoc(argument.value) else ", "
        yield Edit(end, end, f"{separator}{_object(required, indent)})")
    else:
        for key, element in given:
            if element is last[key]:
                yield _corrected(element.value, wrong[key])
            else:
                yield from _without_element(source, element.node)
        new = {key: value for key, value in wrong.items() if key not in last}
        holder = deciding_object(argument.value)
        if new and holder is not None:
            yield _added_to_object(source, holder, new)


def _corrected(node: Node, value: str) -> Edit:
    return Edit(node.start_byte, node.end_byte, _quoted(value))


def _next(node: Node) -> Node | None:
    after = node.next_sibling
    while after is not None and after.type == "comment":
        after = after.next_sibling
    return after


def _can_go(element: Node) -> bool:
    """Return whether the grammar could not read the next element as the end of the one before."""
    after = _next(element)
    return after is None or text_of(after)[:1] not in ("(", "[", "-")


def _without_element(source: bytes, element: Node) -> Iterator[Edit]:
    end, after = element.end_byte, _next(element)
    if after is not None and after.type == ",":
        if source[end : after.start_byte].strip():  # a comment stands before the comma
            yield Edit(after.start_byte, after.end_byte, "")
        else:
            end = after.end_byte
    yield removal(source, element.start_byte, end)


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
