"""Finds schema files and answers what a type looks like: those that come with us, and any that are given beside them.

A file is read when its provider is first asked for, and of its blocks only those that are met are parsed. Threads may
share a catalogue: two that ask at once do the same work twice, and both are right.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from loraform_verifier.hcl.versions import order
from loraform_verifier.schema.compact import (
    FLAG_BITS,
    FLAGS,
    NESTINGS,
    SUFFIX,
    Compact,
    SchemaError,
    unpack,
)

VARIABLE = "LORAFORM_SCHEMAS"
"""Environment variable: more schema files, or folders of them, separated as in PATH."""
DATA = Path(__file__).with_name("data")
"""The schemas that come with us."""
BUILT_IN = {"terraform": "builtin/terraform"}
"""Local names that mean a provider inside Terraform itself."""
_FILE = re.compile(rf"^([^_]+)_(.+)_(\d[^_]*){re.escape(SUFFIX)}$")


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument or exported attribute of a block."""

    required: bool
    optional: bool
    computed: bool
    deprecated: bool
    type: Any
    """In Terraform's JSON, for example `["list", "string"]`; `["nested", MODE, …]` holds arguments of its own."""

    @property
    def settable(self) -> bool:
        """A program may give it a value."""
        return self.required or self.optional

    @property
    def members(self) -> dict[str, Any] | None:
        """The attributes with their types when it is a list or set of objects, which may be written as blocks."""
        match self.type:
            case ["list" | "set", ["object", members, *_]]:
                return dict(members)
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Nested:
    """A nested block type; `max_items` 0 means any number."""

    nesting: str
    min_items: int
    max_items: int
    block: BlockSchema

    @property
    def single(self) -> bool:
        """It can stand once at most, and is no list."""
        return self.nesting in ("single", "group")


class BlockSchema:
    """What may and must stand in a block."""

    __slots__ = ("_nested", "_provider", "arguments", "deprecated", "required", "wanted")

    def __init__(
        self,
        arguments: dict[str, Argument],
        nested: Mapping[str, list[int]] = {},
        provider: ProviderSchema | None = None,
        *,
        deprecated: bool = False,
    ) -> None:
        """`nested` is as in a schema file of `provider`."""
        self.arguments = arguments
        self.deprecated = deprecated
        self.required = tuple(name for name, found in arguments.items() if found.required and found.members is None)
        """Arguments whose absence is an error, whoever looks: a list of objects is left to the provider."""
        self.wanted = tuple(name for name, (_, least, *_) in nested.items() if least)
        """Nested blocks of which there must be some."""
        self._nested = nested
        self._provider = provider

    @property
    def nested(self) -> Iterable[str]:
        """The names of the nested block types."""
        return self._nested.keys()

    def block(self, name: str) -> Nested | None:
        """Return the nested block type called `name`."""
        if name not in self._nested or self._provider is None:
            return None
        mode, least, most, number = self._nested[name]
        return Nested(NESTINGS[mode], least, most, self._provider.block(number))

    def as_blocks(self, name: str) -> BlockSchema | None:
        """Return what a block holds that stands for an element of the argument called `name`, where one may."""
        members = self.arguments[name].members if name in self.arguments else None
        if members is None:
            return None
        return BlockSchema({member: Argument(False, True, False, False, kind) for member, kind in members.items()})


