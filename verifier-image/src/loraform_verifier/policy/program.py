"""House policy checks of a whole program: its own files, and the mirrored modules that it calls.

The author cannot comment resources of a mirrored module, so only their planned tags and arguments are checked.
"""

from __future__ import annotations

from collections.abc import Iterator

from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.configuration import Configuration, folder_of, with_file
from loraform_verifier.hcl.modules import Modules
from loraform_verifier.policy.deny_rules import PolicySubject
from loraform_verifier.policy.house_policy import PolicyFindings, ResourceTags, check_house_policy, check_resource
from loraform_verifier.terraform.plannable import prefix_of, settings_of
from loraform_verifier.terraform.planned_resources import Plan, PlannedResources, planned_resources


def check_program(
    configuration: Configuration, modules: Modules, plan: Plan | None, policy: HousePolicy
) -> PolicyFindings:
    """Check a program against the house policy; findings name their file. Without a plan the syntax tree decides."""
    resources, settings = planned_resources(plan), settings_of(configuration)
    default_tags = {key: (value,) for key, value in settings.default_tags.items()}
    defaults = ResourceTags(default_tags, not settings.incomplete)
    findings = PolicyFindings()
    planned = {folder: resources.below(_prefixes(modules, folder)) for folder in configuration.folders}
    for file, document in configuration.documents.items():
        _add(findings, file, check_house_policy(document, policy, planned[folder_of(file)], defaults))
    for file, resource in _mirrored_resources(configuration, modules, resources):
        _add(findings, file, check_resource(resource, policy, resources, defaults))
    return findings


def _add(findings: PolicyFindings, file: str, more: PolicyFindings) -> None:
    findings.broken.extend(with_file(file, more.broken))
    findings.undecided.extend(with_file(file, more.undecided))


def _prefixes(modules: Modules, folder: str) -> list[str]:
    """Return the address prefix of a folder's planned resources for each call of its module."""
    return [prefix_of(call) for call in modules.calls if call.folder == folder] if folder else [""]


def _mirrored_resources(
    configuration: Configuration, modules: Modules, planned: PlannedResources
) -> Iterator[tuple[str, PolicySubject]]:
    """Yield the planned resources of mirrored modules, each with the file and line of the program's own call."""
    folders = {call.key: call.folder for call in modules.calls}
    for call in modules.calls:
        caller, _, name = call.key.rpartition(".")
        caller_folder = folders.get(caller, "")
        if modules.mirror_folder(call.folder) is None or modules.mirror_folder(caller_folder) is not None:
            continue
        for file, document in configuration.module(caller_folder).items():
            for line in (b.line for b in document.blocks if b.type == "module" and b.labels == (name,)):
                for address in planned.instances:
                    if address.startswith(prefix_of(call)):
                        yield file, PolicySubject(address, address.split(".")[-2], line, None)
