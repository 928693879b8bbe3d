"""Shows a program to tree-sitter's HCL grammar and reads the tree that comes back.

Programs are hostile: reading ends in a bounded time, and nothing here recurses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import tree_sitter_hcl
from tree_sitter import Language, Node, Parser

LANGUAGE = Language(tree_sitter_hcl.language())
MAX_SECONDS = 2
"""Processor time for reading one file; 200,000 characters without errors take a twentieth of a second."""
SHORT = 4096
"""Bytes that are read in a tenth of a second, whatever they are: most programs are no longer."""


def tree_of(source: bytes, shown: bytes) -> Node | None:
    """Return the root of a program's tree, or None when its errors are too many to read on.

    The grammar is shown `shown`, of equal size, in which what it cannot read stands disguised; the nodes have the text
    of `source`.
    """
    if len(shown) > SHORT and not _ends_in_time(shown):
        return None
    text = bytearray(shown)
    root = Parser(LANGUAGE).parse(text).root_node
    text[:] = source  # a node looks its text up when it is asked
    return root


def nothing() -> Node:
    """Return the root of the empty program."""
    return Parser(LANGUAGE).parse(b"").root_node


def _ends_in_time(source: bytes) -> bool:
    """Say whether the grammar gets through; its search for a way past errors is quadratic and can take minutes.

    Only a parser that is fed by a function can be stopped, and its nodes are slow to give their text: this one is
    thrown away.
    """
    until = time.thread_time() + MAX_SECONDS
    try:
        Parser(LANGUAGE).parse(
            lambda offset, _: source[offset : offset + 4096],
            progress_callback=lambda _, __: time.thread_time() > until,
        )
    except ValueError:  # what a stopped parser raises
        return False
    return True


def walk(root: Node) -> Iterator[Node]:
    """Yield every node below and including `root`, in source order, without recursion."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


class Nodes:
    """The nodes of a program by their types, from one walk.

    To make an object of a node is most of a walk, so a program is walked once. Tree-sitter's queries and cursors are no
    way around: for each node they look at the siblings that follow, which is quadratic in a long list or sum.
    """

    def __init__(self, root: Node, max_depth: int) -> None:
        self._by_type: dict[str, list[Node]] = {}
        self.too_deep: Node | None = None
        """The first node that lies `max_depth` levels below the root, if there is one: what is deeper was not read."""
        level = [root]
        for _ in range(max_depth):
            for node in level:
                self._by_type.setdefault(node.type, []).append(node)
            level = [child for node in level for child in node.children]
            if not level:
                return
        self.too_deep = level[0]

    def of(self, *types: str) -> list[Node]:
        """Return the nodes of some types in source order, the outer before the inner; of equal extent as in `types`."""
        found = [node for name in types for node in self._by_type.get(name, ())]
        return sorted(found, key=lambda node: (node.start_byte, -node.end_byte))

    def nested(self, levels: int, *types: str) -> list[Node]:
        """Return the nodes of some types that lie in `levels` others of them, in source order."""
        found, open_ends = [], list[int]()
        for node in self.of(*types):
            open_ends = [end for end in open_ends if end > node.start_byte]
            if len(open_ends) == levels:
                found.append(node)
            open_ends.append(node.end_byte)
        return found


def text_of(node: Node) -> str:
    """Return the source text of a node."""
    return (node.text or b"").decode("utf-8", errors="replace")


def line_of(node: Node) -> int:
    """Return the 1-based line on which a node starts."""
    return node.start_point.row + 1


def children(node: Node, kind: str) -> list[Node]:
    """Return the direct children of one type."""
    return [child for child in node.children if child.type == kind]


def body_items(parent: Node) -> list[Node]:
    """Return the arguments and blocks of a file or a block, as they stand in it."""
    return [item for body in children(parent, "body") for item in body.children if item.type in ("attribute", "block")]
