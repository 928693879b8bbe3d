"""Folder layout of a terraform run: programs as child modules of a generated root, or one program as the root.

There is no `terraform init`: the module manifest, the lock file and the provider links are written here. The lock file
has versions without checksums, so that terraform does not hash 700 MB at each start; the mirror is part of the image.
Generated files are JSON, so that no name in a program can inject code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loraform_verifier.hcl.normalise import Aliases, Normalised
from loraform_verifier.terraform.diagnostics import OUR_FILE
from loraform_verifier.terraform.toolchain import Provider, Terraform, write_cli_config

CANARY = "canary"
CANARY_TEXT = 'output "canary" {\n  value = local.canary\n}\n'
"""Terraform reports its undeclared local value only when it validates modules. Errors of loading and of the graph come
earlier and hide all later ones; without the canary's error, other errors may be hidden too."""
UNKNOWN_INPUT = "unknown"
CONFIGURATION = {
    "aws": {
        "region": "us-east-1",
        "skip_credentials_validation": True,
        "skip_requesting_account_id": True,
        "skip_metadata_api_check": "true",
        "skip_region_validation": True,
    }
}
"""Arguments of each provider configuration; a provider that is not listed gets an empty one."""


def lay_out_batch(root: Path, terraform: Terraform, programs: Mapping[str, Normalised]) -> None:
    """Write `root` with each program as a child module in the folder of its key, and the canary as another."""
    settings = lay_out_modules(root, terraform, programs, unknown=f"${{var.{UNKNOWN_INPUT}}}")
    settings["variable"] = {UNKNOWN_INPUT: {}}
    settings["module"][CANARY] = {"source": f"./{CANARY}"}
    (root / CANARY).mkdir()
    (root / CANARY / "main.tf").write_text(CANARY_TEXT)
    write_manifest(root, {CANARY: None, **programs})
    write_json(root / OUR_FILE, settings)


def lay_out_modules(
    root: Path, terraform: Terraform, programs: Mapping[str, Normalised], *, unknown: str
) -> dict[str, Any]:
    """Write each program to the folder of its key, and the installation; return the root's blocks for them.

    Variables without a default get the expression `unknown`. The caller writes the manifest and the root.
    """
    used = {name for program in programs.values() for name in program.providers}
    providers = {name: provider for name in sorted(used) if (provider := terraform.provider(name))}
    modules: dict[str, Any] = {}
    for key, program in programs.items():
        modules[key] = {"source": f"./{key}"} | dict.fromkeys(sorted(program.inputs), unknown)
        _write_program(root / key, program, terraform)
        # Default configurations are inherited, so only programs whose calls may pass them on need them by name.
        passed = {name: name for name in program.providers if program.calls and name in providers}
        if aliases := _installed(program.aliases, terraform):
            own, aliased = _alias_settings(aliases, providers, terraform)
            write_json(root / key / OUR_FILE, {"terraform": {"required_providers": own}})
            passed |= aliased
        modules[key] |= {"providers": passed} if passed else {}
    write_installation(root, terraform)
    return {"module": modules} | _own_providers(providers, terraform)


def lay_out_alone(root: Path, terraform: Terraform, program: Normalised) -> None:
    """Write `root` with the program as the root module, with its own provider blocks, to validate it.

    Such a program is not to be planned: its provider blocks would act.
    """
    providers = {name: provider for name in sorted(program.needs) if (provider := terraform.provider(name))}
    _write_program(root, replace(program, files=program.files | program.written), terraform)
    write_json(root / OUR_FILE, {"terraform": {"required_providers": _required(providers, terraform)}})
    write_manifest(root, {"": program})
    write_installation(root, terraform)


def _own_providers(providers: Mapping[str, Provider], terraform: Terraform) -> dict[str, Any]:
    configured = {name: [CONFIGURATION[name]] for name in providers if name in CONFIGURATION}
    settings: dict[str, Any] = {"terraform": {"required_providers": _required(providers, terraform)}}
    return settings | ({"provider": configured} if configured else {})  # an empty `provider` is an error


def _required(providers: Mapping[str, Provider], terraform: Terraform) -> dict[str, Any]:
    return {name: {"source": _source(provider, terraform)} for name, provider in providers.items()}


def _installed(aliases: Aliases, terraform: Terraform) -> set[tuple[str, str]]:
    return {(name, alias) for name, alias in aliases if terraform.provider(name)}


def _alias_settings(
    aliases: set[tuple[str, str]], providers: dict[str, Provider], terraform: Terraform
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the child's `required_providers` and the root's `providers`; all aliases get the default configuration."""
    own: dict[str, Any] = {}
    passed: dict[str, str] = {}
    for name, alias in sorted(aliases):
        provider = terraform.provider(name)
        if provider is None:
            continue
        providers.setdefault(name, provider)
        entry = own.setdefault(name, {"source": _source(provider, terraform), "configuration_aliases": []})
        entry["configuration_aliases"].append(f"{name}.{alias}")
        passed |= {name: name, f"{name}.{alias}": name}
    return own, passed


def _source(provider: Provider, terraform: Terraform) -> str:
    return f"{terraform.registry}/{provider.source}"


def _write_program(folder: Path, program: Normalised, terraform: Terraform) -> None:
    """Write a program's files below `folder`, and link the mirrored modules that it calls."""
    folder.mkdir(exist_ok=True)
    for name, text in program.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    for name, aliases in program.inner_aliases.items():
        own, _ = _alias_settings(_installed(aliases, terraform), {}, terraform)
        write_json(folder / name / OUR_FILE, {"terraform": {"required_providers": own}})
    for name, target in program.links.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)


def write_manifest(root: Path, modules: Mapping[str, Normalised | None]) -> None:
    """Write terraform's manifest of installed modules: each program in the folder of its key, and its calls.

    The empty key is the root module.
    """
    entries = [{"Key": "", "Source": "", "Dir": "."}]
    for key, program in modules.items():
        entries += [{"Key": key, "Source": f"./{key}", "Dir": key}] if key else []
        # Terraform's error for two calls of one name is better than its error for a duplicate manifest entry.
        for call in {call.key: call for call in program.calls}.values() if program else ():
            version = {"Version": call.version} if call.version else {}
            directory = "/".join(part for part in (key, call.folder) if part) or "."
            entries.append({"Key": f"{key}.{call.key}".lstrip("."), "Source": call.source, "Dir": directory} | version)
    folder = root / ".terraform/modules"
    folder.mkdir(parents=True)
    write_json(folder / "modules.json", {"Modules": entries})


def write_installation(root: Path, terraform: Terraform) -> None:
    """Link the providers, write the lock file and the command line configuration."""
    locks = []
    for provider in terraform.providers:
        address = f"{terraform.registry}/{provider.source}"
        version = root / ".terraform/providers" / address / provider.version
        version.mkdir(parents=True)
        (version / provider.folder.name).symlink_to(provider.folder)
        locks.append(f'provider "{address}" {{\n  version = "{provider.version}"\n}}\n')
    (root / ".terraform.lock.hcl").write_text("\n".join(locks))
    write_cli_config(root)


def write_json(path: Path, value: object) -> None:
    """Write a generated file."""
    path.write_text(json.dumps(value))
