"""The Schema stage: checks a parsed program against the schemas of its providers, without running anything.

It is a lower bound of `terraform validate`: Terraform reports all of its errors too, and uncertain cases are left to
Terraform. A type whose provider has no schema is undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tree_sitter import Node

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.configuration import MAIN_FILE, OVERRIDE, Configuration, with_file
from loraform_verifier.hcl.modules import modules_of
from loraform_verifier.hcl.parse import Document, HclBlock
from loraform_verifier.hcl.provider_blocks import (
    Reference,
    declared_reference,
    provider_of,
    required_sources,
    used_references,
)
from loraform_verifier.hcl.requirements import impossible, mismatch, requirements_of, unmet
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
    PROVIDER_ARGUMENTS,
    PROVIDER_BLOCKS,
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
    return check_configuration(Configuration({MAIN_FILE: document}), catalogue)


def check_configuration(configuration: Configuration, catalogue: Catalogue) -> SchemaFindings:
    """Check all files of a program without problems; findings name their file. Raises SchemaError too."""
    total = SchemaFindings()
    used = _used_providers(configuration)
    for folder in configuration.folders:
        module = _Module(configuration.module(folder), catalogue, used.get(folder, set()))
        for name, findings in _check_module(module).items():
            total.errors.extend(with_file(name, findings.errors))
            total.undecided.extend(with_file(name, findings.undecided))
    return total


def _used_providers(configuration: Configuration) -> dict[str, set[Reference]]:
    """Return the provider configurations in use by folder; Terraform does not judge others."""
    if not any(block.type == "provider" for folder in configuration.folders for block in configuration.blocks(folder)):
        return {}
    return used_references(configuration, modules_of(configuration, "", None))


def _check_module(module: _Module) -> dict[str, SchemaFindings]:
    findings = {name: SchemaFindings() for name in module.documents}
    if any(OVERRIDE.search(name) for name in module.documents):  # Terraform merges such files into the others
        return findings
    for error in impossible(module.requirements):
        findings[error.file or MAIN_FILE].errors.append(error)
    for source, requirement in module.unmet.items():
        undecided = mismatch(requirement, module.catalogue.versions[source])
        findings[requirement.file or MAIN_FILE].undecided.append(undecided)
    declared: dict[Address, BlockSchema] = {}
    for name, document in module.documents.items():
        declared |= _check_document(document, module, findings[name])
    for name, document in module.documents.items():
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
        if block.type == "provider" and declared_reference(block) in module.used:
            _check_provider(block, module, findings)
        for typed in _typed(block):
            source = module.source_of(provider_of(typed))
            if source in module.unmet:
                continue
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
    """What the files of a module share: provider sources and versions, local values."""

    def __init__(self, documents: Mapping[str, Document], catalogue: Catalogue, used: set[Reference]) -> None:
        self.documents = documents
        self.catalogue = catalogue
        self.used = used
        """The provider configurations in use."""
        self.settings = SettingsChecker()
        self.requirements = list(requirements_of(documents.items()))
        self.unmet = {r.subject: r for r in unmet(self.requirements, catalogue.versions)}
        """Constraints, by source, on providers of which the schema is of another version."""
        self._sources = required_sources([block for document in documents.values() for block in document.blocks])
        self._locals: dict[str, Node] | None = None

    def source_of(self, name: str) -> str:
        """Return the source address of a provider by its local name."""
        return self._sources.get(name) or source_of(name)

    def local(self, name: str) -> Node | None:
        """Return the expression of a local value."""
        if self._locals is None:
            blocks = (
                block for document in self.documents.values() for block in document.blocks if block.type == "locals"
            )
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


def _check_provider(block: HclBlock, module: _Module, findings: SchemaFindings) -> None:
    """Check the arguments of a `provider` block in use."""
    source = module.source_of(block.labels[0])
    provider = module.catalogue.provider(source) if source not in module.unmet else None
    empty = not block.blocks and all(attribute.name in PROVIDER_ARGUMENTS for attribute in block.attributes)
    if provider is not None and not empty and not any(nested.type == "_" for nested in block.blocks):
        scope = Scope(findings, module.local, PROVIDER_ARGUMENTS, PROVIDER_BLOCKS)
        check_body(block, provider.configuration, BlockLocation(f"provider {block.address}", block.line), scope)


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
