"""Normalisation of a program for Terraform: its own settings are removed, and its needs are listed.

`terraform` and `provider` blocks are overwritten with spaces, so line numbers stay. In company and in a plan the
provider configuration is the verifier's. If a resource uses a provider block of the program, that block becomes a local
value that nothing reads: terraform checks its expressions, and they have no effect. The program keeps its aliases: in
the root module the verifier's configuration is passed to them, in other modules they become the default configuration.

A provider block in which terraform or the provider may find a mistake is judged in a validation of its program alone,
which has its provider blocks as they are written: validation configures no provider.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tree_sitter import Node

from loraform_verifier.hcl.configuration import Configuration, folder_of
from loraform_verifier.hcl.edits import Edit, apply_edits
from loraform_verifier.hcl.literals import inner, literal, object_elements
from loraform_verifier.hcl.modules import ManifestEntry, Modules
from loraform_verifier.hcl.parse import Attribute, Document, HclBlock
from loraform_verifier.hcl.plain_providers import is_plain
from loraform_verifier.hcl.provider_blocks import (
    Reference,
    declared_reference,
    is_proxy,
    named_providers,
    parse_reference,
    provider_typed,
    required_entries,
    used_references,
)
from loraform_verifier.hcl.tree import children, text_of

BLANKED = ("terraform", "provider", "backend")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""A Terraform identifier, for `fullmatch`."""
_RESERVED = {"source", "version", "providers", "count", "for_each", "depends_on", "lifecycle", "locals"}
_PATH = b"path.module"
_BINDS_PATH = re.compile(rb"(?:\bfor\s+|,\s*)path\s*(?:,|in\b)")

Aliases = frozenset[Reference]


@dataclass(frozen=True, slots=True)
class Normalised:
    """A program ready for Terraform, and what its root module must provide."""

    files: dict[str, bytes]
    """Text by path in the program, for runs in company and for plans."""
    providers: frozenset[str]
    """Providers that it names, as `named_providers` yields them: `aws`, or `aws = custom/aws`."""
    aliases: Aliases = frozenset()
    """Declared (provider, alias) pairs."""
    inputs: frozenset[str] = frozenset()
    """Variables without a default."""
    alone: bool = False
    """It must be validated alone: it may break a rule of root modules only (outputs of sensitive or ephemeral values),
    or has provider blocks that terraform must judge."""
    written: dict[str, bytes] = field(default_factory=dict)
    """Text by path of the files that differ in a validation alone: they have the program's own provider blocks."""
    calls: Sequence[ManifestEntry] = ()
    """The modules that it calls."""
    links: dict[str, Path] = field(default_factory=dict)
    """Links to create: path in the program to folder in the module mirror."""
    inner_aliases: dict[str, Aliases] = field(default_factory=dict)
    """By folder, the aliases that its module expects from its caller."""

    @property
    def needs(self) -> frozenset[str]:
        """Local names of all providers that a run starts, including those with an alias only."""
        return self.providers | {name for name, _ in self.aliases}


def normalise(configuration: Configuration, modules: Modules | None = None) -> Normalised:
    """Normalise a program. The configuration must have no problems."""
    modules = modules or Modules()
    root = list(configuration.blocks())
    called = {"", *(call.folder for call in modules.calls)}
    folders = {*configuration.folders, *called}
    expected = {folder: frozenset(_expected(list(configuration.blocks(folder)))) for folder in configuration.folders}
    expected.pop("", None)
    return Normalised(
        files=_files(configuration, modules),
        providers=frozenset(
            n for folder in folders for n in named_providers(list(modules.blocks(configuration, folder)))
        ),
        aliases=frozenset(_aliases(root)),
        inputs=frozenset(_inputs(root)),
        alone=_root_only(configuration.module().values())
        or not all(is_plain(list(configuration.blocks(folder))) for folder in called),
        written=_written(configuration),
        calls=tuple(call.entry for call in modules.calls),
        links=dict(modules.links),
        inner_aliases={folder: aliases for folder, aliases in expected.items() if aliases},
    )


def _files(configuration: Configuration, modules: Modules) -> dict[str, bytes]:
    used, names = used_references(configuration, modules), _free_names(configuration)
    declared = {folder: set(map(declared_reference, configuration.blocks(folder))) for folder in configuration.folders}
    files = {}
    for name, document in configuration.documents.items():
        folder = folder_of(name)
        own = declared[folder] if folder else set()
        edits = [e for b in document.blocks for e in _in_block(b, folder, used.get(folder, set()), own, names)]
        files[name] = apply_edits(document.source, [*edits, *_paths(document, folder)])
    return files


