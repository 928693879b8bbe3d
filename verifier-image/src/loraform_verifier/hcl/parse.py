"""Reads one program into a model of blocks, attributes and comments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.stand_ins import disguised
from loraform_verifier.hcl.syntax import MAX_DEPTH, problems_of
from loraform_verifier.hcl.tree import Nodes, body_items, line_of, nothing, text_of, tree_of

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An argument of a block: `name = value`."""

    name: str
    line: int
    value: Node


@dataclass(frozen=True, slots=True)
class Block:
    """A block with its labels, arguments and nested blocks."""

    type: str
    labels: tuple[str, ...]
    line: int
    node: Node
    attributes: tuple[Attribute, ...]
    blocks: tuple[Block, ...]

    def attribute(self, name: str) -> Attribute | None:
        """Return the argument called `name`."""
        return next((a for a in self.attributes if a.name == name), None)

    @property
    def address(self) -> str:
        """The block as a reader names it, for example `aws_vpc.main`."""
        return ".".join(self.labels) or self.type


@dataclass(frozen=True, slots=True)
class Document:
    """A program that was read. With `problems` it is not a program, and `blocks` is empty."""

    source: bytes
    root: Node
    nodes: Nodes
    blocks: tuple[Block, ...]
    comments: dict[int, tuple[int, str]]
    """Comments that have their lines for themselves: last line to (first line, text)."""
    problems: tuple[Diagnostic, ...]

    def resources(self) -> Iterator[Block]:
        """Yield the resource blocks that have a type and a name."""
        return (b for b in self.blocks if b.type == "resource" and len(b.labels) == 2)


def parse(text: str) -> Document:
    """Read a program. Errors become `problems`, each with its line; nothing is raised for any text."""
    source = text.encode("utf-8", errors="surrogatepass")
    shown = disguised(text).encode("utf-8", errors="surrogatepass")
    root = tree_of(source, shown)
    if root is None:
        given_up = Diagnostic(code="SyntaxError", message="Too many errors to read on.", line=1)
        root = nothing()
        return Document(source, root, Nodes(root, MAX_DEPTH), (), {}, (given_up,))
    nodes = Nodes(root, MAX_DEPTH)
    problems = problems_of(text, source, shown, root, nodes)
    if problems:
        return Document(source, root, nodes, (), {}, problems)
    blocks = tuple(_block(node) for node in body_items(root) if node.type == "block")
    return Document(source, root, nodes, blocks, _comments(source, nodes), ())


def _block(node: Node) -> Block:
    head = [c for c in node.children if c.type in ("identifier", "string_lit")]
    items = body_items(node)
    return Block(
        type=text_of(head[0]),
        labels=tuple(text_of(label).strip('"') for label in head[1:]),
        line=line_of(node),
        node=node,
        attributes=tuple(_attribute(item) for item in items if item.type == "attribute"),
        blocks=tuple(_block(item) for item in items if item.type == "block"),
    )


def _attribute(node: Node) -> Attribute:
    return Attribute(text_of(node.children[0]), line_of(node), node.children[-1])


def _comments(source: bytes, nodes: Nodes) -> dict[int, tuple[int, str]]:
    lines = source.split(b"\n")
    found = {}
    for node in nodes.of("comment"):
        before = lines[node.start_point.row][: node.start_point.column].removeprefix(BYTE_ORDER_MARK)
        if not before.strip():
            # Some comments swallow their newline: the last line is where the text ends.
            text = text_of(node).rstrip()
            first = line_of(node)
            last = first + text.count("\n")
            after = lines[last - 1][node.end_point.column :] if node.end_point.row == last - 1 else b""
            if not after.strip():
                found[last] = (first, text)
    return found
