"""Makes a program judgeable in our setting: its own settings blanked, what it needs from outside listed.

`terraform`, `provider` and `backend` blocks are overwritten with spaces, byte for byte, so that every line number
stands. Provider configuration is always ours; the program keeps its aliases, which our root module feeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loraform_verifier.configuration import Configuration
from loraform_verifier.literals import inner, literal, object_elements
from loraform_verifier.modules import Call, Modules
from loraform_verifier.parse import Attribute, Block, Document
from loraform_verifier.tree import children, text_of

BLANKED = ("terraform", "provider", "backend")
WITH_PROVIDER = ("resource", "data", "ephemeral")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""A name as Terraform takes it, to be matched whole."""
_PROVIDER_ARGUMENT = re.compile(r"^\"?([A-Za-z_][\w-]*)(?:\.[\w-]+)?\"?$")
_RESERVED = {"source", "version", "providers", "count", "for_each", "depends_on", "lifecycle", "locals"}

Aliases = frozenset[tuple[str, str]]
"""(provider, alias) pairs."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """A program ready for Terraform, and what its parent must provide."""

    files: dict[str, bytes]
    """By path in the program."""
    providers: frozenset[str]
    """Local names of the providers its resources use, for example `aws`."""
    aliases: Aliases = frozenset()
    """Declared (provider, alias) pairs."""
    inputs: frozenset[str] = frozenset()
    """Variables without a default."""
    root_only: bool = False
    """It may break a rule that holds for root modules alone: outputs of sensitive or ephemeral values."""
    calls: Sequence[Call] = ()
    """The modules it calls."""
    links: dict[str, Path] = field(default_factory=dict)
    """Mirrored modules to link: path in the program to folder."""
    inner_aliases: dict[str, Aliases] = field(default_factory=dict)
    """Aliases that the modules in its folders expect from their callers."""

    @property
    def needs(self) -> frozenset[str]:
        """Local names of all providers that a run starts: also of those that have an alias alone."""
        return self.providers | {name for name, _ in self.aliases}


def normalise(configuration: Configuration, modules: Modules | None = None) -> Normalised:
    """Blank the blocks that are ours to decide and list the program's needs. The configuration has no problems."""
    modules = modules or Modules()
    root = list(configuration.blocks())
    every = [found for folder in configuration.folders for b in configuration.blocks(folder) for found in _typed(b)]
    expected = {folder: frozenset(_expected(configuration.blocks(folder))) for folder in configuration.folders}
    return Normalised(
        files={name: _blanked(document) for name, document in configuration.documents.items()},
        providers=frozenset(
            {
                provider_of(b)
                for b in [*every, *_mirrored(configuration, modules)]
                if b.type in WITH_PROVIDER and b.labels
            }
        ),
        aliases=frozenset(_aliases(root)) | expected.pop("", frozenset()),
        inputs=frozenset(_inputs(root)),
        root_only=_root_only(configuration.module().values()),
        calls=tuple(modules.calls),
        links=dict(modules.links),
        inner_aliases={folder: aliases for folder, aliases in expected.items() if aliases},
    )


def _blanked(document: Document) -> bytes:
    return blanked(document.source, (block for block in document.blocks if block.type in BLANKED))


def blanked(source: bytes, blocks: Iterable[Block]) -> bytes:
    """Return a text with blocks overwritten by spaces; every line and every other byte stands where it stood."""
    text = bytearray(source)
    for block in blocks:
        start, end = block.node.start_byte, block.node.end_byte
        text[start:end] = re.sub(rb"[^\r\n]", b" ", text[start:end])
    return bytes(text)


def _mirrored(configuration: Configuration, modules: Modules) -> Iterator[Block]:
    """Yield the blocks of the mirrored modules that are called; their examples and tests are not."""
    for folder in {call.folder for call in modules.calls if modules.linked(call.folder) is not None}:
        for document in modules.documents(configuration, folder).values():
            yield from document.blocks


def _typed(block: Block) -> Iterator[Block]:
    """Yield a block, and the data source that a `check` may hold."""
    yield block
    if block.type == "check":
        yield from (nested for nested in block.blocks if nested.type == "data")


def provider_of(block: Block) -> str:
    """Return the local name of the provider of a resource, data source or ephemeral resource."""
    chosen = block.attribute("provider")
    named = _PROVIDER_ARGUMENT.match(text_of(chosen.value)) if chosen else None
    return named[1] if named else block.labels[0].split("_")[0]


def _aliases(blocks: Iterable[Block]) -> Iterator[tuple[str, str]]:
    for block in blocks:
        alias = block.attribute("alias") if block.type == "provider" and len(block.labels) == 1 else None
        name = literal(alias.value) if alias else None
        if isinstance(name, str) and NAME.fullmatch(name) and NAME.fullmatch(block.labels[0]):
            yield block.labels[0], name


def _expected(blocks: Iterable[Block]) -> Iterator[tuple[str, str]]:
    """Yield the `configuration_aliases` of a module's `required_providers`."""
    for block in (nested for b in blocks if b.type == "terraform" for nested in b.blocks):
        for provider in block.attributes if block.type == "required_providers" else ():
            for element in object_elements(provider.value) or ():
                if element.key == "configuration_aliases":
                    for item in children(inner(element.value), "expression"):
                        name, _, alias = text_of(item).partition(".")
                        if NAME.fullmatch(name) and NAME.fullmatch(alias):
                            yield name, alias


def _inputs(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        if block.type == "variable" and len(block.labels) == 1 and block.attribute("default") is None:
            name = block.labels[0]
            if NAME.fullmatch(name) and name not in _RESERVED:
                yield name


def _root_only(documents: Iterable[Document]) -> bool:
    documents = list(documents)
    outputs = [b for document in documents for b in document.blocks if b.type == "output"]
    if any(b.attribute("ephemeral") for b in outputs):
        return True
    return any(not _says_true(b.attribute("sensitive")) for b in outputs) and any(map(_marks_values, documents))


def _marks_values(document: Document) -> bool:
    if any(b.type == "ephemeral" for b in document.blocks):
        return True
    variables = [b for b in document.blocks if b.type == "variable"]
    if any(b.attribute("sensitive") or b.attribute("ephemeral") for b in variables):
        return True
    calls = (text_of(call.children[0]) for call in document.nodes.of("function_call"))
    return any(name in ("sensitive", "ephemeralasnull") for name in calls)


def _says_true(attribute: Attribute | None) -> bool:
    return attribute is not None and literal(attribute.value) is True
