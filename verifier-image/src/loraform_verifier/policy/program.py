"""The house policy of a whole program: its own files, with what is planned of them, and the mirrored modules it calls.

A mirrored module is not the author's to comment, but its resources are: their tags and arguments are in the plan.
"""

from __future__ import annotations

from collections.abc import Iterator

from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.configuration import Configuration, folder_of, placed
from loraform_verifier.hcl.modules import Modules
from loraform_verifier.policy.deny_rules import Subject
from loraform_verifier.policy.house_policy import PolicyFindings, Reading, judge, judge_resource
from loraform_verifier.terraform.plannable import prefix_of, settings_of
from loraform_verifier.terraform.planned import Plan, Planned, planned


def judge_program(
    configuration: Configuration, modules: Modules, plan: Plan | None, policy: HousePolicy
) -> PolicyFindings:
    """Hold a program against the house policy; findings name their file. Without a plan the syntax tree decides."""
    known, settings = planned(plan), settings_of(configuration)
    defaults = Reading(settings.default_tags, not settings.incomplete)
    found = PolicyFindings()
    for file, document in configuration.documents.items():
        _add(found, file, judge(document, policy, known.below(_prefixes(modules, folder_of(file))), defaults))
    for file, resource in _of_others(configuration, modules, known):
        _add(found, file, judge_resource(resource, policy, known, defaults))
    return found


def _add(found: PolicyFindings, file: str, more: PolicyFindings) -> None:
    found.broken.extend(placed(file, more.broken))
    found.undecided.extend(placed(file, more.undecided))


def _prefixes(modules: Modules, folder: str) -> list[str]:
    """Return what the planned addresses of a folder's resources begin with, once for each call of it."""
    return [prefix_of(call) for call in modules.calls if call.folder == folder] if folder else [""]


def _of_others(configuration: Configuration, modules: Modules, known: Planned) -> Iterator[tuple[str, Subject]]:
    """Yield the planned resources of mirrored modules with the file and line of the program's own call."""
    folders = {call.key: call.folder for call in modules.calls}
    for call in modules.calls:
        caller, _, name = call.key.rpartition(".")
        home = folders.get(caller, "")
        if modules.linked(call.folder) is None or modules.linked(home) is not None:
            continue
        for file, document in configuration.module(home).items():
            for line in (b.line for b in document.blocks if b.type == "module" and b.labels == (name,)):
                for address in known.instances:
                    if address.startswith(prefix_of(call)):
                        yield file, Subject(address, address.split(".")[-2], line, None)
