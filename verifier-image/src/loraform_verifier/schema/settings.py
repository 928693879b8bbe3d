"""Errors in `terraform`, `provider` and `module` blocks, which the normalised program no longer has or cannot check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.configuration import Configuration, with_file
from loraform_verifier.hcl.literals import inner, literal, object_elements
from loraform_verifier.hcl.modules import Modules
from loraform_verifier.hcl.normalise import NAME
from loraform_verifier.hcl.parse import Attribute, HclBlock
from loraform_verifier.hcl.provider_blocks import Reference, declared_reference, is_proxy
from loraform_verifier.hcl.requirements import Requirement, impossible, requirements_of
from loraform_verifier.hcl.tree import children, line_of, text_of
from loraform_verifier.schema.findings import BlockLocation, SchemaFindings
from loraform_verifier.schema.language import (
    RESERVED,
    RESERVED_BLOCKS,
    BlockGrammar,
    check_labels,
    check_language_block,
)

SETTINGS = ("terraform", "provider", "module")
TERRAFORM = BlockGrammar(
    ("required_version", "experiments", "language"),
    blocks=("required_providers", "backend", "cloud", "provider_meta", "encryption", "state_store"),
)
REQUIRED = ("source", "version", "configuration_aliases")
EDITION = "TF2021"
REPEATING = ("count", "for_each", "depends_on")
INCOMPATIBLE = "Module is incompatible with count, for_each, and depends_on"
_LOCAL_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class SettingsChecker:
    """Checks the settings blocks of one module, block by block."""

    def __init__(self) -> None:
        self._configured: set[Reference] = set()
        self._required = False

    def check(self, block: HclBlock, findings: SchemaFindings) -> None:
        """Check a settings block with correct labels; other blocks are ignored."""
        if block.type == "terraform":
            check_language_block(block, TERRAFORM, BlockLocation("terraform", block.line), findings)
            _check_features(block, findings)
            for nested in (b for b in block.blocks if b.type == "required_providers"):
                self._check_required(nested, findings)
        elif block.type == "provider":
            _check_local_name(block.labels[0], block.line, findings)
            _check_alias(block, findings)
            _check_reserved(block, findings)
            configured = declared_reference(block)
            if configured in self._configured:
                message = f"Provider {'.'.join(filter(None, configured))} was already configured in this module."
                hint = "Give each further configuration an alias of its own."
                findings.error("Duplicate provider configuration", message, block.line, hint)
            self._configured |= {configured} if configured else set()
        elif block.type == "module" and block.attribute("source") is None:
            message = f'module.{block.address}: the argument "source" is required, but no definition was found.'
            findings.error("Missing required argument", message, block.line, "Set source.")

    def _check_required(self, block: HclBlock, findings: SchemaFindings) -> None:
        if self._required:
            message = "A module may have only one required_providers block."
            findings.error("Duplicate required providers configuration", message, block.line)
        self._required = True
        for nested in block.blocks:
            hint = f"Write {nested.type} = {{ … }}."
            findings.error("Unexpected block", "Blocks are not allowed in required_providers.", nested.line, hint)
        for provider in block.attributes:
            _check_local_name(provider.name, provider.line, findings)
            _check_entry(provider, findings)


def _check_local_name(name: str, line: int, findings: SchemaFindings) -> None:
    if name.isascii() and not _LOCAL_NAME.fullmatch(name):
        message = f"{name[:60]!r} is no valid local name of a provider: use lower-case letters, digits and dashes."
        findings.error("Invalid provider local name", message, line)


def _check_alias(provider: HclBlock, findings: SchemaFindings) -> None:
    alias = provider.attribute("alias")
    name = literal(alias.value) if alias else None
    if alias and not (isinstance(name, str) and NAME.fullmatch(name)):
        findings.error("Invalid provider configuration alias", "An alias must be a name, in quotes.", alias.line)


def _check_reserved(provider: HclBlock, findings: SchemaFindings) -> None:
    for attribute in (a for a in provider.attributes if a.name in RESERVED):
        message = f'provider {provider.labels[0]}: the argument name "{attribute.name}" is reserved.'
        findings.error("Reserved argument name in provider block", message, attribute.line, f"Remove {attribute.name}.")
    for block in (b for b in provider.blocks if b.type in RESERVED_BLOCKS):
        message = f'provider {provider.labels[0]}: the block type "{block.type}" is reserved.'
        findings.error("Reserved block type name in provider block", message, block.line, f"Remove {block.type}.")


def _check_features(terraform: HclBlock, findings: SchemaFindings) -> None:
    experiments, edition = terraform.attribute("experiments"), terraform.attribute("language")
    if experiments is not None:
        message = "terraform: experiments are for alpha releases only."
        findings.error("Module uses experimental features", message, experiments.line, "Remove experiments.")
    if edition is not None and text_of(edition.value) != EDITION:
        message = f"terraform: the only edition of the language is {EDITION}."
        findings.error("Unsupported language edition", message, edition.line, "Remove language.")


def _check_entry(provider: Attribute, findings: SchemaFindings) -> None:
    for element in object_elements(provider.value) or ():
        if element.key is not None and element.key not in REQUIRED:
            message = f'required_providers: {provider.name} has no argument "{element.key}".'
            near = (element.key, REQUIRED)
            findings.error("Invalid required_providers object", message, line_of(element.node), near=near)


def settings_errors(configuration: Configuration, modules: Modules) -> list[Diagnostic]:
    """Return errors in the settings of the root module and the called modules, in the program's own files."""
    errors: list[Diagnostic] = list(impossible(requirements(configuration, modules)))
    for folder in _folders(modules):
        settings = SettingsChecker()
        for name, document in configuration.module(folder).items():
            findings = SchemaFindings()
            for block in document.blocks:
                if block.type in SETTINGS and check_labels(block, findings):
                    settings.check(block, findings)
            errors += with_file(name, findings.errors)
    return errors + list(_incompatible(configuration, modules))


