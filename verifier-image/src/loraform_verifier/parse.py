"""Reads one program into a model of blocks, attributes and comments, by tree-sitter's HCL grammar.

The grammar accepts a little more than Terraform does; what matters of that (an argument set twice, two items on one
line) is checked here, so that "parses" means the same in both. Programs are hostile: no recursion without a bound.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter_hcl
from tree_sitter import Language, Node, Parser

from loraform_api.verification import Diagnostic

LANGUAGE = Language(tree_sitter_hcl.language())
MAX_DEPTH = 400
"""Levels of the syntax tree; the deepest program of the AWS provider's documentation has about 60."""
MAX_ERRORS = 20
MAX_SECONDS = 2
"""Processor time for reading one file; 200,000 characters without errors take a twentieth of a second."""
SHORT = 4096
"""Bytes that are read in a tenth of a second, whatever they are: most programs are no longer."""
CLOSING = {"}", "quoted_template_end"}
"""What Terraform reports where it was opened."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CODE_IN_TEMPLATE = (
    "template_interpolation",
    "template_if_intro",
    "template_else_intro",
    "template_if_end",
    "template_for_start",
    "template_for_end",
)


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
    if len(source) > SHORT and not _ends_in_time(source):
        given_up = Diagnostic(code="SyntaxError", message="Too many errors to read on.", line=1)
        return Document(source, Parser(LANGUAGE).parse(b"").root_node, (), {}, (given_up,))
    root = Parser(LANGUAGE).parse(source).root_node
    problems = tuple(_unreadable(text, root)) or tuple(_syntax_errors(root))
    if problems:
        return Document(source, root, (), {}, problems)
    blocks = tuple(_block(node) for node in _body_items(root) if node.type == "block")
    return Document(source, root, blocks, _comments(source, root), tuple(_beyond_grammar(source, root))[:MAX_ERRORS])


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


def text_of(node: Node) -> str:
    """Return the source text of a node."""
    return (node.text or b"").decode("utf-8", errors="replace")


def line_of(node: Node) -> int:
    """Return the 1-based line on which a node starts."""
    return node.start_point.row + 1


def children(node: Node, kind: str) -> list[Node]:
    """Return the direct children of one type."""
    return [child for child in node.children if child.type == kind]


def _unreadable(text: str, root: Node) -> Iterator[Diagnostic]:
    if any("\ud800" <= c <= "\udfff" for c in text):
        yield Diagnostic(code="InvalidCharacter", message="The program is not valid Unicode text.", line=1)
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in node.children]
        if not level:
            return
    yield Diagnostic(
        code="NestingTooDeep",
        message=f"The program nests deeper than {MAX_DEPTH} levels.",
        line=line_of(level[0]),
        hint="Split the expression with local values.",
    )


def _syntax_errors(root: Node) -> Iterator[Diagnostic]:
    if not root.has_error:
        return
    seen: set[int] = set()
    for node in walk(root):
        if not (node.is_error or node.is_missing) or len(seen) == MAX_ERRORS:
            continue
        line = line_of(_opened(node)) if node.is_missing else line_of(_last(node))
        if line not in seen:
            seen.add(line)
            if node.is_missing:
                yield Diagnostic(code="SyntaxError", message=f"Missing {node.type!r}.", line=line)
            else:
                near = text_of(node).split("\n")[line - line_of(node)].strip()[:60]
                yield Diagnostic(code="SyntaxError", message=f"Unexpected text: {near!r}.", line=line)


def _last(error: Node) -> Node:
    """Return where the grammar gave up: an error may begin with lines that are right."""
    while error.children:
        error = error.children[-1]
    return error


def _opened(missing: Node) -> Node:
    """Return what a missing end was to close: what is missing is found missing at the end of the program."""
    if missing.type not in CLOSING:
        return missing
    node = missing
    while node.parent is not None and node.start_byte == node.end_byte:
        node = node.parent
    return node


def _body_items(parent: Node) -> list[Node]:
    return [item for body in children(parent, "body") for item in body.children if item.type in ("attribute", "block")]


def _block(node: Node) -> Block:
    head = [c for c in node.children if c.type in ("identifier", "string_lit")]
    items = _body_items(node)
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


def _comments(source: bytes, root: Node) -> dict[int, tuple[int, str]]:
    lines = source.split(b"\n")
    found = {}
    for node in walk(root):
        before = lines[node.start_point.row][: node.start_point.column].removeprefix(BYTE_ORDER_MARK)
        if node.type == "comment" and not before.strip():
            # Some comments swallow their newline: the last line is where the text ends.
            text = text_of(node).rstrip()
            first = line_of(node)
            last = first + text.count("\n")
            after = lines[last - 1][node.end_point.column :] if node.end_point.row == last - 1 else b""
            if not after.strip():
                found[last] = (first, text)
    return found


def _beyond_grammar(source: bytes, root: Node) -> Iterator[Diagnostic]:
    """Yield what the grammar lets pass and Terraform refuses as a syntax error."""
    for node in walk(root):
        if node.type == "body":
            yield from _body_problems(node)
        elif node.type == "block":
            yield from _block_problems(node)
        elif node.type in ("string_lit", "quoted_template") and _breaks_line(source, node):
            yield _problem(node, "MultiLineString", "A quoted string must end on its line.", "Use \\n or a heredoc.")
        elif node.type == "object":
            yield from _object_problems(node)
        elif node.type == "heredoc_template" and _ends_earlier(node):
            yield _problem(node, "AmbiguousHeredoc", "A line inside the heredoc reads as its end marker.")
        elif node.type in ("template_interpolation_start", "template_directive_start") and _is_escape(source, node):
            sigil = text_of(node)[0]
            message = f"`{sigil * 3}{{` reads as an interpolation and as an escape."
            yield _problem(
                node, "AmbiguousTemplate", message, f'Write `${{"{sigil}"}}` for a {sigil} before `{sigil}{{`.'
            )


def _ends_earlier(heredoc: Node) -> bool:
    """Say whether Terraform, which trims all Unicode space, sees the end marker on an earlier line than the grammar.

    Code after it would be text to us and code to Terraform.
    """
    marker = text_of(children(heredoc, "heredoc_identifier")[0])
    lines = text_of(heredoc).strip().split("\n")[1:-1]
    return any(line.strip() == marker for line in lines)


def _is_escape(source: bytes, start: Node) -> bool:
    """Say whether Terraform, which escapes with two sigils or more, sees text where the grammar sees code.

    What is a quote to one is then none to the other, and code would be hidden from us.
    """
    at = start.start_byte
    return source[at - 1 : at] == source[at : at + 1]


def _breaks_line(source: bytes, string: Node) -> bool:
    if string.start_point.row == string.end_point.row:
        return False
    # The grammar's literals leave out white space, so that text is what lies between the pieces of code.
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
        # A comment of several lines is no new line, but one that ends with its line is.
        ends_line = before is not None and before.type == "comment" and not text_of(before).startswith("/*")
        if before is not None and (ends_line or before.end_point.row != part.start_point.row):
            return True
        if part.type == "block_start":
            return False
        before = part
    return False


def _block_problems(block: Node) -> Iterator[Diagnostic]:
    opening, closing = children(block, "block_start")[0], children(block, "block_end")[0]
    items = _body_items(block)
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
