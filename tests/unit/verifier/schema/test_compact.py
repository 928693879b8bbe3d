"""The compact form of schemas: content, sharing, bytes and refused files."""

from __future__ import annotations

import lzma
from typing import Any

import pytest

from loraform_verifier.schema.catalogue import ProviderSchema
from loraform_verifier.schema.compact import SchemaError, compact, file_name, pack, unpack

from .schema_maker import DISK, NUMBER, RULE, SCHEMA, argument, block


def provider() -> ProviderSchema:
    return ProviderSchema(unpack(pack(compact("hashicorp/toy", "1.2.3", SCHEMA))))


def test_source_version_and_types_round_trip() -> None:
    found = provider()
    assert (found.source, found.version) == ("hashicorp/toy", "1.2.3")
    assert {kind: list(found.types(kind)) for kind in ("resource", "data", "ephemeral", "list")} == {
        "resource": ["toy_disk", "toy_machine"],
        "data": ["toy_image"],
        "ephemeral": ["toy_token"],
        "list": [],
    }
    assert found.find("resource", "toy_image") is None


def test_arguments_keep_their_flags_and_types() -> None:
    machine = provider().find("resource", "toy_machine")
    assert machine is not None
    flags = {n: (a.required, a.optional, a.computed, a.deprecated) for n, a in machine.arguments.items()}
    assert flags["name"] == (True, False, False, False)
    assert flags["id"] == (False, True, True, False)
    assert flags["arn"] == (False, False, True, False)
    assert flags["old"] == (False, True, False, True)
    assert machine.arguments["rule"].type == RULE
    assert machine.arguments["secret"].type[:2] == ["nested", "single"]
    assert (machine.arguments["name"].settable, machine.arguments["arn"].settable) == (True, False)


def test_nested_blocks_keep_their_mode_and_limits() -> None:
    machine = provider().find("resource", "toy_machine")
    assert machine is not None
    disk, network, timeouts = (machine.block(name) for name in ("disk", "network", "timeouts"))
    assert disk is not None
    assert network is not None
    assert timeouts is not None
    assert (disk.nesting, disk.min_items, disk.max_items, disk.single) == ("list", 0, 2, False)
    assert (network.nesting, network.min_items, network.max_items) == ("set", 1, 0)
    assert timeouts.single
    assert list(disk.block.arguments) == ["device", "serial", "size"]
    assert machine.block("name") is None


def test_equal_blocks_are_stored_once() -> None:
    schema: dict[str, Any] = {"resource_schemas": {f"toy_{n}": {"block": DISK} for n in range(50)}}
    assert len(compact("hashicorp/toy", "1", schema).blocks) == 3  # one configures the provider


def test_equal_schemas_have_equal_bytes_and_no_descriptions() -> None:
    attributes = {"b": argument(NUMBER), "a": argument() | {"description": "words " * 100}}
    one = {"resource_schemas": {"toy_x": {"block": block(attributes)}}}
    other = {"resource_schemas": {"toy_x": {"block": block(dict(reversed(attributes.items())))}}}
    packed = pack(compact("hashicorp/toy", "1", one))
    assert packed == pack(compact("hashicorp/toy", "1", other))
    assert b"words" not in lzma.decompress(packed)


def test_the_file_is_named_after_provider_and_version() -> None:
    assert file_name("hashicorp/google-beta", "6.0.1") == "hashicorp_google-beta_6.0.1.jsonl.xz"


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"text",
        *(lzma.compress(t) for t in (b"", b"[]", b"{}", b'{"format": 0}', b'{"format": 2, "other": 2}', b"\xff")),
        pack(compact("a/b", "1", SCHEMA))[:-9],
    ],
)
def test_invalid_files_are_refused(packed: bytes) -> None:
    with pytest.raises(SchemaError):
        unpack(packed)