def requirements(configuration: Configuration, modules: Modules) -> list[Requirement]:
    """Return the version constraints of a program and of all modules that it calls."""
    sources = {
        call.folder: call.entry.source for call in modules.calls if modules.mirror_folder(call.folder) is not None
    }
    constraints: list[Requirement] = []
    for folder in _folders(modules):
        of_module = requirements_of(modules.documents(configuration, folder).items())
        if folder in sources:
            of_module = (replace(r, file=None, line=None, module=sources[folder]) for r in of_module)
        constraints += of_module
    return constraints


def _folders(modules: Modules) -> list[str]:
    """Return the folders of the root module and of the called modules."""
    return list(dict.fromkeys(["", *(call.folder for call in modules.calls)]))


def _incompatible(configuration: Configuration, modules: Modules) -> Iterator[Diagnostic]:
    """Yield an error for each call with `count`, `for_each` or `depends_on` of a module that configures a provider."""
    repeated: dict[str, tuple[str, Attribute]] = {}
    for call in modules.calls:
        own = next(((call.file, a) for a in call.block.attributes if a.name in REPEATING and not _is_empty(a)), None)
        repeating = own or repeated.get(call.key.rpartition(".")[0])
        if repeating is None:
            continue
        repeated[call.key] = repeating
        if any(b.type == "provider" and not is_proxy(b) for b in modules.blocks(configuration, call.folder)):
            file, argument = repeating
            message = f"module.{call.key} has provider configurations of its own, so it may not have {argument.name}."
            findings = SchemaFindings()
            findings.error(INCOMPATIBLE, message, argument.line, "Let its caller hand them in.")
            yield from with_file(file, findings.errors)


def _is_empty(argument: Attribute) -> bool:
    value = inner(argument.value)
    return argument.name == "depends_on" and value.type == "tuple" and not children(value, "expression")
