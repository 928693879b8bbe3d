"""Writes small Terraform programs in the style of `terraform fmt`; knows nothing of resource types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

INDENT = "  "


@dataclass(frozen=True)
class Block:
    """A block or a map: `items` are (name, expression as Terraform text) or nested blocks, in order of writing."""

    head: str
    items: Sequence[tuple[str, str] | Block] = field(default_factory=list)

    def with_items(self, *more: tuple[str, str] | Block) -> Block:
        return Block(self.head, [*self.items, *more])


def quoted(text: str) -> str:
    return f'"{text}"'


def resource(resource_type: str, *items: tuple[str, str] | Block, label: str = "main") -> Block:
    return Block(f'resource "{resource_type}" "{label}"', items)


def tags(**pairs: str) -> Block:
    return tag_map(list(pairs.items()))


def tag_map(pairs: Sequence[tuple[str, str]]) -> Block:
    return Block("tags =", [(key, quoted(value)) for key, value in pairs])


def write(block: Block, depth: int = 0) -> str:
    """Return the block's text; neighbouring single-line attributes are aligned, blocks stand apart by an empty line."""
    pad = INDENT * (depth + 1)
    paragraphs: list[str] = []
    run: list[tuple[str, str]] = []

    def flush() -> None:
        width = max((len(name) for name, _ in run), default=0)
        if run:
            paragraphs.append("\n".join(f"{pad}{name:<{width}} = {value}" for name, value in run))
        run.clear()

    for item in block.items:
        if isinstance(item, Block):
            flush()
            paragraphs.append(INDENT * (depth + 1) + write(item, depth + 1))
        else:
            run.append(item)
    flush()
    body = "\n\n".join(paragraphs)
    return f"{block.head} {{\n{body}\n{INDENT * depth}}}"


def program(blocks: Sequence[Block], comment: str = "") -> str:
    """Return a whole program; `comment`, when given, stands directly above each block."""
    above = f"{comment}\n" if comment else ""
    return "\n\n".join(above + write(block) for block in blocks)