class ProviderSchema:
    """One version of a provider."""

    def __init__(self, compacted: Compact) -> None:
        """Take an unpacked schema file."""
        self.source = compacted.head.source
        self.version = compacted.head.version
        self._kinds = compacted.head.kinds
        self._types = compacted.head.types
        self._lines = compacted.blocks
        self._blocks: dict[int, BlockSchema] = {}
        self._arguments: dict[int, Argument] = {}

    def types(self, kind: str) -> Iterable[str]:
        """Return the type names of `resource`, `data` or `ephemeral`, sorted."""
        return self._kinds.get(kind, {}).keys()

    def find(self, kind: str, name: str) -> BlockSchema | None:
        """Return what a type's block holds; None when the provider has no such type."""
        number = self._kinds.get(kind, {}).get(name)
        return None if number is None else self.block(number)

    def block(self, number: int) -> BlockSchema:
        """Return a block by its number in the file."""
        if number not in self._blocks:
            packed, nested, *deprecated = json.loads(self._lines[number])
            arguments = {name: self._argument(code) for name, code in packed.items()}
            self._blocks[number] = BlockSchema(arguments, nested, self, deprecated=bool(deprecated))
        return self._blocks[number]

    def _argument(self, code: int) -> Argument:
        if code not in self._arguments:
            required, optional, computed, deprecated = (bool(code & bit) for bit in FLAGS)
            kind = self._types[code >> FLAG_BITS]
            self._arguments[code] = Argument(required, optional, computed, deprecated, kind)
        return self._arguments[code]


@cache
def read(path: Path, source: str, version: str) -> ProviderSchema:
    """Read a schema file, once a process: catalogues of other versions may share it. Raises SchemaError."""
    try:
        found = ProviderSchema(unpack(path.read_bytes()))
    except (OSError, SchemaError) as error:
        raise SchemaError(f"{path}: {error}") from error
    if (found.source, found.version) != (source, version):
        raise SchemaError(f"{path}: it holds {found.source} {found.version}; name it so")
    return found


class Catalogue:
    """All known providers, of each the version that `versions` names, otherwise the newest."""

    def __init__(self, paths: Iterable[Path], versions: Mapping[str, str] | None = None) -> None:
        """Look through schema files and folders of them; `versions` maps sources to the only version wanted.

        A provider of which `versions` wants one that no file has is not known. Raises SchemaError for a path that is
        not there or is named wrongly.
        """
        self._files: dict[str, tuple[str, Path]] = {}
        wanted = versions or {}
        for source, version, path in (found for place in paths for found in _schema_files(place)):
            known = self._files.get(source)
            fits = wanted.get(source, version) == version
            if fits and (known is None or order(version) >= order(known[0])):
                self._files[source] = (version, path)

    @property
    def versions(self) -> dict[str, str]:
        """Provider source address to version, of all that is known."""
        return {source: version for source, (version, _) in sorted(self._files.items())}

    def provider(self, source: str) -> ProviderSchema | None:
        """Return a provider by its source address; None when it is not known. Raises SchemaError for a broken file."""
        if source not in self._files:
            return None
        version, path = self._files[source]
        return read(path, source, version)

    def local(self, name: str) -> ProviderSchema | None:
        """Return the provider that a program without `required_providers` means by a local name."""
        return self.provider(source_of(name))

    def find(self, kind: str, name: str) -> BlockSchema | None:
        """Return what the block of a type holds, the provider taken from the type's own name."""
        provider = self.local(name.partition("_")[0])
        return provider.find(kind, name) if provider else None


def source_of(local_name: str) -> str:
    """Return the short source address that a local name means where nothing else is said."""
    return BUILT_IN.get(local_name, f"hashicorp/{local_name}")


def places(extra: Iterable[Path] = ()) -> list[Path]:
    """Return where schemas are looked for: ours, those of the environment, and `extra`."""
    given = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return [DATA, *given, *extra]


@cache
def default() -> Catalogue:
    """Return the process's catalogue: what comes with us and what the environment names. Raises SchemaError."""
    return Catalogue(places())


def _schema_files(place: Path) -> Iterator[tuple[str, str, Path]]:
    if not place.exists():
        raise SchemaError(f"{place} does not exist; {VARIABLE} and --schemas name schema files or folders of them")
    for path in sorted(place.iterdir()) if place.is_dir() else [place]:
        if match := _FILE.match(path.name):
            yield f"{match[1]}/{match[2]}", match[3], path
        elif not place.is_dir():
            raise SchemaError(f"{place} is not named like a schema file: NAMESPACE_TYPE_VERSION{SUFFIX}")
