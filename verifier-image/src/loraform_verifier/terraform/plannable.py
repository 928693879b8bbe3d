"""What Plan needs of a program beyond its text: its provider settings, and the data sources that read an account.

As in Validate, its provider block has no effect; only its region and default tags are applied to the plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tree_sitter import Node

from loraform_verifier.hcl.configuration import Configuration
from loraform_verifier.hcl.literals import as_string, inner, literal, object_elements
from loraform_verifier.hcl.modules import ModuleCall, Modules
from loraform_verifier.hcl.normalise import NAME, Normalised, blanked
from loraform_verifier.hcl.parse import Document, HclBlock, parse
from loraform_verifier.hcl.tree import text_of
from loraform_verifier.terraform.data_sources import reads_api

DEFAULT_REGION = "us-east-1"
_REGION = re.compile(r"^[a-z]{2}(-[a-z]{2,10}){1,3}-\d$")


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """Literal settings of the program's default `provider "aws"` block, also through locals and variable defaults."""

    region: str = DEFAULT_REGION
    default_tags: dict[str, str] = field(default_factory=dict)
    incomplete: bool = False
    """True if a default tag must be evaluated; it is left out."""

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Group key: programs with equal keys can be planned in one run."""
        return self.region, tuple(sorted(self.default_tags.items()))


@dataclass(frozen=True, slots=True)
class DataRead:
    """A data source that reads an account."""

    address: str
    """Relative to the program, for example `module.network.data.aws_ami.this`."""
    type: str
    arguments: frozenset[str] = frozenset()
    """Arguments that the program sets; the verifier gives them no values."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output of the root module without `sensitive = true`, in which terraform refuses a sensitive value."""

    name: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Plannable:
    """A normalised program without its `check` blocks, and what its planning run must provide."""

    program: Normalised
    settings: ProviderSettings = ProviderSettings()
    reads: tuple[DataRead, ...] = ()
    outputs: tuple[Output, ...] = ()


def plannable(configuration: Configuration, program: Normalised, modules: Modules | None = None) -> Plannable:
    """Prepare a program for Plan. The configuration must have no problems; `program` is its normalised form."""
    reads = tuple(_reads(configuration, modules or Modules()))
    return Plannable(
        _unchecked(configuration, program), settings_of(configuration), reads, tuple(_outputs(configuration))
    )


def _unchecked(configuration: Configuration, program: Normalised) -> Normalised:
    """Blank `check` blocks, which can only warn: `terraform test` counts their warnings as failures."""
    files = dict(program.files)
    for name, document in configuration.documents.items():
        if any(block.type == "check" for block in document.blocks):
            normalised = parse(files[name].decode())
            checks = (block for block in normalised.blocks if block.type == "check")
            files[name] = blanked(normalised.source, checks)
    return replace(program, files=files)


def settings_of(configuration: Configuration) -> ProviderSettings:
    """Return the settings of the root module's default AWS provider block."""
    for block in configuration.blocks():
        if block.type == "provider" and block.labels == ("aws",) and block.attribute("alias") is None:
            return _settings(block, _Definitions(configuration.blocks()))
    return ProviderSettings()


def _settings(provider: HclBlock, definitions: _Definitions) -> ProviderSettings:
    tags: dict[str, str] = {}
    argument = provider.attribute("region")
    region = literal(definitions.resolve(argument.value)) if argument else None
    incomplete = any(b.type == "dynamic" and b.labels == ("default_tags",) for b in provider.blocks)
    for argument in (a for b in provider.blocks if b.type == "default_tags" for a in b.attributes if a.name == "tags"):
        elements = object_elements(definitions.resolve(argument.value))
        incomplete = incomplete or elements is None
        for element in elements or ():
            value = as_string(literal(definitions.resolve(element.value)))
            if element.key is None or value is None:
                incomplete = True
            else:
                tags[element.key] = value
    usable = isinstance(region, str) and _REGION.match(region)
    return ProviderSettings(str(region) if usable else DEFAULT_REGION, tags, incomplete)


class _Definitions:
    """The expressions of a module's local values and of its variables' defaults."""

    def __init__(self, blocks: Iterable[HclBlock]) -> None:
        self._expressions = dict(_definitions(blocks))
        self._ends: dict[str, Node] = {}
        """Reference to where it leads in the end, so that each is followed once."""

    def resolve(self, value: Node) -> Node:
        """Follow references to local values and variable defaults; a circular one leads to a reference."""
        followed: dict[str, None] = {}
        while (name := text_of(inner(value))) in self._expressions and name not in followed:
            if name in self._ends:
                value = self._ends[name]
                break
            followed[name] = None
            value = self._expressions[name]
        self._ends |= dict.fromkeys(followed, value)
        return value


def _definitions(blocks: Iterable[HclBlock]) -> Iterator[tuple[str, Node]]:
    """Yield (reference, expression) for each local value and each variable with a default."""
    for block in blocks:
        if block.type == "locals":
            yield from ((f"local.{a.name}", a.value) for a in block.attributes)
        elif block.type == "variable" and block.labels and (default := block.attribute("default")):
            yield f"var.{block.labels[0]}", default.value


def prefix_of(call: ModuleCall) -> str:
    """Return the address prefix of a called module, without instance keys."""
    return "".join(f"module.{name}." for name in call.key.split("."))


def _outputs(configuration: Configuration) -> Iterator[Output]:
    for file, document in configuration.module().items():
        for block in document.blocks:
            marked = block.attribute("sensitive")
            if block.type == "output" and not (marked and literal(marked.value) is True):
                yield from (Output(name, file, block.line) for name in block.labels if NAME.fullmatch(name))


def _reads(configuration: Configuration, modules: Modules) -> Iterator[DataRead]:
    yield from _reads_in(configuration.module().values(), "")
    for call in modules.calls:
        yield from _reads_in(modules.documents(configuration, call.folder).values(), prefix_of(call))


def _reads_in(documents: Iterable[Document], prefix: str) -> Iterator[DataRead]:
    for block in (block for document in documents for block in document.blocks):
        if block.type == "data" and len(block.labels) == 2 and all(NAME.fullmatch(label) for label in block.labels):
            kind, name = block.labels
            if reads_api(kind):
                arguments = frozenset(a.name for a in block.attributes)
                yield DataRead(f"{prefix}data.{kind}.{name}", kind, arguments)
