"""The compact form of a provider's schema: the output of `terraform providers schema -json` without descriptions.

Equal blocks and equal types are stored once and referenced by number, and an argument is one number: its flags and its
type. So the 13 MB of a large provider become a file small enough to commit. The file is JSON lines under xz: a head,
then one block a line, so that a reader parses only the blocks that it needs. Equal schemas give equal bytes.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 2
SUFFIX = ".jsonl.xz"
FLAGS = {1: "required", 2: "optional", 4: "computed", 8: "deprecated"}
"""Bit to Terraform's key."""
FLAG_BITS = 4
KINDS = {
    "resource": "resource_schemas",
    "data": "data_source_schemas",
    "ephemeral": "ephemeral_resource_schemas",
}
"""Kind of block to the key under which Terraform lists its types."""
NESTINGS = ("single", "group", "list", "set", "map")


class SchemaError(ValueError):
    """A schema file cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """A schema file's first line."""

    source: str
    """Short, for example `hashicorp/aws`."""
    version: str
    kinds: dict[str, dict[str, int]]
    """Kind of block to type name to number of the block."""
    types: list[Any]
    """Types of arguments by number, in Terraform's JSON."""
    configuration: int
    """Number of the block that configures the provider itself."""


@dataclass(frozen=True, slots=True)
class Compact:
    """An unpacked schema file; `blocks` are unparsed JSON."""

    head: Head
    blocks: list[str]


@dataclass(slots=True)
class _Pool:
    """Distinct values as JSON text, each with a number."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, value: Any) -> int:
        return self.numbers.setdefault(_text(value), len(self.numbers))


def compact(source: str, version: str, schema: Mapping[str, Any]) -> Compact:
    """Return the compact form of one entry of `provider_schemas`."""
    types, blocks = _Pool(), _Pool()
    kinds = {
        kind: {name: _block(entry["block"], types, blocks) for name, entry in sorted(schema.get(key, {}).items())}
        for kind, key in KINDS.items()
    }
    configuration = _block(schema.get("provider", {}).get("block", {}), types, blocks)
    head = Head(source, version, kinds, [json.loads(text) for text in types.numbers], configuration)
    return Compact(head, list(blocks.numbers))


def file_name(source: str, version: str) -> str:
    """Return the name of a provider's file, for example `hashicorp_aws_5.100.0.jsonl.xz`."""
    return f"{source.replace('/', '_')}_{version}{SUFFIX}"


def pack(schema: Compact) -> bytes:
    """Return the bytes of a schema file."""
    head = _text({"format": FORMAT} | asdict(schema.head))
    text = "\n".join([head, *schema.blocks])
    return lzma.compress(text.encode(), check=lzma.CHECK_CRC32, preset=9 | lzma.PRESET_EXTREME)


def unpack(packed: bytes) -> Compact:
    """Return the compact form from a file's bytes. Raises SchemaError for anything else."""
    try:
        first, *blocks = lzma.decompress(packed).decode().split("\n")
        head = json.loads(first)
        if head.pop("format") != FORMAT:
            raise SchemaError(f"not of format {FORMAT}; build it again with `loraform schema build`")
        return Compact(Head(**head), blocks)
    except (lzma.LZMAError, EOFError, json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError) as error:
        raise SchemaError(f"not a schema file: {error}") from error


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _block(block: Mapping[str, Any], types: _Pool, blocks: _Pool) -> int:
    arguments = {name: _argument(entry, types) for name, entry in sorted(block.get("attributes", {}).items())}
    nested = {name: _nested(entry, types, blocks) for name, entry in sorted(block.get("block_types", {}).items())}
    return blocks.number([arguments, nested, *([1] if block.get("deprecated") else [])])


def _nested(nested: Mapping[str, Any], types: _Pool, blocks: _Pool) -> list[int]:
    mode = NESTINGS.index(nested["nesting_mode"])
    inner = _block(nested["block"], types, blocks)
    return [mode, nested.get("min_items", 0), nested.get("max_items", 0), inner]


def _argument(argument: Mapping[str, Any], types: _Pool) -> int:
    flags = sum(bit for bit, word in FLAGS.items() if argument.get(word))
    nested = argument.get("nested_type")
    value = ["nested", *_nested_type(nested, types)] if nested else argument["type"]
    return types.number(value) << FLAG_BITS | flags


def _nested_type(nested: Mapping[str, Any], types: _Pool) -> tuple[str, dict[str, int]]:
    inner = {name: _argument(entry, types) for name, entry in sorted(nested["attributes"].items())}
    return nested["nesting_mode"], inner
