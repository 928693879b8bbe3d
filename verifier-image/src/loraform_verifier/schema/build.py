"""Builds schema files from `terraform providers schema`, confined like every child."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from loraform_verifier.sandbox import isolation
from loraform_verifier.schema.catalogue import BUILT_IN
from loraform_verifier.schema.compact import Compact, SchemaError, compact
from loraform_verifier.terraform.toolchain import Provider, Terraform, child_environment
from loraform_verifier.terraform.workspace import write_installation

SECONDS = 300
LIMITS = isolation.Limits(fsize=256 * isolation.MIB)
BUILT_IN_HOST = "terraform.io"


def provider_schema(terraform: Terraform, provider: Provider) -> Compact:
    """Return the schema of a provider of the mirror. Raises SchemaError, or IsolationError if it cannot be confined."""
    source = f"{terraform.registry}/{provider.source}"
    program = {"terraform": {"required_providers": {"wanted": {"source": source}}}}
    schemas = _schemas(replace(terraform, providers=(provider,)), program)
    return _compact(schemas, source, provider.source, provider.version)


def built_in_schema(terraform: Terraform) -> Compact:
    """Return the schema of the provider built into Terraform, with Terraform's version. Raises the same errors."""
    source = BUILT_IN["terraform"]
    schemas = _schemas(replace(terraform, providers=()), {"resource": {"terraform_data": {"wanted": {}}}})
    return _compact(schemas, f"{BUILT_IN_HOST}/{source}", source, terraform.version)


def _schemas(terraform: Terraform, program: dict[str, Any]) -> dict[str, Any]:
    with isolation.private_folder() as root:
        (root / "main.tf.json").write_text(json.dumps(program))
        write_installation(root, terraform)
        command = [str(terraform.binary), "providers", "schema", "-json"]
        finished = isolation.run(
            command,
            cwd=root,
            env=child_environment(root),
            seconds=SECONDS,
            readable=terraform.readable,
            limits=LIMITS,
        )
    if finished.returncode or finished.timed_out or finished.flooded:
        raise SchemaError(f"`providers schema` failed (exit status {finished.returncode}): {finished.output_tail}")
    schemas: dict[str, Any] = json.loads(finished.stdout).get("provider_schemas", {})
    return schemas


def _compact(schemas: dict[str, Any], address: str, source: str, version: str) -> Compact:
    if address not in schemas:
        raise SchemaError(f"`providers schema` lists {', '.join(schemas) or 'no provider'}, not {address}")
    return compact(source, version, schemas[address])
