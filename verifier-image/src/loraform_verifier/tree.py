"""Shows a program to tree-sitter's HCL grammar and reads the tree that comes back.

Programs are hostile: reading ends in a bounded time, and nothing here recurses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import tree_sitter_hcl
from tree_sitter import Language, Node, Parser, Query, QueryCursor

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


def of_types(*types: str) -> Query:
    """Return a query for the nodes of some types; ask it once for all programs."""
    return Query(LANGUAGE, f"[{' '.join(f'({name})' for name in types)}] @found")


def find(query: Query, root: Node) -> list[Node]:
    """Return the nodes of a query below `root` in source order, the outer before the inner.

    A walk is slower: it makes an object of every node.
    """
    found = QueryCursor(query).captures(root).get("found", [])
    return sorted(found, key=lambda node: (node.start_byte, -node.end_byte))


def at_depth(root: Node, depth: int) -> Node | None:
    """Return the first node that lies `depth` levels below `root`, if there is one."""
    cursor = root.walk()
    while True:
        if cursor.goto_first_child():
            if cursor.depth == depth:
                return cursor.node
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return None


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
