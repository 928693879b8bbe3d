"""Parser of one file into blocks, attributes and comments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.stand_ins import with_stand_ins
from loraform_verifier.hcl.syntax import MAX_DEPTH, problems_of
from loraform_verifier.hcl.tree import Nodes, body_items, empty_tree, line_of, text_of, tree_of

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An argument of a block: `name = value`."""

    name: str
    line: int
    value: Node
    key: Node
    """The name in the text."""


@dataclass(frozen=True, slots=True)
class HclBlock:
    """An HCL block with its labels, arguments and nested blocks."""

    type: str
    labels: tuple[str, ...]
    line: int
    node: Node
    attributes: tuple[Attribute, ...]
    blocks: tuple[HclBlock, ...]

    def attribute(self, name: str) -> Attribute | None:
        """Return the argument called `name`."""
        return next((a for a in self.attributes if a.name == name), None)

    @property
    def address(self) -> str:
        """The labels joined by dots, for example `aws_vpc.main`; the type of a block without labels."""
        return ".".join(self.labels) or self.type


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file. If it has `problems`, `blocks` is empty."""

    source: bytes
    root: Node
    nodes: Nodes
    blocks: tuple[HclBlock, ...]
    comments: dict[int, tuple[int, str]]
    """Comments without code on their lines: last line to (first line, text)."""
    problems: tuple[Diagnostic, ...]

    def resources(self) -> Iterator[HclBlock]:
        """Return the resource blocks that have a type and a name."""
        return (b for b in self.blocks if b.type == "resource" and len(b.labels) == 2)


def parse(text: str) -> Document:
    """Parse a file. Errors are returned as `problems`, each with its line; no text raises an exception."""
    source = text.encode("utf-8", errors="surrogatepass")
    parser_source = with_stand_ins(text).encode("utf-8", errors="surrogatepass")
    root = tree_of(source, parser_source)
    if root is None:
        message = "The file has too many syntax errors; parsing was stopped."
        problem = Diagnostic(code="SyntaxError", message=message, line=1)
        root = empty_tree()
        return Document(source, root, Nodes(root, MAX_DEPTH), (), {}, (problem,))
    nodes = Nodes(root, MAX_DEPTH)
    problems = problems_of(text, source, parser_source, root, nodes)
    if problems:
        return Document(source, root, nodes, (), {}, problems)
    blocks = tuple(_block(node) for node in body_items(root) if node.type == "block")
    return Document(source, root, nodes, blocks, _comments(source, nodes), ())


def _block(node: Node) -> HclBlock:
    head = [c for c in node.children if c.type in ("identifier", "string_lit")]
    items = body_items(node)
    return HclBlock(
        type=text_of(head[0]),
        labels=tuple(text_of(label).strip('"') for label in head[1:]),
        line=line_of(node),
        node=node,
        attributes=tuple(_attribute(item) for item in items if item.type == "attribute"),
        blocks=tuple(_block(item) for item in items if item.type == "block"),
    )


def _attribute(node: Node) -> Attribute:
    key, value = node.children[0], node.children[-1]
    return Attribute(text_of(key), line_of(node), value, key)


def _comments(source: bytes, nodes: Nodes) -> dict[int, tuple[int, str]]:
    code = [_extent(line) for line in source.removeprefix(BYTE_ORDER_MARK).split(b"\n")]
    mark = len(BYTE_ORDER_MARK) if source.startswith(BYTE_ORDER_MARK) else 0
    comments = {}
    for node in nodes.of("comment"):
        row, column = node.start_point.row, node.start_point.column - (mark if node.start_point.row == 0 else 0)
        if column <= code[row][0]:
            # The nodes of some comments include the newline, so take the last line from the text.
            text = text_of(node).rstrip()
            first = line_of(node)
            last = first + text.count("\n")
            end = node.end_point.column - (mark if last == 1 else 0)
            if node.end_point.row != last - 1 or end >= code[last - 1][1]:
                comments[last] = (first, text)
    return comments


def _extent(line: bytes) -> tuple[int, int]:
    """Return the offsets of a line's first byte that is no white space, and behind the last one."""
    return len(line) - len(line.lstrip()), len(line.rstrip())
