"""Split of the JSON plan of a batch into one plan for each program, as if the program were the root module.

The parts that policies read equal those of a plan of the program alone: `resource_changes`, `planned_values`, the
resources of `configuration`, `prior_state`, `variables`. Output values are missing, since terraform writes none for
child modules, and so is what differs between runs, such as the time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = dict[str, Any]

OURS = {"max_retries", "skip_credentials_validation", "skip_metadata_api_check", "skip_region_validation"} | {
    "skip_requesting_account_id"
}
"""Provider arguments that the verifier adds."""
_PROGRAM = re.compile(r"^module\.(r\d+)(?:\.|$)")
_INDEX = re.compile(r'\["(?:[^"\\]|\\.)*"\]|\[\d+\]')


def as_json(plan: Mapping[str, Any]) -> bytes:
    """Serialise a plan; its Python objects can take over twenty times as much memory.

    Non-ASCII text stays as it is, since the Rego engine does not decode Unicode escapes. Raises RecursionError for a
    plan that is nested too deeply.
    """
    return json.dumps(plan, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def split(plan: Json) -> dict[str, Json]:
    """Return the plan of each program in the configuration by the name of its module."""
    changes = changes_of(plan)
    calls = plan["configuration"]["root_module"].get("module_calls", {})
    planned, prior = _by_program(plan.get("planned_values")), _by_program(plan.get("prior_state", {}).get("values"))
    plans = {}
    for key, call in calls.items():
        own: Json = {name: plan[name] for name in ("format_version", "terraform_version") if name in plan}
        if variables := _variables(call["module"]):
            own["variables"] = variables
        own["planned_values"] = {"root_module": planned.get(key, {})}
        own["resource_changes"] = changes.get(key, [])
        if key in prior:
            head = {name: value for name, value in plan["prior_state"].items() if name != "values"}
            own["prior_state"] = head | {"values": {"root_module": prior[key]}}
        own["configuration"] = _configuration(plan["configuration"], call["module"])
        plans[key] = own | {"errored": False}
    return plans


def changes_of(plan: Json) -> dict[str, list[Json]]:
    """Return the resource changes of each program, with addresses relative to the program."""
    by_program: dict[str, list[Json]] = {}
    for change in plan.get("resource_changes", ()):
        if owner := _PROGRAM.match(change["address"]):
            by_program.setdefault(owner[1], []).append(_relative_to(owner[1], change))
    return by_program


def with_changes(plan: Json, changes: list[Json]) -> Json:
    """Return a program's plan with other changes and the planned values that follow from them."""
    versions = dict(_schema_versions(plan["configuration"]["root_module"], ""))
    root: Json = {}
    modules = {"": root}
    for change in sorted(changes, key=_output_order):
        if change["change"].get("after") is not None:
            folder = _module_at(change.get("module_address", ""), modules)
            folder.setdefault("resources", []).append(_planned(change, versions))
    without = {name: value for name, value in plan.items() if name != "prior_state"}
    return without | {"planned_values": {"root_module": root}, "resource_changes": changes}


def without_keys(address: str) -> str:
    """Return an address without instance keys, as in the configuration."""
    return _INDEX.sub("", address)


def _by_program(values: Json | None) -> dict[str, Json]:
    children = (values or {}).get("root_module", {}).get("child_modules", ())
    return {key: _module(child, f"module.{key}.") for child in children if (key := child["address"][len("module.") :])}


def _module(module: Json, prefix: str) -> Json:
    """Return the values of a module with addresses relative to the program, and without its own address."""
    values: Json = {}
    if resources := module.get("resources"):
        values["resources"] = [r | {"address": r["address"].removeprefix(prefix)} for r in resources]
    if children := module.get("child_modules"):
        # Terraform's order of modules differs between runs.
        children = sorted(children, key=lambda child: str(child["address"]))
        values["child_modules"] = [
            _module(c, prefix) | {"address": c["address"].removeprefix(prefix)} for c in children
        ]
    return values


def _relative_to(key: str, change: Json) -> Json:
    prefix = f"module.{key}."
    relative = change | {
        name: change[name].removeprefix(prefix)
        for name in ("address", "module_address", "previous_address")
        if name in change
    }
    if change.get("module_address") == f"module.{key}":
        del relative["module_address"]
    return relative


def _variables(module: Json) -> Json:
    return {name: {"value": v["default"]} for name, v in module.get("variables", {}).items() if "default" in v}


def _configuration(configuration: Json, module: Json) -> Json:
    module = _with_keys(module)
    used = {name.partition(".")[0].rpartition(":")[2] for name in _provider_keys(module)}
    providers = {
        name: _provider(provider)
        for name, provider in configuration.get("provider_config", {}).items()
        if provider.get("name") in used and "module_address" not in provider
    }
    return {"provider_config": providers, "root_module": module}


def _provider(provider: Json) -> Json:
    expressions = {name: value for name, value in provider.get("expressions", {}).items() if name not in OURS}
    return provider | ({"expressions": expressions} if expressions else {})


def _with_keys(module: Json) -> Json:
    """Return a module's configuration with provider keys as in a root module, which configures all providers."""
    renamed = dict(module)
    if "resources" in module:
        renamed["resources"] = [
            r | {"provider_config_key": r["provider_config_key"].rpartition(":")[2]}
            if "provider_config_key" in r
            else r
            for r in module["resources"]
        ]
    if "module_calls" in module:
        renamed["module_calls"] = {
            name: call | {"module": _with_keys(call["module"])} if "module" in call else call
            for name, call in module["module_calls"].items()
        }
    return renamed


def _provider_keys(module: Json) -> Iterator[str]:
    for resource in module.get("resources", ()):
        yield resource.get("provider_config_key", "")
    for call in module.get("module_calls", {}).values():
        yield from _provider_keys(call.get("module", {}))


def _schema_versions(module: Json, prefix: str) -> Iterable[tuple[str, int]]:
    for resource in module.get("resources", ()):
        yield prefix + resource["address"], resource.get("schema_version", 0)
    for name, call in module.get("module_calls", {}).items():
        yield from _schema_versions(call.get("module", {}), f"{prefix}module.{name}.")


def _output_order(change: Json) -> tuple[str, bool]:
    """Sort key in terraform's order of planned values: modules by address, data sources last."""
    return change.get("module_address", ""), change["mode"] == "data"


def _planned(change: Json, versions: Mapping[str, int]) -> Json:
    copied = ("address", "mode", "type", "name", "index", "provider_name")
    resource = {name: change[name] for name in copied if name in change}
    resource["schema_version"] = versions.get(without_keys(change["address"]), 0)
    after, sensitive = change["change"]["after"], change["change"].get("after_sensitive")
    return resource | ({"values": after} if after else {}) | {"sensitive_values": sensitive or {}}


def _module_at(address: str, modules: dict[str, Json]) -> Json:
    """Return the module at `address` of those in `modules`; create it and its parents if they are missing."""
    parent = ""
    for match in re.finditer(r'module\.[\w-]+(?:\["(?:[^"\\]|\\.)*"\]|\[\d+\])?', address):
        own = address[: match.end()]
        if own not in modules:
            modules[own] = {"address": own}
            modules[parent].setdefault("child_modules", []).append(modules[own])
        parent = own
    return modules[parent]
