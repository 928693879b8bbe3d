"""Lays programs out for one terraform run: child modules of a root of ours, or one program as the root itself.

There is no `terraform init`: the module manifest, the lock file and the link to the providers are written by hand.
The lock file names versions without checksums, so that terraform does not hash 700 MB at each start; the mirror is
part of our image. All of ours is JSON, so that no name in a program can break out of its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loraform_verifier.hcl.normalise import Aliases, Normalised
from loraform_verifier.terraform.diagnostics import OUR_FILE
from loraform_verifier.terraform.toolchain import Provider, Terraform, write_cli_config

CANARY = "canary"
CANARY_TEXT = 'output "canary" {\n  value = local.canary\n}\n'
"""Terraform reports its undeclared local value only once it really judges modules. Loading errors and graph errors
come earlier and hide all that follows; when the canary is silent, so may be other errors."""
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
"""Provider arguments of ours; a provider that is not here is configured with none."""


def lay_out_batch(root: Path, terraform: Terraform, programs: Mapping[str, Normalised]) -> None:
    """Write `root` so that each program is a child module in the folder of its key, and the canary another."""
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
    """Write each program into the folder of its key, and the installation; return what our root says of them.

    Variables without a default get the expression `unknown`. Manifest and root are left to the caller.
    """
    used = {name for program in programs.values() for name in program.providers}
    providers = {name: found for name in sorted(used) if (found := terraform.provider(name))}
    modules: dict[str, Any] = {}
    for key, program in programs.items():
        modules[key] = {"source": f"./{key}"} | dict.fromkeys(sorted(program.inputs), unknown)
        _write_program(root / key, program, terraform)
        # Without a call that could hand them on by name, default configurations are inherited.
        passed = {name: name for name in program.providers if program.calls and name in providers}
        if aliases := _known(program.aliases, terraform):
            own, aliased = _alias_words(aliases, providers, terraform)
            write_json(root / key / OUR_FILE, {"terraform": {"required_providers": own}})
            passed |= aliased
        modules[key] |= {"providers": passed} if passed else {}
    write_installation(root, terraform)
    return {"module": modules} | _own_providers(providers, terraform)


def lay_out_alone(root: Path, terraform: Terraform, program: Normalised) -> None:
    """Write `root` so that the program is the root module itself, as its author would run it."""
    names = program.providers | {name for name, _ in program.aliases}
    providers = {name: found for name in sorted(names) if (found := terraform.provider(name))}
    settings = _own_providers(providers, terraform)
    for name, alias in sorted(_known(program.aliases, terraform)):
        settings.setdefault("provider", {}).setdefault(name, []).append(CONFIGURATION.get(name, {}) | {"alias": alias})
    _write_program(root, program, terraform)
    write_json(root / OUR_FILE, settings)
    write_manifest(root, {"": program})
    write_installation(root, terraform)


def _own_providers(providers: Mapping[str, Provider], terraform: Terraform) -> dict[str, Any]:
    required = {name: {"source": _source(provider, terraform)} for name, provider in providers.items()}
    configured = {name: [CONFIGURATION[name]] for name in providers if name in CONFIGURATION}
    settings: dict[str, Any] = {"terraform": {"required_providers": required}}
    return settings | ({"provider": configured} if configured else {})  # an empty `provider` is an error


def _known(aliases: Aliases, terraform: Terraform) -> set[tuple[str, str]]:
    return {(name, alias) for name, alias in aliases if terraform.provider(name)}


def _alias_words(
    aliases: set[tuple[str, str]], providers: dict[str, Provider], terraform: Terraform
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the child's `required_providers` and the root's `providers`; every alias gets the one configuration."""
    own: dict[str, Any] = {}
    passed: dict[str, str] = {}
    for name, alias in sorted(aliases):
        found = terraform.provider(name)
        if found is None:
            continue
        providers.setdefault(name, found)
        entry = own.setdefault(name, {"source": _source(found, terraform), "configuration_aliases": []})
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
        own, _ = _alias_words(_known(aliases, terraform), {}, terraform)
        write_json(folder / name / OUR_FILE, {"terraform": {"required_providers": own}})
    for name, place in program.links.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(place)


def write_manifest(root: Path, modules: Mapping[str, Normalised | None]) -> None:
    """Write terraform's list of installed modules: each key's own, in the folder of its name, and what it calls.

    The empty key is the root module itself.
    """
    entries = [{"Key": "", "Source": "", "Dir": "."}]
    for key, program in modules.items():
        entries += [{"Key": key, "Source": f"./{key}", "Dir": key}] if key else []
        # Of two calls with one name terraform itself says more than of a list that has a name twice.
        for call in {call.key: call for call in program.calls}.values() if program else ():
            version = {"Version": call.version} if call.version else {}
            place = "/".join(part for part in (key, call.folder) if part) or "."
            entries.append({"Key": f"{key}.{call.key}".lstrip("."), "Source": call.source, "Dir": place} | version)
    folder = root / ".terraform/modules"
    folder.mkdir(parents=True)
    write_json(folder / "modules.json", {"Modules": entries})


def write_installation(root: Path, terraform: Terraform) -> None:
    """Link the providers, write the lock file and the command line configuration."""
    locks = []
    for provider in terraform.providers:
        place = f"{terraform.registry}/{provider.source}"
        version = root / ".terraform/providers" / place / provider.version
        version.mkdir(parents=True)
        (version / provider.folder.name).symlink_to(provider.folder)
        locks.append(f'provider "{place}" {{\n  version = "{provider.version}"\n}}\n')
    (root / ".terraform.lock.hcl").write_text("\n".join(locks))
    write_cli_config(root)


def write_json(path: Path, value: object) -> None:
    """Write one of our files."""
    path.write_text(json.dumps(value))