def _written(configuration: Configuration) -> dict[str, bytes]:
    """Return the files that have provider blocks, with only their other settings overwritten."""
    files = {}
    for name, document in configuration.documents.items():
        if any(block.type == "provider" for block in document.blocks):
            settings = (block for block in document.blocks if block.type in BLANKED and block.type != "provider")
            edits = [_blank(block.node) for block in settings]
            files[name] = apply_edits(document.source, [*edits, *_paths(document, folder_of(name))])
    return files


def _free_names(configuration: Configuration) -> Iterator[str]:
    """Yield names for local values that no program contains: it would have to hold its own digest."""
    sources = b"\0".join(document.source for document in configuration.documents.values())
    digest = hashlib.sha256(sources).hexdigest()[:16]
    return (f"_loraform_{digest}_{number}" for number in count())


def _in_block(
    block: HclBlock, folder: str, used: set[Reference], own: set[Reference | None], names: Iterator[str]
) -> Iterator[Edit]:
    if block.type == "provider" and folder and is_proxy(block) and block.attribute("alias"):
        return  # the caller may pass it in; otherwise it is unused
    if block.type == "provider" and declared_reference(block) in used:
        yield from _as_local(block, next(names))
    elif block.type in BLANKED:
        yield _blank(block.node)
    for argument in (a for b in provider_typed([block]) if (a := b.attribute("provider"))):
        reference = parse_reference(argument.value)
        if reference in own and reference is not None and reference[1]:
            yield Edit(argument.value.start_byte, argument.value.end_byte, reference[0])


def _as_local(provider: HclBlock, name: str) -> Iterator[Edit]:
    """Turn a provider block into a local value that is an object; expressions keep their lines."""
    kind, end = provider.node.children[0], children(provider.node, "block_end")[0]
    yield Edit(kind.start_byte, kind.end_byte, f"locals {{ {name} =")
    yield from _as_object(provider)
    yield Edit(end.start_byte, end.end_byte, "}}")


def _as_object(block: HclBlock) -> Iterator[Edit]:
    yield from (_blank(label) for label in block.node.children[1:] if label.type in ("identifier", "string_lit"))
    for attribute in block.attributes:
        yield Edit(attribute.key.start_byte, attribute.key.end_byte, f'"{attribute.name}"')
    for nested in block.blocks:
        kind = nested.node.children[0]
        if nested.type == "dynamic":  # its iterator is defined inside it only
            yield _blank(nested.node)
        else:
            yield Edit(kind.start_byte, kind.end_byte, f'"{nested.type}" =')
            yield from _as_object(nested)


def _paths(document: Document, folder: str) -> Iterator[Edit]:
    """Replace `path.module` by its value: the module lies in another folder during a run."""
    if _PATH not in document.source or _BINDS_PATH.search(document.source):
        return
    for word in document.nodes.of("variable_expr"):
        step = word.next_named_sibling
        if step is not None and document.source[word.start_byte : step.end_byte] == _PATH:
            yield Edit(word.start_byte, step.end_byte, f'"{folder or "."}"')


def blanked(source: bytes, blocks: Iterable[HclBlock]) -> bytes:
    """Return a text with blocks overwritten by spaces; all other bytes keep their offsets."""
    return apply_edits(source, (_blank(block.node) for block in blocks))


def _blank(node: Node) -> Edit:
    return Edit(node.start_byte, node.end_byte, re.sub(rb"[^\r\n]", b" ", node.text or b"").decode())


def _aliases(blocks: Iterable[HclBlock]) -> Iterator[Reference]:
    for name, alias in filter(None, map(declared_reference, blocks)):
        if NAME.fullmatch(name) and NAME.fullmatch(alias):
            yield name, alias


def _expected(blocks: Sequence[HclBlock]) -> Iterator[Reference]:
    """Yield the `configuration_aliases` of a module's `required_providers` that it does not configure itself."""
    own = {declared_reference(block) for block in blocks if not is_proxy(block)}
    for element in (e for provider in required_entries(blocks) for e in object_elements(provider.value) or ()):
        if element.key == "configuration_aliases":
            for item in children(inner(element.value), "expression"):
                name, _, alias = text_of(item).partition(".")
                if NAME.fullmatch(name) and NAME.fullmatch(alias) and (name, alias) not in own:
                    yield name, alias


def _inputs(blocks: Iterable[HclBlock]) -> Iterator[str]:
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
    return any(not _is_true(b.attribute("sensitive")) for b in outputs) and any(map(_marks_values, documents))


def _marks_values(document: Document) -> bool:
    if any(b.type == "ephemeral" for b in document.blocks):
        return True
    variables = [b for b in document.blocks if b.type == "variable"]
    if any(b.attribute("sensitive") or b.attribute("ephemeral") for b in variables):
        return True
    calls = (text_of(call.children[0]) for call in document.nodes.of("function_call"))
    return any(name in ("sensitive", "ephemeralasnull") for name in calls)


def _is_true(attribute: Attribute | None) -> bool:
    return attribute is not None and literal(attribute.value) is True
