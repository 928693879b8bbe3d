"""What the house policy, a pack and an intent say of a plan, whether it was made alone or in company.

One intent for all programs, in IaC-Eval's manner: each of its rules reads another part of a plan, so that the names of
the rules that are false tell plans apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from loraform_api.verification import DefaultTags, DenyRule, HousePolicy, Program, Stage, StageResult, VerifyRequest
from loraform_verifier.stages.stages import Stages
from loraform_verifier.terraform.plan_json import as_json

Plan = Mapping[str, Any]
STAGES = (Stage.POLICY, Stage.INTENT)
POLICY = HousePolicy(
    comment="# This resource is generated using PiCloud tool",
    tags={"created_by": "PiCloud"},
    default_tags=DefaultTags.COUNTED,
    required_tags=["by"],
    deny=[
        DenyRule(name="names", types=["aws_*"], argument="name", values=["orders", "web", "main"]),
        DenyRule(name="no-roles", types=["aws_iam_role", "aws_security_group"]),
    ],
)
PACK = """package house.agreement

import rego.v1

deny contains finding if {
  some change in input.resource_changes
  change.mode == "managed"
  some argument, unknown in change.change.after_unknown
  unknown == true
  startswith(argument, "av")
  finding := {"id": "NotKnownYet", "resource": change.address, "msg": argument}
}

deny contains finding if {
  some name, variable in input.variables
  finding := {"id": "Variable", "msg": sprintf("%s %v", [name, variable.value])}
}

deny contains finding if {
  some provider in input.configuration.provider_config
  region := provider.expressions.region.constant_value
  region != "us-east-1"
  finding := {"id": "Region", "msg": region}
}
"""
INTENT = """package terraform.validation

default plans_two = false

default has_tags = false

default refers = false

default stays_flat = false

default counts_nothing = false

default reads_nothing = false

plans_two {
  count(input.planned_values.root_module.resources) >= 2
}

has_tags {
  resource := input.resource_changes[_]
  resource.change.actions[_] == "create"
  resource.change.after.tags_all != null
}

refers {
  resource := input.configuration.root_module.resources[_]
  reference := resource.expressions[_].references[_]
  contains(reference, ".id")
}

stays_flat {
  not input.planned_values.root_module.child_modules
}

counts_nothing {
  counted := [change | change := input.resource_changes[_]; change.index == 0]
  count(counted) == 0
}

reads_nothing {
  read := [resource | resource := input.prior_state.values.root_module.resources[_]; resource.mode == "data"]
  count(read) == 0
}
"""


def judged(programs: Sequence[Program], plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Return of each program with its plan, by stage, how it ends, what is found where, and a digest of the words."""
    asking = [program.model_copy(update={"rego": INTENT}) for program in programs]
    request = VerifyRequest(programs=asking, stages=list(STAGES), policy=POLICY, packs=[PACK])
    stages = Stages(None, None, None)
    rows = [replace(stages.row(program), plan=as_json(plan)) for program, plan in zip(asking, plans, strict=True)]
    results = [stages.run(stage, rows, request) for stage in STAGES]
    return [{str(r.stage).lower(): _told(r) for r in of_row} for of_row in zip(*results, strict=True)]


def _told(result: StageResult) -> dict[str, Any]:
    ends = "passed" if result.passed else "inconclusive" if result.inconclusive else "failed"
    places = {(d.file or "", d.line or 0, d.code) for d in result.diagnostics}
    words = "\n".join(sorted(d.message for d in result.diagnostics))
    return {
        "ends": ends,
        "found": [list(place) for place in sorted(places)],
        "words": hashlib.sha256(words.encode()).hexdigest()[:12],
    }
