"""Catalogue of schema files: those of this package, and additional ones.

A file is read at the first request for its provider, and its blocks are parsed on demand. Threads may share a
catalogue: concurrent requests may do the same work twice, with equal results.
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
"""Environment variable: additional schema files, or folders of them, separated as in PATH."""
DATA = Path(__file__).with_name("data")
"""Folder of the schemas in this package."""
BUILT_IN = {"terraform": "builtin/terraform"}
"""Local names of providers that are part of Terraform."""
_FILE = re.compile(rf"^([^_]+)_(.+)_(\d[^_]*){re.escape(SUFFIX)}$")


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument or exported attribute of a block."""

    required: bool
    optional: bool
    computed: bool
    deprecated: bool
    type: Any
    """In Terraform's JSON, for example `["list", "string"]`; `["nested", MODE, …]` has arguments of its own."""

    @property
    def settable(self) -> bool:
        """True if a program may set it."""
        return self.required or self.optional

    @property
    def members(self) -> dict[str, Any] | None:
        """Types by attribute if it is a list or set of objects, which may be written as blocks; otherwise None."""
        match self.type:
            case ["list" | "set", ["object", members, *_]]:
                return dict(members)
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Nested:
    """A nested block type; `max_items` 0 means no limit."""

    nesting: str
    min_items: int
    max_items: int
    block: BlockSchema

    @property
    def single(self) -> bool:
        """True if it may occur at most once and is no list."""
        return self.nesting in ("single", "group")


class BlockSchema:
    """Arguments and nested blocks that a block may and must have."""

    __slots__ = ("_nested", "_provider", "arguments", "deprecated", "required", "required_blocks")

    def __init__(
        self,
        arguments: dict[str, Argument],
        nested: Mapping[str, list[int]] = {},
        provider: ProviderSchema | None = None,
        *,
        deprecated: bool = False,
    ) -> None:
        """`nested` has the form of the schema file of `provider`."""
        self.arguments = arguments
        self.deprecated = deprecated
        self.required = tuple(name for name, a in arguments.items() if a.required and a.members is None)
        """Arguments that Terraform requires; for a list of objects, the provider decides."""
        self.required_blocks = tuple(name for name, (_, least, *_) in nested.items() if least)
        """Nested blocks with a minimum number."""
        self._nested = nested
        self._provider = provider

    @property
    def nested(self) -> Iterable[str]:
        """The names of the nested block types."""
        return self._nested.keys()

    def block(self, name: str) -> Nested | None:
        """Return the nested block type `name`; None if there is none."""
        if name not in self._nested or self._provider is None:
            return None
        mode, least, most, number = self._nested[name]
        return Nested(NESTINGS[mode], least, most, self._provider.block(number))

    def as_blocks(self, name: str) -> BlockSchema | None:
        """Return the schema of a block that stands for an element of argument `name`; None if none may."""
        members = self.arguments[name].members if name in self.arguments else None
        if members is None:
            return None
        return BlockSchema({member: Argument(False, True, False, False, kind) for member, kind in members.items()})


class ProviderSchema:
    """One version of a provider."""

    def __init__(self, compacted: Compact) -> None:
        """`compacted` is an unpacked schema file."""
        self.source = compacted.head.source
        self.version = compacted.head.version
        self._configuration = compacted.head.configuration
        self._kinds = compacted.head.kinds
        self._types = compacted.head.types
        self._lines = compacted.blocks
        self._blocks: dict[int, BlockSchema] = {}
        self._arguments: dict[int, Argument] = {}

    @property
    def configuration(self) -> BlockSchema:
        """The schema of the provider's own `provider` block."""
        return self.block(self._configuration)

    def types(self, kind: str) -> Iterable[str]:
        """Return the type names of `resource`, `data` or `ephemeral`, sorted."""
        return self._kinds.get(kind, {}).keys()

    def find(self, kind: str, name: str) -> BlockSchema | None:
        """Return the schema of a type's block; None if the provider has no such type."""
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
def read_schema_file(path: Path, source: str, version: str) -> ProviderSchema:
    """Read a schema file, once a process; all catalogues share it. Raises SchemaError."""
    try:
        schema = ProviderSchema(unpack(path.read_bytes()))
    except (OSError, SchemaError) as error:
        raise SchemaError(f"{path}: {error}") from error
    if (schema.source, schema.version) != (source, version):
        raise SchemaError(f"{path}: it holds {schema.source} {schema.version}; rename the file to match")
    return schema


class Catalogue:
    """All known providers, each in the version that `versions` names, otherwise in the newest."""

    def __init__(self, paths: Iterable[Path], versions: Mapping[str, str] | None = None) -> None:
        """List schema files and folders of them; `versions` maps a source to its only accepted version.

        A provider without a file of that version is unknown. Raises SchemaError for a path that is missing or has an
        invalid name.
        """
        self._files: dict[str, tuple[str, Path]] = {}
        accepted = versions or {}
        for source, version, path in (file for location in paths for file in _schema_files(location)):
            known = self._files.get(source)
            matches = accepted.get(source, version) == version
            if matches and (known is None or order(version) >= order(known[0])):
                self._files[source] = (version, path)

    @property
    def versions(self) -> dict[str, str]:
        """Version by source address of all known providers."""
        return {source: version for source, (version, _) in sorted(self._files.items())}

    def provider(self, source: str) -> ProviderSchema | None:
        """Return a provider by its source address; None if it is unknown. Raises SchemaError for a broken file."""
        if source not in self._files:
            return None
        version, path = self._files[source]
        return read_schema_file(path, source, version)

    def local(self, name: str) -> ProviderSchema | None:
        """Return the provider of a local name in a program without `required_providers`."""
        return self.provider(source_of(name))

    def find(self, kind: str, name: str) -> BlockSchema | None:
        """Return the schema of a type's block; the type's name determines its provider."""
        provider = self.local(name.partition("_")[0])
        return provider.find(kind, name) if provider else None


def source_of(local_name: str) -> str:
    """Return the default source address of a local name."""
    return BUILT_IN.get(local_name, f"hashicorp/{local_name}")


def schema_paths(extra: Iterable[Path] = ()) -> list[Path]:
    """Return the paths of schemas: of this package, of the environment, and `extra`."""
    from_environment = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return [DATA, *from_environment, *extra]


@cache
def default() -> Catalogue:
    """Return the process's catalogue: this package's schemas and the environment's. Raises SchemaError."""
    return Catalogue(schema_paths())


def _schema_files(location: Path) -> Iterator[tuple[str, str, Path]]:
    if not location.exists():
        raise SchemaError(f"{location} does not exist; {VARIABLE} and --schemas name schema files or folders of them")
    for path in sorted(location.iterdir()) if location.is_dir() else [location]:
        if match := _FILE.match(path.name):
            yield f"{match[1]}/{match[2]}", match[3], path
        elif not location.is_dir():
            raise SchemaError(f"{location} has no valid name of a schema file: NAMESPACE_TYPE_VERSION{SUFFIX}")
