"""Syntax trees of tree-sitter's HCL grammar.

Programs are hostile, so parsing time is bounded and no function recurses.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import tree_sitter_hcl
from tree_sitter import Language, Node, Parser

LANGUAGE = Language(tree_sitter_hcl.language())
MAX_SECONDS = 2
"""Processor time to parse one file; 200,000 characters without errors take a twentieth of a second."""
NODE_BYTES = 300
"""Memory of a node with its Python object, and its place in a list."""
FEW_NODES = 10_000
STATM = Path("/proc/self/statm")
SHORT = 4096
"""Bytes that parse within a tenth of a second whatever they hold; most programs are not longer."""


def tree_of(source: bytes, parser_source: bytes) -> Node | None:
    """Return the root of the syntax tree, or None if parsing exceeds MAX_SECONDS because of errors.

    The grammar parses `parser_source`, which has the same length as `source` and stand-ins for the text that the
    grammar cannot parse. The nodes return the text of `source`. Raises MemoryError for a tree without room.
    """
    if len(parser_source) > SHORT and not _parses_in_time(parser_source):
        return None
    text = bytearray(parser_source)
    root = Parser(LANGUAGE).parse(text).root_node
    _check_memory(root.descendant_count)
    text[:] = source  # nodes read their text from this buffer on each access
    return root


def _check_memory(nodes: int) -> None:
    """Raise MemoryError if so many nodes exceed the process's limit: the grammar's binding would crash instead."""
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    if nodes < FEW_NODES or limit == resource.RLIM_INFINITY or not STATM.exists():
        return
    held = int(STATM.read_text().split()[5]) * resource.getpagesize()
    if held + nodes * NODE_BYTES > limit:
        raise MemoryError


def empty_tree() -> Node:
    """Return the root of an empty program."""
    return Parser(LANGUAGE).parse(b"").root_node


def _parses_in_time(source: bytes) -> bool:
    """Return whether parsing ends within MAX_SECONDS: error recovery is quadratic and can take minutes.

    Only a parser that reads through a callback can be cancelled. Its nodes are slow to return their text, so its tree
    is discarded.
    """
    until = time.thread_time() + MAX_SECONDS
    try:
        Parser(LANGUAGE).parse(
            lambda offset, _: source[offset : offset + 4096],
            progress_callback=lambda _, __: time.thread_time() > until,
        )
    except ValueError:  # raised by a cancelled parser
        return False
    return True


def walk(root: Node) -> Iterator[Node]:
    """Yield `root` and all nodes below it in source order."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


class Nodes:
    """The nodes of a file by type, from one walk.

    Creating a Python object for each node is most of the cost of a walk, so each tree is walked once. Tree-sitter's
    queries and cursors are no alternative: for each node they visit the siblings that follow, which is quadratic in a
    long list or sum.
    """

    def __init__(self, root: Node, max_depth: int) -> None:
        self._by_type: dict[str, list[Node]] = {}
        self.too_deep: Node | None = None
        """The first node `max_depth` levels below the root, if any; deeper nodes are not collected."""
        level = [root]
        for _ in range(max_depth):
            for node in level:
                self._by_type.setdefault(node.type, []).append(node)
            level = [child for node in level for child in node.children]
            if not level:
                return
        self.too_deep = level[0]

    def of(self, *types: str) -> list[Node]:
        """Return nodes of the given types in source order, outer before inner, then in the order of `types`."""
        nodes = [node for name in types for node in self._by_type.get(name, ())]
        return sorted(nodes, key=lambda node: (node.start_byte, -node.end_byte))

    def nested(self, levels: int, *types: str) -> list[Node]:
        """Return nodes of the given types that lie in exactly `levels` others of them, in source order."""
        nested, open_ends = [], list[int]()
        for node in self.of(*types):
            open_ends = [end for end in open_ends if end > node.start_byte]
            if len(open_ends) == levels:
                nested.append(node)
            open_ends.append(node.end_byte)
        return nested


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
    """Return the arguments and blocks of a file or a block in source order."""
    return [item for body in children(parent, "body") for item in body.children if item.type in ("attribute", "block")]
