"""The Schema stage: checks a parsed program against the schemas of its providers, without running anything.

It is a lower bound of `terraform validate`: Terraform reports all of its errors too, and uncertain cases are left to
Terraform. A type whose provider has no schema is undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tree_sitter import Node

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.configuration import MAIN_FILE, OVERRIDE, Configuration, with_file
from loraform_verifier.hcl.parse import Document, HclBlock
from loraform_verifier.hcl.provider_blocks import provider_of, required_sources
from loraform_verifier.schema.body import Scope, check_body
from loraform_verifier.schema.catalogue import BlockSchema, Catalogue, ProviderSchema, source_of
from loraform_verifier.schema.findings import (
    SCHEMA_MISSING,
    BlockLocation,
    SchemaFindings,
    did_you_mean,
    nearest_type,
)
from loraform_verifier.schema.language import (
    META_ARGUMENTS,
    META_BLOCKS,
    PLAIN,
    check_labels,
    check_language_block,
    check_lifecycle,
    check_top,
)
from loraform_verifier.schema.references import Address, check_ignored, check_references
from loraform_verifier.schema.settings import SettingsChecker

KINDS = {
    "resource": ("Invalid resource type", "resource type"),
    "data": ("Invalid data source", "data source"),
    "ephemeral": ("Invalid ephemeral resource", "ephemeral resource"),
}
"""Kind of block to Terraform's error summary and its name of the type."""


def check_document(document: Document, catalogue: Catalogue) -> SchemaFindings:
    """Check a program of one file without problems. Raises SchemaError for an unreadable schema file."""
    return _check_module({MAIN_FILE: document}, catalogue)[MAIN_FILE]


def check_configuration(configuration: Configuration, catalogue: Catalogue) -> SchemaFindings:
    """Check all files of a program without problems; findings name their file. Raises SchemaError too."""
    total = SchemaFindings()
    for folder in configuration.folders:
        for name, findings in _check_module(configuration.module(folder), catalogue).items():
            total.errors.extend(with_file(name, findings.errors))
            total.undecided.extend(with_file(name, findings.undecided))
    return total


def _check_module(documents: Mapping[str, Document], catalogue: Catalogue) -> dict[str, SchemaFindings]:
    findings = {name: SchemaFindings() for name in documents}
    if any(OVERRIDE.search(name) for name in documents):  # Terraform merges such files into the others
        return findings
    module = _Module(tuple(documents.values()), catalogue)
    declared: dict[Address, BlockSchema] = {}
    for name, document in documents.items():
        declared |= _check_document(document, module, findings[name])
    for name, document in documents.items():
        check_references(document, declared, findings[name])
        findings[name].errors.sort(key=lambda error: error.line or 0)
    return findings


def _check_document(document: Document, module: _Module, findings: SchemaFindings) -> dict[Address, BlockSchema]:
    """Check one file except its references; return the schemas of the resources that it declares."""
    declared: dict[Address, BlockSchema] = {}
    missing: dict[str, int] = {}
    check_top(document, findings)
    for block in document.blocks:
        if findings.full:
            break
        if not check_labels(block, findings):
            continue
        if block.type in PLAIN:
            check_language_block(
                block, PLAIN[block.type], BlockLocation(f"{block.type} {block.address}", block.line), findings
            )
        module.settings.check(block, findings)
        for typed in _typed(block):
            source = module.source_of(typed)
            provider = module.catalogue.provider(source)
            if provider is None:
                missing.setdefault(source, typed.line)
                continue
            schema = _check_typed(typed, provider, Scope(findings, module.local))
            if schema is not None and typed is block:
                declared[block.type, block.labels[0], block.labels[1]] = schema
    findings.undecided.extend(_undecided(source, line, module.catalogue) for source, line in missing.items())
    return declared


class _Module:
    """Provider sources and local values of a module, over all of its files."""

    def __init__(self, documents: tuple[Document, ...], catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.settings = SettingsChecker()
        self._documents = documents
        self._sources = {
            name: source for document in documents for name, source in required_sources(document.blocks).items()
        }
        self._locals: dict[str, Node] | None = None

    def source_of(self, block: HclBlock) -> str:
        """Return the source address of the provider of a resource or data source."""
        name = provider_of(block)
        return self._sources.get(name) or source_of(name)

    def local(self, name: str) -> Node | None:
        """Return the expression of a local value."""
        if self._locals is None:
            blocks = (block for document in self._documents for block in document.blocks if block.type == "locals")
            self._locals = {a.name: a.value for block in blocks for a in block.attributes}
        return self._locals.get(name)


def _typed(block: HclBlock) -> Iterator[HclBlock]:
    """Yield the blocks with a provider's type: the top-level block itself, or the data sources of a `check`."""
    if block.type in KINDS:
        yield block
    elif block.type == "check":
        yield from (nested for nested in block.blocks if nested.type == "data" and len(nested.labels) == 2)


def _check_typed(block: HclBlock, provider: ProviderSchema, scope: Scope) -> BlockSchema | None:
    """Check one resource, data source or ephemeral resource; return its schema."""
    location = BlockLocation(block.address if block.type == "resource" else f"{block.type}.{block.address}", block.line)
    schema = provider.find(block.type, block.labels[0])
    if schema is None:
        _unknown_type(block, provider, scope.findings)
        return None
    check_lifecycle(block, location, scope.findings)
    if block.type == "resource":
        check_ignored(block, schema, scope.findings)
    if not any(nested.type == "_" for nested in block.blocks):  # Terraform merges its content with the body
        own = Scope(scope.findings, scope.local, META_ARGUMENTS, META_BLOCKS[block.type])
        check_body(block, schema, location, own)
    return schema


def _unknown_type(block: HclBlock, provider: ProviderSchema, findings: SchemaFindings) -> None:
    summary, type_name = KINDS[block.type]
    name = block.labels[0]
    other = next((kind for kind in KINDS if kind != block.type and provider.find(kind, name)), None)
    if other is not None:
        hint: str | None = f'"{name}" is a {KINDS[other][1]}: declare it in a "{other}" block.'
    else:
        hint = did_you_mean(nearest_type(name, tuple(provider.types(block.type))))
    message = f'The provider {provider.source} {provider.version} does not support {type_name} "{name}".'
    findings.error(summary, message, block.line, hint)


def _undecided(source: str, line: int, catalogue: Catalogue) -> Diagnostic:
    known = ", ".join(f"{name} {version}" for name, version in catalogue.versions.items())
    return Diagnostic(
        code=SCHEMA_MISSING,
        message=f"No schema of provider {source} is available; available: {known}.",
        line=line,
        hint="Build it with `loraform schema build` and add it to LORAFORM_SCHEMAS.",
    )
