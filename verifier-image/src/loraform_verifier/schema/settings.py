"""The blocks of a program that terraform is not shown, or cannot follow: what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.configuration import Configuration, placed
from loraform_verifier.hcl.literals import inner, literal, object_elements
from loraform_verifier.hcl.modules import Modules
from loraform_verifier.hcl.normalise import NAME
from loraform_verifier.hcl.parse import Attribute, Block
from loraform_verifier.hcl.provider_blocks import Reference, configured_by, is_proxy
from loraform_verifier.hcl.tree import children, line_of
from loraform_verifier.schema.findings import Place, SchemaFindings
from loraform_verifier.schema.language import Words, check_labels, check_words

SETTINGS = ("terraform", "provider", "module")
TERRAFORM = Words(
    ("required_version", "experiments", "language"),
    blocks=("required_providers", "backend", "cloud", "provider_meta", "encryption", "state_store"),
)
REQUIRED = ("source", "version", "configuration_aliases")
REPEATING = ("count", "for_each", "depends_on")
INCOMPATIBLE = "Module is incompatible with count, for_each, and depends_on"
_LOCAL_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Settings:
    """What the settings of a module have said so far."""

    def __init__(self) -> None:
        self._configured: set[Reference] = set()
        self._required = False

    def check(self, block: Block, findings: SchemaFindings) -> None:
        """Check a block that has its labels; others than settings are passed over."""
        if block.type == "terraform":
            check_words(block, TERRAFORM, Place("terraform", block.line), findings)
            for nested in (found for found in block.blocks if found.type == "required_providers"):
                self._check_required(nested, findings)
        elif block.type == "provider":
            _check_local_name(block.labels[0], block.line, findings)
            _check_alias(block, findings)
            configured = configured_by(block)
            if configured in self._configured:
                message = f"Provider {'.'.join(filter(None, configured))} was already configured in this module."
                hint = "Give each further configuration an alias of its own."
                findings.error("Duplicate provider configuration", message, block.line, hint)
            self._configured |= {configured} if configured else set()
        elif block.type == "module" and block.attribute("source") is None:
            message = f'module.{block.address}: the argument "source" is required, but no definition was found.'
            findings.error("Missing required argument", message, block.line, "Set source.")

    def _check_required(self, block: Block, findings: SchemaFindings) -> None:
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
        message = f"{name[:60]!r} is no local name of a provider: those are lower-case letters, digits and dashes."
        findings.error("Invalid provider local name", message, line)


def _check_alias(provider: Block, findings: SchemaFindings) -> None:
    alias = provider.attribute("alias")
    name = literal(alias.value) if alias else None
    if alias and not (isinstance(name, str) and NAME.fullmatch(name)):
        findings.error("Invalid provider configuration alias", "An alias must be a name, in quotes.", alias.line)


def _check_entry(provider: Attribute, findings: SchemaFindings) -> None:
    for element in object_elements(provider.value) or ():
        if element.key is not None and element.key not in REQUIRED:
            message = f'required_providers: {provider.name} has no argument "{element.key}".'
            near = (element.key, REQUIRED)
            findings.error("Invalid required_providers object", message, line_of(element.node), near=near)


def mistakes(configuration: Configuration, modules: Modules) -> list[Diagnostic]:
    """Return what is wrong in the settings of the modules that are called, in the program's own files."""
    found: list[Diagnostic] = []
    for folder in dict.fromkeys(["", *(call.folder for call in modules.calls)]):
        settings = Settings()
        for name, document in configuration.module(folder).items():
            findings = SchemaFindings()
            for block in document.blocks:
                if block.type in SETTINGS and check_labels(block, findings):
                    settings.check(block, findings)
            found += placed(name, findings.errors)
    return found + list(_incompatible(configuration, modules))


def _incompatible(configuration: Configuration, modules: Modules) -> Iterator[Diagnostic]:
    """Yield an error for each call that repeats a module, or makes it wait, in which a provider is configured."""
    repeated: dict[str, tuple[str, Attribute]] = {}
    for call in modules.calls:
        own = next(((call.file, a) for a in call.block.attributes if a.name in REPEATING and not _is_empty(a)), None)
        found = own or repeated.get(call.key.rpartition(".")[0])
        if found is None:
            continue
        repeated[call.key] = found
        if any(b.type == "provider" and not is_proxy(b) for b in modules.blocks(configuration, call.folder)):
            file, argument = found
            message = f"module.{call.key} has provider configurations of its own, so it may not have {argument.name}."
            findings = SchemaFindings()
            findings.error(INCOMPATIBLE, message, argument.line, "Let its caller hand them in.")
            yield from placed(file, findings.errors)


def _is_empty(argument: Attribute) -> bool:
    value = inner(argument.value)
    return argument.name == "depends_on" and value.type == "tuple" and not children(value, "expression")
