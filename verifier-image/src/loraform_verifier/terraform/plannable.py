"""What Plan must know of a program beyond its text: how it sets its provider, and which data it reads from an account.

Its provider block does not act, like in Validate; of what it says only the region and the default tags change a plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tree_sitter import Node

from loraform_verifier.hcl.configuration import Configuration
from loraform_verifier.hcl.literals import as_string, inner, literal, object_elements
from loraform_verifier.hcl.modules import Call, Modules
from loraform_verifier.hcl.normalise import NAME, Normalised, blanked
from loraform_verifier.hcl.parse import Block, Document, parse
from loraform_verifier.hcl.tree import text_of
from loraform_verifier.terraform.data_sources import reads_api

DEFAULT_REGION = "us-east-1"
_REGION = re.compile(r"^[a-z]{2}(-[a-z]{2,10}){1,3}-\d$")


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What the program's default `provider "aws"` block says, as far as it is literal or names what is."""

    region: str = DEFAULT_REGION
    default_tags: dict[str, str] = field(default_factory=dict)
    incomplete: bool = False
    """Some default tag must be evaluated, and is left out."""

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Equal for programs that can be planned in one run."""
        return self.region, tuple(sorted(self.default_tags.items()))


@dataclass(frozen=True, slots=True)
class DataRead:
    """A data source that asks an account."""

    address: str
    """Seen from the program, for example `module.network.data.aws_ami.this`."""
    type: str
    given: frozenset[str] = frozenset()
    """Arguments that the program sets; they are not read."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output of the root module that is not marked as sensitive, so that terraform refuses a secret in it."""

    name: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Plannable:
    """A normalised program without its `check` blocks, and what its run must provide."""

    program: Normalised
    settings: ProviderSettings = ProviderSettings()
    reads: tuple[DataRead, ...] = ()
    outputs: tuple[Output, ...] = ()


def plannable(configuration: Configuration, program: Normalised, modules: Modules | None = None) -> Plannable:
    """Describe a program to Plan. The configuration has no problems, `program` is its normalised form."""
    reads = tuple(_reads(configuration, modules or Modules()))
    return Plannable(
        _unchecked(configuration, program), settings_of(configuration), reads, tuple(_outputs(configuration))
    )


def _unchecked(configuration: Configuration, program: Normalised) -> Normalised:
    """Blank `check` blocks, which can only warn: `terraform test` takes a warning of theirs for a failure."""
    files = dict(program.files)
    for name, document in configuration.documents.items():
        if any(block.type == "check" for block in document.blocks):
            made = parse(files[name].decode())
            files[name] = blanked(made.source, (block for block in made.blocks if block.type == "check"))
    return replace(program, files=files)


def settings_of(configuration: Configuration) -> ProviderSettings:
    """Read the settings off the root module's provider block that has no alias."""
    for block in configuration.blocks():
        if block.type == "provider" and block.labels == ("aws",) and block.attribute("alias") is None:
            return _settings(block, dict(_named(configuration.blocks())))
    return ProviderSettings()


def _settings(provider: Block, named: Mapping[str, Node]) -> ProviderSettings:
    tags: dict[str, str] = {}
    argument = provider.attribute("region")
    region = literal(_followed(argument.value, named)) if argument else None
    incomplete = any(b.type == "dynamic" and b.labels == ("default_tags",) for b in provider.blocks)
    for argument in (a for b in provider.blocks if b.type == "default_tags" for a in b.attributes if a.name == "tags"):
        elements = object_elements(_followed(argument.value, named))
        incomplete = incomplete or elements is None
        for element in elements or ():
            value = as_string(literal(_followed(element.value, named)))
            if element.key is None or value is None:
                incomplete = True
            else:
                tags[element.key] = value
    usable = isinstance(region, str) and _REGION.match(region)
    return ProviderSettings(str(region) if usable else DEFAULT_REGION, tags, incomplete)


def _named(blocks: Iterable[Block]) -> Iterator[tuple[str, Node]]:
    """Yield the names of a module that stand for an expression: variables with a default, and locals."""
    for block in blocks:
        if block.type == "locals":
            yield from ((f"local.{a.name}", a.value) for a in block.attributes)
        elif block.type == "variable" and block.labels and (default := block.attribute("default")):
            yield f"var.{block.labels[0]}", default.value


def _followed(value: Node, named: Mapping[str, Node]) -> Node:
    """Return the expression that an expression stands for; most stand for themselves."""
    for _ in named:  # names that go in a circle must be left
        if (meant := named.get(text_of(inner(value)))) is None:
            break
        value = meant
    return value


def prefix_of(call: Call) -> str:
    """Return what the addresses in a called module begin with, without the keys of its instances."""
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
                given = frozenset(a.name for a in block.attributes)
                yield DataRead(f"{prefix}data.{kind}.{name}", kind, given)
