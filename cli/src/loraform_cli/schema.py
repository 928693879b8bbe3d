"""Command `loraform schema`: makes and lists the schema files that stage Schema reads."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from loraform_cli.inputs import InputError
from loraform_verifier.sandbox.isolation import IsolationError
from loraform_verifier.schema.build import built_in_schema, provider_schema
from loraform_verifier.schema.catalogue import BUILT_IN, VARIABLE, Catalogue, ProviderSchema, schema_paths
from loraform_verifier.schema.compact import KINDS, Compact, SchemaError, file_name, pack
from loraform_verifier.terraform.toolchain import Provider, Terraform, ToolchainError, discover

NAMES = {"resource": "resources", "data": "data sources", "ephemeral": "ephemeral resources"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parsers."""
    schema = commands.add_parser(
        "schema",
        help="make and list the provider schemas of the Schema stage",
        description="The Schema stage of `loraform verify` checks types and arguments without running Terraform. "
        f"It reads schema files: those that come with Loraform, and those in the files and folders of {VARIABLE}.",
    )
    actions = schema.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser(
        "build",
        help="make schema files of a mirror's providers",
        description="Make a schema file of each provider in a filesystem mirror. Needs Terraform or OpenTofu once; "
        f"afterwards set {VARIABLE} to the folder. Exit status: 0 all files were made, 2 not all.",
    )
    build.add_argument(
        "providers",
        nargs="*",
        metavar="PROVIDER",
        help="source address, for example hashicorp/aws, or its last word (default: every provider of the mirror, "
        "and Terraform's own)",
    )
    build.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the files go")
    build.add_argument("--terraform", metavar="PATH", help="terraform or tofu (default: LORAFORM_TERRAFORM or PATH)")
    build.add_argument(
        "--mirror", metavar="FOLDER", help="unpacked filesystem mirror (default: LORAFORM_PROVIDER_MIRROR or searched)"
    )
    listing = actions.add_parser(
        "list",
        help="list the providers with a schema",
        description="List providers with their newest version and number of types.",
    )
    listing.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="more schema files, or folders with schema files"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run `build` or `list`; return the exit status. Raises InputError."""
    try:
        if arguments.action == "list":
            return _list(arguments.paths)
        return _build(arguments)
    except (SchemaError, ToolchainError, IsolationError) as error:
        raise InputError(str(error)) from error


def _list(paths: list[Path]) -> int:
    catalogue = Catalogue(schema_paths(paths))
    for source in catalogue.versions:
        provider = catalogue.provider(source)
        if provider is not None:
            print(f"{source} {provider.version}: {_counts(provider)}")
    return 0


def _build(arguments: argparse.Namespace) -> int:
    terraform = discover(arguments.terraform, arguments.mirror)
    folder: Path = arguments.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for schema in _schemas(terraform, arguments.providers):
            packed = pack(schema)
            path = folder / file_name(schema.head.source, schema.head.version)
            path.write_bytes(packed)
            print(f"{path}: {_counts(ProviderSchema(schema))}, {len(packed) / 1000:.1f} kB", flush=True)
    except OSError as error:
        raise InputError(f"--output {folder}: {error.strerror or error}") from error
    return 0


def _schemas(terraform: Terraform, names: list[str]) -> Iterator[Compact]:
    """Yield schemas as they are made; all names are checked before the first one."""
    providers = [_provider(terraform, name) for name in names] or [None, *terraform.providers]
    for provider in providers:
        yield built_in_schema(terraform) if provider is None else provider_schema(terraform, provider)


def _provider(terraform: Terraform, name: str) -> Provider | None:
    """Return the provider of the mirror with this name; None for Terraform's own."""
    if name in (*BUILT_IN, *BUILT_IN.values()):
        return None
    for provider in terraform.providers:
        if name in (provider.source, f"{terraform.registry}/{provider.source}", provider.type):
            return provider
    known = ", ".join([*(provider.source for provider in terraform.providers), *BUILT_IN.values()])
    raise InputError(f"{name}: the mirror has no such provider; it has {known}")


def _counts(provider: ProviderSchema) -> str:
    return ", ".join(f"{len(list(provider.types(kind)))} {NAMES[kind]}" for kind in KINDS)
