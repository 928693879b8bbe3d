"""Makes a program judgeable in our setting: its own settings blanked, what it needs from outside listed.

`terraform`, `provider` and `backend` blocks are overwritten with spaces, byte for byte, so that every line number
stands. Provider configuration is always ours; the program keeps its aliases, which our root module feeds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from loraform_verifier.literals import literal
from loraform_verifier.parse import Attribute, Block, Document, text_of, walk

BLANKED = ("terraform", "provider", "backend")
WITH_PROVIDER = ("resource", "data", "ephemeral")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]*$")
_PROVIDER_ARGUMENT = re.compile(r"^\"?([A-Za-z_][\w-]*)(?:\.[\w-]+)?\"?$")
_RESERVED = {"source", "version", "providers", "count", "for_each", "depends_on", "lifecycle", "locals"}


@dataclass(frozen=True, slots=True)
class Normalised:
    """A program ready for Terraform, and what its parent must provide."""

    text: bytes
    providers: frozenset[str]
    """Local names of the providers its resources use, for example `aws`."""
    aliases: frozenset[tuple[str, str]]
    """Declared (provider, alias) pairs."""
    inputs: frozenset[str]
    """Variables without a default."""
    root_only: bool
    """It may break a rule that holds for root modules alone: outputs of sensitive or ephemeral values."""


def normalise(document: Document) -> Normalised:
    """Blank the blocks that are ours to decide and list the program's needs. The document has no problems."""
    text = bytearray(document.source)
    for block in document.blocks:
        if block.type in BLANKED:
            start, end = block.node.start_byte, block.node.end_byte
            text[start:end] = re.sub(rb"[^\r\n]", b" ", text[start:end])
    return Normalised(
        text=bytes(text),
        providers=frozenset(_provider(b) for b in document.blocks if b.type in WITH_PROVIDER and b.labels),
        aliases=frozenset(_aliases(document)),
        inputs=frozenset(_inputs(document)),
        root_only=_root_only(document),
    )


def _provider(block: Block) -> str:
    chosen = block.attribute("provider")
    named = _PROVIDER_ARGUMENT.match(text_of(chosen.value)) if chosen else None
    return named[1] if named else block.labels[0].split("_")[0]


def _aliases(document: Document) -> set[tuple[str, str]]:
    found = set()
    for block in document.blocks:
        alias = block.attribute("alias") if block.type == "provider" and len(block.labels) == 1 else None
        name = literal(alias.value) if alias else None
        if isinstance(name, str) and _NAME.match(name) and _NAME.match(block.labels[0]):
            found.add((block.labels[0], name))
    return found


def _inputs(document: Document) -> set[str]:
    return {
        block.labels[0]
        for block in document.blocks
        if block.type == "variable" and len(block.labels) == 1 and block.attribute("default") is None
        if _NAME.match(block.labels[0]) and block.labels[0] not in _RESERVED
    }


def _root_only(document: Document) -> bool:
    outputs = [b for b in document.blocks if b.type == "output"]
    if any(b.attribute("ephemeral") for b in outputs):
        return True
    return any(not _says_true(b.attribute("sensitive")) for b in outputs) and _marks_values(document)


def _marks_values(document: Document) -> bool:
    if any(b.type == "ephemeral" for b in document.blocks):
        return True
    variables = [b for b in document.blocks if b.type == "variable"]
    if any(b.attribute("sensitive") or b.attribute("ephemeral") for b in variables):
        return True
    calls = (text_of(n.children[0]) for n in walk(document.root) if n.type == "function_call")
    return any(name in ("sensitive", "ephemeralasnull") for name in calls)


def _says_true(attribute: Attribute | None) -> bool:
    return attribute is not None and literal(attribute.value) is True
