"""The plans that the security rules' golden cases rest on are what Terraform plans today."""

from __future__ import annotations

import json

from loraform_verifier.terraform.toolchain import Terraform

from ..cases.security.plan_fixtures import planned


def test_each_fixture_is_the_plan_of_the_program_beside_it(terraform: Terraform) -> None:
    plans = planned(terraform)
    assert len(plans) > 50
    assert {str(p) for p, plan in plans.items() if json.loads(p.read_text()) != json.loads(json.dumps(plan))} == set()
