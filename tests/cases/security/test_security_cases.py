"""The bundled security rules: each has a program that must pass and one that it must flag.

The fixtures are plans of the `.tf` files beside them, written by `plan_fixtures.py`. In a `fail` program exactly the
resources whose names begin with `bad` must be flagged.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from loraform_verifier import security
from loraform_verifier.rego.evaluate import PackFinding, PolicyKind, PolicyQuery, PolicyResult, evaluate
from loraform_verifier.terraform.plan_json import as_json

FIXTURES = Path(__file__).parent
RULES = sorted(path.stem for path in security.RULES.glob("*.rego") if path.stem != "lib")
SEVERITIES = {"CRITICAL", "HIGH", "MEDIUM", "LOW"}


def metadata(rule: str) -> dict[str, Any]:
    text = (security.RULES / f"{rule}.rego").read_text()
    match = re.search(r"^rule := (\{.*?^\})", text, re.MULTILINE | re.DOTALL)
    assert match is not None
    return dict(json.loads(match[1]))


@cache
def results() -> dict[tuple[str, str], PolicyResult]:
    cases = [(rule, kind) for rule in RULES for kind in ("pass", "fail")]
    plans = [(FIXTURES / rule / f"{kind}.json").read_bytes() for rule, kind in cases]
    evaluated = evaluate([PolicyQuery(PolicyKind.PACK, security.rules(), plan) for plan in plans])
    return dict(zip(cases, evaluated, strict=True))


def findings(rule: str, kind: str) -> list[PackFinding]:
    result = results()[rule, kind]
    assert result.undecided is None
    return [finding for finding in result.findings if finding.package == f"loraform.security.{rule}"]


def test_each_rule_has_its_fixtures_and_no_others_exist() -> None:
    files = {f"{rule}/{kind}.{ending}" for rule in RULES for kind in ("pass", "fail") for ending in ("tf", "json")}
    assert {str(path.relative_to(FIXTURES)) for path in FIXTURES.glob("*/*.*") if path.suffix != ".pyc"} == files


def test_every_rule_has_complete_metadata() -> None:
    ids = [metadata(rule)["id"] for rule in RULES]
    assert len(set(ids)) == len(ids) >= 25
    for rule in RULES:
        rule_metadata = metadata(rule)
        assert rule_metadata["severity"] in SEVERITIES
        assert rule_metadata["title"]
        assert rule_metadata["hint"]
        assert all(re.fullmatch(r"CKV2?_AWS_\d+", known) for known in rule_metadata["checkov"])
        assert all(re.fullmatch(r"AVD-AWS-\d{4}", known) for known in rule_metadata["trivy"])


@pytest.mark.parametrize("rule", RULES)
def test_a_good_program_passes(rule: str) -> None:
    assert findings(rule, "pass") == []


@pytest.mark.parametrize("rule", RULES)
def test_exactly_the_bad_resources_are_flagged(rule: str) -> None:
    plan = json.loads((FIXTURES / rule / "fail.json").read_text())
    bad = {change["address"] for change in plan["resource_changes"] if change["name"].startswith("bad")}
    assert bad
    assert {finding.resource for finding in findings(rule, "fail")} == bad


@pytest.mark.parametrize("rule", RULES)
def test_only_a_critical_finding_fails_the_stage(rule: str) -> None:
    rule_metadata = metadata(rule)
    for finding in findings(rule, "fail"):
        assert (finding.id, finding.severity, finding.hint) == (
            rule_metadata["id"],
            rule_metadata["severity"],
            rule_metadata["hint"],
        )
        assert finding.gates is (rule_metadata["severity"] == "CRITICAL")


def unknown(rule: str) -> PolicyQuery:
    """Query the rule's bad program as if each of its arguments came from a variable without a value."""
    plan = json.loads((FIXTURES / rule / "fail.json").read_text())
    for change in (c["change"] for c in plan["resource_changes"]):
        change["after_unknown"] |= dict.fromkeys(change["after"], True)
        change["after"] = {}
    for resource in plan["configuration"]["root_module"]["resources"]:
        resource["expressions"] = {name: {"references": ["var.x"]} for name in resource.get("expressions", {})}
    return PolicyQuery(PolicyKind.PACK, security.rules(), as_json(plan))


def test_values_known_only_after_apply_are_never_flagged() -> None:
    flagged = {
        rule
        for rule, result in zip(RULES, evaluate([unknown(rule) for rule in RULES]), strict=True)
        if any(finding.package == f"loraform.security.{rule}" for finding in result.findings)
    }
    # These rules flag arguments that the program leaves out, which are known.
    assert flagged == {
        "cloudtrail_weak",
        "dynamodb_no_recovery",
        "ebs_unencrypted",
        "efs_unencrypted",
        "elasticache_unencrypted",
        "instance_imdsv1",
        "kms_rotation_off",
        "launch_template_imdsv1",
        "opensearch_unencrypted",
        "rds_unencrypted",
        "s3_access_block_off",
        "s3_default_encryption",
    }
